"""Index of the largest value, the lowest index on ties: a tree in which the right side wins only when it is larger."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Shape, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.pipeline import Pipeline, Timed, stages


def depth(count: int) -> int:
    """Levels of the tree over `count` values."""
    return (count - 1).bit_length()


def index_bits(count: int) -> int:
    """Bits of an index below `count`, at least one."""
    return max(1, (count - 1).bit_length())


def tree(pipe: Pipeline, values: list[Timed], name: str) -> tuple[Timed, Timed]:
    """(the largest value, its index), `depth` levels after the values, which must all be of one level and shape."""
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
            wins = pipe.comb(b > a, unsigned(1), level, f"{name}_l{level}_{k}_wins")
            best = pipe.comb(Mux(wins.value, b, a), shape, level, f"{name}_l{level}_{k}")
            chosen = Mux(wins.value, _index(pipe, right_index, level), _index(pipe, left_index, level))
            following.append((best, pipe.comb(chosen, unsigned(bits), level, f"{name}_l{level}_{k}_index")))
        if len(row) % 2:
            following.append(row[-1])
        row = following
    return row[0]


def _index(pipe: Pipeline, index: Timed, level: int) -> Value:
    return index.value if isinstance(index.value, Const) else pipe.at(index, level)


class Argmax(wiring.Component):
    """x: `count` signed values; index: which is the largest; y: x itself, as late as the index."""

    def __init__(self, count: int, width: int, *, adds_per_stage: int) -> None:
        self.count = count
        self.adds_per_stage = adds_per_stage
        self.levels = depth(count)
        self.cycles = stages(self.levels, adds_per_stage)
        layout = data.ArrayLayout(signed(width), count)
        super().__init__({"en": In(1), "x": In(layout), "y": Out(layout), "index": Out(index_bits(count))})

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        pipe = Pipeline(m, self.en, self.adds_per_stage, self.levels)
        values = [pipe.comb(self.x[k], Shape.cast(self.x[k].shape()), 0, f"x{k}") for k in range(self.count)]
        _, index = tree(pipe, values, "max")
        m.d.comb += self.index.eq(index.value if isinstance(index.value, Const) else pipe.out(index))
        for k, value in enumerate(values):
            m.d.comb += self.y[k].eq(pipe.out(value))
        return m
