"""Where registers stand: values know their level, and crossing from one stage to the next costs a register.

A block computes values at levels 1, 2, … (one adder or compare each) from inputs at level 0. Levels are numbered through
the whole core: a block behind others begins at their last level, `start`. With `adds_per_stage` = n, levels 1..n of the
core are worked out in stage 0, levels n+1..2n in stage 1, and so on, so a stage may hold one layer's end and the next
one's beginning. Where a value passes into a later stage there is a register, and behind the last block (`closed`) one
more. n = 0 makes each block one stage with a register behind it. So a block of L levels takes

    stages(L, n, start, closed) = 1 if n == 0 else stage(start + L) - stage(start) + closed     cycles
    stage(level) = max(level - 1, 0) // n

Gates that follow an adder or a compare (a clamp, the index out of compares) ride in its stage. Only with n = 1, which is
for the fastest clock, are they a level of their own: `gate_levels`.

All registers of data are without reset and move only when `en` is high; only the core's valid bits are reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Shape, Signal, Value

from peregrine_hdl.latency import stage_of, stages


@dataclass(frozen=True)
class Timed:
    """A value and the level at which it is ready."""

    value: Value
    level: int


def fitting(lo: int, hi: int) -> Shape:
    """The narrowest shape that holds lo..hi: unsigned when nothing is negative."""
    return Shape.cast(range(lo, hi + 1)) if (lo, hi) != (0, 0) else Shape(1)


def delay(m: Module, en: Value, value: Value, cycles: int, name: str) -> Value:
    """The value, that many cycles later."""
    for k in range(cycles):
        register = Signal(value.shape(), reset_less=True, name=f"{name}_d{k + 1}")
        with m.If(en):
            m.d.sync += register.eq(value)
        value = register
    return value


class Pipeline:
    """Delays values to the stage where they are wanted; the same delay of the same value is made once."""

    def __init__(self, m: Module, en: Value, adds_per_stage: int, levels: int, start: int = 0, closed: bool = True) -> None:
        self.m, self.en, self.adds, self.start = m, en, adds_per_stage, start
        self.cycles = stages(levels, adds_per_stage, start, closed)
        self._delayed: dict[tuple[int, int], Value] = {}
        self._kept: list[Any] = []  # keeps ids of the keys above from being used again

    def stage(self, level: int) -> int:
        """The stage of this block, the one its inputs come in being 0, in which a value of this level is worked out."""
        return 0 if self.adds == 0 else stage_of(self.start + level, self.adds) - stage_of(self.start, self.adds)

    def at(self, timed: Timed, level: int) -> Value:
        """The value as the logic of `level` may read it."""
        return self._delay(timed, self.stage(level))

    def out(self, timed: Timed) -> Value:
        """The value as the block gives it: in its last stage, or behind the register there."""
        return self._delay(timed, self.cycles)

    def comb(self, expression: Any, shape: Shape, level: int, name: str) -> Timed:
        """A named signal of this shape that holds the expression."""
        signal = Signal(shape, name=name)
        self.m.d.comb += signal.eq(expression)
        return Timed(signal, level)

    def _delay(self, timed: Timed, to: int) -> Value:
        value = timed.value
        for stage in range(self.stage(timed.level), to):
            key = (id(timed.value), stage)
            if key not in self._delayed:
                register = Signal(value.shape(), reset_less=True, name=f"{getattr(timed.value, 'name', 'value')}_s{stage + 1}")
                with self.m.If(self.en):
                    self.m.d.sync += register.eq(value)
                self._delayed[key] = register
                self._kept.append(timed.value)
            value = self._delayed[key]
        return value
