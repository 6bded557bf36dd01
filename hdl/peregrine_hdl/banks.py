"""The driver's side of the weight banks: registers in, commands to the core, and what the core says of them.

    bank_select   START to the core, unless the bank is the answering one
    bank_data     WORD
    bank_swap     waits for all replies; refused unless bank_crc and bank_words are the expected ones; then SWAP,
                  and with its reply the bank is the answering one

Writes that a bank cannot take are refused, and `bad_address` is high for a clock. No write waits for the core longer than
PATIENCE clocks.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.core_port import BANK_REPLY, OP_START, OP_SWAP, OP_WORD
from peregrine_hdl.crossing import TAGGED_COMMAND

PATIENCE = 255
REGISTERS = ("bank_select", "bank_data", "bank_version_lo", "bank_version_hi", "bank_swap")


class Banks(wiring.Component):
    """See above. at_x is high while a write of `data` to register x is there; `hold` and `refuse` are its answer."""

    def __init__(self, banks: int) -> None:
        self.banks = banks
        super().__init__({
            **{f"at_{name}": In(1) for name in REGISTERS}, "data": In(32), "hold": Out(1), "refuse": Out(1),
            "select": In(32), "expected_crc": In(32), "expected_words": In(32), "command": Out(stream.Signature(TAGGED_COMMAND)),
            "reply": In(stream.Signature(BANK_REPLY)), "words": Out(32), "crc": Out(32), "version": Out(64),
            "active": Out(4), "valid": Out(1), "active_version": Out(64), "swapping": Out(1), "swapped": Out(1),
            "bad_address": Out(1), "bad_crc": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic; all of it in `work`."""
        m = Module()
        here = Cat(getattr(self, f"at_{name}") for name in REGISTERS).any()
        if not self.banks:
            m.d.comb += [self.refuse.eq(here), self.bad_address.eq(here), self.reply.ready.eq(1)]
            return m
        version = Array(Signal(64, name=f"version{b}") for b in range(self.banks))
        image, waits = Signal(), Signal()  # image: bank_data has somewhere to go; waits: a swap for replies
        under_way, patience = Signal(8), Signal(range(PATIENCE + 1))
        chosen = self.select[:4]
        command, reply = self.command.payload.command, self.reply.payload
        is_active = self.valid & (self.active == chosen)
        writable = ~self.swapping & ~is_active
        late = patience == PATIENCE
        sent, came = self.command.valid & self.command.ready, self.reply.valid
        m.d.comb += [
            self.version.eq(version[chosen]), self.command.payload.version.eq(version[chosen]), command.bank.eq(chosen),
            command.data.eq(self.data), self.reply.ready.eq(1), self.bad_address.eq(here & self.refuse),
        ]  # fmt: skip
        m.d.work += [under_way.eq(under_way + sent - came), patience.eq(0)]
        with m.If(self.hold):
            m.d.work += patience.eq(patience + 1)

        with m.If(self.at_bank_select):
            to_active = self.valid & (self.active == self.data)
            m.d.comb += [self.refuse.eq((self.data >= self.banks) | self.swapping | late), command.op.eq(OP_START),
                         command.bank.eq(self.data), self.command.valid.eq(~self.refuse & ~to_active),
                         self.hold.eq(self.command.valid & ~self.command.ready)]  # fmt: skip
            with m.If(~self.refuse & ~self.hold):
                m.d.work += [self.words.eq(0), self.crc.eq(0), image.eq(~to_active)]
                with m.If(~to_active):
                    m.d.work += version[self.data[:4]].eq(0)
        with m.If(self.at_bank_data):
            m.d.comb += [self.refuse.eq(~image | ~writable | late), command.op.eq(OP_WORD),
                         self.command.valid.eq(~self.refuse), self.hold.eq(self.command.valid & ~self.command.ready)]  # fmt: skip
        for k, at in enumerate((self.at_bank_version_lo, self.at_bank_version_hi)):
            with m.If(at):
                m.d.comb += self.refuse.eq(~writable)
                with m.If(writable):
                    m.d.work += version[chosen].word_select(k, 32).eq(self.data)
        with m.If(self.at_bank_swap):
            m.d.comb += self.refuse.eq(~image | ~writable | (self.data != self.select))
            with m.If(~self.refuse):
                m.d.work += [waits.eq(1), self.swapping.eq(1)]

        with m.If(waits & (under_way == 0)):
            same = (self.words == self.expected_words) & (self.crc == self.expected_crc) & (self.words != 0)
            with m.If(~same):
                m.d.work += [waits.eq(0), self.swapping.eq(0)]
                m.d.comb += self.bad_crc.eq(1)
            with m.Else():
                m.d.comb += [self.command.valid.eq(1), command.op.eq(OP_SWAP)]
                with m.If(self.command.ready):
                    m.d.work += waits.eq(0)
        with m.If(came):
            m.d.work += [self.words.eq(reply.words), self.crc.eq(reply.crc)]
            with m.If(reply.op == OP_SWAP):
                m.d.work += self.swapping.eq(0)
                with m.If(reply.ok):
                    m.d.work += [self.active.eq(chosen), self.valid.eq(1), self.active_version.eq(version[chosen]), image.eq(0)]
                    m.d.comb += self.swapped.eq(1)
                with m.Else():
                    m.d.comb += self.bad_crc.eq(1)
            with m.Elif(~reply.ok):
                m.d.comb += self.bad_address.eq(1)
        return m
