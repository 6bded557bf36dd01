"""The formula of a baked core's cycles against the core itself."""

from __future__ import annotations

import pytest

import hdl_cases
from hotpath.policy.oracle import Voter

pytestmark = pytest.mark.usefixtures("toolchain")


@pytest.mark.parametrize("sizes", [[8, 16, 3], [5, 4, 2], [6, 12], [3, 7, 4, 9]], ids=str)
@pytest.mark.parametrize("adds_per_stage", [0, 1, 2, 3, 4])
def test_the_formula_says_what_the_core_takes(sizes, adds_per_stage):
    from amaranth.hdl import Fragment

    from peregrine_hdl.core import Core, PolicySet
    from peregrine_hdl.latency import baked_cycles

    for seed in range(3):
        network = hdl_cases.bench_network(sizes, seed)
        core = Core(PolicySet((network,), (Voter(),)), adds_per_stage=adds_per_stage)
        Fragment.get(core, None)
        assert baked_cycles(network, adds_per_stage) == core.cycles
        quick = baked_cycles(network, adds_per_stage, exact=False)
        assert core.cycles - len(sizes) <= quick <= core.cycles
