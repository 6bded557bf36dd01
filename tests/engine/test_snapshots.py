"""A shard made from a snapshot is the shard that made it: whatever comes next, both do the same."""

from __future__ import annotations

import random
import signal
import struct
from pathlib import Path
from typing import Any

import pytest
from rig import (
    BANK_SWAP,
    LiveEngine,
    Record,
    constant_policy,
    feed_all,
    records,
    replayer,
    until,
    verify,
)

from hotpath import _core
from orchestrator.config import load_profile
from orchestrator.run import plan
from orchestrator.run.virtual import run_virtual

JOIN_BID, JOIN_ASK = 1, 2


@pytest.fixture(scope="module")
def traded(tmp_path_factory) -> Path:
    """The journal of 20 virtual seconds."""
    folder = tmp_path_factory.mktemp("traded")
    cfg = load_profile("replay", {"journal.dir": str(folder / "runs"), "venue.seed": 11})
    result = run_virtual(cfg, for_ns=20 * 10**9)
    assert result.orders > 100 and result.fills > 10
    return Path(result.journal)


def feed(engine: Any, journal: list[Record]) -> None:
    for r in journal:
        engine.feed(r.type, r.seq, r.ts_ns, r.payload)


def state_after(folder: Path, journal: list[Record], cut: int) -> tuple[bytes, int, int]:
    """Payload, state hash and number of records fed: the first point at or after `cut` that lies between two steps."""
    _, engine = replayer(folder)
    feed(engine, journal[:cut])
    while (payload := engine.save()) is None:
        feed(engine, journal[cut : cut + 1])
        cut += 1
    return payload, engine.state_hash(), cut


def test_a_shard_from_a_snapshot_at_any_point_goes_on_to_the_same_orders(traded) -> None:
    journal = records(traded)
    _, whole = replayer(traded)
    expected = feed_all(whole, journal)["summary"]
    rng = random.Random(3)
    for cut in [0, 1, 2, len(journal), *(rng.randrange(len(journal)) for _ in range(12))]:
        payload, state_hash, at = state_after(traded, journal, cut)
        _, twin = replayer(traded)
        twin.load(payload, state_hash)
        result = feed_all(twin, journal[at:])
        assert result["identical"], (cut, result)
        assert result["summary"] == expected
        assert twin.book(10) == whole.book(10)
        assert twin.state_hash() == whole.state_hash()


def test_saving_changes_nothing(traded) -> None:
    journal = records(traded)
    _, engine = replayer(traded)
    feed(engine, journal[:1])
    before = engine.state_hash()
    assert engine.save() is not None and engine.save() is not None
    assert engine.state_hash() == before
    assert feed_all(engine, journal[1:])["identical"]


