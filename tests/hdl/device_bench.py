"""The device around the baked 8-16-3 core: every path of a request that is answered. Run by tools/hdl_device.py."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiResp

from device_case import CLOCKS, FEATURES, VERSION, check, refused, rows, started
from device_rig import (
    ENABLE,
    ERRORS,
    IRQ_ENABLE,
    Rig,
    lines,
    pieces,
)
from peregrine_hdl import registers as r


@cocotb.test()
async def the_registers_name_the_device_and_a_pushed_request_is_answered_in_memory(dut):
    rig = await started(dut)
    assert await rig.csr_read("id") == r.DEVICE_ID and await rig.csr_read("map_hash") == r.MAP_HASH
    (row,) = rows(1, 1)
    tag = rig.tag()
    assert not any(await rig.push(0, lines(tag, FEATURES, [int(v) for v in row]), shuffled=False))
    check(await rig.completion(), tag, row)
    assert await rig.csr_read("count_push") == 1 and await rig.csr_read("count_completions") == 1
    await rig.idle()
    rig.report()


async def answer_all(rig: Rig, wanted: list[tuple[int, np.ndarray]]) -> None:
    """Take as many completions as are wanted; each is the oracle's answer to its tag."""
    left = dict(wanted)
    for _ in wanted:
        done = await rig.completion(40_000)
        check(done, done.tag, left.pop(done.tag))
    assert rig.peek() is None, "an answer to nobody"


async def push_all(rig: Rig, requests: list[tuple[int, np.ndarray]], slot: int, longest: int) -> None:
    """Push them through one slot, each when the one before was answered (its slot is free then)."""
    for k, (tag, row) in enumerate(requests):
        if k:
            await rig.seen(requests[k - 1][0])
        assert not any(await rig.push(slot, lines(tag, FEATURES, [int(v) for v in row]), longest))


@cocotb.test()
@cocotb.parametrize(clocks=list(CLOCKS), pause=[0.0, 0.2, 0.6])
async def requests_from_window_and_ring_are_all_answered_as_the_oracle_does(dut, clocks, pause):
    bus_ps, core_ps = CLOCKS[clocks]
    seed = list(CLOCKS).index(clocks) * 10 + int(pause * 10)
    rig = await started(dut, seed, bus_ps=bus_ps, core_ps=core_ps)
    rig.pause(pause, seed)
    data = rows(24, 100 + seed)
    requests = [(rig.tag(), row) for row in data]
    by_slot, by_ring = [requests[k:12:4] for k in range(4)], requests[12:]
    takes = cocotb.start_soon(answer_all(rig, requests))
    pushes = [cocotb.start_soon(push_all(rig, own, slot, (8, 5, 3, 8)[slot])) for slot, own in enumerate(by_slot)]
    for at in range(0, len(by_ring), 3):
        for tag, row in by_ring[at : at + 3]:
            rig.describe(lines(tag, FEATURES, [int(v) for v in row]))
        await rig.ring()
        await rig.until(lambda: rig.csr_read("ring_consumer"), lambda v: v == rig.descriptors, "the ring stands", 40_000)
    for push in pushes:
        await push
    await takes
    await rig.idle()
    assert await rig.csr_read("errors") == 0
    assert [await rig.csr_read(f"count_{n}") for n in ("push", "ring", "completions", "rejected")] == [12, 12, 24, 0]
    assert 0 < await rig.csr_read("last_cycles") <= await rig.csr_read("max_cycles") <= await rig.csr_read("busy_cycles")
    rig.report()


@cocotb.test()
@cocotb.parametrize(idle=[0.0, 0.6], pressure=[0.0, 0.6], width=[1, 2, 4, 8])
async def every_stream_may_pause_on_either_side_at_every_width_of_writes(dut, idle, pressure, width):
    seed = int(idle * 1000 + pressure * 100 + width)
    rig = await started(dut, seed, core_ps=5200)
    rig.pauses(idle, pressure, seed)
    for k, row in enumerate(rows(6, seed)):
        tags = rig.tag(), rig.tag()
        rig.describe(lines(tags[0], FEATURES, [int(v) for v in row]))
        await rig.ring()
        assert not any(await rig.push(k % 4, lines(tags[1], FEATURES, [int(v) for v in row]), width))
        found = [await rig.completion(), await rig.completion()]
        for tag, done in zip(tags, sorted(found, key=lambda d: d.tag), strict=True):
            check(done, tag, row)
    rig.report()


