"""The whole core: cocotb with stalls and resets, verilated vectors against oracle and kernel, the formula of its cycles."""

from __future__ import annotations

import pytest

import hdl_cases
from hotpath.policy.oracle import Voter

pytestmark = [pytest.mark.usefixtures("toolchain"), pytest.mark.slow]

SMALL, WIDE = [8, 16, 3], [16, 64, 32, 32, 5]


def test_the_core_survives_stalls_resets_and_corners_under_cocotb():
    import hdl

    result = hdl.cocotb_core()
    assert result["tests"] >= 25 and result["failures"] == 0, result["log"].read_text()[-5000:]


@pytest.mark.parametrize("seed", [0, 5, 10])
def test_a_small_core_equals_oracle_and_kernel_bit_for_bit(seed):
    import hdl

    result = hdl.one_artifact(SMALL, seed, 50_000, 500_000)
    assert result["vectors"] == 600_000


def test_a_wide_core_equals_oracle_and_kernel_bit_for_bit():
    import hdl

    assert hdl.one_artifact(WIDE, 0, 5_000, 20_000)["vectors"] == 30_000


def test_sets_of_policies_decide_as_the_oracle():
    counts = hdl_cases.prove_sets(3, 10_000)
    assert counts["held"] > 100 and counts["vetoed"] > 100


@pytest.mark.parametrize("adds_per_stage", [0, 1, 2, 3, 5])
def test_the_cycles_are_the_formulas(adds_per_stage):
    from amaranth.hdl import Fragment

    from peregrine_hdl.core import Core, PolicySet

    core = Core(PolicySet((hdl_cases.bench_network(SMALL, 3),), (Voter(),)), adds_per_stage=adds_per_stage)
    Fragment.get(core, None)
    hidden, last = core.layers[0]
    adds = core.quantiser.graph.levels + hidden.graph.levels + last.graph.levels + 1  # 3 logits, each compared with each
    if adds_per_stage == 0:
        assert core.cycles == 5
    elif adds_per_stage == 1:
        assert core.cycles == adds + 4  # two clamps, the index out of the compares, the answer
    else:
        assert core.cycles == -(-adds // adds_per_stage)


def test_the_wide_network_is_twelve_cycles_deep_at_three_adds_a_stage():
    """Weights uniform over int8: 4,256 products in at most 6,000 adders, none of them a multiplier."""
    from amaranth.hdl import Fragment

    import synth_cases
    from peregrine_hdl.core import Core, PolicySet

    core = Core(PolicySet((synth_cases.uniform_network(WIDE, 0),), (Voter(),)), adds_per_stage=3)
    Fragment.get(core, None)
    assert core.cycles <= 12 and core.adders <= 6000


def test_the_comparison_can_fail():
    bench = hdl_cases.bench(hdl_cases.bench_network(SMALL, 0), 2)
    other = hdl_cases.bench_network(SMALL, 4)
    wrong = hdl_cases.Bench(other, 2, bench.library, bench.cycles, bench.adders, bench.features)
    with pytest.raises(AssertionError, match="row"):
        hdl_cases.prove(wrong, 1000, 1)
    with pytest.raises(RuntimeError, match="differs"):
        hdl_cases.flood(wrong, 1000, 1)
