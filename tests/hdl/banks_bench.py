"""Weight banks from the driver's side, on the stand-in core: load, refusal, swap under load. Run by tools/hdl_device.py."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, with_timeout

from device_rig import ENABLE, ERRORS, RESET, Done, Rig, lines
from peregrine_hdl import registers as r
from stand_in import PARITY_WORD, WORDS

INT8 = r.KINDS["int8"]


def image(seed: int) -> list[int]:
    """A bank's words: small, so that sums do not wrap."""
    rng = random.Random(seed)
    return [rng.randrange(1 << 20) for _ in range(WORDS)]


def crc(words: list[int]) -> int:
    """zlib's, of the words little endian."""
    return zlib.crc32(struct.pack(f"<{len(words)}I", *words))


def version_of(seed: int) -> int:
    """Two words that differ from bank to bank."""
    return (seed + 1) << 32 | ~seed & 0xFFFFFFFF


async def load(rig: Rig, bank: int, words: list[int], version: int) -> None:
    """Write a bank and its version, and wait until the core has the words."""
    await rig.csr_write("bank_select", bank)
    for word in words:
        await rig.csr_write("bank_data", word)
    await rig.csr_write("bank_version_lo", version)
    await rig.csr_write("bank_version_hi", version >> 32)
    await rig.csr_write("bank_expected_words", len(words))
    await rig.csr_write("bank_expected_crc", crc(words))
    await rig.until(lambda: rig.csr_read("bank_words"), lambda v: v == len(words), "words are missing")


async def swap(rig: Rig, bank: int) -> None:
    """Ask for it, and wait until it is done or refused."""
    await rig.csr_write("bank_swap", bank)
    await rig.until(lambda: rig.csr_read("status"), lambda v: not v & 8, "the swap never ends", 40_000)


def check(done: Done, tag: int, values: list[int], banks: dict[int, list[int]]) -> None:
    """All of the answer comes from one bank, the one whose version it carries. Words are four int8 each."""
    body = struct.pack(f"<{len(values)}b", *values)
    total = sum(struct.unpack(f"<{len(body) // 4}I", body))
    assert (done.tag, done.name) == (tag, "ok"), done
    want = tuple((w + total + (1 << 31)) % (1 << 32) - (1 << 31) for w in banks[done.version])
    assert done.logits == want and done.outputs == WORDS and done.action == 7, (done, want)


async def started(dut: Any, seed: int, **clocks: int) -> Rig:
    """A rig with a device that is up."""
    rig = Rig(dut, seed)
    await rig.start(**clocks)
    return rig


async def ask(rig: Rig, slot: int = 0) -> tuple[int, list[int]]:
    """Push a request of some int8 inputs: (tag, inputs)."""
    values = [rig.rng.randint(-128, 127) for _ in range(4 * rig.rng.randint(1, 16))]
    tag = rig.tag()
    assert not any(await rig.push(slot, lines(tag, INT8, values)))
    return tag, values


@cocotb.test()
@cocotb.parametrize(core_ps=[4000, 30000, 3000])
async def a_bank_is_loaded_and_answers_once_it_is_swapped_in(dut, core_ps):
    rig = await started(dut, 1, core_ps=core_ps)
    tag, _ = await ask(rig)
    done = await rig.completion()
    assert (done.tag, done.name) == (tag, "no_policy") and await rig.csr_read("bank_active") == 0
    banks = {version_of(k): image(k) for k in range(4)}
    for k in range(4):
        await load(rig, k % 2, image(k), version_of(k))
        assert await rig.csr_read("bank_crc") == crc(image(k))
        await swap(rig, k % 2)
        assert await rig.csr_read("bank_active") == 1 << 31 | k % 2 and await rig.csr_read("count_swaps") == k + 1
        assert await rig.csr_read("policy_lo") | await rig.csr_read("policy_hi") << 32 == version_of(k)
        asked = await ask(rig)
        done = await rig.completion()
        assert done.version == version_of(k)
        check(done, *asked, banks)
    assert await rig.csr_read("errors") == 0
    rig.report()


