"""int32 features in, int8 network inputs out: `sat8((f * m + half) >> s)`, each input with its own m and s.

The products are shift-add as in a layer: a matrix with one weight a row. Two inputs that read the same feature share
what they can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl import shift_add
from peregrine_hdl.adders import place
from peregrine_hdl.clamp import clamp, clamped_range
from peregrine_hdl.latency import gate_levels, stages
from peregrine_hdl.pipeline import Pipeline
from peregrine_hdl.shift_add import Range

INT32 = (-(1 << 31), (1 << 31) - 1)


class Quantiser(wiring.Component):
    """x: int32 features; y: one int8 an input, input k from feature `column[k]`."""

    def __init__(self, column: Sequence[int], m: np.ndarray, s: np.ndarray, features: int, *, adds_per_stage: int,
                 extra_levels: int = 0, closed: bool = True) -> None:
        self.shift = [int(v) for v in s]
        matrix = [[int(m[k]) if i == column[k] else 0 for i in range(features)] for k in range(len(column))]
        halves = [1 << (v - 1) if v else 0 for v in self.shift]
        self.graph = shift_add.build(matrix, halves, [INT32] * features, extra_levels=extra_levels)
        self.adds_per_stage, self.closed = adds_per_stage, closed
        self.levels = self.graph.levels + gate_levels(adds_per_stage)
        self.cycles = stages(self.levels, adds_per_stage, closed=closed)
        self.ranges: list[Range] = [clamped_range(self.graph.output_range(k), v, False) for k, v in enumerate(self.shift)]
        super().__init__({"en": In(1), "x": In(data.ArrayLayout(signed(32), features)),
                          "y": Out(data.ArrayLayout(signed(8), len(column)))})

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        pipe = Pipeline(m, self.en, self.adds_per_stage, self.levels, closed=self.closed)
        inputs = [pipe.comb(self.x[k], signed(32), 0, f"f{k}").value for k in range(len(self.x))]
        sums = place(pipe, self.graph, inputs)
        for k, acc in enumerate(sums):
            y = clamp(pipe, acc, self.graph.output_range(k), self.shift[k], False, f"q{k}")
            m.d.comb += self.y[k].eq(pipe.out(y))
        return m