@cocotb.test()
async def the_bytes_of_a_request_may_come_in_any_order_and_twice(dut):
    rig = await started(dut, 7)
    for k, row in enumerate(rows(16, 7)):
        tag = rig.tag()
        data = lines(tag, FEATURES, [int(v) for v in row])
        parts = pieces(data, rig.rng, 1 + k % 8)
        held_back, slot = parts.pop(), k % 4
        for at, part in [*parts, *rig.rng.sample(parts, len(parts) // 2)]:
            assert not int((await rig.window.write(slot * 512 + at, part)).resp)
        await ClockCycles(dut.clk, 40)
        assert rig.peek() is None, "answered before its last byte was there"
        assert not int((await rig.window.write(slot * 512 + held_back[0], held_back[1])).resp)
        check(await rig.completion(), tag, row)
    rig.report()


@cocotb.test()
@cocotb.parametrize(way=["push", "ring"])
async def a_cancelled_request_that_still_waits_is_answered_cancelled_the_others_as_ever(dut, way):
    rig = await started(dut, 16)
    data = rows(4, 16)
    await rig.csr_write("completion_log2", 0)  # all wait, wherever they are
    tags = [rig.tag() for _ in data]
    for k, (tag, row) in enumerate(zip(tags, data, strict=True)):
        request = lines(tag, FEATURES, [int(v) for v in row])
        if way == "push":
            await rig.push(k, request)
        else:
            rig.describe(request)
    if way == "ring":
        await rig.ring()
    for tag in (tags[1], tags[3], rig.tag()):
        await rig.csr_write("cancel_lo", tag)
        await rig.csr_write("cancel_hi", tag >> 32)
    await rig.csr_write("completion_log2", 3)
    for k, (tag, row) in enumerate(zip(tags, data, strict=True)):
        done = await rig.completion()
        if k % 2:
            refused(done, tag, "cancelled")
        else:
            check(done, tag, row)
    assert await rig.csr_read("count_cancelled") == 2 == await rig.csr_read("count_rejected")
    # too late: it was answered
    await rig.csr_write("cancel_lo", tags[0])
    await rig.csr_write("cancel_hi", tags[0] >> 32)
    await ClockCycles(dut.clk, 100)
    assert rig.peek() is None
    rig.report()


@cocotb.test()
async def the_slot_is_free_once_its_phase_can_be_seen(dut):
    rig = await started(dut, 18)
    rig.pause(0.5, 18)
    for row in rows(12, 18):
        tag = rig.tag()
        assert not any(await rig.push(0, lines(tag, FEATURES, [int(v) for v in row])))
        check(await rig.completion(tell=False), tag, row)  # the next push follows at once
        cocotb.start_soon(rig.csr_write("completion_consumer", rig.read_completions))
    await rig.idle()
    rig.report()


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def every_register_answers_and_no_other_address_does(dut, pause):
    rig = await started(dut, 19)
    rig.pause(pause, 19)
    known = {reg.offset: reg for reg in r.REGISTERS}
    for offset in [*range(0, 0x140, 4), 0x200, 0x7FC, 0xFFC]:
        found = await rig.csr.read(offset, 4)
        assert bool(int(found.resp)) == (offset not in known), hex(offset)
        if offset not in known or known[offset].access == r.RO:
            assert int((await rig.csr.write(offset, b"\xff" * 4)).resp) == AxiResp.SLVERR
        elif known[offset].access == r.WO and not known[offset].name.startswith("bank_"):
            assert not int.from_bytes(found.data, "little")
    for name in ("epoch", "ring_base_lo", "ring_base_hi", "completion_base_lo", "cancel_lo", "bank_expected_crc"):
        await rig.csr_write(name, 0xA5A5_0F0F)
        assert int((await rig.csr.write(r.OFFSET[name] + 1, b"\xff")).resp) == AxiResp.SLVERR
        assert await rig.csr_read(name) == 0xA5A5_0F0F, name
    # of a baked core there are no banks
    for name in ("bank_select", "bank_data", "bank_version_lo", "bank_version_hi", "bank_swap"):
        await rig.csr_write(name, 0, refused=True)
        assert await rig.csr_read("errors") == ERRORS["bank_address"]
        await rig.csr_write("errors", ERRORS["bank_address"])
    assert await rig.csr_read("policy_lo") | await rig.csr_read("policy_hi") << 32 == VERSION
    caps = await rig.csr_read("caps_core"), await rig.csr_read("caps_limits")
    assert caps == (1 << 4 | 4 << 12, 8 | 16 << 8 | 2 << 16 | 3 << 24)
    rig.report()


@cocotb.test()
async def address_and_data_of_a_write_may_be_far_apart_either_way(dut):
    rig = await started(dut, 20)
    for late in ("aw", "w"):
        for port in (rig.csr.write_if, rig.window):
            channel = getattr(port, f"{late}_channel")
            channel.pause = True
            row = rows(1, 20)[0]
            tag = rig.tag()
            if port is rig.window:
                task = cocotb.start_soon(rig.push(0, lines(tag, FEATURES, [int(v) for v in row])))
            else:
                task = cocotb.start_soon(rig.csr_write("bank_expected_crc", 77))
            await ClockCycles(dut.clk, 60)
            assert not task.done()
            channel.pause = False
            await task
            if port is rig.window:
                check(await rig.completion(), tag, row)
            else:
                assert await rig.csr_read("bank_expected_crc") == 77
    rig.report()


@cocotb.test()
async def an_interrupt_comes_once_when_armed_for_a_completion_that_is_or_becomes_unread(dut):
    rig = await started(dut, 21)
    rows_ = rows(4, 21)

    async def ask(k: int) -> None:
        tag = rig.tag()
        await rig.push(0, lines(tag, FEATURES, [int(v) for v in rows_[k]]))
        check(await rig.completion(tell=False), tag, rows_[k])
        await rig.idle()

    await rig.csr_write("control", ENABLE | IRQ_ENABLE)
    await ask(0)
    assert rig.interrupts == 0, "not armed"
    await rig.csr_write("completion_arm", 1)  # is unread
    await ask(1)
    assert rig.interrupts == 1
    await rig.csr_write("completion_consumer", rig.read_completions)
    await rig.csr_write("completion_arm", 1)
    await ClockCycles(dut.clk, 50)
    assert rig.interrupts == 1
    await ask(2)  # becomes unread
    await ask(3)
    assert rig.interrupts == 2 == await rig.csr_read("count_interrupts")
    await rig.csr_write("control", ENABLE)
    await rig.csr_write("completion_arm", 1)
    await ClockCycles(dut.clk, 50)
    assert rig.interrupts == 2, "interrupts are off"
    await rig.csr_write("control", ENABLE | IRQ_ENABLE)
    await ClockCycles(dut.clk, 5)
    assert rig.interrupts == 3
    rig.report()


@cocotb.test()
async def a_request_takes_as_many_clocks_as_the_guide_says(dut):
    rig = await started(dut)  # both clocks equal, no pauses, a memory that answers at once
    (row,) = rows(1, 1)
    took = {}
    for way, stored in (("push", (dut.s_push_wvalid, dut.s_push_wready)), ("ring", (dut.s_axil_wvalid, dut.s_axil_wready))):

        async def watch(stored=stored) -> int:
            began = 0
            while not (dut.m_axi_wvalid.value and dut.m_axi_wready.value and dut.m_axi_wstrb.value == 0xF0):
                await RisingEdge(dut.clk)
                if all(s.value for s in stored):
                    began = rig.cycles
            return rig.cycles - began

        watching = cocotb.start_soon(watch())
        tag = rig.tag()
        request = lines(tag, FEATURES, [int(v) for v in row])
        if way == "push":
            await rig.push(0, request, shuffled=False)
        else:
            rig.describe(request)
            await rig.ring()
        took[way] = await watching
        done = await rig.completion()
        check(done, tag, row)
    assert (took, done.cycles) == ({"push": 37, "ring": 54}, 14)
    rig.report()