@cocotb.test()
async def a_swap_is_refused_unless_crc_and_count_are_those_the_driver_expects(dut):
    rig = await started(dut, 2)
    banks = {version_of(0): image(0), version_of(1): image(1)}
    await load(rig, 0, image(0), version_of(0))
    await swap(rig, 0)
    await load(rig, 1, image(1), version_of(1))
    for register, wrong, right in (("bank_expected_crc", crc(image(1)) ^ 1, crc(image(1))), ("bank_expected_words", WORDS - 1, WORDS)):
        await rig.csr_write(register, wrong)
        await swap(rig, 1)
        assert await rig.csr_read("errors") == ERRORS["bank_crc"] and await rig.csr_read("bank_active") == 1 << 31
        await rig.csr_write("errors", ERRORS["bank_crc"])
        asked = await ask(rig)
        done = await rig.completion()
        assert done.version == version_of(0)
        check(done, *asked, banks)
        await rig.csr_write(register, right)
    # what the core itself refuses: a bank that is not whole; and one that nothing was written to
    await load(rig, 1, image(1)[:-1], 5)
    await swap(rig, 1)
    assert await rig.csr_read("errors") == ERRORS["bank_crc"]
    await rig.csr_write("errors", ERRORS["bank_crc"])
    await load(rig, 1, [], 5)
    await swap(rig, 1)
    assert await rig.csr_read("errors") == ERRORS["bank_crc"] and await rig.csr_read("count_swaps") == 1
    rig.report()


@cocotb.test()
async def the_answering_bank_cannot_be_written(dut):
    rig = await started(dut, 3)
    await rig.csr_write("bank_data", 1, refused=True)  # no bank was selected
    await rig.csr_write("errors", 0xFFFFFFFF)
    await load(rig, 0, image(0), version_of(0))
    await rig.csr_write("bank_swap", 1, refused=True)  # not the selected one
    await rig.csr_write("errors", 0xFFFFFFFF)
    await swap(rig, 0)
    for select in (False, True):
        if select:
            await rig.csr_write("bank_select", 0)
        for name in ("bank_data", "bank_version_lo", "bank_version_hi", "bank_swap"):
            await rig.csr_write(name, 0, refused=True)
            assert await rig.csr_read("errors") == ERRORS["bank_address"], name
            await rig.csr_write("errors", 0xFFFFFFFF)
    await rig.csr_write("bank_select", 2, refused=True)
    await rig.csr_write("errors", 0xFFFFFFFF)
    asked = await ask(rig)
    check(await rig.completion(), *asked, {version_of(0): image(0)})
    # beyond the image: the core says so
    await rig.csr_write("bank_select", 1)
    for word in range(WORDS + 1):
        await rig.csr_write("bank_data", word)
    await rig.until(lambda: rig.csr_read("errors"), lambda v: v == ERRORS["bank_address"], "nobody minds")
    rig.report()


@cocotb.test()
@cocotb.parametrize(core_ps=[4000, 11000, 2600], pause=[0.0, 0.4])
async def swaps_under_load_never_mix_two_versions_in_one_answer(dut, core_ps, pause):
    rig = await started(dut, int(core_ps * (1 + pause)), core_ps=core_ps)
    rig.pause(pause, core_ps)
    await rig.bring_up(completion_log2=1)
    banks: dict[int, list[int]] = {}
    asked: dict[int, list[int]] = {}
    finished = False

    async def requests(slot: int) -> None:
        while not finished:
            tag, values = await ask(rig, slot)
            asked[tag] = values
            await rig.seen(tag)

    order: list[int] = []

    async def answers() -> None:
        while True:
            done = await rig.completion(40_000)
            while done.tag not in asked:  # its push returns a moment later
                await ClockCycles(dut.clk, 1)
            check(done, done.tag, asked[done.tag], banks)
            order.append(done.version)
            if rig.rng.random() < 0.3:  # answers pile up behind a full ring, across a swap too
                await ClockCycles(dut.clk, 300)

    async def all_checked() -> None:
        while len(order) < len(asked):
            await ClockCycles(dut.clk, 1)

    banks[version_of(0)] = image(0)
    await load(rig, 0, image(0), version_of(0))
    await swap(rig, 0)
    tasks = [cocotb.start_soon(requests(slot)) for slot in range(4)]
    taker = cocotb.start_soon(answers())
    for k in range(1, 9):
        await ClockCycles(dut.clk, rig.rng.randrange(200))
        banks[version_of(k)] = image(k)
        await load(rig, k % 2, image(k), version_of(k))
        await swap(rig, k % 2)
    finished = True
    for task in tasks:
        await task  # each has seen its last answer
    await with_timeout(cocotb.start_soon(all_checked()), 100, "us")
    taker.cancel()
    assert order == sorted(order) and len(set(order)) >= 3, "versions came in the order of the swaps"
    assert await rig.csr_read("count_swaps") == 9 and await rig.csr_read("errors") & ~ERRORS["completion_full"] == 0
    rig.report()


