"""The streaming core under cocotb: stalls on both sides, reset at any time, corner values. Run by tools/hdl.py.

The network comes from HDL_SEED and HDL_SIZES; its answers from the numpy oracle. Signals are driven on the falling edge
and read just before the rising edge, so that what is read is what the edge takes.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge

import hdl_cases
from hotpath.policy.oracle import Voter
from peregrine_hdl import payload

SEED = int(os.environ["HDL_SEED"])
SIZES = [int(v) for v in os.environ["HDL_SIZES"].split("-")]
LATENCY = int(os.environ["HDL_CYCLES"])
NETWORK = hdl_cases.bench_network(SIZES, SEED)
COLUMNS = list(range(SIZES[0]))
IN, OUT = payload.in_dtype(SIZES[0]), payload.out_dtype(1, SIZES[-1])

#: how often a side pauses: the chance a cycle, or a pattern of bursts
PAUSES: dict[str, Any] = {
    "never": lambda rng, cycle: False,
    "sometimes": lambda rng, cycle: rng.random() < 0.25,
    "mostly": lambda rng, cycle: rng.random() < 0.85,
    "bursts": lambda rng, cycle: cycle % 40 < 23,
}


def make_rows(count: int, seed: int) -> np.ndarray:
    """Random inputs; one in eight asks nobody."""
    rows = np.zeros(count, IN)
    rows["features"] = hdl_cases.bench_features(NETWORK, count, seed)
    rows["ask"] = np.where(np.arange(count) % 8 == 7, 0, 1)
    return rows


def answers(rows: np.ndarray) -> list[bytes]:
    """What the oracle says, as the bytes of the output payload."""
    return [row.tobytes() for row in payload.expected((NETWORK,), (Voter(),), 0, COLUMNS, rows)]


class Rig:
    """A clock, a reset, and one loop that plays source and sink."""

    def __init__(self, dut: Any) -> None:
        self.dut, self.cycles, self.vectors = dut, 0, 0

    async def start(self) -> None:
        """Clock on, both sides idle, one cycle of reset."""
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        self.dut.i_valid.value, self.dut.o_ready.value, self.dut.i_payload.value = 0, 0, 0
        await self.reset()

    async def reset(self) -> None:
        """One clock edge with reset high."""
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0
        self.dut.i_valid.value = 0

    async def play(self, rows: np.ndarray, idle: str = "never", pressure: str = "never", seed: int = 0,
                   cycles: int | None = None) -> list[tuple[int, bytes]]:
        """Send the rows and take what comes, as (cycle, payload); stops when all came, or after so many cycles."""
        rng, taken, sent, offered = random.Random(seed), [], 0, False
        waiting: bytes | None = None
        limit = cycles if cycles is not None else 40 * len(rows) + 400
        for cycle in range(limit):
            offered = sent < len(rows) and (offered or not PAUSES[idle](rng, cycle))
            self.dut.i_valid.value = int(offered)
            # between two offers the payload is garbage, which must not come out anywhere
            raw = rows[sent].tobytes() if offered else bytes(rng.randrange(256) for _ in range(IN.itemsize))
            self.dut.i_payload.value = int.from_bytes(raw, "little")
            ready = not PAUSES[pressure](rng, cycle)
            self.dut.o_ready.value = int(ready)
            await ReadOnly()
            valid = bool(self.dut.o_valid.value)
            accepted = offered and bool(self.dut.i_ready.value)
            if valid:
                found = int(self.dut.o_payload.value).to_bytes(OUT.itemsize, "little")
                assert waiting in (None, found), "an output that was not taken changed"
                waiting = None if ready else found
                if ready:
                    taken.append((cycle, found))
            else:
                assert waiting is None, "an output that was not taken is gone"
            await RisingEdge(self.dut.clk)
            self.cycles += 1
            if accepted:
                sent, offered = sent + 1, False
            await FallingEdge(self.dut.clk)
            if cycles is None and len(taken) == len(rows):
                break
        self.vectors += len(taken)
        return taken

    def check(self, taken: list[tuple[int, bytes]], rows: np.ndarray) -> None:
        """All answers, in order, bit for bit."""
        want = answers(rows)
        assert len(taken) == len(want), f"{len(taken)} answers to {len(want)} inputs"
        for k, ((_, found), expected) in enumerate(zip(taken, want, strict=True)):
            assert found == expected, (k, rows[k], np.frombuffer(found, OUT), np.frombuffer(expected, OUT))

    def report(self) -> None:
        """Adds this test's counts to the file the table is made of."""
        file = Path(os.environ["HDL_REPORT"])
        total = json.loads(file.read_text()) if file.exists() else {"vectors": 0, "cycles": 0}
        file.write_text(json.dumps({"vectors": total["vectors"] + self.vectors, "cycles": total["cycles"] + self.cycles}))


