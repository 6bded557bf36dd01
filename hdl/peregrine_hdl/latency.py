"""Cycles by formula, for a baked core without making it. Plain Python: no hardware library is needed.

`pipeline.py` says what a level and a stage are; the blocks take their numbers from here, so the formula is what they do.
A loadable core's formula is `loadable_limits.Limits.cycles`.
"""

from __future__ import annotations

from hotpath.policy.oracle import Network
from peregrine_hdl.shift_add import build, csd

ALL_PAIRS = 8  # values of which each two are compared at once


def stage_of(level: int, adds_per_stage: int) -> int:
    """The stage of the core in which a value of this level is worked out, for one or more adds a stage."""
    return max(level - 1, 0) // adds_per_stage


def stages(levels: int, adds_per_stage: int, start: int = 0, closed: bool = True) -> int:
    """Cycles of a block of `levels` levels that begins behind `start` others."""
    if adds_per_stage == 0:
        return 1
    return stage_of(start + levels, adds_per_stage) - stage_of(start, adds_per_stage) + closed


def gate_levels(adds_per_stage: int) -> int:
    """Levels of gates behind an adder or a compare: none where they ride in its stage."""
    return int(adds_per_stage == 1)


def tree_levels(count: int) -> int:
    """Levels of a tree over `count` values."""
    return max(count - 1, 0).bit_length()


def argmax_levels(count: int, adds_per_stage: int) -> int:
    """Levels of the index of the largest of `count` values."""
    if not 2 < count <= ALL_PAIRS:
        return tree_levels(count)
    return 1 + gate_levels(adds_per_stage)


def sum_levels(matrix: list[list[int]], constants: list[int], *, exact: bool) -> int:
    """Levels of the adder graph of a matrix with constants.

    exact makes the graph. Otherwise it is what the longest row needs: its digits and its constant in a tree. Sharing may
    be a level deeper, where it leaves a row of nothing but subtrahends, which is then negated.
    """
    if exact:
        return build(matrix, constants, [(-1, 1)] * len(matrix[0])).levels
    return max(tree_levels(sum(len(csd(w)) for w in row) + (c != 0)) for row, c in zip(matrix, constants, strict=True))


def baked_cycles(network: Network, adds_per_stage: int, *, exact: bool = True) -> int:
    """Cycles from features to action of a baked core of this one policy, whose vote has a positive weight.

    exact=False is quick where a layer is large, and at most a level a block below.
    """
    gates = gate_levels(adds_per_stage)
    halves = [1 << (int(s) - 1) if s else 0 for s in network.quant_s]
    own = range(len(halves))
    quantiser = [[int(network.quant_m[k]) if i == k else 0 for i in own] for k in own]
    levels = [sum_levels(quantiser, halves, exact=exact) + gates]
    for layer in network.layers:
        rounding = [0] * layer.outputs if layer.shift is None else [1 << (int(s) - 1) for s in layer.shift]
        constants = [int(b) + half for b, half in zip(layer.bias, rounding, strict=True)]
        levels.append(sum_levels(layer.weights.tolist(), constants, exact=exact) + (gates if layer.shift is not None else 0))
    levels += [argmax_levels(network.sizes[-1], adds_per_stage), gates]
    if adds_per_stage == 0:
        return len(levels)
    return stages(sum(levels), adds_per_stage)
