"""AXI ports as flat members of a component, and the two AXI4-Lite front ends: whole transfers instead of five channels.

Domains of the device's bus side, used in every file that says so:

    sync   the bus clock; reset by the pin only, so that what has begun on a bus can be ended by its rules
    work   the same clock; reset by the pin and by control.reset
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

OKAY, SLVERR = 0b00, 0b10
INCR, BEAT_8 = 0b01, 3  # awburst and arburst; awsize and arsize of 8 bytes


def axil_write(address_bits: int, data_bits: int) -> dict[str, Any]:
    """The write channels of an AXI4-Lite subordinate."""
    return {
        "awaddr": In(address_bits), "awprot": In(3), "awvalid": In(1), "awready": Out(1),
        "wdata": In(data_bits), "wstrb": In(data_bits // 8), "wvalid": In(1), "wready": Out(1),
        "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
    }  # fmt: skip


def axil_read(address_bits: int, data_bits: int) -> dict[str, Any]:
    """The read channels of an AXI4-Lite subordinate."""
    return {
        "araddr": In(address_bits), "arprot": In(3), "arvalid": In(1), "arready": Out(1),
        "rdata": Out(data_bits), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
    }  # fmt: skip


def axi_write() -> dict[str, Any]:
    """The write channels of a 64-bit AXI4 manager."""
    return {
        "awid": Out(1), "awaddr": Out(64), "awlen": Out(8), "awsize": Out(3), "awburst": Out(2), "awvalid": Out(1),
        "awready": In(1), "wdata": Out(64), "wstrb": Out(8), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
        "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
    }  # fmt: skip


def axi_read() -> dict[str, Any]:
    """The read channels of a 64-bit AXI4 manager."""
    return {
        "arid": Out(1), "araddr": Out(64), "arlen": Out(8), "arsize": Out(3), "arburst": Out(2), "arvalid": Out(1),
        "arready": In(1), "rid": In(1), "rdata": In(64), "rresp": In(2), "rlast": In(1), "rvalid": In(1),
        "rready": Out(1),
    }  # fmt: skip


def prefixed(prefix: str, members: dict[str, Any]) -> dict[str, Any]:
    """The members under names such as s_axil_awaddr."""
    return {f"{prefix}_{name}": member for name, member in members.items()}


def join(m: Module, outer: Any, prefix: str, inner: Any, members: dict[str, Any]) -> None:
    """Joins a component's bus members to those of the component around it."""
    for name, member in members.items():
        out, own = getattr(outer, f"{prefix}_{name}"), getattr(inner, name)
        m.d.comb += own.eq(out) if member.flow == In else out.eq(own)


class WriteFront(wiring.Component):
    """One write at a time: `valid` with address, data and strobes until `done`, which answers it, with `error` or not.

    Address and data may come in any order and distance.
    """

    def __init__(self, address_bits: int, data_bits: int) -> None:
        self.bus = axil_write(address_bits, data_bits)
        super().__init__({**self.bus, "valid": Out(1), "address": Out(address_bits), "data": Out(data_bits),
                          "strobe": Out(data_bits // 8), "done": In(1), "error": In(1)})  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        has_address, has_data = Signal(), Signal()
        m.d.comb += [self.awready.eq(~has_address), self.wready.eq(~has_data),
                     self.valid.eq(has_address & has_data & ~self.bvalid)]  # fmt: skip
        with m.If(self.awvalid & self.awready):
            m.d.sync += [has_address.eq(1), self.address.eq(self.awaddr)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [has_data.eq(1), self.data.eq(self.wdata), self.strobe.eq(self.wstrb)]
        with m.If(self.bvalid & self.bready):
            m.d.sync += self.bvalid.eq(0)
        with m.If(self.valid & self.done):
            m.d.sync += [has_address.eq(0), has_data.eq(0), self.bvalid.eq(1)]
            m.d.sync += self.bresp.eq(self.error << 1)
        return m


class ReadFront(wiring.Component):
    """One read at a time: `valid` with the address for one clock, in which `data` and `error` are taken."""

    def __init__(self, address_bits: int, data_bits: int) -> None:
        self.bus = axil_read(address_bits, data_bits)
        super().__init__({**self.bus, "valid": Out(1), "address": Out(address_bits), "data": In(data_bits),
                          "error": In(1)})  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        m.d.comb += self.arready.eq(~self.valid & ~self.rvalid)
        with m.If(self.arvalid & self.arready):
            m.d.sync += [self.valid.eq(1), self.address.eq(self.araddr)]
        with m.If(self.valid):
            m.d.sync += [self.valid.eq(0), self.rvalid.eq(1), self.rdata.eq(self.data), self.rresp.eq(self.error << 1)]
        with m.If(self.rvalid & self.rready):
            m.d.sync += self.rvalid.eq(0)
        return m
