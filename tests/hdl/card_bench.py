"""The wrapper for a PCIe bridge: models stand where the bridge's AXI ports would be. Run by tools/hdl_device.py.

What the device itself does is the other benches' matter; here it is what `hdl/wrappers` adds: reads of the push window,
the interrupt's handshake, resets that begin at once and end on a clock, and that the rest is connected.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiSlave

from device_case import CLOCKS, FEATURES, VERSION, check, rows
from device_rig import ENABLE, IRQ_ENABLE, RESET, Rig, lines
from peregrine_hdl import registers as r

ONES = b"\xff" * 8


class Pins:
    """The wrapper's ports under the device's names, where the rig asks for those."""

    NAMES = {"clk": "axi_aclk", "irq": "usr_irq_req"}

    def __init__(self, dut: Any) -> None:
        self.card = dut

    def __getattr__(self, name: str) -> Any:
        return getattr(self.card, self.NAMES.get(name, name))


class CardRig(Rig):
    """The rig on the wrapper's ports. `ack_clocks`: from a request to the bridge's answer."""

    def __init__(self, dut: Any, seed: int = 0, ack_clocks: int = 1) -> None:
        super().__init__(Pins(dut), seed)
        self.ack_clocks, self.told, self.dropped = ack_clocks, 0, 0

    def models(self, dut: Any) -> None:
        """Managers and memory on the wrapper, under its own reset."""
        card = dut.card
        reset = {"reset": card.axi_aresetn, "reset_active_level": False}
        self.csr = AxiLiteMaster(AxiLiteBus.from_prefix(card, "s_axil"), card.axi_aclk, **reset)
        self.bar2 = AxiLiteMaster(AxiLiteBus.from_prefix(card, "s_push"), card.axi_aclk, **reset)
        self.window, self.window_reads = self.bar2.write_if, self.bar2.read_if
        self.memory = AxiSlave(AxiBus.from_prefix(card, "m_axi"), card.axi_aclk, target=self.host, **reset)

    async def start(self, bus_ps: int = 4000, core_ps: int = 4000, up: bool = True) -> None:
        """Clocks on, the bridge out of reset, the MMCM locked."""
        card = self.dut.card
        card.axi_aresetn.value, card.core_locked.value, card.usr_irq_ack.value = 0, 0, 0
        cocotb.start_soon(Clock(card.axi_aclk, bus_ps, unit="ps").start())
        self.core_clock = Clock(card.core_clk, core_ps, unit="ps")
        self.core_clock.start()
        await ClockCycles(card.axi_aclk, 4)
        card.axi_aresetn.value, card.core_locked.value = 1, 1
        cocotb.start_soon(self._watch())
        cocotb.start_soon(self._bridge())
        if up:
            await self.settled()
            await self.bring_up()

    def held(self) -> bool:
        """As the rig's."""
        return not int(self.dut.card.axi_aresetn.value)

    async def _bridge(self) -> None:
        """The bridge's side of the interrupt: a request is acknowledged once, `ack_clocks` later."""
        card = self.dut.card
        while True:
            await RisingEdge(card.axi_aclk)
            if not int(card.usr_irq_req.value) or not int(card.axi_aresetn.value):
                continue
            for _ in range(self.ack_clocks):
                await RisingEdge(card.axi_aclk)
                self.dropped += not int(card.usr_irq_req.value)
            card.usr_irq_ack.value = 1
            await RisingEdge(card.axi_aclk)
            card.usr_irq_ack.value = 0
            self.told += 1
            await RisingEdge(card.axi_aclk)

    async def answered_by(self, way: str, row: Any, slot: int = 0) -> None:
        """One request through the window or the ring, compared with the oracle."""
        tag = self.tag()
        data = lines(tag, FEATURES, [int(v) for v in row])
        if way == "ring":
            self.describe(data)
            await self.ring()
        else:
            assert not any(await self.push(slot, data)), "a write of the window was refused"
        check(await self.completion(8000), tag, row)


async def card_up(dut: Any, seed: int = 0, ack_clocks: int = 1, **clocks: int) -> CardRig:
    """A rig with a card that is up."""
    rig = CardRig(dut, seed, ack_clocks)
    await rig.start(**clocks)
    return rig


