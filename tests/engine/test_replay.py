"""A live journal again: the same bytes come out, a changed input shows where, a damaged byte is refused."""

from __future__ import annotations

import json
import shutil
import signal
import struct
from pathlib import Path

import pytest
from rig import DECISION, ENTER, FEED, INTENT, Record, feed_all, intent_of, intents, records, replayer

from hotpath import _core
from orchestrator.run.journals import explain


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> tuple[Path, dict]:
    """One live run against a venue, shared by the tests of this file: its folder and report."""
    import uuid

    from rig import Engine, Venue

    folder = tmp_path_factory.mktemp("live")
    venue = Venue(seed=7)
    engine = Engine(folder, f"replay-{uuid.uuid4().hex[:10]}", venue)
    try:
        engine.until("fills", 8)
        engine.until("cancels", 1)
        report = engine.finish(signal.SIGTERM)
    finally:
        engine.end()
        venue.stop()
    return engine.run_folder, report


def test_a_live_journal_replays_to_the_same_order_bytes_and_hashes(live, peregrine) -> None:
    folder, report = live
    verdict = json.loads(peregrine("verify", str(folder), "--json").stdout)
    assert verdict["identical"]
    assert verdict["orders"] == len(intents(records(folder)))
    assert verdict["order_hash"] == report["order_hash"]
    assert verdict["state_hash"] == report["state_hash"]
    again = json.loads(peregrine("replay", str(folder), "--json").stdout)
    for key in ("events", "orders", "fills", "position", "pnl_units", "fees_units", "order_hash", "state_hash"):
        assert again[key] == report[key], key


def test_the_report_agrees_with_the_journal(live) -> None:
    folder, report = live
    journal = records(folder)
    assert report["journal_records"] == len(journal)
    assert report["events"] == sum(r.type == FEED for r in journal)
    assert report["orders"] == sum(i.kind in (1, 2) for i in intents(journal))
    assert report["stopped_by"] == "signal"


def altered(journal: list[Record], index: int, payload: bytes) -> list[Record]:
    return [*journal[:index], journal[index]._replace(payload=payload), *journal[index + 1 :]]


def test_a_changed_feed_message_shows_the_first_decision_that_differs(live) -> None:
    folder, _ = live
    journal = records(folder)
    # Feed messages with a price, before an order: another price makes other features.
    last = max(i for i, r in enumerate(journal) if r.type == INTENT and intent_of(r).kind == ENTER)
    places = [i for i in range(last) if journal[i].type == FEED and journal[i].payload[16:17] == b"A"]
    result = {}
    for i in reversed(places):
        message = bytearray(journal[i].payload)
        price = struct.unpack_from(">I", message, 16 + 32)[0]
        better = price + 300 if message[16 + 19 : 16 + 20] == b"B" else price - 300
        struct.pack_into(">I", message, 16 + 32, better)
        _, engine = replayer(folder)
        result = feed_all(engine, altered(journal, i, bytes(message)))
        if not result["identical"] and result["divergence"]["type"] != 66:
            break
    assert result["identical"] is False
    told = explain(result["divergence"])
    assert told["input_seq"] > journal[i].seq or told["input_seq"] == journal[i].seq
    assert told["what"] in ("intent", "decision")
    assert told["reason"] in ("differs", "not made again", "made, but not in the journal")
    assert told["input"]["bytes"]
    sides = [s for s in (told["decision"]["journal"], told["decision"]["replay"], *told["order"].values()) if isinstance(s, dict)]
    decisions = [s for s in sides if "features" in s]
    assert decisions, told
    assert all(len(s["features"]) == 22 and "risk_reason" in s for s in decisions)
    assert any(len(s["logits"]) == 5 for s in decisions)


