"""Decisions placed on a device: the same orders whatever it does, every answer or absence in the journal, no device for a replay."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from rig import DEVICE, INTENT, Record, feed_all, records, replayer, verify

from orchestrator.config import load_profile
from orchestrator.observe.result import RunResult
from orchestrator.run.device import FAULTS, fault_plan
from orchestrator.run.virtual import run_virtual

SECONDS = 1_000_000_000
#: journal::DeviceAnswer: decision, policy_version, cycles, outcome, answered, n_actions, attempts
ANSWER = struct.Struct("<QQIBBBB")
ANSWERED, LATE, CORRUPT, REFUSED, BUSY, BREAKER_OPEN, LOADING, NO_DEVICE, BROKEN = range(9)
ON_DEVICE = {"policies.placement": "device", "device.backend": "cpu"}


def run(tmp_path: Path, faults: dict[str, Any] | None = None, **changes: Any) -> RunResult:
    settings = {
        "journal.dir": str(tmp_path / "runs"), "journal.ring_mb": 4, "engine.mlock": False, "engine.max_orders": 65_536,
        "engine.name": f"device-{os.getpid()}",
    }  # fmt: skip
    return run_virtual(load_profile("replay", {**settings, **changes}), for_ns=SECONDS, device_faults=faults)


def answers(result: RunResult) -> list[tuple[int, ...]]:
    return [ANSWER.unpack_from(r.payload) for r in records(Path(result.journal)) if r.type == DEVICE]


@pytest.fixture(scope="module")
def by_cpu(tmp_path_factory) -> RunResult:
    """The same flow decided by the kernels alone."""
    return run(tmp_path_factory.mktemp("cpu"))


@pytest.mark.parametrize("mode", ["inline", "ring"])
def test_a_device_that_answers_gives_the_orders_of_the_kernels(mode, by_cpu, tmp_path) -> None:
    result = run(tmp_path, **ON_DEVICE, **{"device.mode": mode})
    assert result.order_hash == by_cpu.order_hash
    assert result.device is not None
    assert result.device["used"] == result.decisions == by_cpu.decisions > 100
    assert result.device["fallback"] == 0
    assert [a[3] for a in answers(result)] == [ANSWERED] * result.decisions
    assert all(a[4] == 1 and a[5] == 5 for a in answers(result))


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_the_device_does_the_orders_are_those_of_the_kernels(name, by_cpu, tmp_path) -> None:
    # Every answer is recomputed, so even one that is plausible under a valid CRC is found.
    rate = 10 if name in ("link_down", "reset") else 120
    changes = {**ON_DEVICE, "device.recompute_every": 1, "device.probe_after": 20}
    result = run(tmp_path, fault_plan(seed=3, failing_resets=2, **{name: rate}), **changes)
    assert result.order_hash == by_cpu.order_hash
    d = result.device
    assert d is not None
    assert d["used"] + d["fallback"] == result.decisions == by_cpu.decisions
    assert d["used"] > 100
    told = {
        "hang": d["link"]["late"], "late": d["link"]["late"], "wrong_tag": d["link"]["late_answers"], "corrupt": d["link"]["retries"],
        "plausible": d["wrong"], "refused": d["link"]["retries"], "link_down": d["link"]["broken"], "reset": d["link"]["refused"],
    }  # fmt: skip
    assert told[name] > 0, d
    report = verify(Path(result.journal))
    assert report["identical"], report
    assert report["order_hash"] == result.order_hash
    assert report["state_hash"] == result.state_hash


def test_all_faults_together_change_no_order(by_cpu, tmp_path) -> None:
    for seed in range(5):
        faults = fault_plan(seed=seed, failing_resets=1, **{name: 6 if name in ("link_down", "reset") else 25 for name in FAULTS})
        result = run(tmp_path, faults, **ON_DEVICE, **{"device.recompute_every": 1, "device.probe_after": 10})
        assert result.order_hash == by_cpu.order_hash, seed
        assert verify(Path(result.journal))["identical"], seed


def test_three_failures_open_the_breaker_and_a_good_probe_closes_it(by_cpu, tmp_path) -> None:
    faults = fault_plan(hang=1000, first_request=50, requests=3)
    result = run(tmp_path, faults, **ON_DEVICE, **{"device.probe_after": 40})
    assert result.order_hash == by_cpu.order_hash
    outcomes = [a[3] for a in answers(result)]
    assert outcomes[:50] == [ANSWERED] * 50
    assert outcomes[50:53] == [LATE] * 3
    assert outcomes[53:93] == [BREAKER_OPEN] * 40
    # The probe begins with a reset and the banks anew; while they load the kernels decide.
    assert outcomes[93] == LOADING
    assert set(outcomes[94:]) == {ANSWERED}
    assert result.device is not None
    assert (result.device["link"]["breaker_opened"], result.device["link"]["breaker_closed"]) == (1, 1)
    assert result.device["breaker"] == "closed"


def test_each_failed_probe_doubles_the_wait_for_the_next(tmp_path) -> None:
    result = run(tmp_path, fault_plan(hang=1000), **ON_DEVICE, **{"device.probe_after": 10})
    outcomes = [a[3] for a in answers(result)]
    late = [i for i, o in enumerate(outcomes) if o == LATE]
    gaps = [b - a for a, b in zip(late[2:], late[3:], strict=False)]
    assert gaps[:4] == [12, 22, 42, 82]  # 10, 20, 40, 80 by the kernels, one while loading
    assert result.device is not None
    assert result.device["breaker"] == "open"


def test_a_retry_makes_up_for_a_bad_answer(tmp_path) -> None:
    result = run(tmp_path, fault_plan(corrupt=1000, first_request=10, requests=1), **ON_DEVICE)
    found = answers(result)
    assert (found[10][3], found[10][6]) == (ANSWERED, 2)
    assert result.device is not None
    assert result.device["fallback"] == 0


def test_without_recomputing_a_plausible_answer_decides_and_the_replay_repeats_it(by_cpu, tmp_path) -> None:
    result = run(tmp_path, fault_plan(plausible=500), **ON_DEVICE, **{"device.recompute_every": 0})
    assert result.device is not None
    assert result.device["wrong"] == 0
    assert result.order_hash != by_cpu.order_hash  # else this test shows nothing
    assert verify(Path(result.journal))["identical"]


def test_an_answer_to_a_book_that_has_moved_on_is_dropped_and_no_order_comes_of_it(tmp_path) -> None:
    # Each answer comes 3 events of virtual time later than it was asked.
    slow = {**ON_DEVICE, "device.mode": "ring", "policies.decision_interval_ns": 0}
    result = run(tmp_path, fault_plan(late=1000, late_polls=40), **slow, **{"device.max_events_behind": 0})
    patient = run(tmp_path, fault_plan(late=1000, late_polls=40), **slow, **{"device.max_events_behind": 1_000_000})
    for r in (result, patient):
        assert verify(Path(r.journal))["identical"]
        assert r.device is not None
    assert result.device["dropped"] > 0
    assert patient.device["dropped"] == 0
    assert patient.device["used"] > result.device["used"]


def altered(journal: list[Record], index: int, payload: bytes) -> list[Record]:
    return [*journal[:index], journal[index]._replace(payload=payload), *journal[index + 1 :]]


def test_another_answer_in_the_journal_is_another_decision(tmp_path) -> None:
    result = run(tmp_path, **ON_DEVICE, **{"device.recompute_every": 0})
    folder = Path(result.journal)
    journal = records(folder)
    asked = {ANSWER.unpack_from(r.payload)[0]: i for i, r in enumerate(journal) if r.type == DEVICE}
    decisions = (struct.unpack_from("<Q", r.payload, 32)[0] for r in journal if r.type == INTENT)
    at = asked[next(d for d in decisions if d != 0)]
    payload = bytearray(journal[at].payload)
    payload[ANSWER.size :] = struct.pack("<5i", 1 << 20, 0, 0, 0, 0)  # hold
    _, engine = replayer(folder)
    replayed = feed_all(engine, altered(journal, at, bytes(payload)))
    assert replayed["identical"] is False
    assert replayed["divergence"]["input_seq"] == journal[at].seq


@pytest.mark.parametrize("damage", ["short head", "short body", "long body", "other slots", "other version", "other decision", "other actions"])
def test_an_answer_that_does_not_fit_its_question_leaves_the_decision_to_the_kernels(damage, tmp_path) -> None:
    result = run(tmp_path, **ON_DEVICE)
    folder = Path(result.journal)
    journal = records(folder)
    at = next(i for i, r in enumerate(journal) if r.type == DEVICE)
    good = journal[at].payload
    fields = list(ANSWER.unpack_from(good))
    logits = struct.pack("<5i", 9, 8, 7, 6, 5)
    if damage == "other slots":
        fields[4] = 0b10
    elif damage == "other version":
        fields[1] ^= 1
    elif damage == "other decision":
        fields[0] += 1_000_000
    elif damage == "other actions":
        fields[5] = 4
    payload = ANSWER.pack(*fields) + logits
    payload = {"short head": good[:20], "short body": payload[:-4], "long body": payload + bytes(4)}.get(damage, payload)
    _, engine = replayer(folder)
    replayed = feed_all(engine, altered(journal, at, payload)[: at + 3])
    if damage in ("short head", "other decision"):
        return  # nobody's answer: the question stays open, and what follows is none of this test's business
    assert replayed["identical"], replayed["divergence"]
