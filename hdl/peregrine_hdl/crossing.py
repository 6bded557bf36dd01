"""From the bus clock to the core's and back: a queue a stream, two counters, and the version beside each answer.

    work (bus clock)                     core (core clock)
    request words ──────── queue ──────▶ i
    answers       ◀─────── queue ─────── o, with version[bank]
    bank commands ──────── queue ──────▶ bank_cmd; a swap sets version[bank]
    bank replies  ◀─────── queue ─────── bank_reply
    parity errors ◀──── Gray counter ─── parity_error
    busy clocks   ◀──── Gray counter ─── a request is in the core

A swap's command carries the version of the bank, and an answer takes the version of its bank as it leaves the core. So an
answer that waits on the bus side keeps its version, whatever the banks become meanwhile. Both sides are reset together
(reset.py); a constraint on the skew of each Gray counter and queue pointer is all that a build has to add.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, DomainRenamer, Module, Signal
from amaranth.lib import cdc, data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.core_port import ANSWER, BANK_COMMAND, BANK_REPLY, OP_SWAP, REQUEST_WORD

TAGGED_ANSWER = data.StructLayout({"answer": ANSWER, "version": 64})
TAGGED_COMMAND = data.StructLayout({"command": BANK_COMMAND, "version": 64})
DEPTH = {"request": 16, "answer": 4, "command": 16, "reply": 16}


class CountCrossing(wiring.Component):
    """Counts clocks of `core` in which `up` is high; `count` follows in `work`."""

    def __init__(self) -> None:
        super().__init__({"up": In(1), "count": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        count, gray, seen = Signal(32), Signal(32), Signal(32)
        m.d.core += [count.eq(count + self.up), gray.eq(count ^ count >> 1)]
        m.submodules.sync = cdc.FFSynchronizer(gray, seen, o_domain="work")
        m.d.work += self.count.eq(Cat(seen[k:].xor() for k in range(32)))
        return m


class Crossing(wiring.Component):
    """See above. `core` is the core, whose `sync` becomes the domain `core`; fixed_version: of a core without banks."""

    def __init__(self, core: Any, banks: int, fixed_version: int) -> None:
        self.core, self.banks, self.fixed_version = core, banks, fixed_version
        super().__init__({
            "request": In(stream.Signature(REQUEST_WORD)), "answer": Out(stream.Signature(TAGGED_ANSWER)),
            "command": In(stream.Signature(TAGGED_COMMAND)), "reply": Out(stream.Signature(BANK_REPLY)),
            "parity_count": Out(32), "busy_count": Out(32),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        core = self.core
        m.submodules.core = DomainRenamer("core")(core)
        to_core, from_core = {"w": "work", "r": "core"}, {"w": "core", "r": "work"}
        queue: dict[str, Any] = {}
        for name, layout, way in (("request", REQUEST_WORD, to_core), ("answer", TAGGED_ANSWER, from_core),
                                  ("command", TAGGED_COMMAND, to_core), ("reply", BANK_REPLY, from_core)):  # fmt: skip
            queue[name] = fifo.AsyncFIFO(width=layout.size, depth=DEPTH[name], w_domain=way["w"], r_domain=way["r"])
            m.submodules[name] = queue[name]
            outer, q = getattr(self, name), queue[name]
            if way is to_core:
                m.d.comb += [q.w_data.eq(outer.payload), q.w_en.eq(outer.valid), outer.ready.eq(q.w_rdy)]
            else:
                m.d.comb += [outer.payload.eq(q.r_data), outer.valid.eq(q.r_rdy), q.r_en.eq(outer.ready)]

        request, answer, command, reply = (queue[n] for n in ("request", "answer", "command", "reply"))
        tagged = data.View(TAGGED_COMMAND, command.r_data)
        m.d.comb += [
            core.i.valid.eq(request.r_rdy), core.i.payload.eq(request.r_data), request.r_en.eq(core.i.ready),
            core.bank_cmd.valid.eq(command.r_rdy), core.bank_cmd.payload.eq(tagged.command),
            command.r_en.eq(core.bank_cmd.ready),
            reply.w_en.eq(core.bank_reply.valid), reply.w_data.eq(core.bank_reply.payload),
            core.bank_reply.ready.eq(reply.w_rdy),
            answer.w_en.eq(core.o.valid), core.o.ready.eq(answer.w_rdy),
            answer.w_data.eq(Cat(core.o.payload.as_value(), self._version(m, command, tagged))),
        ]  # fmt: skip

        inside = Signal(8)
        enters = core.i.valid & core.i.ready & core.i.payload.first
        m.d.core += inside.eq(inside + enters - (core.o.valid & core.o.ready))
        for name, up in (("parity_count", core.parity_error), ("busy_count", inside != 0)):
            m.submodules[name] = counter = CountCrossing()
            m.d.comb += [counter.up.eq(up), getattr(self, name).eq(counter.count)]
        return m

    def _version(self, m: Module, command: Any, tagged: data.View) -> Any:
        """The version of the bank that the core's answer names."""
        if not self.banks:
            return Const(self.fixed_version, 64)
        versions = Array(Signal(64, name=f"version{b}") for b in range(self.banks))
        with m.If(command.r_rdy & command.r_en & (tagged.command.op == OP_SWAP)):
            m.d.core += versions[tagged.command.bank].eq(tagged.version)
        return versions[self.core.o.payload.bank]
