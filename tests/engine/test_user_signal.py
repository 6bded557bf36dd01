"""A quant's own signal: its value is an input of the journal, and a replay never calls the function."""

from __future__ import annotations

import signal as signals
import struct
import sys
from pathlib import Path

import pytest
from rig import (
    DECISION,
    FEED,
    FEED_STATE,
    RECOVERED,
    SESSION,
    SESSION_STATE,
    SIGNAL,
    Record,
    feed_all,
    intents,
    records,
    replayer,
    verify,
)

from orchestrator.config import load_profile
from orchestrator.run.virtual import run_virtual

pytest.importorskip("numba")
SECONDS = 1_000_000_000
USER_SIGNAL = 20  # place of the value among the features


def run(tmp_path: Path, function: str | None, **changes):
    settings = {"journal.dir": str(tmp_path / "runs"), "journal.ring_mb": 4, "engine.mlock": False, "engine.max_orders": 65_536}
    if function is not None:
        settings["policies.signal"] = f"my_signals:{function}"
    return run_virtual(load_profile("replay", {**settings, **changes}), for_ns=2 * SECONDS)


def values(journal) -> list[tuple[int, int, int]]:
    """(decision, value, status) of every signal input."""
    return [struct.unpack_from("<QiB", r.payload) for r in journal if r.type == SIGNAL]


def decisions(journal) -> dict[int, list[int]]:
    """Features by decision number, where one was recorded."""
    out = {}
    for r in journal:
        if r.type == DECISION:
            number, n = struct.unpack_from("<Q", r.payload)[0], r.payload[30]
            out[number] = list(struct.unpack_from(f"<{n}i", r.payload, 48))
    return out


def test_the_value_of_a_signal_is_journaled_and_among_the_features(tmp_path) -> None:
    result = run(tmp_path, "lean")
    journal = records(Path(result.journal))
    asked = values(journal)
    assert len(asked) == result.decisions > 100
    assert all(status == 0 for _, _, status in asked)
    assert [d for d, _, _ in asked] == sorted(d for d, _, _ in asked)
    by_decision = {d: v for d, v, _ in asked}
    seen = decisions(journal)
    assert seen
    from hotpath.signal.schema import NAMES

    at = list(NAMES).index("user_signal") if "user_signal" in NAMES else USER_SIGNAL
    for number, features in seen.items():
        assert features[at] == by_decision[number] == features[2] - features[16] // 4


def test_a_replay_uses_the_journaled_value_and_never_calls_the_function(tmp_path, monkeypatch) -> None:
    result = run(tmp_path, "lean")
    import my_signals

    def not_again(features):
        raise AssertionError("a replay called the signal")

    monkeypatch.setattr(my_signals, "lean", not_again)
    monkeypatch.delitem(sys.modules, "my_signals")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.endswith("tests/engine")])
    verdict = verify(Path(result.journal))
    assert verdict["identical"]
    assert verdict["state_hash"] == result.state_hash


def test_another_value_in_the_journal_is_another_decision(tmp_path) -> None:
    result = run(tmp_path, "lean")
    journal = records(Path(result.journal))
    changed = [r if r.type != SIGNAL else r._replace(payload=r.payload[:8] + struct.pack("<i", 2**30) + r.payload[12:]) for r in journal]
    _, shard = replayer(Path(result.journal))
    assert feed_all(shard, changed)["identical"] is False


def test_a_signal_that_raises_holds_and_is_counted(tmp_path) -> None:
    result = run(tmp_path, "raises_now_and_then")
    journal = records(Path(result.journal))
    raised = {d for d, _, status in values(journal) if status == 1}
    good = {d for d, _, status in values(journal) if status == 0}
    assert raised
    assert good
    _, shard = replayer(Path(result.journal))
    summary = feed_all(shard, journal)["summary"]
    assert summary["signal_raised"] == len(raised)
    assert summary["held"] >= len(raised)
    assert not raised & set(decisions(journal)), "nothing is sent on a decision whose signal raised"
    assert verify(Path(result.journal))["identical"]


def test_a_value_for_another_decision_changes_nothing(tmp_path) -> None:
    """A late or doubled value is passed over: the decision it belonged to is gone."""
    result = run(tmp_path, "lean")
    journal = records(Path(result.journal))
    at = next(i for i, r in enumerate(journal) if r.type == SIGNAL and i > 200)
    end = next(i for i in range(at + 1, len(journal)) if journal[i].type < 64)  # after what it brought about
    _, shard = replayer(Path(result.journal))
    again = feed_all(shard, [*journal[:end], journal[at]._replace(seq=10**9), *journal[end:]])
    assert again["identical"], again
    assert again["inputs"] == sum(16 <= r.type < 64 for r in journal) + 1


def test_a_live_run_with_a_signal_replays(venue, engine, tmp_path, monkeypatch) -> None:
    judge = venue(seed=7)
    live = engine(judge, settings={"policies.signal": "my_signals:lean"})
    live.until("orders", 5)
    report = live.finish(signals.SIGTERM)
    assert len(values(records(live.run_folder))) == report["decisions"]
    assert verify(live.run_folder)["identical"]


def test_a_crash_while_a_signal_was_asked_for_does_not_silence_the_shard(tmp_path) -> None:
    """Between a decision and its value the process dies: after RECOVERED the shard decides again."""
    result = run(tmp_path, "lean")
    journal = records(Path(result.journal))
    _, shard = replayer(Path(result.journal))
    head: list[Record] = []
    for r in journal:  # to a value that is asked for while nothing works at the venue
        if r.type == SIGNAL and len(head) > len(journal) // 2 and shard.finish(crashed=True)["summary"]["working_orders"] == 0:
            break
        shard.feed(r.type, r.seq, r.ts_ns, r.payload)
        head.append(r)
    now, seq = head[-1].ts_ns, 10**6
    sent = sum(r.type == SESSION and r.payload[:1] == b"S" for r in head)
    numbers = max(i.user_ref_num for i in intents(head))

    def give(kind: int, payload: bytes) -> dict:
        nonlocal seq, now
        seq, now = seq + 1, now + 10_000
        shard.feed(kind, seq, now, payload)
        return shard.finish(crashed=True)["summary"]

    give(RECOVERED, struct.pack("<IIQQ", 2, numbers, intents(head)[-1].seq, sent))
    login = next(r for r in head if r.type == SESSION).payload
    give(SESSION_STATE, struct.pack("<BBxxI", 1, 0, 1))
    give(SESSION, login[:11] + str(sent + 1).rjust(20).encode())
    fence = give(SESSION, b"S" + struct.pack(">cQI", b"Q", 0, numbers + 1))["last_user_ref_num"]
    ready = give(SESSION, b"S" + struct.pack(">cQI4s8s", b"X", 0, fence, b"    ", b"        "))
    assert ready["session_phase"] == "ready", ready
    before = give(FEED_STATE, struct.pack("<BB6xQQ", 2, 0, 0, 0))["decisions"]
    for r in head:
        if r.type == FEED and give(FEED, r.payload)["decisions"] > before:
            return
    raise AssertionError("no decision after the recovery")


@pytest.mark.parametrize(("name", "word"), [("my_signals:missing", "missing"), ("no_such_module:f", "no_such_module")])
def test_a_signal_that_cannot_be_had_is_a_configuration_error(tmp_path, peregrine, name, word) -> None:
    result = peregrine("run", "--virtual", "--for", "1s", "--set", f"policies.signal={name}", "--json", code=78)
    assert word in result.stderr
    assert "hint" in result.stderr or "expected" in result.stderr
