"""The device around the baked 8-16-3 core: every path of a request, every error, every reset. Run by tools/hdl_device.py."""

from __future__ import annotations

import os
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp
from device_rig import COMPLETIONS, ENABLE, ERRORS, IRQ_ENABLE, REQUESTS, RING, Done, Rig, lines, pieces

import hdl_cases
from hotpath.policy import oracle
from peregrine_hdl import registers as r

SEED = int(os.environ["HDL_SEED"])
NETWORK = hdl_cases.bench_network([8, 16, 3], SEED)
VERSION = 0x0123_4567_89AB_CDEF
FEATURES = r.KINDS["features"]


def rows(count: int, seed: int) -> np.ndarray:
    """Features of so many requests."""
    return hdl_cases.bench_features(NETWORK, count, seed)


def check(done: Done, tag: int, row: np.ndarray) -> None:
    """The completion is the oracle's answer."""
    logits = oracle.infer(NETWORK, row)
    assert (done.tag, done.name, done.version, done.slot) == (tag, "ok", VERSION, 0), done
    assert done.logits == (*map(int, logits), 0, 0, 0, 0, 0) and done.action == int(oracle.argmax(logits)), (done, logits)
    assert done.outputs == 3 and done.cycles > 0


async def started(dut: Any, seed: int = 0, **clocks: int) -> Rig:
    """A rig with a device that is up."""
    rig = Rig(dut, seed)
    await rig.start(**clocks)
    return rig


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


#: (bus, core) periods in ps: equal, core slower, core faster, hardly different
CLOCKS = {"same": (4000, 4000), "slow": (4000, 11000), "fast": (10000, 3000), "near": (4000, 4002)}


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


def refused(done: Done, tag: int, name: str) -> None:
    """The completion carries this tag and status, and no answer."""
    assert (done.tag, done.name) == (tag, name), done
    assert not any((done.version, done.action, done.outputs, *done.logits)), done


def spoiled(tag: int, row: list[int]) -> dict[str, tuple[bytes, str]]:
    """Requests that cannot be answered, and why."""
    good = lines(tag, FEATURES, row)
    return {
        "kind unknown": (lines(tag, 2, [1] * 8), "bad_kind"), "int8": (lines(tag, 0, [1] * 8), "bad_kind"),
        "count 0": (lines(tag, FEATURES, row, count=0), "bad_count"), "count 65": (lines(tag, FEATURES, row, count=65), "bad_count"),
        "count 7": (lines(tag, FEATURES, row[:7]), "bad_count"), "count 64": (lines(tag, FEATURES, row * 8), "bad_count"),
        "slot 1": (lines(tag, FEATURES, row, slot=1), "no_policy"),
        "reserved": (good[:15] + b"\1" + good[16:], "bad_line"),
        "commit": (good[:60] + b"\xff" + good[61:], "bad_line"),
        "commit of line 3": (lines(tag, FEATURES, row * 8)[:252] + b"\0\0\0\0" + lines(tag, FEATURES, row * 8)[256:], "bad_line"),
        "epoch": (lines(tag + (1 << 32), FEATURES, row), "stale_epoch"),
    }  # fmt: skip


@cocotb.test()
@cocotb.parametrize(way=["push", "ring"])
async def a_request_that_cannot_be_answered_says_why_and_the_next_is_answered(dut, way):
    rig = await started(dut, 11)
    count = 0
    for k, name in enumerate(spoiled(0, [0] * 8)):
        first, second = rows(2, 20 + k)
        tag = rig.tag()
        data, status = spoiled(tag, [int(v) for v in first])[name]
        after = rig.tag()
        if way == "push":
            await rig.push(0, data)
            await rig.push(1, lines(after, FEATURES, [int(v) for v in second]))
        else:
            rig.describe(data)
            rig.describe(lines(after, FEATURES, [int(v) for v in second]))
            await rig.ring()
        refused(await rig.completion(), int.from_bytes(data[:8], "little"), status)
        check(await rig.completion(), after, second)
        count += 1
        assert await rig.csr_read("count_rejected") == count
    await rig.idle()
    assert await rig.csr_read("errors") == 0
    rig.report()


@cocotb.test()
async def a_device_that_is_not_enabled_says_so_and_one_without_completions_waits(dut):
    rig = await started(dut, 12)
    await rig.csr_write("control", 0)
    first, second = rows(2, 12)
    tag = rig.tag()
    await rig.push(2, lines(tag, FEATURES, [int(v) for v in first]))
    refused(await rig.completion(), tag, "disabled")
    await rig.csr_write("control", ENABLE)
    await rig.csr_write("completion_log2", 0)
    tag = rig.tag()
    await rig.push(2, lines(tag, FEATURES, [int(v) for v in second]))
    await ClockCycles(dut.clk, 200)
    assert rig.peek() is None and await rig.csr_read("status") == 3
    await rig.csr_write("completion_log2", 3)
    check(await rig.completion(), tag, second)
    rig.report()


