"""Is a device sound? Six levels, each resting on the one before; every answer is compared with the CPU kernel's."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hotpath.device import Device, DeviceError
from hotpath.policy import oracle
from hotpath.policy.oracle import Network
from hotpath.policy.random_network import random_features, random_network

SHAPES = ((8, 16, 3), (22, 32, 16, 5), (1, 1), (64, 40, 16))
ROWS = 12


class Unsound(Exception):
    """What a level found wrong."""


@dataclass(frozen=True)
class Level:
    """One level's outcome; `skipped` says what the device does not have, `detail` what was done or found."""

    name: str
    ok: bool
    detail: str
    skipped: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


class Skip(Exception):
    """This device has no such thing."""


def selftest(device: Device, seed: int = 0) -> Iterator[Level]:
    """Each level as it is done; the first that fails is the last. The device must be freshly opened and loadable."""
    for name, level in LEVELS:
        try:
            yield Level(name, True, level(device, seed))
        except Skip as skip:
            yield Level(name, True, str(skip), skipped=True)
        except (Unsound, DeviceError) as err:
            yield Level(name, False, str(err))
            return


def _networks(seed: int) -> list[Network]:
    rng = np.random.default_rng(seed)
    made = (random_network(rng, shape, shape[0]) for shape in SHAPES)
    return [Network(np.arange(len(n.quant_m), dtype=np.uint16), n.quant_m, n.quant_s, n.layers) for n in made]


def _require(good: bool, text: str) -> None:
    if not good:
        raise Unsound(text)


def _registers(device: Device, seed: int) -> str:
    caps = device.caps
    if "registers" not in caps["flags"]:
        raise Skip("no registers")
    from hotpath._device import lib

    expected = {"id": (lib.PGD_REG_ID, lib.PGD_DEVICE_ID), "map_hash": (lib.PGD_REG_MAP_HASH, lib.PGD_MAP_HASH),
                "layout_version": (lib.PGD_REG_LAYOUT_VERSION, lib.PGD_LAYOUT_VERSION),
                "epoch": (lib.PGD_REG_EPOCH, device.stats()["epoch"])}  # fmt: skip
    for name, (offset, value) in expected.items():
        found = device.register(offset)
        _require(found == value, f"{name}: found 0x{found:08X}, expected 0x{value:08X}")
    _require(device.register(lib.PGD_REG_ERRORS) == 0, "errors are set on a fresh device")
    return f"map 0x{lib.PGD_MAP_HASH:08X}, epoch {expected['epoch'][1]}, no errors"


def _bank(device: Device, seed: int) -> str:
    if not device.caps["banks"]:
        raise Skip("the policies are baked in")
    networks = _networks(seed)[: device.caps["slots"]]
    device.load(0, networks, version=seed + 1)
    device.swap(0)
    device.load(1, networks, version=seed + 2)
    device.swap(1)
    try:
        device.swap(0)
    except DeviceError as err:
        _require(err.name == "state", f"a swap to a bank that was not loaded: {err}")
    else:
        raise Unsound("swapped to a bank that was not loaded")
    return f"{len(networks)} policies into both banks, each checked by its CRC"


def _parity(device: Device, seed: int) -> str:
    if not device.caps["banks"]:
        raise Skip("what is baked in is not known here")
    networks = _networks(seed)[: device.caps["slots"]]
    vectors = 0
    with Device("cpu") as cpu:
        cpu.load(0, networks, version=seed + 2)
        cpu.swap(0)
        rng = np.random.default_rng(seed)
        for slot, network in enumerate(networks):
            n = len(network.quant_m)
            features = random_features(rng, ROWS, n)
            logits = oracle.infer(network, features)
            for row, values in zip(features, logits, strict=True):
                _same(device.ask(row, slot), cpu.ask(row, slot), tuple(int(v) for v in values[:8]))
            for row in rng.integers(-128, 128, (ROWS, n), np.int8):
                _same(device.ask(row, slot), cpu.ask(row, slot), None)
            vectors += 2 * ROWS
    return f"{vectors} vectors equal to the CPU kernel's"


def _same(found: Any, wanted: Any, logits: tuple[int, ...] | None) -> None:
    same = (found.status, found.logits, found.action, found.version, found.slot) == (
        wanted.status, wanted.logits, wanted.action, wanted.version, wanted.slot)  # fmt: skip
    _require(same, f"slot {found.slot}: found {found.status} {found.logits}, the CPU kernel says {wanted.logits}")
    _require(logits in (None, found.logits), f"slot {found.slot}: found {found.logits}, the oracle says {logits}")


def _rings(device: Device, seed: int) -> str:
    depth = device.caps["in_flight"]
    row = np.zeros(SHAPES[0][0], np.int32)
    count = 0
    for _ in range(5):  # the completion ring goes round twice
        tags = [device.submit(row) for _ in range(depth)]
        try:
            device.submit(row)
        except DeviceError as err:
            _require(err.name == "would_block", f"one too many in flight: {err}")
        else:
            raise Unsound(f"took more than the {depth} requests it can hold")
        answers = [device.wait() for _ in tags]
        _require([a.tag for a in answers] == tags, "answers came in another order than requests went")
        _require(all(a.status == "ok" for a in answers), "an answer that is not ok")
        count += depth
    _require(device.poll() is None, "an answer to no request")
    return f"{count} requests, {depth} in flight, in order"


def _interrupts(device: Device, seed: int) -> str:
    if "interrupts" not in device.caps["flags"]:
        raise Skip("no interrupt")
    row = np.zeros(SHAPES[0][0], np.int32)
    fd = device.arm()
    _require(not select.select([fd], [], [], 0)[0], "an interrupt before there was an answer")
    device.ask(row)
    _require(bool(select.select([fd], [], [], 1.0)[0]), "no interrupt came for an answer")
    count = int.from_bytes(os.read(fd, 8), "little")
    _require(count == 1, f"{count} interrupts for one answer")
    return "one armed, one raised"


def _cancel_and_reset(device: Device, seed: int) -> str:
    row = np.zeros(SHAPES[0][0], np.int32)
    tags = [device.submit(row) for _ in range(device.caps["in_flight"])]
    device.cancel(tags[-1])
    statuses = {a.tag: a.status for a in (device.wait() for _ in tags)}
    _require(set(statuses) == set(tags), "a cancelled request or its neighbour was not answered")
    _require(statuses[tags[-1]] in ("ok", "cancelled"), f"a cancelled request is {statuses[tags[-1]]}")
    epoch = device.stats()["epoch"]
    old = [device.submit(row) for _ in tags]
    device.reset()
    _require(device.stats()["epoch"] != epoch, "the epoch did not change")
    _require(device.poll() is None, "an old request was answered after the reset")
    if device.caps["banks"]:
        device.load(0, _networks(seed)[:1], version=1)
        device.swap(0)
    answer = device.ask(row)
    _require(answer.tag not in old and answer.tag >> 32 == device.stats()["epoch"], "an old tag came back")
    return f"cancelled was answered {statuses[tags[-1]]}; {len(old)} requests forgotten"


LEVELS: tuple[tuple[str, Callable[[Device, int], str]], ...] = (
    ("registers", _registers), ("bank", _bank), ("parity", _parity), ("rings", _rings), ("interrupts", _interrupts),
    ("cancel and reset", _cancel_and_reset),
)  # fmt: skip
