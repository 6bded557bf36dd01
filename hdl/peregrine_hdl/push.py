"""The push window: requests stored straight into the device, in pieces of 1 to 8 bytes and any order.

    slot n: bytes n*512 on        seen[n][line]  a bit a byte, set as it is written
            5 lines of 64 bytes   whole          line 0 and the lines that its kind and count ask for are all ones

A slot whose request is whole is queued and takes nothing more until `free` names it; a write to it, or to a byte that no
request has, is answered SLVERR and noted. The 64-bit port is only ever written.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, DomainRenamer, Module, Signal
from amaranth.lib import fifo, memory, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl import request
from peregrine_hdl.axi import WriteFront, axil_write
from peregrine_hdl.registers import LINE_BYTES, MAX_LINES, PUSH_BYTES, PUSH_SLOT_BYTES
from peregrine_hdl.request import HEAD, WORDS, Waiting

ADDRESS_BITS = (PUSH_BYTES - 1).bit_length()
MAX_PUSH_SLOTS = PUSH_BYTES // PUSH_SLOT_BYTES


class Push(wiring.Component):
    """See above. `resetting` refuses all writes; `error` is high for a clock a refused one."""

    def __init__(self, slots: int) -> None:
        if not 1 <= slots <= MAX_PUSH_SLOTS:
            raise ValueError(f"push slots: found {slots}, expected 1..{MAX_PUSH_SLOTS}")
        self.slots, self.bus = slots, axil_write(ADDRESS_BITS, 64)
        super().__init__({**self.bus, "o": Out(Waiting()), "free": In(1), "free_slot": In(4), "resetting": In(1),
                          "error": Out(1), "busy": Out(1)})  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        m.submodules.front = front = WriteFront(ADDRESS_BITS, 64)
        for name, member in self.bus.items():
            inner, outer = getattr(front, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        m.submodules.bytes = store = memory.Memory(shape=64, depth=self.slots << 6, init=[])
        writer, reader = store.write_port(domain="work", granularity=8), store.read_port(domain="comb")
        m.submodules.queue = queue = DomainRenamer("work")(fifo.SyncFIFOBuffered(width=4, depth=MAX_PUSH_SLOTS))

        word, slot = front.address[3:9], front.address[9:12]
        taken = Array(Signal(name=f"taken{n}") for n in range(self.slots))
        tag = Array(Signal(64, name=f"tag{n}") for n in range(self.slots))
        head = [Signal(HEAD, name=f"head{n}") for n in range(self.slots)]
        whole = Array(Signal(name=f"whole{n}") for n in range(self.slots))
        good = Signal()
        m.d.comb += [
            good.eq((slot < self.slots) & (word < WORDS) & ~taken[slot] & ~self.resetting),
            front.done.eq(1), front.error.eq(~good & front.strobe.any()),
            self.error.eq(front.valid & front.error & ~self.resetting),
            writer.addr.eq(front.address[3:]), writer.data.eq(front.data),
            writer.en.eq(front.strobe & (front.valid & good).replicate(8)),
        ]  # fmt: skip
        for n in range(self.slots):
            self._slot(m, n, front, good, taken[n], tag[n], head[n], whole[n])

        # the slot that the last write went to may be whole now; no other became so
        check, checked = Signal(), Signal(3)
        m.d.work += [check.eq(front.valid & good), checked.eq(slot)]
        complete = check & whole[checked] & ~taken[checked]
        m.d.comb += [queue.w_en.eq(complete), queue.w_data.eq(checked)]
        with m.If(complete):
            m.d.work += taken[checked].eq(1)
        with m.If(self.free):
            m.d.work += taken[self.free_slot].eq(0)
        m.d.comb += [
            self.o.valid.eq(queue.r_rdy), self.o.where.eq(queue.r_data), queue.r_en.eq(self.o.done),
            self.o.tag.eq(tag[queue.r_data]), self.o.head.eq(Array(h.as_value() for h in head)[queue.r_data]),
            reader.addr.eq(Cat(self.o.address, queue.r_data[:3])), self.o.data.eq(reader.data),
            self.busy.eq(Cat(taken).any()),
        ]  # fmt: skip
        return m

    def _slot(self, m: Module, n: int, front: WriteFront, good: Signal, taken: Signal, tag: Signal, head: Any,
              whole: Signal) -> None:
        """What one slot keeps: which bytes are there, and its tag and head."""
        seen = [Signal(LINE_BYTES, name=f"seen{n}_{line}") for line in range(MAX_LINES)]
        beat, line = front.address[3:6], front.address[6:9]
        mine = front.valid & good & (front.address[9:12] == n)
        with m.If(mine):
            for k in range(MAX_LINES):
                with m.If(line == k):
                    m.d.work += seen[k].eq(seen[k] | (front.strobe << (beat << 3))[:LINE_BYTES])
            for k, kept in enumerate((tag, head.as_value())):
                with m.If((line == 0) & (beat == k)):
                    for b in range(8):
                        with m.If(front.strobe[b]):
                            m.d.work += kept[8 * b:8 * b + 8].eq(front.data[8 * b:8 * b + 8])
        last = request.last_line(head)
        m.d.comb += whole.eq(Cat(s.all() | (last < k) for k, s in enumerate(seen)).all())
        with m.If(self.free & (self.free_slot == n)):
            m.d.work += [s.eq(0) for s in seen]
