"""Index of the largest value, the lowest index on ties: the right side of a comparison wins only when it is larger.

Up to eight values are compared each with each, all at once; more of them, or where the largest value itself is wanted,
by a tree.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.latency import ALL_PAIRS, argmax_levels, gate_levels, stages
from peregrine_hdl.pipeline import Pipeline, Timed


def index_bits(count: int) -> int:
    """Bits of an index below `count`, at least one."""
    return max(1, (count - 1).bit_length())


def larger(b: Value, a: Value) -> Value:
    """b > a, as the sign of a difference: its last carry is the answer, where a comparison puts gates behind the chain."""
    return (a - b)[-1]  # a bit wider than both, and signed


def tree(pipe: Pipeline, values: list[Timed], name: str) -> tuple[Timed, Timed]:
    """(the largest value, its index), `tree_levels` after the values, which must all be of one level and shape."""
    level = values[0].level
    shape = Shape.cast(values[0].value.shape())
    bits = index_bits(len(values))
    row: list[tuple[Timed, Timed]] = [(v, Timed(Const(i, bits), level)) for i, v in enumerate(values)]
    while len(row) > 1:
        level += 1
        following = []
        for k in range(0, len(row) - 1, 2):
            (left, left_index), (right, right_index) = row[k], row[k + 1]
            a, b = pipe.at(left, level), pipe.at(right, level)
            wins = pipe.comb(larger(b, a), unsigned(1), level, f"{name}_l{level}_{k}_wins")
            best = pipe.comb(Mux(wins.value, b, a), shape, level, f"{name}_l{level}_{k}")
            chosen = Mux(wins.value, _index(pipe, right_index, level), _index(pipe, left_index, level))
            following.append((best, pipe.comb(chosen, unsigned(bits), level, f"{name}_l{level}_{k}_index")))
        if len(row) % 2:
            following.append(row[-1])
        row = following
    return row[0]


def pairs(pipe: Pipeline, values: list[Timed], name: str) -> Timed:
    """The index of the largest value, `argmax_levels` behind the values: which beats all before it and loses to none behind."""
    first = values[0].level + 1
    now = [pipe.at(v, first) for v in values]
    count, bits = len(values), index_bits(len(values))
    beats = {(b, a): pipe.comb(larger(now[b], now[a]), unsigned(1), first, f"{name}_{b}_beats_{a}")
             for b in range(count) for a in range(b)}
    level = first + gate_levels(pipe.adds)
    index: Value = Const(0, bits)
    for k in range(1, count):  # nobody but the largest gives a one
        best = Cat(*(pipe.at(beats[k, a], level) for a in range(k)),
                   *(~pipe.at(beats[b, k], level) for b in range(k + 1, count))).all()
        index = index | Mux(best, Const(k, bits), 0)
    return pipe.comb(index, unsigned(bits), level, f"{name}_index")


def _index(pipe: Pipeline, index: Timed, level: int) -> Value:
    return index.value if isinstance(index.value, Const) else pipe.at(index, level)


class Argmax(wiring.Component):
    """x: `count` signed values; index: which is the largest; y: x itself, as late as the index."""

    def __init__(self, count: int, width: int, *, adds_per_stage: int, start: int = 0, closed: bool = True) -> None:
        self.count = count
        self.adds_per_stage, self.start, self.closed = adds_per_stage, start, closed
        self.levels = argmax_levels(count, adds_per_stage)
        self.cycles = stages(self.levels, adds_per_stage, start, closed)
        layout = data.ArrayLayout(signed(width), count)
        super().__init__({"en": In(1), "x": In(layout), "y": Out(layout), "index": Out(index_bits(count))})

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        pipe = Pipeline(m, self.en, self.adds_per_stage, self.levels, self.start, self.closed)
        values = [pipe.comb(self.x[k], Shape.cast(self.x[k].shape()), 0, f"x{k}") for k in range(self.count)]
        index = pairs(pipe, values, "max") if 2 < self.count <= ALL_PAIRS else tree(pipe, values, "max")[1]
        m.d.comb += self.index.eq(index.value if isinstance(index.value, Const) else pipe.out(index))
        for k, value in enumerate(values):
            m.d.comb += self.y[k].eq(pipe.out(value))
        return m
