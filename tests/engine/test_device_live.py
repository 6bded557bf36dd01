"""A live engine whose decisions a device computes: traded, swapped, killed, resumed, verified without one."""

from __future__ import annotations

import json
import signal
import struct
from pathlib import Path
from typing import Any

import pytest
from rig import BANK_SWAP, DEVICE, RECOVERED, LiveEngine, constant_policy, records, until, verify

from orchestrator.run import plan

ANSWERED, LOADING = 0, 6
PATIENT_NS = 1_000_000_000  # the longest deadline there is: nothing of what is tested here is a device that is late
JOIN_BID, JOIN_ASK = 1, 2
ON_DEVICE: dict[str, Any] = {"policies.placement": "device", "device.backend": "cpu", "device.recompute_every": 1}


def answers(folder: Path) -> list[tuple[int, int]]:
    """(outcome, policy version) of every device input."""
    return [(r.payload[20], struct.unpack_from("<Q", r.payload, 8)[0]) for r in records(folder) if r.type == DEVICE]


@pytest.mark.parametrize("mode", ["inline", "ring"])
def test_a_live_run_on_a_device_trades_and_its_journal_verifies_without_one(mode, engine, venue) -> None:
    running = engine(venue(seed=7), settings={**ON_DEVICE, "device.mode": mode, "device.deadline_ns": PATIENT_NS})
    running.until("fills", 5)
    report = running.finish(signal.SIGTERM)
    d = report["device"]
    assert d["backend"] == "cpu"
    assert d["used"] > 10
    assert d["wrong"] == 0
    assert d["link"]["answered"] == d["link"]["asked"] - d["link"]["late"]
    verdict = verify(running.run_folder)
    assert verdict["identical"], verdict
    assert verdict["order_hash"] == report["order_hash"]
    assert {a[0] for a in answers(running.run_folder)} >= {ANSWERED}


def test_a_bank_swap_loads_the_device_beside_the_trading_and_no_answer_mixes_versions(tmp_path, engine_name, venue) -> None:
    first = tmp_path / "first.safetensors"
    first.write_bytes(constant_policy(JOIN_BID, "first"))
    second = constant_policy(JOIN_ASK, "second")
    changes = {**ON_DEVICE, "device.deadline_ns": PATIENT_NS, "policies.members": [{"file": str(first), "slot": 0}]}
    engine = LiveEngine(tmp_path, engine_name, venue(seed=7), changes)
    def by_device() -> list[int]:
        return [version for outcome, version in answers(engine.folder) if outcome == ANSWERED]

    try:
        engine.until("orders", 2)
        first_version = until(by_device, "a decision of the device")[0]
        engine.command(BANK_SWAP, plan.bank_swap_body(0, second), 1, plan.bank_spec(0, second))
        until(lambda: by_device()[-1] != first_version, "a decision of the device by the other bank")
    finally:
        engine.stop()
    versions = by_device()
    old, new = versions[0], versions[-1]
    assert old != new
    assert versions == [old] * versions.count(old) + [new] * versions.count(new)
    found = answers(engine.folder)
    last, first_new = max(i for i, a in enumerate(found) if a == (ANSWERED, old)), found.index((ANSWERED, new))
    assert LOADING in {outcome for outcome, _ in found[last + 1 : first_new]}, "the kernels decided meanwhile"
    assert verify(engine.folder)["identical"]


@pytest.mark.parametrize("mode", ["inline", "ring"])
def test_a_killed_run_on_a_device_goes_on_and_verifies(mode, engine, venue) -> None:
    judge = venue(seed=7)
    settings = {**ON_DEVICE, "device.mode": mode, "device.deadline_ns": PATIENT_NS}
    running = engine(judge, settings=settings)
    running.until("orders", 5)
    running.kill_9()
    again = engine(judge, settings=settings, resume=running.run_folder)
    again.until("orders", 5)
    report = again.finish(signal.SIGTERM)
    assert report["device"]["used"] > 0
    assert verify(again.run_folder)["identical"]
    assert sum(r.type == RECOVERED for r in records(again.run_folder)) == 1
    assert report["position"] == judge.position_lots()


def test_a_device_that_is_not_there_is_refused_with_what_is_missing_and_leaves_no_run_behind(peregrine, tmp_path) -> None:
    where = ("--set", "device.address=0000:fe:1f.7", "--set", f"journal.dir={tmp_path / 'runs'}")
    result = peregrine("run", "--virtual", "--for", "1s", "--set", "policies.placement=device", *where, code=69)
    assert "vfio" in result.stderr
    assert "hint: " in result.stderr
    assert "placement: auto" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_auto_trades_by_the_kernels_where_no_device_is_and_says_so(peregrine, tmp_path) -> None:
    where = ("--set", "device.address=0000:fe:1f.7", "--set", f"journal.dir={tmp_path / 'runs'}")
    report = json.loads(peregrine("run", "--virtual", "--for", "1s", "--set", "policies.placement=auto", *where, "--json").stdout)
    assert report["placement"].startswith("placement auto: cpu; vfio cannot be used: ")
    assert "device" not in report
    assert report["orders"] > 0


def test_auto_takes_the_one_that_answers_sooner(peregrine, tmp_path) -> None:
    settings = ("--set", "device.backend=cpu", "--set", f"journal.dir={tmp_path / 'runs'}")
    report = json.loads(peregrine("run", "--virtual", "--for", "1s", "--set", "policies.placement=auto", *settings, "--json").stdout)
    assert "ns from the kernels behind the same driver" in report["placement"]
    chosen = report["placement"].split(": ")[1].split(";")[0]
    assert ("device" in report) == (chosen == "device")
