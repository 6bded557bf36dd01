"""One reset for both clocks that breaks no transfer on a bus.

    RUN ── control.reset, or core_rst ──▶ STOP    nothing new is begun on the AXI ports
                                           │  both are quiet
                                           ▼
                                         CLEAR    `work` and `core` are held in reset
                                           │  the core's clock has seen it four times, core_rst is low
                                           ▼
                                        RELEASE   `core` is let go, `work` not yet
                                           │  the core's clock has seen that
                                           ▼
                                          RUN

The pin `rst` resets everything at once and then goes through CLEAR and RELEASE too. Without a core clock the device stays
in them, says so in status.resetting, and answers its CSRs.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, ResetSignal, Signal
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import In, Out

HELD_CLOCKS = 4


class Reset(wiring.Component):
    """See above. rst and core_rst are the pins; `work` is that domain's reset, `resetting` everything but RUN."""

    def __init__(self) -> None:
        super().__init__({"rst": In(1), "core_rst": In(1), "ask": In(1), "quiet": In(1), "stop": Out(1),
                          "work": Out(1), "resetting": Out(1)})  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        """The logic; drives the reset of the domain `core`."""
        m = Module()
        hold_core, hold_work = Signal(init=1), Signal(init=1)
        caught, core_down, seen = Signal(), Signal(), Signal()
        held = Signal(HELD_CLOCKS, reset_less=True)
        m.submodules.to_core = cdc.ResetSynchronizer(self.rst | hold_core, domain="core")
        m.d.core += held.eq(Cat(ResetSignal("core"), held[:-1]))
        # however short core_rst is, it is seen
        m.submodules.caught = cdc.AsyncFFSynchronizer(self.core_rst, caught, o_domain="sync")
        m.submodules.down = cdc.FFSynchronizer(caught, core_down, o_domain="sync")
        m.submodules.seen = cdc.FFSynchronizer(held[-1], seen, o_domain="sync")
        m.d.comb += [self.work.eq(self.rst | hold_work), self.resetting.eq(1), self.stop.eq(1)]
        with m.FSM(domain="sync", init="CLEAR"):
            with m.State("RUN"):
                m.d.comb += [self.resetting.eq(0), self.stop.eq(0)]
                with m.If(self.ask | core_down):
                    m.next = "STOP"
            with m.State("STOP"), m.If(self.quiet):
                m.d.sync += [hold_core.eq(1), hold_work.eq(1)]
                m.next = "CLEAR"
            with m.State("CLEAR"), m.If(seen & ~core_down):
                m.d.sync += hold_core.eq(0)
                m.next = "RELEASE"
            with m.State("RELEASE"), m.If(~seen):
                m.d.sync += hold_work.eq(0)
                m.next = "RUN"
        return m
