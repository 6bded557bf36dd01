"""Resets of the device at random times, under load, from software and from the core's pin. Run by tools/hdl_device.py."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from device_case import CLOCKS, FEATURES, check, rows, started
from device_rig import ENABLE, ERRORS, RESET, Rig, lines, pieces
from peregrine_hdl import registers as r


class Load:
    """Requests on both ways until `stop`, one write at a time, with nobody who reads the answers."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.seed, self.stopped = rig, seed, False
        self.tasks = [cocotb.start_soon(self.rings()), cocotb.start_soon(self.pushes())]

    async def rings(self) -> None:
        """Descriptors of two-line requests; answers are taken as they come. What is refused is no matter here."""
        row = [int(v) for v in rows(1, self.seed)[0]]
        while not self.stopped:
            self.rig.describe(lines(self.rig.tag(), FEATURES, row * 2))
            await self.rig.csr.write(r.OFFSET["ring_producer"], self.rig.descriptors.to_bytes(4, "little"))
            seen = await self.rig.csr.read(r.OFFSET["completion_producer"], 4)
            if not self.stopped:
                await self.rig.csr.write(r.OFFSET["completion_consumer"], seen.data)

    async def pushes(self) -> None:
        """Whole requests, in pieces, to whichever slot."""
        rng, row = random.Random(self.seed), [int(v) for v in rows(1, self.seed)[0]]
        while True:
            slot = rng.randrange(4)
            for at, part in pieces(lines(self.rig.tag(), FEATURES, row), rng):
                if self.stopped:
                    return
                await self.rig.window.write(slot * r.PUSH_SLOT_BYTES + at, part)

    async def stop(self) -> None:
        """Until its last writes are answered."""
        self.stopped = True
        for task in self.tasks:
            await task


async def works(rig: Rig, seed: int) -> None:
    """A new epoch, and requests on both ways are answered."""
    rig.epoch += 1
    await rig.bring_up()
    data = rows(6, seed)
    for k, row in enumerate(data):
        tag = rig.tag()
        request = lines(tag, FEATURES, [int(v) for v in row])
        if k % 2:
            rig.describe(request)
            await rig.ring()
        else:
            assert not any(await rig.push(k % 4, request))
        check(await rig.completion(8000), tag, row)
    await rig.idle()
    assert await rig.csr_read("errors") == 0
    assert [await rig.csr_read(f"count_{n}") for n in ("push", "ring", "completions")] == [3, 3, 6]


@cocotb.test()
@cocotb.parametrize(clocks=list(CLOCKS), pause=[0.0, 0.5])
async def a_reset_at_any_time_ends_what_the_buses_have_begun_and_the_device_works_again(dut, clocks, pause):
    bus_ps, core_ps = CLOCKS[clocks]
    seed = 50 + list(CLOCKS).index(clocks) * 2 + bool(pause)
    rig = await started(dut, seed, bus_ps=bus_ps, core_ps=core_ps)
    rng = random.Random(seed)
    for round_ in range(6):
        rig.pause(pause, seed + round_)
        work = Load(rig, seed + round_)
        await ClockCycles(dut.clk, rng.randrange(1, 900))
        pin = round_ % 3 == 2
        if pin:
            dut.core_rst.value = 1
        ask = None if pin else cocotb.start_soon(rig.csr_write("control", ENABLE | RESET))
        await work.stop()
        if ask:
            await ask
        await ClockCycles(dut.core_clk, 3)
        dut.core_rst.value = 0
        await ClockCycles(dut.clk, 8)  # until the bus side has seen the pin
        await rig.settled()
        assert await rig.csr_read("status") == 0 and await rig.csr_read("ring_consumer") == 0
        assert await rig.csr_read("epoch") == rig.epoch, "the epoch is kept"
        await works(rig, seed + round_)
    rig.report()


@cocotb.test()
async def nothing_is_begun_on_the_memory_port_while_a_reset_lasts(dut):
    rig = await started(dut, 70)
    rng = random.Random(70)
    for round_ in range(8):
        work = Load(rig, round_)
        await ClockCycles(dut.clk, rng.randrange(100, 500))
        ask = cocotb.start_soon(rig.csr_write("control", RESET))
        await work.stop()
        await ask
        await rig.settled()
        before = len(rig.host.reads), len(rig.host.writes)
        await ClockCycles(dut.clk, 200)
        assert (len(rig.host.reads), len(rig.host.writes)) == before
        assert not dut.m_axi_arvalid.value and not dut.m_axi_awvalid.value and not dut.m_axi_wvalid.value
        await works(rig, round_)
    rig.report()


@cocotb.test()
async def writes_are_refused_while_the_core_is_held_in_reset_and_the_registers_still_answer(dut):
    rig = await started(dut, 71)
    dut.core_rst.value = 1
    await ClockCycles(dut.clk, 50)
    assert await rig.csr_read("status") == 4 and await rig.csr_read("id") == r.DEVICE_ID
    await rig.csr_write("epoch", 9, refused=True)
    assert all(await rig.push(0, bytes(64)))
    dut.core_rst.value = 0
    await rig.settled()
    assert await rig.csr_read("errors") == 0 and await rig.csr_read("epoch") == 1
    await works(rig, 71)
    rig.report()


@cocotb.test()
async def the_pin_resets_everything_even_in_the_middle_of_a_request(dut):
    rig = await started(dut, 72)
    row = [int(v) for v in rows(1, 72)[0]]
    assert not any(await rig.push(0, lines(rig.tag(), FEATURES, row)[:40]))  # not whole: it waits
    await rig.csr_write("ring_producer", 9, refused=True)
    assert await rig.csr_read("errors") == ERRORS["ring_overrun"]
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)
    rig.broken.clear()  # the models' own ports are reset with the device's
    await rig.settled()
    assert await rig.csr_read("epoch") == 0 and await rig.csr_read("errors") == 0
    await works(rig, 72)
    rig.report()