def test_a_shard_handed_from_snapshot_to_snapshot_loses_nothing(traded) -> None:
    journal = records(traded)
    _, whole = replayer(traded)
    expected = feed_all(whole, journal)["summary"]
    _, twin = replayer(traded)
    at = 0
    for cut in range(0, len(journal), len(journal) // 9):
        feed(twin, journal[at:cut])
        at = max(at, cut)
        while (payload := twin.save()) is None:
            feed(twin, journal[at : at + 1])
            at += 1
        state_hash = twin.state_hash()
        _, twin = replayer(traded)
        twin.load(payload, state_hash)
        assert twin.state_hash() == state_hash
    result = feed_all(twin, journal[at:])
    assert result["identical"] and result["summary"] == expected


def test_a_payload_cut_off_anywhere_is_refused(traded) -> None:
    journal = records(traded)
    payload, state_hash, _ = state_after(traded, journal, len(journal) // 2)
    rng = random.Random(4)
    for size in [0, 1, 15, 16, 17, len(payload) - 1, *(rng.randrange(len(payload)) for _ in range(60))]:
        _, twin = replayer(traded)
        with pytest.raises(ValueError, match="cut off"):
            twin.load(payload[:size], state_hash)
    _, twin = replayer(traded)
    with pytest.raises(ValueError, match="too long"):
        twin.load(payload + b"\0", state_hash)


def test_a_state_of_another_build_or_with_another_hash_is_refused(traded) -> None:
    journal = records(traded)
    payload, state_hash, _ = state_after(traded, journal, 500)
    _, twin = replayer(traded)
    with pytest.raises(ValueError, match="laid out differently"):
        twin.load(bytes([payload[0] ^ 1]) + payload[1:], state_hash)
    with pytest.raises(ValueError, match="does not hash"):
        twin.load(payload, state_hash ^ 1)
    assert feed_all_after(twin, traded, journal, payload, state_hash)


def feed_all_after(engine: Any, folder: Path, journal: list[Record], payload: bytes, state_hash: int) -> bool:
    """After a refusal the next load still works."""
    engine.load(payload, state_hash)
    return bool(feed_all(engine, journal[state_after(folder, journal, 500)[2] :])["identical"])


def test_policies_that_came_by_command_are_in_the_snapshot(tmp_path, engine_name, venue) -> None:
    """Swapped once, twice, back, and staged twice: each point of the journal makes a snapshot that goes on the same."""
    first = tmp_path / "first.safetensors"
    first.write_bytes(constant_policy(JOIN_BID, "first"))
    run = LiveEngine(tmp_path, engine_name, venue(seed=7), {
        "policies.members": [{"file": str(first), "slot": 0}], "journal.snapshot_records": 0,
    })  # fmt: skip
    try:
        run.until("orders", 1)
        for n, action in enumerate((JOIN_ASK, JOIN_BID), start=1):
            data = constant_policy(action, f"by command {n}")
            version = run.counters()["policy_version"]
            run.command(BANK_SWAP, plan.bank_swap_body(0, data), n, plan.bank_spec(0, data))
            until(lambda v=version: run.counters()["policy_version"] != v, "another policy")
            run.events(50)
        version = run.counters()["policy_version"]
        run.command(BANK_SWAP, struct.pack("<I", 0))
        until(lambda: run.counters()["policy_version"] != version, "the policy before")
        run.events(50)
    finally:
        run.stop()
    assert list(run.folder.glob("snapshot-*")) == []
    journal = records(run.folder)
    _, whole = replayer(run.folder)
    expected = feed_all(whole, journal)
    assert expected["identical"]
    rng = random.Random(5)
    for cut in (len(journal), *(rng.randrange(len(journal)) for _ in range(10))):
        payload, state_hash, at = state_after(run.folder, journal, cut)
        _, twin = replayer(run.folder)
        twin.load(payload, state_hash)
        result = feed_all(twin, journal[at:])
        assert result["identical"] and result["summary"] == expected["summary"]


def snapshots(folder: Path) -> set[str]:
    return {p.name for p in folder.glob("snapshot-*.pgs")}


def test_a_killed_engine_goes_on_from_its_newest_snapshot(venue, engine) -> None:
    judge = venue(seed=21)
    run = engine(judge, settings={"journal.snapshot_records": 400})
    folder = None
    for _ in range(3):
        run.until("orders", 5)
        folder = folder or run.run_folder
        seen = snapshots(folder)
        until(lambda seen=seen, folder=folder: snapshots(folder) - seen, "a new snapshot")
        run.kill_9()
        run = engine(judge, resume=folder, settings={"journal.snapshot_records": 400})
    run.until("session_ready", 1)
    run.until("orders", 8)
    report = run.finish(signal.SIGTERM)
    everything = len(records(folder))
    assert report["recovery"]["snapshot_seq"] > 0
    assert 0 < report["recovery"]["replayed_inputs"] < everything
    assert report["position"] == judge.position_lots() and report["unknown_orders"] == 0
    verdict = verify(folder)
    assert verdict["identical"] and verdict["recoveries"] == 3, verdict
    assert 1 <= verdict["snapshots"] <= 3 and verdict["snapshots_differ"] == 0
    assert (verdict["order_hash"], verdict["state_hash"]) == (report["order_hash"], report["state_hash"])


def test_a_run_that_ended_well_is_resumed_without_replaying_it(venue, engine) -> None:
    judge = venue(seed=4)
    first = engine(judge)
    first.until("fills", 2)
    before = first.finish(signal.SIGTERM)
    assert before["snapshots"] == 1 and before["recovery"] is None
    for options, everything in (((), False), (("--no-snapshots",), True)):
        inputs = sum(16 <= r.type < 64 for r in records(first.run_folder))
        again = engine(judge, resume=first.run_folder, args=options)
        again.until("session_ready", 1)
        report = again.finish(signal.SIGTERM)
        assert not [w for w in report["warnings"] if "snapshot" in w or "passed over" in w], report["warnings"]
        assert (report["recovery"]["snapshot_seq"] == 0) == everything
        assert (report["recovery"]["replayed_inputs"] >= inputs) == everything
    assert verify(first.run_folder)["identical"]


def damage_crc(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lie_about_the_state(path: Path) -> None:
    """Another state hash under a right checksum."""
    taken = _core.journal.read_snapshot(str(path))
    _core.journal.write_snapshot(str(path.parent), taken["after_seq"], taken["state_hash"] ^ 1, taken["payload"],
                                 generation=taken["generation"], journal_id=taken["journal_id"])  # fmt: skip


@pytest.mark.parametrize(("spoil", "reason"), [(damage_crc, "bad-snapshot"), (lie_about_the_state, "does not hash")])
def test_a_spoilt_snapshot_is_passed_over_and_the_whole_journal_replayed(venue, engine, spoil, reason) -> None:
    judge = venue(seed=4)
    first = engine(judge)
    first.until("fills", 2)
    first.finish(signal.SIGTERM)
    (path,) = first.run_folder.glob("snapshot-*.pgs")
    spoil(path)
    verdict = verify(first.run_folder)
    assert verdict["identical"] == (verdict["snapshots_differ"] == 0)
    assert verdict["snapshots_differ"] == 1 or any("bad-snapshot" in n for n in verdict["notes"])
    again = engine(judge, resume=first.run_folder)
    again.until("session_ready", 1)
    report = again.finish(signal.SIGTERM)
    assert report["recovery"]["snapshot_seq"] == 0
    assert any("passed over" in w and reason in w for w in report["warnings"]), report["warnings"]
    assert report["position"] == judge.position_lots()


def test_verify_from_the_newest_snapshot_reads_only_what_comes_after(venue, engine, peregrine) -> None:
    judge = venue(seed=4)
    run = engine(judge, settings={"journal.snapshot_records": 300})
    run.until("fills", 2)
    report = run.finish(signal.SIGTERM)
    folder = run.run_folder
    for path in sorted(folder.glob("snapshot-*.pgs"))[1:]:
        path.unlink()  # the first that is left lies in the middle
    out = peregrine("verify", str(folder), "--from-snapshot").stdout
    assert out.startswith("identical:") and "from record" in out
    verdict = verify(folder)
    assert verdict["state_hash"] == report["state_hash"] and verdict["from_seq"] == 1


def test_a_record_altered_after_the_snapshot_is_still_found(traded, tmp_path) -> None:
    """Starting from a snapshot does not mean believing what comes after it."""
    journal = records(traded)
    payload, state_hash, at = state_after(traded, journal, len(journal) // 3)
    _, twin = replayer(traded)
    twin.load(payload, state_hash)
    changed = next(i for i in range(at, len(journal)) if journal[i].type == 64)
    broken = bytearray(journal[changed].payload)
    broken[-1] ^= 1
    altered = [*journal[at:changed], journal[changed]._replace(payload=bytes(broken)), *journal[changed + 1 :]]
    assert not feed_all(twin, altered)["identical"]
