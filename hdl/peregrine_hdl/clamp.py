"""`sat8(acc >> shift)`, then at least 0 where asked: what ends a hidden layer and the quantiser. The half that rounds was
added beforehand, with the bias."""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Value

from peregrine_hdl.latency import gate_levels
from peregrine_hdl.pipeline import Pipeline, Timed, fitting
from peregrine_hdl.shift_add import Range

INT8 = (-128, 127)


def clamped_range(acc: Range, shift: int, relu: bool) -> Range:
    """The range of the clamped value, for sums within `acc`."""
    low = 0 if relu else INT8[0]
    lo, hi = (min(max(v >> shift, low), INT8[1]) for v in acc)
    return lo, hi


def clamp(pipe: Pipeline, acc: Timed, acc_range: Range, shift: int, relu: bool, name: str) -> Timed:
    """The clamped value, `gate_levels` after the sum; conditions that the range decides are left out.

    No comparison has a carry: beyond 127, or below -128, is where the bits above the seventh are not all like the sign.
    """
    lo, hi = clamped_range(acc_range, shift, relu)
    level = acc.level + gate_levels(pipe.adds)
    shifted = pipe.at(acc, level).shift_right(shift)
    low, high = (v >> shift for v in acc_range)
    sign = int(low < 0)  # bits of sign
    negative = shifted[-1] if sign else Const(0, 1)
    above = shifted[7:len(shifted) - sign] if len(shifted) > 7 + sign else Const(0, 1)
    value: Value = shifted
    if high > hi:
        value = Mux(~negative & above.any(), hi, value)
    if low < lo:
        value = Mux(negative if relu else negative & ~above.all(), lo, value)
    return pipe.comb(value, fitting(lo, hi), level, name)