@cocotb.test()
async def a_descriptor_that_is_none_is_answered_by_its_index_and_the_next_is_taken(dut):
    rig = await started(dut, 13)
    row = rows(1, 13)[0]
    values = [int(v) for v in row]
    for wrong in ({"flags": 1}, {"size": 0}, {"size": 60}, {"size": 384}, {"size": 1 << 31}, {"address": REQUESTS + 8}):
        index = rig.descriptors
        rig.describe(lines(rig.tag(), FEATURES, values), **wrong)
        tag = rig.tag()
        rig.describe(lines(tag, FEATURES, values))
        await rig.ring()
        refused(await rig.completion(), 0xFFFFFFFF << 32 | index, "bad_descriptor")
        check(await rig.completion(), tag, row)
        assert await rig.csr_read("errors") == ERRORS["descriptor"]
        await rig.csr_write("errors", ERRORS["descriptor"])
        assert await rig.csr_read("errors") == 0
    # a length that is none of this request's: its tag is known by then
    for size, count in ((128, 8), (64, 12), (320, 40)):
        tag = rig.tag()
        rig.describe(lines(tag, FEATURES, values * 8, count=count), size=size)
        await rig.ring()
        refused(await rig.completion(), tag, "bad_descriptor")
        assert await rig.csr_read("errors") == ERRORS["descriptor"]
        await rig.csr_write("errors", ERRORS["descriptor"])
    assert await rig.csr_read("count_rejected") == 9 and await rig.csr_read("count_ring") == 15
    rig.report()


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4])
async def a_bus_error_ends_in_a_status_and_an_error_bit_never_in_silence(dut, pause):
    rig = await started(dut, 14)
    rig.pause(pause, 14)
    row = rows(1, 14)[0]
    values, errors = [int(v) for v in row], 0
    for where in ("descriptor", "line 0", "line 1", "line 2"):
        index, tag, after = rig.descriptors, rig.tag(), rig.tag()
        at = RING + 16 * (index % 8) if where == "descriptor" else REQUESTS + 512 * (index % 8) + 64 * int(where[-1])
        rig.host.bad = [(at, at + 7)]
        rig.describe(lines(tag, FEATURES, values * 5))
        rig.describe(lines(after, FEATURES, values))
        await rig.ring()
        refused(await rig.completion(), tag if where in ("line 1", "line 2") else 0xFFFFFFFF << 32 | index, "dma_error")
        check(await rig.completion(), after, row)
        errors += 1
        assert await rig.csr_read("errors") == ERRORS["dma_read"] and await rig.csr_read("count_dma_errors") >= errors
        await rig.csr_write("errors", 0xFFFFFFFF)
    # the device cannot tell anybody of a completion that could not be written, but it goes on
    before = await rig.csr_read("count_dma_errors")
    where = COMPLETIONS + 64 * (rig.read_completions % 8)
    rig.host.bad = [(where, where + 63)]
    await rig.push(0, lines(rig.tag(), FEATURES, values))
    await rig.until(lambda: rig.csr_read("completion_producer"), lambda v: v == rig.read_completions + 1, "it stands")
    assert await rig.csr_read("errors") == ERRORS["dma_write"] and await rig.csr_read("count_dma_errors") == before + 2
    rig.read_completions, rig.host.bad = rig.read_completions + 1, []
    await rig.csr_write("completion_consumer", rig.read_completions)
    tag = rig.tag()
    await rig.push(0, lines(tag, FEATURES, values))
    check(await rig.completion(), tag, row)
    rig.report()


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.3])
async def a_full_completion_ring_waits_says_so_and_goes_on(dut, pause):
    rig = await started(dut, 15)
    rig.pause(pause, 15)
    await rig.csr_write("completion_log2", 1)
    rig.completion_log2 = 1
    data = rows(6, 15)
    tags = [rig.tag() for _ in data]
    for tag, row in zip(tags, data, strict=True):
        rig.describe(lines(tag, FEATURES, [int(v) for v in row]))
    await rig.ring()
    await rig.until(lambda: rig.csr_read("errors"), lambda v: v == ERRORS["completion_full"], "it is never full")
    await ClockCycles(dut.clk, 100)
    assert await rig.csr_read("completion_producer") == 2
    for tag, row in zip(tags, data, strict=True):
        check(await rig.completion(), tag, row)
    await rig.csr_write("errors", ERRORS["completion_full"])
    assert await rig.csr_read("errors") == 0
    assert await rig.csr_read("completion_producer") == 6
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
async def a_push_write_outside_the_slots_or_to_a_slot_in_use_is_refused(dut):
    rig = await started(dut, 17)
    for address in (320, 511, 4 * 512, 0xFF8):
        assert int((await rig.window.write(address, b"\1")).resp) == AxiResp.SLVERR
        assert await rig.csr_read("errors") == ERRORS["push_address"]
        await rig.csr_write("errors", ERRORS["push_address"])
    await rig.csr_write("completion_log2", 0)
    first, second = rows(2, 17)
    tag = rig.tag()
    data = lines(tag, FEATURES, [int(v) for v in first])
    await rig.push(1, data)
    assert int((await rig.window.write(512, b"\xff" * 8)).resp) == AxiResp.SLVERR
    assert int((await rig.window.write(512 + 64, b"\xff")).resp) == AxiResp.SLVERR
    assert await rig.csr_read("errors") == ERRORS["push_address"]
    await rig.csr_write("completion_log2", 3)
    check(await rig.completion(), tag, first)
    tag = rig.tag()
    assert not any(await rig.push(1, lines(tag, FEATURES, [int(v) for v in second])))
    check(await rig.completion(), tag, second)
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
async def a_doorbell_more_than_a_ring_ahead_is_refused_and_changes_nothing(dut):
    rig = await started(dut, 22)
    await rig.csr_write("ring_producer", 9, refused=True)
    assert await rig.csr_read("errors") == ERRORS["ring_overrun"] and await rig.csr_read("ring_producer") == 0
    await rig.csr_write("errors", ERRORS["ring_overrun"])
    row = rows(1, 22)[0]
    tags = [rig.tag() for _ in range(8)]
    for tag in tags:
        rig.describe(lines(tag, FEATURES, [int(v) for v in row]))
    await rig.ring()
    for tag in tags:
        check(await rig.completion(), tag, row)
    await rig.csr_write("ring_producer", 17, refused=True)
    rig.report()