@cocotb.test()
async def an_answer_that_waits_keeps_its_version_whatever_its_bank_becomes(dut):
    rig = await started(dut, 8)
    await rig.bring_up(completion_log2=1)
    await load(rig, 0, image(0), version_of(0))
    await swap(rig, 0)
    asked = [await ask(rig, slot) for slot in range(4)]  # two are written, two wait behind the full ring
    await rig.until(lambda: rig.csr_read("errors"), lambda v: v == ERRORS["completion_full"], "it is never full")
    await load(rig, 1, image(1), version_of(1))
    await swap(rig, 1)
    await load(rig, 0, image(2), version_of(2))
    for tag, values in asked:
        done = await rig.completion()
        assert done.version == version_of(0)
        check(done, tag, values, {version_of(0): image(0)})
    await rig.idle()
    rig.report()


@cocotb.test()
async def parity_errors_are_counted_and_their_answers_say_so(dut):
    rig = await started(dut, 5)
    await load(rig, 0, [*image(0)[:-1], PARITY_WORD], version_of(0))
    await swap(rig, 0)
    for k in range(3):
        tag, _ = await ask(rig)
        done = await rig.completion()
        assert (done.tag, done.name, done.version, done.logits) == (tag, "parity", 0, (0,) * 8)
        await ClockCycles(dut.clk, 20)
        assert await rig.csr_read("count_parity") == k + 1 and await rig.csr_read("errors") == ERRORS["parity"]
        await rig.csr_write("errors", 0xFFFFFFFF)
    rig.report()


@cocotb.test()
async def without_a_core_clock_nothing_waits_for_ever_and_a_reset_ends_once_it_is_back(dut):
    rig = await started(dut, 6)
    await rig.csr_write("bank_select", 0)
    rig.core_clock.stop()
    refusals = 0
    for word in range(40):
        refusals += bool(int((await rig.csr.write(r.OFFSET["bank_data"], struct.pack("<I", word))).resp))
    assert refusals and await rig.csr_read("errors") == ERRORS["bank_address"]
    await rig.csr_write("control", RESET)
    await ClockCycles(dut.clk, 500)
    assert await rig.csr_read("status") == 4
    rig.core_clock.start()
    await rig.settled()
    await rig.bring_up()
    await load(rig, 0, image(1), version_of(1))
    await swap(rig, 0)
    asked = await ask(rig)
    check(await rig.completion(), *asked, {version_of(1): image(1)})
    rig.report()


@cocotb.test()
async def a_reset_forgets_the_banks_and_they_can_be_loaded_anew(dut):
    rig = await started(dut, 7)
    await load(rig, 0, image(0), version_of(0))
    await swap(rig, 0)
    await rig.csr_write("control", RESET)
    await rig.settled()
    assert await rig.csr_read("bank_active") == 0
    rig.epoch += 1
    await rig.bring_up(control=ENABLE)
    tag, _ = await ask(rig)
    done = await rig.completion()
    assert (done.tag, done.name) == (tag, "no_policy")
    await load(rig, 0, image(1), version_of(1))
    await swap(rig, 0)
    asked = await ask(rig)
    check(await rig.completion(), *asked, {version_of(1): image(1)})
    rig.report()
