"""Each block by itself, in Amaranth's own simulator, against the numpy oracle."""

from __future__ import annotations

import numpy as np
import pytest

from hotpath.policy import oracle
from hotpath.policy.random_network import random_network

pytestmark = pytest.mark.usefixtures("toolchain")


def play(block, drive, rows, read):
    """What `read(ctx)` gives for each row, `block.cycles` clocks after `drive(ctx, row)`; one row a clock."""
    from amaranth.sim import Simulator

    found = []

    async def bench(ctx):
        ctx.set(block.en, 1)
        for row in [*rows, *[rows[-1]] * block.cycles]:
            drive(ctx, row)
            await ctx.tick()
            found.append(read(ctx))

    simulator = Simulator(block)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return found[block.cycles - 1: block.cycles - 1 + len(rows)]


def set_all(ctx, array, values):
    """Each element of an array port."""
    for k, v in enumerate(values):
        ctx.set(array[k], int(v))


def get_all(ctx, array):
    """Each element of an array port, as integers."""
    return [ctx.get(array[k]) for k in range(len(array))]


@pytest.mark.parametrize("adds_per_stage", [0, 1, 2, 3])
def test_the_quantiser_rounds_halves_up_and_saturates(adds_per_stage):
    from peregrine_hdl.quantiser import Quantiser

    m = np.array([1, 1, -3, 32767, -32768, 0, 64, -32768], np.int16)
    s = np.array([0, 1, 2, 46, 46, 0, 12, 0], np.uint8)
    rng = np.random.default_rng(1)
    ends = [-(1 << 31), (1 << 31) - 1, 0, -1, 1, 127, 128, -128, -129, 255, 254, -256, -257]
    rows = np.array([[v] * 4 for v in ends] + (rng.integers(-(1 << 31), 1 << 31, (30, 4)) >> rng.integers(0, 32, (30, 4))).tolist(),
                    np.int32)
    column = [0, 1, 2, 3, 0, 1, 2, 3]
    block = Quantiser(column, m, s, 4, adds_per_stage=adds_per_stage)
    found = play(block, lambda ctx, row: set_all(ctx, block.x, row), rows, lambda ctx: get_all(ctx, block.y))
    assert found == oracle.quantise(rows[:, column], m, s).tolist()
    for row in found:
        assert all(lo <= v <= hi for v, (lo, hi) in zip(row, block.ranges, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_a_layer_gives_the_oracles_values(seed):
    from peregrine_hdl.layer import DenseLayer

    rng = np.random.default_rng(seed)
    layers = random_network(rng, [7, 6, 4], 7).layers
    for layer in layers:
        block = DenseLayer(layer, [(-128, 127)] * layer.inputs, adds_per_stage=seed % 3)
        rows = rng.integers(-128, 128, (20, layer.inputs))
        rows = np.vstack([rows, np.full(layer.inputs, -128), np.full(layer.inputs, 127), np.zeros(layer.inputs, int)])
        found = play(block, lambda ctx, row, b=block: set_all(ctx, b.x, row), rows, lambda ctx, b=block: get_all(ctx, b.y))
        acc = oracle.layer_sums(rows, layer)
        assert found == (acc if layer.shift is None else oracle.requantise(acc, layer)).tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("adds_per_stage", [0, 1, 2])
def test_argmax_takes_the_lowest_index_on_ties(count, adds_per_stage):
    from peregrine_hdl.argmax import Argmax

    rng = np.random.default_rng(count)
    rows = np.vstack([rng.integers(-3, 3, (60, count)), np.zeros((1, count), int), np.full((1, count), -(1 << 23)),
                      rng.integers(-(1 << 23), 1 << 23, (20, count))])  # fmt: skip
    block = Argmax(count, 24, adds_per_stage=adds_per_stage)
    found = play(block, lambda ctx, row: set_all(ctx, block.x, row), rows,
                 lambda ctx: (ctx.get(block.index), get_all(ctx, block.y)))
    assert found == [(int(i), row) for i, row in zip(oracle.argmax(rows), rows.tolist(), strict=True)]


@pytest.mark.parametrize("seed", range(12))
def test_consensus_decides_as_the_oracle_over_every_subset_of_answers(seed):
    import hdl_cases
    from peregrine_hdl.consensus import Consensus

    networks, voters, quorum = hdl_cases.random_set(seed)
    actions, count = networks[0].sizes[-1], len(voters)
    rng = np.random.default_rng(seed)
    cases = [(rng.integers(0, actions, count).tolist(), int(valid)) for valid in rng.integers(0, 1 << count, 80)]
    cases += [([a] * count, valid) for a in range(actions) for valid in (0, 1, (1 << count) - 1)]
    block = Consensus(voters, quorum, actions, adds_per_stage=(1, 2, 0)[seed % 3])

    def drive(ctx, case):
        set_all(ctx, block.answer, case[0])
        ctx.set(block.valid, case[1])

    found = play(block, drive, cases, lambda ctx: (ctx.get(block.action), bool(ctx.get(block.held)), bool(ctx.get(block.vetoed))))
    for (answers, valid), got in zip(cases, found, strict=True):
        c = oracle.consensus([a if valid >> p & 1 else None for p, a in enumerate(answers)], voters, quorum, actions)
        assert got == (c.action, c.held, c.vetoed), (answers, valid, voters, quorum)
