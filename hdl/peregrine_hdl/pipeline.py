"""Where registers stand: values know their level, and crossing from one stage to the next costs a register.

A block computes values at levels 1, 2, … (one adder, clamp or compare each) from inputs at level 0. With `adds_per_stage`
= n, levels 1..n are worked out in stage 0, levels n+1..2n in stage 1, and so on; the block's outputs are registered at the
end of its last stage. n = 0 puts the whole block into one stage. So a block of L levels takes

    stages(L, n) = 1 if n == 0 else max(1, ceil(L / n))     cycles

All registers of data are without reset and move only when `en` is high; only the core's valid bits are reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Shape, Signal, Value


@dataclass(frozen=True)
class Timed:
    """A value and the level at which it is ready."""

    value: Value
    level: int


def stages(levels: int, adds_per_stage: int) -> int:
    """Cycles of a block of `levels` levels."""
    return 1 if adds_per_stage == 0 else max(1, -(-levels // adds_per_stage))


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

    def __init__(self, m: Module, en: Value, adds_per_stage: int, levels: int) -> None:
        self.m, self.en, self.adds = m, en, adds_per_stage
        self.cycles = stages(levels, adds_per_stage)
        self._delayed: dict[tuple[int, int], Value] = {}
        self._kept: list[Any] = []  # keeps ids of the keys above from being used again

    def stage(self, level: int) -> int:
        """The stage in which a value of this level is worked out."""
        return 0 if self.adds == 0 or level == 0 else (level - 1) // self.adds

    def at(self, timed: Timed, level: int) -> Value:
        """The value as the logic of `level` may read it."""
        return self._delay(timed, self.stage(level))

    def out(self, timed: Timed) -> Value:
        """The value behind the block's last register."""
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
