"""The device around the baked 8-16-3 core: every path of a request, every error, every reset. Run by tools/hdl_device.py."""

from __future__ import annotations

import os
from typing import Any

import cocotb
import numpy as np
from device_rig import Done, Rig, lines

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
