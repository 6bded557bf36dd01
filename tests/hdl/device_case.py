"""What the device's benches share: the baked 8-16-3 network, and what a completion of it must be."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import hdl_cases
from device_rig import Done, Rig
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


#: (bus, core) periods in ps: equal, core slower, core faster, hardly different
CLOCKS = {"same": (4000, 4000), "slow": (4000, 11000), "fast": (10000, 3000), "near": (4000, 4002)}


def refused(done: Done, tag: int, name: str) -> None:
    """The completion carries this tag and status, and no answer."""
    assert (done.tag, done.name) == (tag, name), done
    assert not any((done.version, done.action, done.outputs, *done.logits)), done