async def started(dut: Any) -> Rig:
    """A rig out of reset."""
    rig = Rig(dut)
    await rig.start()
    return rig


@cocotb.test()
@cocotb.parametrize(idle=list(PAUSES), pressure=list(PAUSES))
async def every_answer_comes_once_and_in_order_however_both_sides_pause(dut, idle, pressure):
    rig = await started(dut)
    names = list(PAUSES)
    rows = make_rows(200, 1000 + 16 * names.index(idle) + names.index(pressure))
    rig.check(await rig.play(rows, idle, pressure, seed=SEED), rows)
    rig.report()


@cocotb.test()
async def one_answer_a_clock_after_the_stated_latency(dut):
    rig = await started(dut)
    rows = make_rows(300, 1)
    taken = await rig.play(rows)
    rig.check(taken, rows)
    assert [cycle for cycle, _ in taken] == list(range(LATENCY, LATENCY + len(rows)))
    rig.report()


@cocotb.test()
async def corner_values_are_answered_as_the_oracle_does(dut):
    rig = await started(dut)
    special = [hdl_cases.corners(NETWORK, f)[1] for f in COLUMNS]
    rows = make_rows(2 * max(map(len, special)) + 3, 2)
    rng = np.random.default_rng(3)
    for f, values in enumerate(special):  # each corner once beside random ones, once beside corners
        rows["features"][: len(values), f] = values
        rows["features"][max(map(len, special)):, f] = rng.choice(np.array(values, np.int64), len(rows) - max(map(len, special)))
    rows["features"][-1], rows["features"][-2], rows["features"][-3] = 0, hdl_cases.INT32_MIN, hdl_cases.INT32_MAX
    rig.check(await rig.play(rows), rows)
    rig.report()


@cocotb.test()
async def a_blocked_output_stops_the_input_and_loses_nothing(dut):
    rig = await started(dut)
    rows = make_rows(3 * LATENCY + 20, 4)
    dut.o_ready.value = 0
    accepted = 0
    for _ in range(4 * LATENCY + 40):  # nobody takes: the store at the end fills, then nothing is let in
        dut.i_valid.value = 1
        dut.i_payload.value = int.from_bytes(rows[accepted].tobytes(), "little")
        await ReadOnly()
        took = bool(dut.i_ready.value)
        await FallingEdge(dut.clk)
        accepted += took
    assert accepted == LATENCY + 1
    dut.i_valid.value = 0
    taken = await rig.play(rows[accepted:], cycles=2 * len(rows))  # what was kept comes first
    rig.check(taken, rows)
    rig.report()


@cocotb.test()
@cocotb.parametrize(after=[1, 2, LATENCY - 1, LATENCY, LATENCY + 3, 60])
async def a_reset_in_mid_flight_forgets_what_was_under_way(dut, after):
    rig = await started(dut)
    await rig.play(make_rows(80, 5), "sometimes", "sometimes", seed=after, cycles=after)
    await rig.reset()
    await ReadOnly()
    assert not dut.o_valid.value
    await FallingEdge(dut.clk)
    rows = make_rows(60, 6 + after)
    rig.check(await rig.play(rows, "sometimes", "bursts", seed=after), rows)
    rig.report()