async def soon(work: Any, what: str) -> Any:
    """Its result. Raises AssertionError where a bus hangs."""
    try:
        return await with_timeout(work, 20, "us")
    except TimeoutError as err:
        raise AssertionError(f"{what}: no answer") from err


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(clocks=list(CLOCKS), pause=[0.0, 0.5])
async def the_registers_are_read_and_requests_are_answered_through_the_wrapper(dut, clocks, pause):
    bus_ps, core_ps = CLOCKS[clocks]
    rig = await card_up(dut, 300, bus_ps=bus_ps, core_ps=core_ps)
    rig.pause(pause, 300)
    assert [await rig.csr_read(n) for n in ("id", "layout_version", "map_hash")] == [r.DEVICE_ID, r.LAYOUT_VERSION, r.MAP_HASH]
    assert await rig.csr_read("policy_lo") | await rig.csr_read("policy_hi") << 32 == VERSION
    for k, row in enumerate(rows(10, 300)):
        await rig.answered_by("ring" if k % 2 else "push", row, k % 4)
    await rig.idle()
    assert await rig.csr_read("errors") == 0
    rig.report()


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(pause=[0.0, 0.3, 0.8])
async def a_read_of_the_push_window_is_all_ones_and_disturbs_no_request(dut, pause):
    rig = await card_up(dut, 301)
    rig.pause(pause, 301)
    rng = random.Random(301)
    for k, row in enumerate(rows(8, 301)):
        reads = [cocotb.start_soon(rig.bar2.read(8 * rng.randrange(r.PUSH_BYTES // 8), 8)) for _ in range(6)]
        await rig.answered_by("push", row, k % 4)
        for read in reads:
            found = await soon(read, "a read of the window")
            assert found.data == ONES and not int(found.resp)
    await rig.idle()
    assert await rig.csr_read("errors") == 0
    rig.report()


@cocotb.test(timeout_time=200, timeout_unit="us")
async def a_read_of_the_push_window_is_answered_while_the_device_is_in_reset_and_without_a_core_clock(dut):
    rig = await card_up(dut, 302)
    rig.core_clock.stop()
    dut.core_locked.value = 0
    await ClockCycles(dut.axi_aclk, 20)
    assert await rig.csr_read("control") & RESET, "without a core clock it waits in reset"
    assert (await soon(rig.bar2.read(0x40, 8), "a read of the window")).data == ONES
    assert await rig.csr_read("id") == r.DEVICE_ID
    assert all([int((await soon(rig.bar2.write(8 * k, ONES), "a write of the window")).resp) for k in range(3)])
    rig.core_clock.start()
    await Timer(50, "ns")
    dut.core_locked.value = 1
    await rig.settled()
    rig.epoch += 1
    await rig.bring_up()
    await rig.answered_by("push", rows(1, 302)[0])
    rig.report()


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(ack_clocks=[1, 2, 7, 100])
async def one_interrupt_is_requested_until_it_is_acknowledged_and_told_once(dut, ack_clocks):
    rig = await card_up(dut, 303, ack_clocks)
    await rig.csr_write("control", ENABLE | IRQ_ENABLE)
    for k, row in enumerate(rows(5, 303)):
        await rig.csr_write("completion_arm", 1)
        assert rig.told == k
        await rig.answered_by("push", row, k % 4)
        await ClockCycles(dut.axi_aclk, 2 * ack_clocks + 10)
        assert rig.told == k + 1 == await rig.csr_read("count_interrupts"), (rig.told, k)
        assert not int(dut.usr_irq_req.value)
    assert not rig.dropped, "a request fell before it was acknowledged"
    rig.report()


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(more=[1, 4])
async def interrupts_raised_while_one_waits_for_its_acknowledgement_are_told_after_it(dut, more):
    rig = await card_up(dut, 304, ack_clocks=3000)
    await rig.csr_write("control", ENABLE | IRQ_ENABLE)
    for k, row in enumerate(rows(1 + more, 304)):
        await rig.csr_write("completion_arm", 1)
        await rig.answered_by("push", row, k % 4)
    assert rig.told == 0 and await rig.csr_read("count_interrupts") == 1 + more
    await ClockCycles(dut.axi_aclk, 8000)
    assert (rig.told, rig.dropped) == (2, 0), "one for the first, one for all that came meanwhile"
    rig.report()


@cocotb.test(timeout_time=200, timeout_unit="us")
async def an_interrupt_that_stands_or_waits_is_forgotten_by_a_reset(dut):
    rig = await card_up(dut, 307, ack_clocks=20_000)
    await rig.csr_write("control", ENABLE | IRQ_ENABLE)
    for k, row in enumerate(rows(2, 307)):  # one stands, one waits behind it
        await rig.csr_write("completion_arm", 1)
        await rig.answered_by("push", row, k)
    assert int(dut.usr_irq_req.value) and await rig.csr_read("count_interrupts") == 2
    dut.axi_aresetn.value = 0
    await ClockCycles(dut.axi_aclk, 3)
    assert not int(dut.usr_irq_req.value)
    dut.axi_aresetn.value = 1
    await rig.settled()
    for _ in range(200):
        await RisingEdge(dut.axi_aclk)
        assert not int(dut.usr_irq_req.value), "an interrupt from before the reset"
    rig.report()


@cocotb.test(timeout_time=200, timeout_unit="us")
async def what_the_bridge_sends_in_the_first_clock_out_of_reset_is_answered(dut):
    rig = CardRig(dut, 305)
    dut.axi_aresetn.value, dut.core_locked.value, dut.usr_irq_ack.value = 0, 1, 0
    cocotb.start_soon(Clock(dut.axi_aclk, 4000, unit="ps").start())
    Clock(dut.core_clk, 5000, unit="ps").start()
    await ClockCycles(dut.axi_aclk, 6)
    works = [cocotb.start_soon(w) for w in (rig.csr.read(r.OFFSET["id"], 4), rig.csr.write(r.OFFSET["epoch"], b"\7\0\0\0"),
                                           rig.bar2.read(8, 8), rig.bar2.write(8, ONES))]  # fmt: skip
    await ClockCycles(dut.axi_aclk, 2)
    dut.axi_aresetn.value = 1
    first, _, window, _ = [await soon(w, "a transfer begun as the reset ended") for w in works]
    assert int.from_bytes(first.data, "little") == r.DEVICE_ID and window.data == ONES


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(pause=[0.0, 0.5])
async def a_reset_of_the_bridge_at_any_time_is_followed_by_a_device_that_works(dut, pause):
    rig = await card_up(dut, 306)
    rng = random.Random(306)
    for round_ in range(8):
        rig.pause(pause, 306 + round_)
        row = [int(v) for v in rows(1, round_)[0]]
        await rig.csr_write("control", ENABLE | IRQ_ENABLE)
        await rig.csr_write("completion_arm", 1)
        rig.describe(lines(rig.tag(), FEATURES, row * 2))
        data = lines(rig.tag(), FEATURES, row)
        works = [rig.csr.write(r.OFFSET["ring_producer"], rig.descriptors.to_bytes(4, "little")),
                 *(rig.bar2.write(k, data[k : k + 8]) for k in range(0, len(data), 8)), *(rig.bar2.read(k, 8) for k in (0, 8))]  # fmt: skip
        for work in works:
            cocotb.start_soon(ended(work))
        await ClockCycles(dut.axi_aclk, rng.randrange(1, 120))
        await Timer(rng.randrange(1, 4000), "ps")  # at no edge
        dut.axi_aresetn.value = 0
        await ClockCycles(dut.axi_aclk, rng.randrange(1, 6))
        assert not int(dut.usr_irq_req.value), "an interrupt is requested in reset"
        for name in ("s_axil_bvalid", "s_axil_rvalid", "s_push_bvalid", "s_push_rvalid", "m_axi_arvalid", "m_axi_awvalid", "m_axi_wvalid"):
            assert not int(getattr(dut, name).value), f"{name} in reset"
        dut.axi_aresetn.value = 1
        await rig.settled()
        rig.epoch += 1
        await rig.bring_up()
        for k, each in enumerate(rows(4, 400 + round_)):
            await rig.answered_by("ring" if k % 2 else "push", each, k % 4)
        assert await rig.csr_read("errors") == 0
    rig.report()


async def ended(work: Any) -> None:
    """Runs it; a reset may end it early."""
    try:
        await work
    except Exception as err:  # cocotbext-axi raises a bare Exception for a transfer that its reset cut off
        assert "reset" in str(err), err