def test_a_changed_order_in_the_journal_is_a_difference_at_that_order(live) -> None:
    folder, _ = live
    journal = records(folder)
    at = next(i for i, r in enumerate(journal) if r.type == INTENT and intent_of(r).kind == ENTER)
    message = bytearray(journal[at].payload)
    message[-30] ^= 1  # inside the OUCH message
    _, engine = replayer(folder)
    result = feed_all(engine, altered(journal, at, bytes(message)))
    assert result["identical"] is False
    d = result["divergence"]
    assert (d["record_seq"], d["type"], d["reason"]) == (journal[at].seq, INTENT, "differs")
    assert bytes(d["journaled"]) != bytes(d["replayed"]) == journal[at].payload
    told = explain(d)
    assert told["order"]["replay"]["kind"] == "enter"
    assert told["decision"]["replay"]["features"] == told["decision"]["journal"]["features"]


def test_a_missing_and_an_added_order_are_told_apart(live) -> None:
    folder, _ = live
    journal = records(folder)
    at = next(i for i, r in enumerate(journal) if r.type == DECISION and journal[i + 1].type == INTENT)
    _, engine = replayer(folder)
    lost = feed_all(engine, journal[:at] + journal[at + 1 :])["divergence"]
    assert lost["reason"] == "differs"
    # The decision is gone, so the order it caused stands where the replay decides: each side is read as what it is.
    sides = explain(lost)["order"]
    assert sides["journal"]["kind"] == "enter" and "features" not in sides["journal"]
    assert len(sides["replay"]["features"]) == 22
    at = next(i for i, r in enumerate(journal) if r.type == INTENT and intent_of(r).kind == ENTER)
    _, engine = replayer(folder)
    added = [*journal[: at + 1], journal[at], *journal[at + 1 :]]
    assert feed_all(engine, added)["divergence"]["reason"] == "not made again"
    _, engine = replayer(folder)
    lost = feed_all(engine, journal[:at] + journal[at + 1 :])
    assert lost["divergence"]["reason"] == "made, but not in the journal"


def test_a_journal_rewritten_with_another_input_is_whole_but_not_identical(live, tmp_path, peregrine, engine_name) -> None:
    folder, _ = live
    journal = records(folder)
    at = next(i for i, r in enumerate(journal) if r.type == INTENT and intent_of(r).kind == ENTER)
    message = bytearray(journal[at].payload)
    message[-30] ^= 1
    copy = tmp_path / "rewritten"
    copy.mkdir()
    appender = _core.journal.Appender(dir=str(copy), name=engine_name, ring_dir=str(tmp_path), ring_bytes=1 << 26)
    writer = _core.journal.Writer(appender, dir=str(copy))
    for r in altered(journal, at, bytes(message)):
        assert appender.append(r.type, r.ts_ns, r.payload) == r.seq
    writer.close()
    verdict = json.loads(peregrine("verify", str(copy), "--json", code=1).stdout)
    assert verdict["identical"] is False
    assert verdict["divergence"]["record_seq"] == journal[at].seq
    text = peregrine("verify", str(copy), code=1).stdout
    assert "DIFFERENT" in text
    assert "features" in text


def test_one_flipped_byte_is_refused_with_file_and_offset(live, tmp_path, peregrine) -> None:
    folder, _ = live
    for command in ("verify", "replay"):
        copy = tmp_path / command
        shutil.copytree(folder, copy, symlinks=True)
        segment = max(copy.glob("*.pgj"), key=lambda p: p.stat().st_size)
        data = bytearray(segment.read_bytes())
        data[len(data) // 3] ^= 0x10
        segment.write_bytes(data)
        result = peregrine(command, str(copy), code=69)
        assert segment.name in result.stderr
        assert "offset" in result.stderr
        assert "hint:" in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize("command", ["verify", "replay", "resume"])
def test_a_folder_without_a_journal_is_said_so(command, tmp_path, peregrine) -> None:
    (tmp_path / "nothing").mkdir()
    args = ("run", "--resume", "nothing", "--for", "1s", "--json") if command == "resume" else (command, "nothing")
    result = peregrine(*args, code=69)
    assert "no journal" in result.stderr or "nothing" in result.stderr
    assert "hint:" in result.stderr
    assert "Traceback" not in result.stderr
