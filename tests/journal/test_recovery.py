"""Crashes: kill -9 of a real process, power cuts, full and failing disks; recovery on what they leave."""

import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import journal_reader as oracle
import pytest

from hotpath import journal
from hotpath.journal import RecordType

ROOT = Path(__file__).resolve().parents[2]

CHILD = """
import os, struct, sys
from hotpath import journal
d, shm, thread, segment_bytes, sync = sys.argv[1], sys.argv[2], sys.argv[3] == "1", int(sys.argv[4]), sys.argv[5]
found = journal.recover(d, ring_name="t", ring_dir=shm)
a = journal.Appender(d, "t", shm, 65536, found["generation"], found["next_seq"], found["journal_id"])
w = journal.Writer(a, d, segment_bytes=segment_bytes, sync=sync, sync_interval_ns=1_000_000)
if thread:
    w.start()
n = 0
while True:
    n += 1
    payload = struct.pack("<QQ", found["generation"], n) + bytes(n * 37 % 200)
    while (seq := a.append(16, n, payload)) == 0:
        if not thread:
            w.drain_once()
    os.write(1, struct.pack("<QQ", seq, n))
    if not thread and n % 7 == 0:
        w.drain_once()
"""


def run_and_kill(bench, rng, *, thread, segment_bytes, sync):
    """Run the appending child, kill -9 it somewhere, return the (seq, n) pairs it had been given."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(bench.dir), str(bench.shm), str(int(thread)), str(segment_bytes), sync],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'sim'}"})
    told = os.read(child.stdout.fileno(), 16)  # it runs
    time.sleep(rng.uniform(0, 0.03))
    child.send_signal(signal.SIGKILL)
    while chunk := os.read(child.stdout.fileno(), 1 << 16):
        told += chunk
    child.wait()
    child.stdout.close()
    pairs = len(told) // 16
    return [struct.unpack_from("<QQ", told, 16 * i) for i in range(pairs)]


@pytest.mark.parametrize("seed", range(5))
def test_after_kill_9_everything_that_append_returned_for_is_there(bench, seed):
    rng = random.Random(seed)
    promised = {}
    for generation in range(1, 5):  # four killed processes, one after the other, on one journal
        for seq, n in run_and_kill(bench, rng, thread=seed % 2 == 0, segment_bytes=rng.choice([2000, 20_000, 1 << 20]),
                                   sync=rng.choice(["never", "interval"])):
            promised[seq] = (generation, n)
    by_oracle = oracle.read_journal(bench.dir).records
    records = bench.read()
    assert [(r.type, r.seq, r.ts_ns, r.generation, r.payload) for r in by_oracle] == records
    assert [r[1] for r in records] == list(range(1, len(records) + 1))
    by_seq = {r[1]: r for r in records}
    for seq, (generation, n) in promised.items():
        assert struct.unpack_from("<QQ", by_seq[seq][4]) == (generation, n)
    assert [r[3] for r in records if r[0] == RecordType.RECOVERED] == [2, 3, 4]
    found = bench.recover()
    assert found["last_seq_before"] == len(records) and bench.verify()["good"]


def intent(urn):
    return struct.pack("<BBBBIIIqqQQ", 1, 0, 0, 0, urn, 0, 0, 100, 100, 0, 0) + b"ouch"


def recovered(payload):
    return dict(zip(("epoch", "last_user_ref_num", "last_intent_seq", "venue_seq"), struct.unpack("<IIQQ", payload),
                    strict=True))


def login_accepted(next_seq):
    return b"A" + b"PRG0000001" + str(next_seq).rjust(20).encode()


def test_a_fresh_directory_starts_at_one_without_a_recovered_record(bench):
    found = bench.start()
    assert found["fresh"] and found["next_seq"] == 1 and found["generation"] == 1 and found["recovered_seq"] == 0
    assert bench.append([b"x"]) == [1]
    assert len(bench.read()) == 1


def test_recovered_states_the_last_intent_and_the_venues_last_number(bench):
    bench.start()
    bench.append([login_accepted(1), b"Sack", b"Sfill", b"H", b"Sfill"], RecordType.SESSION)
    bench.append([intent(7), intent(9), intent(8)], RecordType.INTENT)
    bench.append([b"feed"])
    bench.crash()
    found = bench.recover(now_ns=1234)
    record = bench.read()[-1]
    assert record[:4] == (RecordType.RECOVERED, 10, 1234, 2)
    expected = {"epoch": 2, "last_user_ref_num": 9, "last_intent_seq": 8, "venue_seq": 3}
    assert recovered(record[4]) == expected
    assert {k: found[k] for k in expected} == expected


def test_the_venues_number_follows_a_later_login(bench):
    bench.start()
    bench.append([login_accepted(1), b"S1", b"S2", login_accepted(3), b"S3"], RecordType.SESSION)
    bench.crash()
    assert bench.recover()["venue_seq"] == 3
    bench.start()
    bench.append([login_accepted(42)], RecordType.SESSION)
    bench.crash()
    assert bench.recover()["venue_seq"] == 41


NUMBERS_PASSED_OVER = 1 << 20  # recover.h


def test_where_the_ring_is_lost_order_numbers_are_passed_over_each_time(bench):
    # What was sent and not yet on the disk is unknown then: its numbers must lie under the next fence.
    bench.start()
    bench.append([intent(7)], RecordType.INTENT)
    bench.drain()
    bench.append([intent(8)], RecordType.INTENT)  # only the ring has it
    bench.crash()
    bench.power_cut()
    found = bench.recover()
    assert found["last_user_ref_num"] == 7 + NUMBERS_PASSED_OVER and found["last_intent_seq"] == 1
    assert any("passed over" in note for note in found["notes"])
    bench.start()  # its own RECOVERED claims no less, though no intent carries such a number
    bench.crash()
    bench.power_cut()
    assert bench.recover()["last_user_ref_num"] >= 7 + 2 * NUMBERS_PASSED_OVER


def test_a_recovery_that_died_halfway_does_not_hide_that_the_ring_was_lost(bench):
    bench.start()
    bench.append([intent(7)], RecordType.INTENT)
    bench.drain()
    bench.crash()
    bench.power_cut()
    disk = journal.FaultyDisk()
    disk.set(syncs_until_eio=1)  # the dead run's segment is closed and synced, then nothing more
    with pytest.raises(journal.JournalError):
        bench.recover(disk=disk)
    assert bench.recover()["last_user_ref_num"] == 7 + NUMBERS_PASSED_OVER


def test_a_killed_or_closed_run_passes_no_numbers_over(bench):
    bench.start()
    bench.append([intent(7)], RecordType.INTENT)
    bench.crash()
    assert bench.recover()["last_user_ref_num"] == 7
    bench.start()
    bench.append([intent(8)], RecordType.INTENT)
    bench.close()
    assert bench.recover()["last_user_ref_num"] == 8


def test_malformed_intents_and_sessions_are_counted_not_fatal(bench):
    bench.start()
    bench.append([b"short"], RecordType.INTENT)
    bench.append([b"", b"Axx", b"A" + b"s" * 10 + b"not a number".rjust(20)], RecordType.SESSION)
    bench.crash()
    assert bench.recover()["malformed"] == 4


def test_recovering_twice_adds_one_more_recovered_and_loses_nothing(bench):
    bench.start()
    bench.append([b"a", b"b"])
    bench.crash()
    first, second = bench.recover(), bench.recover()
    assert (first["generation"], second["generation"]) == (2, 3)
    assert first["merged_records"] == 2 and second["merged_records"] == 0
    assert [(r[0], r[1], r[3]) for r in bench.read()] == [(16, 1, 1), (16, 2, 1), (27, 3, 2), (27, 4, 3)]
    assert bench.verify()["good"]


def test_a_journal_over_three_crashes_has_three_recovered_records_and_rising_epochs(bench):
    for run in range(3):
        bench.start(segment_bytes=500)
        bench.append([intent(10 * run + i) for i in range(5)], RecordType.INTENT)
        for _ in range(run):
            bench.writer.drain_once()
        bench.crash()
    bench.start()
    bench.close()
    records = bench.read()
    assert [r[1] for r in records] == list(range(1, 19))
    assert [recovered(r[4])["epoch"] for r in records if r[0] == RecordType.RECOVERED] == [2, 3, 4]
    assert [recovered(r[4])["last_user_ref_num"] for r in records if r[0] == RecordType.RECOVERED] == [4, 14, 24]
    assert len(oracle.read_journal(bench.dir).records) == 18


def test_recovery_interrupted_at_any_disk_call_can_be_done_again(make_bench):
    for step in range(12):
        b = make_bench()
        b.start(segment_bytes=700)
        b.append([bytes([i]) * 50 for i in range(20)])
        b.writer.drain_once()
        b.append([b"tail"] * 3)
        b.crash()
        disk = journal.FaultyDisk()
        if step % 2:
            disk.set(pwrites_until_eio=step // 2)
        else:
            disk.set(syncs_until_eio=step // 2)
        try:
            b.recover(disk=disk)
        except journal.JournalError as e:
            assert e.code == 5
        found = b.recover()
        payloads = [r[4] for r in b.read() if r[0] == RecordType.FEED]
        assert payloads == [bytes([i]) * 50 for i in range(20)] + [b"tail"] * 3
        assert found["last_seq_before"] in (23, 24, 25) and b.verify()["good"]


def test_a_header_is_written_first_and_again_only_when_it_changed(bench):
    assert bench.recover(header=b"config 1")["header_seq"] == 1
    bench.start()
    bench.append([b"x"])
    bench.crash()
    assert bench.recover(header=b"config 1")["header_seq"] == 1
    assert bench.recover(header=b"config 2")["header_seq"] == 6
    assert [(r[0], r[4]) for r in bench.read() if r[0] == RecordType.HEADER] == [(1, b"config 1"), (1, b"config 2")]


def test_a_journal_in_use_is_not_touched(bench):
    bench.start()
    bench.append([b"x"])
    with pytest.raises(journal.JournalError) as e:
        bench.recover()
    assert e.value.fault == "in-use"
    with pytest.raises(journal.JournalError):
        journal.Appender(str(bench.dir), "t", str(bench.shm))
    assert bench.append([b"y"]) == [2]


def test_a_ring_with_unrecovered_records_is_never_overwritten(bench, tmp_path):
    bench.start()
    bench.append([b"x"])
    bench.crash()
    with pytest.raises(journal.JournalError) as e:  # another journal, the same ring name
        journal.Appender(str(tmp_path / "other"), "t", str(bench.shm))
    assert e.value.fault == "needs-recovery" and str(bench.dir) in str(e.value)


def test_leftovers_are_found_when_the_rings_name_changed(bench):
    bench.start()
    bench.append([b"x"])
    bench.crash()
    found = journal.recover(str(bench.dir), ring_name="renamed", ring_dir=str(bench.shm))
    assert found["merged_records"] == 1 and not list(bench.shm.iterdir())


def test_leftovers_are_found_when_the_directory_was_moved(bench, tmp_path):
    bench.start()
    bench.append([b"a"])
    bench.drain()
    bench.append([b"b"])
    bench.crash()
    bench.dir = bench.dir.rename(tmp_path / "moved")
    assert bench.recover()["merged_records"] == 1


def test_segments_deleted_under_a_ring_that_knows_of_them_are_missed(bench):
    bench.start()
    bench.append([b"a", b"b"])
    bench.drain()
    bench.crash()
    bench.segment().unlink()
    with pytest.raises(journal.JournalError, match="segments are missing") as e:
        bench.recover()
    assert e.value.fault == "ring-mismatch"


def test_without_shared_memory_the_ring_goes_to_the_journal_directory_and_says_so(bench):
    bench.shm.rmdir()
    bench.start()
    assert bench.appender.ring_path.startswith(str(bench.dir))
    assert any("cannot be used" in n for n in bench.appender.notes)
    bench.append([b"x"])
    bench.crash()
    assert bench.recover()["merged_records"] == 1


def test_a_ring_too_large_for_shared_memory_is_a_clean_error(bench):
    there, largest = os.statvfs("/dev/shm"), 1 << 36
    if there.f_blocks * there.f_frsize >= largest:
        pytest.skip("this machine's shared memory has room for the largest ring there may be")
    name = f"toolarge-{os.getpid()}"
    with pytest.raises(journal.JournalError) as e:
        journal.Appender(str(bench.dir), name, "/dev/shm", ring_bytes=largest)
    assert e.value.code == 28 and "--shm-size" in e.value.hint
    assert not [p for p in Path("/dev/shm").iterdir() if p.name.startswith(name)]


def test_a_full_disk_stops_appends_and_nothing_is_lost_after_a_retry(bench):
    disk = journal.FaultyDisk()
    bench.start(disk=disk, allocate_ahead=False)
    bench.append([bytes(100)] * 10)
    disk.set(space_bytes=500)
    assert bench.drain() == 0
    assert bench.writer.status == "no-space" and not bench.appender.healthy
    assert "space" in bench.writer.last_error
    assert bench.appender.append(RecordType.FEED, 0, b"refused") == 0
    assert bench.appender.append_reserved(RecordType.INTENT, 0, b"cancel") == 11
    disk.set()
    assert bench.drain() == 0, "not tried again without being asked"
    assert bench.writer.retry()
    assert bench.drain() > 0 and bench.writer.status == "running" and bench.appender.healthy
    assert bench.append([b"on"]) == [12]
    bench.close()
    assert [r[1] for r in bench.read()] == list(range(1, 13)) and bench.verify()["good"]


def test_a_failed_write_fails_again_until_the_disk_is_good(bench):
    disk = journal.FaultyDisk()
    bench.start(disk=disk)
    bench.append([b"x"] * 3)
    disk.set(pwrites_until_eio=0)
    for attempt in range(1, 4):
        assert bench.drain() == 0 and bench.writer.status == "io-error"
        assert bench.writer.counters["failures"] == attempt
        assert bench.writer.retry()
    disk.set()
    bench.drain()
    bench.close()
    assert len(bench.read()) == 3


def test_short_writes_are_continued(bench):
    disk = journal.FaultyDisk()
    bench.start(disk=disk)
    disk.set(short_write_bytes=13)
    bench.append([bytes(range(200))] * 20)
    bench.drain()
    bench.close()
    assert [r[4] for r in bench.read()] == [bytes(range(200))] * 20 and bench.verify()["good"]


def test_a_crash_after_a_full_disk_keeps_what_the_ring_holds(bench):
    disk = journal.FaultyDisk()
    bench.start(disk=disk, allocate_ahead=False)
    bench.append([bytes([i]) * 100 for i in range(10)])
    disk.set(space_bytes=500)
    bench.drain()
    bench.crash()
    found = bench.recover()
    assert found["last_seq_before"] == 10
    assert [r[4] for r in bench.read()][:10] == [bytes([i]) * 100 for i in range(10)]


def test_a_file_system_without_fallocate_works(bench):
    disk = journal.FaultyDisk()
    disk.set(fallocate_unsupported=True)
    bench.start(disk=disk, segment_bytes=500)
    bench.append([bytes(100)] * 10)
    bench.drain()
    bench.close()
    assert len(bench.read()) == 10


def test_after_a_failed_sync_the_unsynced_bytes_are_written_again(bench):
    disk = journal.FaultyDisk(remember_unsynced=True)
    bench.start(disk=disk, sync="interval", sync_interval_ns=10)
    bench.append([b"one"])
    bench.drain(now_ns=100)
    bench.append([b"two", b"three"])
    disk.set(syncs_until_eio=0)
    bench.drain(now_ns=200)
    assert bench.writer.status == "io-error" and disk.unsynced_bytes > 0
    disk.lose_unsynced(1, keep_none=True)  # what a page cache may do after a failed sync
    disk.set()
    bench.writer.retry()
    bench.drain(now_ns=300)
    assert bench.writer.status == "running" and disk.unsynced_bytes == 0
    assert bench.appender.free_bytes == bench.appender.ring_bytes
    bench.close()
    assert [r[4] for r in bench.read()] == [b"one", b"two", b"three"] and bench.verify()["good"]


def test_the_ring_keeps_its_bytes_until_they_are_synced(bench):
    bench.start(sync="interval", sync_interval_ns=1000)
    bench.append([bytes(68)])
    bench.drain(now_ns=1)
    free = bench.appender.free_bytes
    bench.append([bytes(68)])
    bench.drain(now_ns=2)
    assert bench.appender.free_bytes == free - 104
    bench.drain(now_ns=1001)
    assert bench.appender.free_bytes == free
    assert bench.writer.counters["syncs"] == 2


@pytest.mark.parametrize("seed", range(20))
def test_after_a_power_cut_what_was_synced_is_there_and_the_rest_is_cut_or_refused(bench, seed):
    rng = random.Random(seed)
    disk = journal.FaultyDisk(remember_unsynced=True)
    bench.start(disk=disk, sync="interval", sync_interval_ns=100, segment_bytes=4000)
    now = safe = 0
    payloads = []
    for _ in range(rng.randrange(1, 40)):
        payload = rng.randbytes(rng.randrange(200))
        payloads.append(payload)
        bench.append([payload])
        now += rng.randrange(60)
        bench.drain(now_ns=now)
        if disk.unsynced_bytes == 0:
            safe = len(payloads)
    bench.power_cut()
    disk.lose_unsynced(seed)
    try:
        bench.recover()
    except journal.JournalError as e:
        assert e.fault in ("bad-crc", "bad-length", "torn") and "valid record follows" in e.hint
        bench.recover(cut_damaged_tail=True)
    kept = [r[4] for r in bench.read() if r[0] == RecordType.FEED]
    assert kept == payloads[:len(kept)] and len(kept) >= safe
    assert bench.verify()["good"]


def test_a_writer_will_not_go_on_over_a_torn_end(bench):
    bench.start(allocate_ahead=False)
    bench.append([b"abc"] * 3)
    bench.drain()
    bench.power_cut()
    with bench.segment().open("r+b") as f:
        f.truncate(bench.segment().stat().st_size - 3)
    appender = journal.Appender(str(bench.dir), "t", str(bench.shm))
    with pytest.raises(journal.JournalError) as e:
        journal.Writer(appender, str(bench.dir))
    assert e.value.fault == "needs-recovery"


def test_a_second_writer_takes_over_where_the_first_left(bench):
    bench.start()
    bench.append([b"a", b"b"])
    bench.drain()
    bench.append([b"c"])
    bench.writer.abandon()
    bench.writer = journal.Writer(bench.appender, str(bench.dir))
    bench.append([b"d"])
    bench.drain()
    bench.close()
    assert [r[4] for r in bench.read()] == [b"a", b"b", b"c", b"d"] and bench.verify()["good"]
