"""One layer, fully unrolled: `acc = W x + b` by adders alone; a hidden layer then shifts, clamps and rectifies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hotpath.policy import oracle
from peregrine_hdl import shift_add
from peregrine_hdl.adders import place
from peregrine_hdl.clamp import clamp, clamped_range
from peregrine_hdl.latency import gate_levels, stages
from peregrine_hdl.pipeline import Pipeline, fitting
from peregrine_hdl.shift_add import Range


class DenseLayer(wiring.Component):
    """x: int8 values within `ranges`; y: int8 values, or in the last layer sums (`width` bits each)."""

    def __init__(self, layer: oracle.Layer, ranges: Sequence[Range], *, adds_per_stage: int, extra_levels: int = 0,
                 start: int = 0, closed: bool = True) -> None:
        self.last = layer.shift is None
        self.relu = layer.relu
        self.shift = [0] * layer.outputs if layer.shift is None else [int(v) for v in layer.shift]
        halves = [0 if self.last else 1 << (v - 1) for v in self.shift]
        constants = [int(b) + half for b, half in zip(layer.bias, halves, strict=True)]
        self.graph = shift_add.build(layer.weights.tolist(), constants, ranges, extra_levels=extra_levels)
        self.adds_per_stage, self.start, self.closed = adds_per_stage, start, closed
        self.in_ranges = list(ranges)
        self.sum_ranges = [self.graph.output_range(k) for k in range(layer.outputs)]
        self.levels = self.graph.levels + (0 if self.last else gate_levels(adds_per_stage))
        self.cycles = stages(self.levels, adds_per_stage, start, closed)
        self.ranges: list[Range] = self.sum_ranges if self.last else [
            clamped_range(r, s, self.relu) for r, s in zip(self.sum_ranges, self.shift, strict=True)]
        self.width = max(shift_add.bits(lo, hi) + (lo >= 0) for lo, hi in self.sum_ranges)
        super().__init__({"en": In(1), "x": In(data.ArrayLayout(signed(8), layer.inputs)),
                          "y": Out(data.ArrayLayout(signed(self.width if self.last else 8), layer.outputs))})

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        pipe = Pipeline(m, self.en, self.adds_per_stage, self.levels, self.start, self.closed)
        inputs = []
        for k, (lo, hi) in enumerate(self.in_ranges):  # a value that is never negative needs no sign bit
            inputs.append(pipe.comb(self.x[k], fitting(lo, hi), 0, f"x{k}").value)
        for k, acc in enumerate(place(pipe, self.graph, inputs)):
            y = acc if self.last else clamp(pipe, acc, self.sum_ranges[k], self.shift[k], self.relu, f"y{k}")
            m.d.comb += self.y[k].eq(pipe.out(y))
        return m
