"""The CSR window: `registers.REGISTERS` behind a 32-bit AXI4-Lite port.

For a register `x` there is

    q_x         its value           RW and W1C
    d_x         what is read        RO, and RW of OUTSIDE, whose value is kept elsewhere
    set_x       bits to set         W1C
    at_x        a write is here     RW and WO; lasts while `hold` is high
    w_x         it is done now      at_x without `hold` and `refuse`; its word is in `data`

A register takes whole words: an address that names none, a write to a read-only one, to part of one, or while `resetting`
is answered SLVERR and does nothing. A write-only register reads 0. Nothing waits but for `hold`.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.axi import ReadFront, WriteFront, axil_read, axil_write
from peregrine_hdl.registers import CSR_BYTES, REGISTERS, RO, RW, W1C

ADDRESS_BITS = (CSR_BYTES - 1).bit_length()
OUTSIDE = {"control", "bank_version_lo", "bank_version_hi"}
KEPT = {"epoch"}  # by control.reset


class Csr(wiring.Component):
    """See above."""

    def __init__(self) -> None:
        self.bus = {**axil_write(ADDRESS_BITS, 32), **axil_read(ADDRESS_BITS, 32)}
        members: dict[str, Any] = {**self.bus, "data": Out(32), "hold": In(1), "refuse": In(1), "resetting": In(1)}
        for r in REGISTERS:
            if r.access == RO or r.name in OUTSIDE:
                members[f"d_{r.name}"] = In(32)
            if r.access == W1C:
                members[f"set_{r.name}"] = In(32)
            if r.access in (RW, W1C) and r.name not in OUTSIDE:
                members[f"q_{r.name}"] = Out(32)
            if r.access != RO:
                members |= {f"at_{r.name}": Out(1), f"w_{r.name}": Out(1)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        m.submodules.write_front = write = WriteFront(ADDRESS_BITS, 32)
        m.submodules.read_front = read = ReadFront(ADDRESS_BITS, 32)
        for front in (write, read):
            for name, member in front.bus.items():
                inner, outer = getattr(front, name), getattr(self, name)
                m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)

        whole = write.strobe.all() & (write.address[:2] == 0) & ~self.resetting
        known = Signal()
        m.d.comb += [self.data.eq(write.data), write.done.eq(~(known & self.hold)),
                     write.error.eq(~known & write.strobe.any() | known & self.refuse), read.error.eq(1)]  # fmt: skip
        for r in REGISTERS:
            here = write.address[2:] == r.offset >> 2
            if r.access != RO:
                at, done = getattr(self, f"at_{r.name}"), getattr(self, f"w_{r.name}")
                m.d.comb += [at.eq(write.valid & whole & here), done.eq(at & ~self.hold & ~self.refuse)]
                with m.If(whole & here):
                    m.d.comb += known.eq(1)
                self._store(m, r.name, r.access, done)
            with m.If(read.address[2:] == r.offset >> 2):
                m.d.comb += [read.data.eq(self._value(r.name)), read.error.eq(0)]
        return m

    def _store(self, m: Module, name: str, access: str, done: Value) -> None:
        if access == W1C:
            q, new = getattr(self, f"q_{name}"), getattr(self, f"set_{name}")
            m.d.work += q.eq(q | new)
            with m.If(done):
                m.d.work += q.eq(q & ~self.data | new)
        elif access == RW and name not in OUTSIDE:
            with m.If(done):
                m.d["sync" if name in KEPT else "work"] += getattr(self, f"q_{name}").eq(self.data)

    def _value(self, name: str) -> Value | Signal:
        for kind in ("d", "q"):
            if hasattr(self, f"{kind}_{name}"):
                found: Value = getattr(self, f"{kind}_{name}")
                return found
        return Value.cast(0)
