"""Answers to host memory: 64 bytes a completion in two AXI4 writes, the phase word alone in the second.

    beat 0        tag
         1        policy version
         2        status, action, outputs, slot, cycles
         3 .. 6   logits
         7 low    CRC-32 over beats 0 to 6
         --------------------------------- answered, then
         7 high   phase

The push slot is freed between the two, so that software that sees the phase may write to the slot. With `stop` high no
write is begun, one that was begun is carried to its answer, and `quiet` says that nothing is under way.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl import crc32
from peregrine_hdl.axi import BEAT_8, INCR, axi_write
from peregrine_hdl.crossing import TAGGED_ANSWER
from peregrine_hdl.intake import NOTE
from peregrine_hdl.registers import COMPLETION

BODY_BEATS = 7
assert COMPLETION[-2].offset == 8 * BODY_BEATS


class Completion(wiring.Component):
    """See above. Pulses: `free` with a slot; `written`, `rejected`; `was_full` while one waits; `write_error`."""

    def __init__(self) -> None:
        self.bus = axi_write()
        super().__init__({
            **self.bus, "note": In(stream.Signature(NOTE)), "answer": In(stream.Signature(TAGGED_ANSWER)),
            "stop": In(1), "quiet": Out(1), "base": In(64), "log2": In(4), "on": In(1), "consumer": In(32),
            "producer": Out(32), "free": Out(1), "free_slot": Out(4), "written": Out(1), "status": Out(8),
            "cycles": Out(32), "answered": Out(1), "was_full": Out(1), "write_error": Out(1), "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic: what the bus has begun in `sync`, what is forgotten by a reset in `work`."""
        m = Module()
        body, crc, sent, phase = Signal(64 * BODY_BEATS), Signal(32), Signal(range(9)), Signal(32)
        pushed, slot_no = Signal(), Signal(4)
        status, ok = Signal(8), Signal()
        due = self.note.valid & (~self.note.payload.in_core | self.answer.valid)
        full = (self.producer - self.consumer)[:32] >= Const(1) << self.log2
        mask = ~(Const(0xFFFFFFFF, 32) << self.log2)
        index = (self.producer & mask) & 0xFFF
        begin = Signal()
        note = self.note.payload
        m.d.comb += [
            status.eq(Mux(note.status != 0, note.status, Mux(note.in_core, self.answer.payload.answer.status, 0))),
            ok.eq(status == 0),
            self.awid.eq(0), self.awsize.eq(BEAT_8), self.awburst.eq(INCR), self.busy.eq(~self.quiet | self.note.valid),
            begin.eq(self.quiet & due & self.on & ~full & ~self.stop), self.was_full.eq(self.quiet & due & self.on & full),
            self.note.ready.eq(begin), self.answer.ready.eq(begin & self.note.payload.in_core),
        ]  # fmt: skip
        with m.FSM(domain="sync"):
            with m.State("IDLE"):
                m.d.comb += self.quiet.eq(1)
                with m.If(begin):
                    m.d.sync += [
                        body.eq(self._body(status, ok)), self.awaddr.eq(self.base + (index << 6)), self.awlen.eq(BODY_BEATS),
                        self.awvalid.eq(1), self.wvalid.eq(1), self.wstrb.eq(0xFF), self.wlast.eq(0), sent.eq(0),
                        crc.eq(crc32.START), phase.eq((self.producer >> self.log2) + 1),
                        pushed.eq(self.note.payload.pushed), slot_no.eq(self.note.payload.where),
                        self.status.eq(status), self.cycles.eq(self.answer.payload.answer.cycles),
                        self.answered.eq(self.note.payload.in_core),
                    ]  # fmt: skip
                    m.next = "BODY"
            with m.State("BODY"):
                m.d.comb += self.wdata.eq(Mux(sent == BODY_BEATS, Cat(~crc, Const(0, 32)), body[:64]))
                self._send(m)
                with m.If(self.wvalid & self.wready):
                    m.d.sync += [sent.eq(sent + 1), crc.eq(crc32.advance(crc, body[:64])), body.eq(body >> 64),
                                 self.wlast.eq(sent == BODY_BEATS - 1)]  # fmt: skip
                    with m.If(sent == BODY_BEATS - 1):
                        m.d.sync += self.wstrb.eq(0x0F)
                with m.If(self.bvalid):
                    with m.If(self.stop):
                        m.next = "IDLE"
                    with m.Else():
                        m.d.comb += [self.free.eq(pushed), self.free_slot.eq(slot_no)]
                        m.d.sync += [self.awaddr.eq(self.awaddr + 8 * BODY_BEATS), self.awlen.eq(0),
                                     self.awvalid.eq(1), self.wvalid.eq(1), self.wstrb.eq(0xF0), self.wlast.eq(1)]  # fmt: skip
                        m.next = "PHASE"
            with m.State("PHASE"):
                m.d.comb += self.wdata.eq(Cat(Const(0, 32), phase))
                self._send(m)
                with m.If(self.bvalid):
                    m.d.comb += self.written.eq(1)
                    m.d.work += self.producer.eq(self.producer + 1)
                    m.next = "IDLE"
        return m

    def _send(self, m: Module) -> None:
        """Address, data and answer of a write, each in its own time."""
        m.d.comb += self.bready.eq(1)
        with m.If(self.awvalid & self.awready):
            m.d.sync += self.awvalid.eq(0)
        with m.If(self.wvalid & self.wready & self.wlast):
            m.d.sync += self.wvalid.eq(0)
        with m.If(self.bvalid):
            m.d.comb += self.write_error.eq(self.bresp != 0)

    def _body(self, status: Signal, ok: Signal) -> Value:
        """Bytes 0 to 55, from the note and, if the core has answered, its answer."""
        note, tagged = self.note.payload, self.answer.payload
        answer = tagged.answer
        values: dict[str, Value] = {
            "tag": note.tag, "policy_version": Mux(ok, tagged.version, 0), "status": status,
            "action": Mux(ok, answer.action, 0), "outputs": Mux(ok, answer.outputs, 0), "slot": note.slot,
            "cycles": Mux(note.in_core, answer.cycles, 0), "logits": Mux(ok, Cat(answer.logits), 0),
        }  # fmt: skip
        whole = Cat(values[c.name][: c.count * c.bits] for c in COMPLETION if c.name in values)
        assert len(whole) == 64 * BODY_BEATS
        return whole
