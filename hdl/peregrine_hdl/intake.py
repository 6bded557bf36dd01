"""Requests to the core: takes them in turn from the push window and the ring, refuses what needs no core, sends the rest.

    status of a refused one, the first that holds:
        what its source says, disabled, stale_epoch, cancelled, bad_kind, bad_count, bad_line

A line's commit word is seen only when its words have gone to the core already; the core's answer is then thrown away.
For each request one note goes to the completions, in order, behind its last word.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl import request
from peregrine_hdl.core_port import REQUEST_WORD
from peregrine_hdl.registers import STATUS
from peregrine_hdl.request import HEAD, Waiting

#: what the completions must know of a request: its status unless ok; whether the core has it; the push slot to free
NOTE = data.StructLayout({"tag": 64, "slot": 8, "status": 8, "in_core": 1, "pushed": 1, "where": 4})


class Intake(wiring.Component):
    """See above. `tag` is looked up in the cancelled ones, whose answer is `cancelled`; `hold`: take nothing new."""

    def __init__(self) -> None:
        super().__init__({
            "push": In(Waiting()), "ring": In(Waiting()), "o": Out(stream.Signature(REQUEST_WORD)),
            "note": Out(stream.Signature(NOTE)), "enable": In(1), "epoch": In(32), "hold": In(1),
            "tag": Out(64), "cancelled": In(1), "took_push": Out(1), "took_ring": Out(1), "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic; all of it in `work`."""
        m = Module()
        from_ring = Signal()  # the source being served, or that was served last
        head, status, where = Signal(HEAD), Signal(8), Signal(4)
        first, at, done_words = Signal(), Signal(7), Signal(7)  # at: 32-bit word of the request
        source_tag = Mux(from_ring, self.ring.tag, self.push.tag)
        word = Mux(from_ring, self.ring.data, self.push.data).word_select(at[0], 32)
        is_commit = at[:4] == 15
        words, last_line = Signal(7), Signal(3)
        line_end = Cat(1, 1, 1, 1, last_line)
        bad_reserved = head.reserved != 0
        finish = Signal()
        m.d.comb += [
            self.busy.eq(1), self.push.address.eq(at[1:]), self.ring.address.eq(at[1:]),
            self.push.done.eq(finish & ~from_ring), self.ring.done.eq(finish & from_ring),
            self.took_push.eq(self.push.done), self.took_ring.eq(self.ring.done),
            self.o.payload.word.eq(word), self.o.payload.first.eq(first), self.o.payload.last.eq(done_words + 1 == words),
            self.o.payload.slot.eq(head.slot), self.o.payload.kind.eq(head.kind), self.o.payload.count.eq(head.count),
            self.note.payload.tag.eq(self.tag), self.note.payload.slot.eq(head.slot),
            self.note.payload.status.eq(status), self.note.payload.pushed.eq(~from_ring),
            self.note.payload.where.eq(where), self.note.payload.in_core.eq(done_words != 0),
        ]  # fmt: skip
        with m.FSM(domain="work"):
            with m.State("PICK"):
                pick_ring = self.ring.valid & ~(self.push.valid & from_ring)
                chosen = Mux(pick_ring, self.ring.head.as_value(), self.push.head.as_value())
                m.d.comb += self.busy.eq(self.push.valid | self.ring.valid)
                with m.If((self.push.valid | self.ring.valid) & ~self.hold):
                    m.d.work += [
                        from_ring.eq(pick_ring), head.eq(chosen), self.tag.eq(Mux(pick_ring, self.ring.tag, self.push.tag)),
                        status.eq(Mux(pick_ring, self.ring.status, self.push.status)),
                        where.eq(Mux(pick_ring, self.ring.where, self.push.where)),
                        at.eq(4), done_words.eq(0), first.eq(1),
                    ]  # fmt: skip
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.work += [words.eq(request.body_words(head)), last_line.eq(request.last_line(head))]
                m.next = "NOTE"
                with m.If(status != 0):
                    pass
                with m.Elif(~self.enable):
                    m.d.work += status.eq(STATUS["disabled"])
                with m.Elif(self.tag[32:] != self.epoch):
                    m.d.work += status.eq(STATUS["stale_epoch"])
                with m.Elif(self.cancelled):
                    m.d.work += status.eq(STATUS["cancelled"])
                with m.Elif(~request.kind_known(head)):
                    m.d.work += status.eq(STATUS["bad_kind"])
                with m.Elif(~request.count_known(head)):
                    m.d.work += status.eq(STATUS["bad_count"])
                with m.Elif(bad_reserved):
                    m.d.work += status.eq(STATUS["bad_line"])
                with m.Else():
                    m.next = "WORDS"
            with m.State("WORDS"):
                with m.If(is_commit):
                    with m.If(word != source_tag[:32]):
                        m.d.work += status.eq(STATUS["bad_line"])
                    m.d.work += at.eq(at + 1)
                    with m.If(at == line_end):
                        m.next = "NOTE"
                with m.Else():
                    m.d.comb += self.o.valid.eq(1)
                    with m.If(self.o.ready):
                        m.d.work += [first.eq(0), done_words.eq(done_words + 1),
                                     at.eq(Mux(self.o.payload.last, line_end, at + 1))]  # fmt: skip
            with m.State("NOTE"):
                m.d.comb += self.note.valid.eq(1)
                with m.If(self.note.ready):
                    m.d.comb += finish.eq(1)
                    m.next = "PICK"
        return m
