"""Requests in: checks the first word against the slot's entry, quantises features one a clock, writes network inputs.

    clock 0  word taken; the slot's entry and the input's m and s are read
          1  product, or four int8 inputs as they are; the request is refused or goes on
          2  shifted
          3  rounded and clamped
          4  written: from here the lanes may read it

A refused request is taken to its last word. `status` is 0 until something is wrong and then stays until the next request.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.bank_image import QUANTISER_BITS
from peregrine_hdl.core_port import REQUEST_WORD
from peregrine_hdl.loadable_limits import Limits
from peregrine_hdl.registers import KINDS, MAX_INPUTS, STATUS


class Front(wiring.Component):
    """One request at a time: `begin` with its first word, `start` when it is good, `release` when it is answered."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        super().__init__(
            {
                "i": In(stream.Signature(REQUEST_WORD)),
                "may_begin": In(1),
                "active_valid": In(1),
                "parity": In(1),  # a memory that is read elsewhere failed
                "release": In(1),
                "slot_at": Out(range(limits.slots)),
                "slot_word": In(32),
                "slot_bad": In(1),
                "quantiser_at": Out(range(limits.slots * MAX_INPUTS)),
                "quantiser_word": In(QUANTISER_BITS),
                "quantiser_bad": In(1),
                "parity_here": Out(1),
                "idle": Out(1),
                "begin": Out(1),
                "start": Out(1),
                "whole": Out(1),  # the last word is taken
                "status": Out(8),
                "cycles": Out(32),  # clocks since the first word's edge, that of now included
                "write": Out(1),
                "write_at": Out(range(MAX_INPUTS)),  # first input
                "write_four": Out(1),  # four inputs, else one
                "write_data": Out(32),
                "written": Out(range(MAX_INPUTS + 1)),
                "all_written": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        beat = self.i.payload
        taken, refused = Signal(), Signal()
        m.d.comb += [taken.eq(self.i.valid & self.i.ready), refused.eq(self.status != 0)]

        # what the first word says, and where the request stands
        said = Signal.like(beat)
        slot, kind, count = (Signal(8, name=name) for name in ("slot", "kind", "count"))
        words, words_before = Signal(8), Signal(8)
        begun = Signal()
        for name, now in (("slot", slot), ("kind", kind), ("count", count)):
            m.d.comb += now.eq(Mux(begun, said[name], beat[name]))
        four, wanted = Signal(), Signal(8)
        m.d.comb += [
            words_before.eq(Mux(begun, words, 0)),
            four.eq(kind != KINDS["features"]),
            wanted.eq(Mux(four, (count + 3) >> 2, count)),
            self.idle.eq(~begun),
            self.begin.eq(taken & ~begun),
            self.i.ready.eq(Mux(begun, ~self.whole, self.may_begin)),
            self.slot_at.eq(beat.slot),
            self.quantiser_at.eq(Cat(words_before[: (MAX_INPUTS - 1).bit_length()], slot)),
        ]
        m.d.sync += self.cycles.eq(Mux(self.begin, 1, self.cycles + 1))
        with m.If(self.begin):
            m.d.sync += [begun.eq(1), said.eq(beat)]
        with m.If(taken):
            m.d.sync += [words.eq(words_before + 1), self.whole.eq(beat.last)]
        with m.If(self.release):
            m.d.sync += [begun.eq(0), self.whole.eq(0)]

        # clock 1: refused, or multiplied
        v1, first1, last1, four1, lengths1 = (Signal(name=f"{n}1") for n in ("v", "first", "last", "four", "lengths"))
        word1, at1 = Signal(32, reset_less=True), Signal(8, reset_less=True)
        m.d.sync += [
            v1.eq(taken),
            first1.eq(self.begin),
            last1.eq(beat.last),
            four1.eq(four),
            lengths1.eq(beat.last != (words_before + 1 == wanted)),
            word1.eq(beat.word),
            at1.eq(Mux(four, words_before << 2, words_before)),
        ]
        good1, verdict = Signal(), Signal(8)
        entry_valid, entry_inputs = self.slot_word[31], self.slot_word[16:24]
        m.d.comb += self.parity_here.eq(
            v1 & ~refused & self.active_valid & ((first1 & self.slot_bad) | (~four1 & self.quantiser_bad))
        )
        with m.If(self.parity_here | self.parity):
            m.d.comb += verdict.eq(STATUS["parity"])
        with m.Elif(first1 & (~self.active_valid | (said.slot >= self.limits.slots) | ~entry_valid)):
            m.d.comb += verdict.eq(STATUS["no_policy"])
        with m.Elif(first1 & (said.kind != KINDS["features"]) & (said.kind != KINDS["int8"])):
            m.d.comb += verdict.eq(STATUS["bad_kind"])
        with m.Elif(lengths1 & v1 | first1 & (said.count != entry_inputs)):
            m.d.comb += verdict.eq(STATUS["bad_count"])
        m.d.comb += [good1.eq(v1 & ~refused & (verdict == 0)), self.start.eq(good1 & first1)]
        with m.If(self.begin):
            m.d.sync += self.status.eq(0)
        with m.Elif(begun & ~refused):
            m.d.sync += self.status.eq(verdict)

        # clocks 2 to 4: (2 f m >> s) + 1 >> 1 is (f m + half) >> s, for s = 0 too
        v2, last2, four2, v3, last3, four3 = (Signal(name=n) for n in ("v2", "last2", "four2", "v3", "last3", "four3"))
        product2, shift2 = Signal(signed(48), reset_less=True), Signal(6, reset_less=True)
        word2, word3 = Signal(32, reset_less=True), Signal(32, reset_less=True)
        at2, at3 = Signal(8, reset_less=True), Signal(8, reset_less=True)
        twice3, rounded3, clamped3 = Signal(signed(49), reset_less=True), Signal(signed(49)), Signal(signed(8))
        last4 = Signal()
        m.d.sync += [
            v2.eq(good1),
            last2.eq(last1),
            four2.eq(four1),
            product2.eq(word1.as_signed() * self.quantiser_word[:16].as_signed()),
            shift2.eq(self.quantiser_word[16:]),
            word2.eq(word1),
            at2.eq(at1),
            v3.eq(v2 & ~refused),
            last3.eq(last2),
            four3.eq(four2),
            twice3.eq(Cat(0, product2).as_signed() >> shift2),
            word3.eq(word2),
            at3.eq(at2),
            self.write.eq(v3 & ~refused),
            last4.eq(last3),
            self.write_four.eq(four3),
            self.write_at.eq(at3),
            self.write_data.eq(Mux(four3, word3, clamped3.as_unsigned().replicate(4))),
        ]
        m.d.comb += [
            rounded3.eq((twice3 + 1) >> 1),
            clamped3.eq(Mux(rounded3 > 127, 127, Mux(rounded3 < -128, -128, rounded3))),
        ]
        with m.If(self.begin | refused):
            m.d.sync += [self.written.eq(0), self.all_written.eq(0)]
        with m.Elif(self.write):
            m.d.sync += [
                self.written.eq(self.write_at + Mux(self.write_four, 4, 1)),
                self.all_written.eq(last4),
            ]
        return m

