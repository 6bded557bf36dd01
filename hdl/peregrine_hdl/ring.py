"""The request ring: descriptors and then the requests they name, read from host memory over AXI4.

    descriptor   one burst of 2 beats at base + 16 * (consumer modulo ring)
    request      a burst of 8 beats a line; lines lie on 64 bytes, so no burst crosses 4 KiB

Two requests are kept, one being read while the other is taken. A descriptor or request that cannot be used is offered
with the reason as its status. With `stop` high nothing new is asked for, what was asked for is read to its end, and
`quiet` says that there is nothing more.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl import request
from peregrine_hdl.axi import BEAT_8, INCR, axi_read
from peregrine_hdl.registers import DESCRIPTOR, LINE_BYTES, MAX_LINES, STATUS
from peregrine_hdl.request import HEAD, WORD_BITS, Waiting

BUFFERS = 2
LOG2_MAX = 12
DESCRIPTOR_BYTES = 16
assert [m.offset for m in DESCRIPTOR] == [0, 8, 12]  # as read below


class Ring(wiring.Component):
    """See above. `on` with a valid log2; pulses: `read_error` an AXI error, `malformed` a bad descriptor."""

    def __init__(self) -> None:
        self.bus = axi_read()
        super().__init__({**self.bus, "o": Out(Waiting()), "stop": In(1), "quiet": Out(1), "base": In(64),
                          "log2": In(4), "on": In(1), "producer": In(32), "consumer": Out(32), "read_error": Out(1),
                          "malformed": Out(1), "busy": Out(1)})  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic: what the bus has begun in `sync`, what is forgotten by a reset in `work`."""
        m = Module()
        m.submodules.bytes = store = memory.Memory(shape=64, depth=BUFFERS << WORD_BITS, init=[])
        writer, reader = store.write_port(domain="work"), store.read_port(domain="comb")
        full = Array(Signal(name=f"full{k}") for k in range(BUFFERS))
        tag = Array(Signal(64, name=f"tag{k}") for k in range(BUFFERS))
        head = Array(Signal(64, name=f"head{k}") for k in range(BUFFERS))
        status = Array(Signal(8, name=f"status{k}") for k in range(BUFFERS))
        filling, taking = Signal(), Signal()

        address, size, flags = Signal(64), Signal(32), Signal(32)
        lines, asked = Signal(range(MAX_LINES + 1)), Signal(range(MAX_LINES + 1))
        beats = Signal(WORD_BITS)
        failed = Signal()
        beat = self.rvalid & self.rready
        wrong = beat & (self.rresp != 0)
        slot = (self.consumer & ~(Const(0xFFFFFFFF, 32) << self.log2)) & 0xFFF
        m.d.comb += [
            self.arid.eq(0), self.arsize.eq(BEAT_8), self.arburst.eq(INCR), self.read_error.eq(wrong),
            writer.addr.eq(Cat(beats, filling)), writer.data.eq(self.rdata),
        ]  # fmt: skip
        with m.FSM(domain="sync"):
            with m.State("IDLE"):
                m.d.comb += self.quiet.eq(1)
                with m.If(self.on & (self.producer != self.consumer) & ~full[filling] & ~self.stop):
                    m.d.sync += [self.arvalid.eq(1), self.araddr.eq(self.base + slot * DESCRIPTOR_BYTES),
                                 self.arlen.eq(1), beats.eq(0), failed.eq(0)]  # fmt: skip
                    m.next = "ASK_DESCRIPTOR"
            with m.State("ASK_DESCRIPTOR"), m.If(self.arready):
                m.d.sync += self.arvalid.eq(0)
                m.next = "DESCRIPTOR"
            with m.State("DESCRIPTOR"):
                m.d.comb += self.rready.eq(1)
                with m.If(beat):
                    m.d.sync += [failed.eq(failed | wrong), beats.eq(beats + 1)]
                    with m.If(beats == 0):
                        m.d.sync += address.eq(self.rdata)
                    with m.Else():
                        m.d.sync += Cat(size, flags).eq(self.rdata)
                        m.next = "LOOK"
            with m.State("LOOK"):
                m.d.work += self.consumer.eq(self.consumer + 1)
                m.d.work += [tag[filling].eq(Cat(self.consumer, Const(0xFFFFFFFF, 32))), head[filling].eq(0)]
                bad = (flags != 0) | (address[:6] != 0) | (size[:6] != 0) | (size == 0) | (size > MAX_LINES * LINE_BYTES)
                m.d.sync += [lines.eq(size[6:]), asked.eq(0), beats.eq(0)]
                m.d.sync += [self.arlen.eq(LINE_BYTES // 8 - 1)]
                with m.If(self.stop):
                    m.next = "IDLE"
                with m.Elif(failed | bad):
                    m.d.work += [status[filling].eq(Mux(failed, STATUS["dma_error"], STATUS["bad_descriptor"])),
                                 full[filling].eq(1), filling.eq(~filling)]  # fmt: skip
                    m.d.comb += self.malformed.eq(~failed)
                    m.next = "IDLE"
                with m.Else():
                    m.next = "LINES"
            with m.State("LINES"):
                m.d.comb += [self.rready.eq(1), writer.en.eq(beat)]
                with m.If(~self.arvalid | self.arready):
                    more = (asked != lines) & ~self.stop
                    m.d.sync += self.arvalid.eq(more)
                    with m.If(more):
                        m.d.sync += [self.araddr.eq(address), address.eq(address + LINE_BYTES), asked.eq(asked + 1)]
                with m.If(beat):
                    m.d.sync += [beats.eq(beats + 1), failed.eq(failed | wrong)]
                    with m.If(beats == 0):
                        m.d.work += tag[filling].eq(Mux(wrong, tag[filling], self.rdata))
                    with m.If(beats == 1):
                        m.d.work += head[filling].eq(self.rdata)
                with m.If(~self.arvalid & (beats == asked << 3) & ((asked == lines) | self.stop)):
                    m.next = "DONE"
            with m.State("DONE"):
                m.next = "IDLE"
                found = Signal(HEAD)
                m.d.comb += found.eq(head[filling])
                # without kind and count nobody knows its length; the intake says what is wrong with them
                known = request.kind_known(found) & request.count_known(found)
                short = known & (lines != request.last_line(found) + 1)
                with m.If(~self.stop):
                    m.d.work += [full[filling].eq(1), filling.eq(~filling), status[filling].eq(
                        Mux(failed, STATUS["dma_error"], Mux(short, STATUS["bad_descriptor"], 0)))]  # fmt: skip
                    m.d.comb += self.malformed.eq(~failed & short)
        with m.If(self.o.valid & self.o.done):
            m.d.work += [full[taking].eq(0), taking.eq(~taking)]
        m.d.comb += [
            self.o.valid.eq(full[taking]), self.o.tag.eq(tag[taking]), self.o.head.eq(head[taking]),
            self.o.status.eq(status[taking]), reader.addr.eq(Cat(self.o.address, taking)), self.o.data.eq(reader.data),
            self.busy.eq(~self.quiet | Cat(full).any()),
        ]  # fmt: skip
        return m
