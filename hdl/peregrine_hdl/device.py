"""The device: two register windows, a ring, completions, an interrupt, and one core with a clock of its own.

    s_axil_* ─▶ csr ─────────────▶ every block
                 └─▶ banks ◀──────────────────────────────────┐
    s_push_* ─▶ push ─┐            ┌ work, bus clock ┊ core ┐ │
                      ├─▶ intake ─▶│     crossing    ┊      │◀┘
    m_axi_ar/r ─▶ ring ┘   │note   └────────┬────────┊──────┘
                           ▼                │answer
    m_axi_aw/w/b ◀────── completion ◀───────┘              irq ◀─ interrupt

Ports are flat, so that the Verilog has the names written here: clk, rst, core_clk, core_rst, irq, s_axil_*, s_push_*,
m_axi_*. Which core it is, is the caller's: anything with `core_port.CorePort`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, ClockDomain, Const, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.axi import axi_read, axi_write, join, prefixed
from peregrine_hdl.banks import REGISTERS as BANK_REGISTERS
from peregrine_hdl.banks import Banks
from peregrine_hdl.cancel import Cancel
from peregrine_hdl.completion import Completion
from peregrine_hdl.crossing import Crossing
from peregrine_hdl.csr import Csr
from peregrine_hdl.intake import NOTE, Intake
from peregrine_hdl.push import Push
from peregrine_hdl.registers import DEVICE_ID, LAYOUT_VERSION, MAP_HASH, REGISTERS, STATUS
from peregrine_hdl.reset import Reset
from peregrine_hdl.ring import LOG2_MAX, Ring

VARIANTS = {"baked": 0, "loadable": 1}
NOTES = 8


@dataclass(frozen=True)
class Caps:
    """What the caps registers say of the core, and the version of a core without banks."""

    variant: str
    slots: int
    banks: int
    lanes: int
    max_inputs: int
    max_width: int
    max_layers: int
    max_outputs: int
    bank_words: int = 0
    core_clock_khz: int = 0
    policy_version: int = 0

    def words(self, push_slots: int) -> dict[str, int]:
        """Register name to value."""
        values = {**self.__dict__, "variant": VARIANTS[self.variant], "push_slots": push_slots}
        found = {"caps_bank_words": self.bank_words, "core_clock_khz": self.core_clock_khz}
        for r in REGISTERS:
            if r.name in ("caps_core", "caps_limits"):
                for f in r.fields:
                    if not 0 <= values[f.name] < 1 << f.bits:
                        raise ValueError(f"{f.name}: found {values[f.name]}, expected {f.bits} bits")
                found[r.name] = sum(values[f.name] << f.lsb for f in r.fields)
        return found


def field(register: str, name: str) -> slice:
    """Where a field stands in its register."""
    (found,) = (f for r in REGISTERS if r.name == register for f in r.fields if f.name == name)
    return slice(found.lsb, found.lsb + found.bits)


class Device(wiring.Component):
    """See above."""

    def __init__(self, core: Any, caps: Caps, *, push_slots: int = 4) -> None:
        self.core, self.caps = core, caps
        self.csr, self.push, self.ring, self.completion = Csr(), Push(push_slots), Ring(), Completion()
        self.constants = {"id": DEVICE_ID, "layout_version": LAYOUT_VERSION, "map_hash": MAP_HASH, **caps.words(push_slots)}
        self.buses = (("s_axil", self.csr, self.csr.bus), ("s_push", self.push, self.push.bus),
                      ("m_axi", self.ring, axi_read()), ("m_axi", self.completion, axi_write()))  # fmt: skip
        members: dict[str, Any] = {"clk": In(1), "rst": In(1), "core_clk": In(1), "core_rst": In(1), "irq": Out(1)}
        for prefix, _, bus in self.buses:
            members |= prefixed(prefix, bus)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        csr, push, ring, completion = self.csr, self.push, self.ring, self.completion
        m.submodules.reset = reset = Reset()
        self._domains(m, reset)
        m.submodules.csr, m.submodules.push, m.submodules.ring, m.submodules.completion = csr, push, ring, completion
        m.submodules.intake = intake = Intake()
        m.submodules.cancel = cancel = Cancel()
        m.submodules.banks = banks = Banks(self.caps.banks)
        m.submodules.crossing = crossing = Crossing(self.core, self.caps.banks, self.caps.policy_version)
        for prefix, block, bus in self.buses:
            join(m, self, prefix, block, bus)

        notes = m.submodules.notes = _Notes()
        for left, right in ((push.o, intake.push), (ring.o, intake.ring), (intake.o, crossing.request),
                            (intake.note, notes.i), (notes.o, completion.note), (crossing.answer, completion.answer),
                            (banks.command, crossing.command), (crossing.reply, banks.reply)):  # fmt: skip
            wiring.connect(m, left, right)

        enable, irq_enable = Signal(), Signal()
        with m.If(csr.w_control):
            m.d.work += [enable.eq(csr.data[field("control", "enable")]),
                         irq_enable.eq(csr.data[field("control", "irq_enable")])]  # fmt: skip
        ring_on, completion_on = ((q != 0) & (q <= LOG2_MAX) for q in (csr.q_ring_log2, csr.q_completion_log2))
        size = Mux(ring_on, Const(1) << csr.q_ring_log2[:4], 0)
        overrun = csr.at_ring_producer & ((csr.data - ring.consumer)[:32] > size)
        busy = Cat(push.busy, ring.busy, intake.busy, completion.busy).any()
        m.d.comb += [
            reset.ask.eq(csr.w_control & csr.data[field("control", "reset")]),
            reset.quiet.eq(ring.quiet & completion.quiet), ring.stop.eq(reset.stop), completion.stop.eq(reset.stop),
            csr.resetting.eq(reset.resetting), push.resetting.eq(reset.resetting),
            csr.d_control.eq(Cat(enable, reset.resetting, irq_enable)),
            csr.d_status.eq(Cat(enable, busy, reset.resetting, banks.swapping)),
            csr.hold.eq(banks.hold), csr.refuse.eq(banks.refuse | overrun),
            ring.base.eq(Cat(Const(0, 6), csr.q_ring_base_lo[6:], csr.q_ring_base_hi)), ring.on.eq(ring_on),
            ring.log2.eq(csr.q_ring_log2), ring.producer.eq(csr.q_ring_producer), csr.d_ring_consumer.eq(ring.consumer),
            completion.base.eq(Cat(Const(0, 6), csr.q_completion_base_lo[6:], csr.q_completion_base_hi)),
            completion.on.eq(completion_on), completion.log2.eq(csr.q_completion_log2),
            completion.consumer.eq(csr.q_completion_consumer), csr.d_completion_producer.eq(completion.producer),
            push.free.eq(completion.free), push.free_slot.eq(completion.free_slot),
            intake.enable.eq(enable), intake.epoch.eq(csr.q_epoch), intake.hold.eq(reset.stop | ~completion_on),
            cancel.add.eq(csr.w_cancel_hi), cancel.added.eq(Cat(csr.q_cancel_lo, csr.data)),
            cancel.tag.eq(intake.tag), intake.cancelled.eq(cancel.hit),
        ]  # fmt: skip
        m.d.comb += [getattr(csr, f"d_{name}").eq(value) for name, value in self.constants.items()]
        self._banks(m, banks)
        irq = self._interrupt(m, irq_enable)
        self._count(m, intake, banks, crossing, irq)
        m.d.comb += csr.set_errors[field("errors", "ring_overrun")].eq(overrun)
        return m

    def _domains(self, m: Module, reset: Reset) -> None:
        """The two clocks; `work` is the bus clock with a reset that control.reset pulls too."""
        for name, clock, line in (("sync", self.clk, self.rst), ("work", self.clk, reset.work),
                                  ("core", self.core_clk, Signal(name="core_held"))):  # fmt: skip
            domain = ClockDomain(name)
            domain.clk, domain.rst = clock, line
            m.domains += domain
        m.d.comb += [reset.rst.eq(self.rst), reset.core_rst.eq(self.core_rst)]

    def _banks(self, m: Module, banks: Banks) -> None:
        csr = self.csr
        m.d.comb += [getattr(banks, f"at_{name}").eq(getattr(csr, f"at_{name}")) for name in BANK_REGISTERS]
        version = banks.active_version if self.caps.banks else Const(self.caps.policy_version, 64)
        m.d.comb += [
            banks.data.eq(csr.data), banks.select.eq(csr.q_bank_select), banks.expected_crc.eq(csr.q_bank_expected_crc),
            banks.expected_words.eq(csr.q_bank_expected_words), csr.d_bank_words.eq(banks.words),
            csr.d_bank_crc.eq(banks.crc), Cat(csr.d_bank_version_lo, csr.d_bank_version_hi).eq(banks.version),
            Cat(csr.d_policy_lo, csr.d_policy_hi).eq(version),
            csr.d_bank_active.eq(Cat(banks.active, Const(0, 27), banks.valid)),
            csr.set_errors[field("errors", "bank_address")].eq(banks.bad_address),
            csr.set_errors[field("errors", "bank_crc")].eq(banks.bad_crc),
        ]  # fmt: skip

    def _interrupt(self, m: Module, irq_enable: Signal) -> Value:
        """One clock of irq when armed, enabled, and a completion is unread."""
        armed = Signal()
        raised = armed & irq_enable & (self.completion.producer != self.csr.q_completion_consumer)
        with m.If(raised):
            m.d.work += armed.eq(0)
        with m.If(self.csr.w_completion_arm & self.csr.data[0]):
            m.d.work += armed.eq(1)
        m.d.work += self.irq.eq(raised)
        return raised

    def _count(self, m: Module, intake: Intake, banks: Banks, crossing: Crossing, irq: Value) -> None:
        """Counters, and the error bits that come with them."""
        csr, ring, completion = self.csr, self.ring, self.completion
        written, status = completion.written, completion.status
        for name, up in (
            ("push", intake.took_push), ("ring", intake.took_ring), ("completions", written),
            ("rejected", written & (status != 0)), ("cancelled", written & (status == STATUS["cancelled"])),
            ("dma_errors", ring.read_error + completion.write_error), ("interrupts", irq), ("swaps", banks.swapped),
        ):  # fmt: skip
            count = Signal(32, name=f"count_{name}")
            m.d.work += count.eq(count + up)
            m.d.comb += getattr(csr, f"d_count_{name}").eq(count)
        last, most, parity = Signal(32), Signal(32), Signal(32)
        with m.If(written & completion.answered):
            m.d.work += last.eq(completion.cycles)
            with m.If(completion.cycles > most):
                m.d.work += most.eq(completion.cycles)
        m.d.work += parity.eq(crossing.parity_count)
        m.d.comb += [csr.d_last_cycles.eq(last), csr.d_max_cycles.eq(most), csr.d_busy_cycles.eq(crossing.busy_count),
                     csr.d_count_parity.eq(crossing.parity_count)]  # fmt: skip
        for name, event in (
            ("dma_read", ring.read_error), ("dma_write", completion.write_error), ("descriptor", ring.malformed),
            ("push_address", self.push.error), ("parity", parity != crossing.parity_count),
            ("completion_full", completion.was_full),
        ):  # fmt: skip
            m.d.comb += csr.set_errors[field("errors", name)].eq(event)


class _Notes(wiring.Component):
    """The notes that wait for the core's answers, in order."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(NOTE)), "o": Out(stream.Signature(NOTE))})

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        m.submodules.queue = q = DomainRenamer("work")(fifo.SyncFIFOBuffered(width=NOTE.size, depth=NOTES))
        m.d.comb += [q.w_data.eq(self.i.payload), q.w_en.eq(self.i.valid), self.i.ready.eq(q.w_rdy),
                     self.o.payload.eq(q.r_data), self.o.valid.eq(q.r_rdy), q.r_en.eq(self.o.ready)]  # fmt: skip
        return m

