"""What the device says when a request, a descriptor, a bus or a write is bad, and that it goes on. Run by tools/hdl_device.py."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp

from device_case import FEATURES, check, refused, rows, started
from device_rig import (
    BAD_PAGE,
    COMPLETIONS,
    ENABLE,
    ERRORS,
    REQUESTS,
    RING,
    lines,
)


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
        assert await rig.csr_read("count_rejected") == k + 1
    await rig.idle()
    assert await rig.csr_read("errors") == 0
    rig.report()


@cocotb.test()
@cocotb.parametrize(seed=[1, 2, 3])
async def good_and_bad_requests_in_any_mixture_each_get_the_answer_that_is_theirs(dut, seed):
    rig = await started(dut, seed, core_ps=rig_period(seed))
    rig.pause(0.2, seed)
    rig.host.bad = [(BAD_PAGE, BAD_PAGE + 4095)]
    wanted: dict[int, tuple[str, np.ndarray]] = {}
    data = rows(80, 500 + seed)

    def request(row: np.ndarray) -> tuple[int, bytes]:
        tag, values = rig.tag(), [int(v) for v in row]
        name = rig.rng.choice([*spoiled(0, [0] * 8), *["good"] * 10])
        bytes_, status = spoiled(tag, values)[name] if name != "good" else (lines(tag, FEATURES, values), "ok")
        told = int.from_bytes(bytes_[:8], "little")
        wanted[told] = status, row
        return told, bytes_

    async def pushes() -> None:
        for row in data[:40]:
            tag, bytes_ = request(row)
            assert not any(await rig.push(0, bytes_))
            await rig.seen(tag)

    async def rings() -> None:
        for row in data[40:]:
            tag, bytes_ = request(row)
            await rig.until(lambda: rig.csr_read("ring_consumer"), lambda v: rig.descriptors - v < 7, "it stands", 40_000)
            if rig.rng.random() < 0.2:
                wanted[0xFFFFFFFF << 32 | rig.descriptors] = "dma_error", wanted.pop(tag)[1]
                rig.describe(bytes_, address=BAD_PAGE)
            else:
                rig.describe(bytes_)
            await rig.ring()

    tasks = [cocotb.start_soon(pushes()), cocotb.start_soon(rings())]
    for _ in data:
        done = await rig.completion(40_000)
        status, row = wanted.pop(done.tag)
        if status == "ok":
            check(done, done.tag, row)
        else:
            refused(done, done.tag, status)
    for task in tasks:
        await task
    await rig.idle()
    assert rig.peek() is None and not wanted
    rig.report()


def rig_period(seed: int) -> int:
    """A core clock of this seed's own, in ps."""
    return 2 * (900 + 1777 * seed % 5000)


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
    values = [int(v) for v in row]
    for errors, where in enumerate(("descriptor", "line 0", "line 1", "line 2"), 1):
        index, tag, after = rig.descriptors, rig.tag(), rig.tag()
        at = RING + 16 * (index % 8) if where == "descriptor" else REQUESTS + 512 * (index % 8) + 64 * int(where[-1])
        rig.host.bad = [(at, at + 7)]
        rig.describe(lines(tag, FEATURES, values * 5))
        rig.describe(lines(after, FEATURES, values))
        await rig.ring()
        refused(await rig.completion(), tag if where in ("line 1", "line 2") else 0xFFFFFFFF << 32 | index, "dma_error")
        check(await rig.completion(), after, row)
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
