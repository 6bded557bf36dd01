"""Snapshots are whole or passed over; a follower makes them from the journal alone."""

import struct

import pytest

from hotpath import journal
from hotpath.journal import RecordType


@pytest.fixture
def three(tmp_path):
    """Snapshots after 10, 20 and 30."""
    for seq in (10, 20, 30):
        journal.write_snapshot(str(tmp_path), seq, seq * 7, b"state %d" % seq, generation=2, journal_id=5)
    return tmp_path


def name(seq):
    return f"snapshot-{seq:020d}.pgs"


def newest(folder, max_seq=100, journal_id=5):
    return journal.newest_snapshot(str(folder), journal_id, max_seq)


def test_the_newest_snapshot_is_taken(three):
    found, skipped = newest(three)
    assert (found["after_seq"], found["state_hash"], found["payload"], found["generation"]) == (30, 210, b"state 30", 2)
    assert skipped == [] and not list(three.glob("*.tmp"))


@pytest.mark.parametrize("offset", [0, 8, 12, 16, 24, 32, 40, 44, 48, 63, 64, 71])
def test_a_snapshot_with_any_damaged_field_is_passed_over_with_the_reason(three, offset):
    path = three / name(30)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    found, skipped = newest(three)
    assert found["after_seq"] == 20
    assert [s[0] for s in skipped] == [name(30)] and "bad-snapshot" in skipped[0][1]


def test_a_truncated_snapshot_is_passed_over_at_every_length(three):
    path = three / name(30)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert newest(three)[0]["after_seq"] == 20


def test_a_snapshot_beyond_the_journals_end_is_passed_over(three):
    found, skipped = newest(three, max_seq=25)
    assert found["after_seq"] == 20 and "the journal ends at seq 25" in skipped[0][1]


def test_a_snapshot_of_another_journal_is_passed_over(three):
    found, skipped = newest(three, journal_id=6)
    assert found is None and len(skipped) == 3 and all("another journal" in s[1] for s in skipped)


def test_a_renamed_snapshot_is_passed_over(three):
    (three / name(30)).rename(three / name(90))
    assert newest(three)[0]["after_seq"] == 20


def test_pruning_keeps_the_newest(three):
    assert journal.prune_snapshots(str(three), 1) == 2
    assert [p.name for p in three.iterdir()] == [name(30)]


def test_a_follower_sees_every_record_across_crashes_and_snapshots_every_n(bench):
    bench.start(segment_bytes=1000)
    seen, total = [], 0
    state = {"sum": 0}

    def on_record(kind, seq, ts_ns, generation, payload):
        seen.append(seq)
        if kind == RecordType.FEED:
            state["sum"] += struct.unpack("<Q", payload)[0]

    follower = journal.Follower(str(bench.dir), 10, on_record, lambda seq: (state["sum"], b"sum %d" % seq))
    for run in range(3):
        for i in range(25):
            bench.append([struct.pack("<Q", i)])
            total += i
            if i % 3 == 0:
                follower.poll()
            if i % 5 == 0:
                bench.writer.drain_once()
        if run == 1:
            bench.close()
        else:
            bench.crash()
        bench.start(segment_bytes=1000)
    while follower.poll():
        pass
    assert seen == list(range(1, 79)) and state["sum"] == total
    assert follower.snapshots_written == 7 and follower.last_seq == 78
    found, skipped = journal.newest_snapshot(str(bench.dir), journal.Reader(str(bench.dir)).end["journal_id"], 78)
    assert found is None and skipped  # an unread Reader has no id yet
    reader = journal.Reader(str(bench.dir))
    records = list(reader)
    found, skipped = journal.newest_snapshot(str(bench.dir), reader.end["journal_id"], 78)
    assert found["after_seq"] == 70 and found["payload"] == b"sum 70" and not skipped
    assert found["state_hash"] == sum(struct.unpack("<Q", r[4])[0] for r in records[:70] if r[0] == 16)


def test_a_follower_without_a_snapshot_to_give_is_asked_again(bench):
    bench.start()
    bench.append([b"x"] * 6)
    asked = []

    def on_snapshot(seq):
        asked.append(seq)
        return None if seq < 5 else (1, b"")

    follower = journal.Follower(str(bench.dir), 3, lambda *a: None, on_snapshot)
    assert follower.poll() == 6 and asked == [3, 4, 5]
    assert follower.snapshots_written == 1
