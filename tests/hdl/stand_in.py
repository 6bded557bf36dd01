"""A core for tests: two banks of eight words, and answers in which the whole bank shows.

    logit[k] = bank word k + sum of the request's words       action = 7
    word 7 = PARITY_WORD: answered `parity`, and parity_error is high for a clock

An answer reads its bank word by word, one a clock, so that a bank which changed meanwhile would show.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import wiring

from peregrine_hdl import crc32
from peregrine_hdl.core_port import OP_START, OP_SWAP, OP_WORD, CorePort
from peregrine_hdl.device import Caps, Device
from peregrine_hdl.registers import STATUS

BANKS, WORDS = 2, 8
PARITY_WORD = 0x0BAD_0BAD


class StandIn(wiring.Component):
    """See above."""

    def __init__(self) -> None:
        super().__init__(CorePort())

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        bank = Array(Signal(32, name=f"b{k}") for k in range(BANKS * WORDS))
        active, valid, at = Signal(), Signal(), Signal(4)
        total, cycles, inside = Signal(32), Signal(32), Signal()
        logit = Array(Signal(32, name=f"l{k}") for k in range(WORDS))
        status = Signal(8)
        m.d.sync += cycles.eq(cycles + 1)
        # in one piece: Verilog's always @* never runs for a part of a signal that is constant
        m.d.comb += self.o.payload.eq(Cat(status, Const(7, 8), Const(WORDS, 8), Cat(active, Const(0, 3)), cycles, *logit))
        with m.FSM():
            with m.State("WORDS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [inside.eq(~self.i.payload.last), at.eq(0), total.eq(total + self.i.payload.word)]
                    with m.If(self.i.payload.first):
                        m.d.sync += [total.eq(self.i.payload.word), cycles.eq(1)]
                    with m.If(self.i.payload.last):
                        m.d.sync += inside.eq(1)
                        m.next = "READ"
            with m.State("READ"):
                m.d.sync += [logit[at[:3]].eq(bank[(active << 3) + at[:3]] + total), at.eq(at + 1)]
                with m.If(at == WORDS - 1):
                    m.next = "ANSWER"
                    m.d.comb += self.parity_error.eq(bank[(active << 3) + 7] == PARITY_WORD)
            with m.State("ANSWER"):
                m.d.sync += cycles.eq(cycles)
                m.d.comb += self.o.valid.eq(1)
                with m.If(~valid):
                    m.d.comb += status.eq(STATUS["no_policy"])
                with m.Elif(bank[(active << 3) + 7] == PARITY_WORD):
                    m.d.comb += status.eq(STATUS["parity"])
                with m.If(self.o.ready):
                    m.d.sync += inside.eq(0)
                    m.next = "WORDS"
        self._banks(m, bank, active, valid, inside)
        return m

    def _banks(self, m: Module, bank: Any, active: Signal, valid: Signal, inside: Signal) -> None:
        """Commands one at a time; a swap waits until no request is inside."""
        command, reply = self.bank_cmd.payload, self.bank_reply.payload
        chosen, words, crc, ok = Signal(4), Signal(32), Signal(32), Signal()
        free = ~self.bank_reply.valid
        starting = self.i.valid & self.i.ready
        m.d.comb += [self.bank_cmd.ready.eq(free & ((command.op != OP_SWAP) | (~inside & ~starting))),
                     reply.words.eq(words), reply.crc.eq(~crc), reply.ok.eq(ok), reply.bank.eq(chosen)]  # fmt: skip
        with m.If(self.bank_reply.valid & self.bank_reply.ready):
            m.d.sync += self.bank_reply.valid.eq(0)
        with m.If(self.bank_cmd.valid & self.bank_cmd.ready):
            m.d.sync += [self.bank_reply.valid.eq(1), reply.op.eq(command.op), ok.eq(1)]
            with m.If(command.op == OP_START):
                m.d.sync += [chosen.eq(command.bank), words.eq(0), crc.eq(crc32.START)]
            with m.If(command.op == OP_WORD):
                with m.If(words < WORDS):
                    m.d.sync += [bank[(chosen << 3) + words[:3]].eq(command.data), words.eq(words + 1),
                                 crc.eq(crc32.advance(crc, command.data))]  # fmt: skip
                with m.Else():
                    m.d.sync += ok.eq(0)
            with m.If(command.op == OP_SWAP):
                m.d.sync += [active.eq(command.bank), valid.eq(1), ok.eq(words == WORDS)]


def device() -> Device:
    """The device around it."""
    caps = Caps("loadable", slots=1, banks=BANKS, lanes=1, max_inputs=64, max_width=8, max_layers=1, max_outputs=WORDS, bank_words=WORDS)
    return Device(StandIn(), caps, push_slots=4)
