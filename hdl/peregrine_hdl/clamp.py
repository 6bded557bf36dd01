"""`sat8(acc >> shift)`, then at least 0 where asked: what ends a hidden layer and the quantiser. The half that rounds was
added beforehand, with the bias."""

from __future__ import annotations

from amaranth.hdl import Mux, Value

from peregrine_hdl.pipeline import Pipeline, Timed, fitting
from peregrine_hdl.shift_add import Range

INT8 = (-128, 127)


def clamped_range(acc: Range, shift: int, relu: bool) -> Range:
    """The range of the clamped value, for sums within `acc`."""
    low = 0 if relu else INT8[0]
    lo, hi = (min(max(v >> shift, low), INT8[1]) for v in acc)
    return lo, hi


def clamp(pipe: Pipeline, acc: Timed, acc_range: Range, shift: int, relu: bool, name: str) -> Timed:
    """The clamped value, one level after the sum; comparisons that the range decides are left out."""
    lo, hi = clamped_range(acc_range, shift, relu)
    level = acc.level + 1
    value: Value = pipe.at(acc, level) >> shift
    low, high = (v >> shift for v in acc_range)
    if high > hi:
        value = Mux(value > hi, hi, value)
    if low < lo:
        # below the floor decides first: it reads the sum itself, not the other comparison's result
        value = Mux((pipe.at(acc, level) >> shift) < lo, lo, value)
    return pipe.comb(value, fitting(lo, hi), level, name)
