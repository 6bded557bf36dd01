"""What is appended is what is read, in C++ and by the Python oracle."""

import shutil
import struct
import threading

import journal_reader as oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotpath import journal

TYPES = [t for t in journal.RecordType if t.name not in ("PADDING", "TRAILER")]
RECORDS = st.lists(
    st.tuples(st.sampled_from(TYPES), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=300)), max_size=60)
MODEST = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def as_tuples(records):
    return [(r.type, r.seq, r.ts_ns, r.generation, r.payload) for r in records]


@MODEST
@given(RECORDS, st.integers(0, 60), st.sampled_from([400, 1000, 1 << 20]), st.booleans())
def test_every_record_comes_back_in_order_from_disk_and_ring(make_bench, records, drained, segment_bytes, closed):
    b = make_bench()
    b.start(segment_bytes=segment_bytes)
    expected = []
    for i, (kind, ts, payload) in enumerate(records):
        seq = b.appender.append(kind, ts, payload)
        assert seq == i + 1
        expected.append((kind, seq, ts, 1, payload))
        if i < drained:
            b.drain()
    if closed:
        b.close()
    else:
        b.crash()
    assert b.read() == expected
    found = oracle.read_journal(b.dir)
    assert as_tuples(found.records) == expected
    assert found.ring_records == (0 if closed else max(0, len(records) - drained))
    shutil.rmtree(b.dir)
    shutil.rmtree(b.shm)


@MODEST
@given(RECORDS, st.lists(st.integers(1, 20), max_size=4), st.data())
def test_a_journal_over_several_crashes_reads_the_same_in_cpp_and_python(make_bench, records, cuts, data):
    b = make_bench()
    b.start(segment_bytes=2000)
    for kind, ts, payload in records:
        assert b.appender.append(kind, ts, payload)
        if data.draw(st.integers(0, 3)) == 0:
            b.writer.drain_once()
        if data.draw(st.integers(0, 15)) == 0:
            b.crash()
            b.start(segment_bytes=2000)
    b.crash()
    found = oracle.read_journal(b.dir)
    assert as_tuples(found.records) == b.read()
    sent = [(kind, ts, payload) for kind, ts, payload in records]
    assert [(r.type, r.ts_ns, r.payload) for r in found.records
            if r.type != 27 or (27, r.ts_ns, r.payload) in sent] == sent
    shutil.rmtree(b.dir)
    shutil.rmtree(b.shm)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_crc32c_matches_the_table_and_chains(data, cut):
    assert journal.crc32c(data) == oracle.crc32c(data)
    assert journal.crc32c(data[cut:], journal.crc32c(data[:cut])) == oracle.crc32c(data)


def test_crc32c_of_the_standard_check_string():
    assert journal.crc32c(b"123456789") == 0xE3069283 == oracle.crc32c(b"123456789")


def test_a_payload_may_come_in_three_pieces(bench):
    bench.start()
    assert bench.appender.append(journal.RecordType.FEED, 5, b"abc", b"", b"defgh") == 1
    assert bench.read()[0][4] == b"abcdefgh"


def test_a_full_ring_refuses_and_takes_again_after_a_drain(bench):
    bench.start()
    record = bytes(1000)
    taken = bench.appender.append_repeated(journal.RecordType.FEED, 0, record, 1000)
    assert taken == 65536 // 1032
    assert bench.appender.append(journal.RecordType.FEED, 0, record) == 0
    assert bench.appender.free_bytes == 65536 - taken * 1032
    assert bench.drain() == taken * 1032
    assert bench.appender.free_bytes == 65536
    for _ in range(5):  # round the end of the ring, several times
        assert bench.appender.append_repeated(journal.RecordType.FEED, 0, record, 1000) == taken
        bench.drain()
    assert bench.appender.next_seq == 6 * taken + 1
    assert [r[1] for r in bench.read()] == list(range(1, 6 * taken + 1))


def test_cancels_fit_into_the_reserve_of_a_full_ring(bench):
    bench.start(reserve_bytes=4096)
    while bench.appender.append(journal.RecordType.FEED, 0, bytes(100)):
        pass
    last = bench.appender.next_seq
    assert bench.appender.append_reserved(journal.RecordType.INTENT, 0, bytes(100)) == last
    assert bench.appender.append(journal.RecordType.FEED, 0, bytes(100)) == 0


def test_a_record_larger_than_the_ring_is_refused(bench):
    bench.start()
    assert bench.appender.append(journal.RecordType.FEED, 0, bytes(65536)) == 0
    assert bench.appender.append(journal.RecordType.FEED, 0, bytes(65536 - 32)) == 1
    bench.drain()
    assert len(bench.read()[0][4]) == 65536 - 32


def test_a_ring_takes_its_size_to_the_byte_and_no_more(bench):
    bench.start()
    assert bench.appender.append(journal.RecordType.FEED, 0, bytes(65536 - 24 - 32)) == 1
    assert bench.appender.free_bytes == 24
    assert bench.appender.append(journal.RecordType.FEED, 0, b"") == 0, "8 bytes too many"
    bench.drain()
    assert bench.appender.append(journal.RecordType.FEED, 0, bytes(65536 - 32 - 32)) == 2
    assert bench.appender.append(journal.RecordType.FEED, 0, b"") == 3
    assert bench.appender.free_bytes == 0


def test_padding_is_zero_also_where_the_ring_held_other_bytes(bench):
    bench.start()
    for _ in range(2):
        bench.append([b"\xff" * (32768 - 32)] * 2)
        bench.drain()
    bench.append([b"abc"])
    reader = journal.Reader(str(bench.dir))
    assert len(list(reader)) == 5 and reader.raw[32:] == b"abc" + bytes(5)


def test_segments_are_closed_before_they_pass_their_size_and_chained(bench):
    bench.start(segment_bytes=1000)
    bench.append([bytes([i]) * 100 for i in range(30)])
    bench.drain()
    bench.close()
    sizes = [p.stat().st_size for p in sorted(bench.dir.glob("journal-*.pgj"))]
    assert len(sizes) > 4 and max(sizes) <= 1000
    assert bench.verify()["good"] and len(bench.read()) == 30
    assert not list(bench.shm.iterdir()), "a clean end leaves nothing in shared memory"
    assert not (bench.dir / "ring.path").exists()


def test_appending_after_close_is_refused(bench):
    bench.start()
    bench.append([b"x"])
    bench.writer.close()
    assert bench.appender.writer_status == "closed"
    assert bench.appender.append(journal.RecordType.FEED, 0, b"y") == 0


def test_the_writer_thread_moves_what_is_appended(bench):
    bench.start(segment_bytes=200_000, sync="interval", sync_interval_ns=1_000_000)
    bench.writer.start()
    payload = bytes(range(256))
    sent = 0
    while sent < 5000:
        sent += bench.appender.append_repeated(journal.RecordType.FEED, 7, payload, 5000 - sent)
    bench.close()
    records = bench.read()
    assert [r[1] for r in records] == list(range(1, 5001)) and all(r[4] == payload for r in records)
    assert bench.verify()["summary"]["segments"] > 5


def test_a_live_journal_can_be_read_while_it_is_written(bench):
    bench.start(segment_bytes=100_000)
    bench.writer.start()
    reader = journal.Reader(str(bench.dir))
    seen, stop = [], threading.Event()

    def follow():
        while not stop.is_set() or len(seen) < 20_000:
            for r in reader:
                assert r[4] == struct.pack("<Q", r[1]) * 20
                seen.append(r[1])

    t = threading.Thread(target=follow)
    t.start()
    for seq in range(1, 20_001):
        while bench.appender.append(journal.RecordType.FEED, 0, struct.pack("<Q", seq) * 20) == 0:
            pass
    stop.set()
    t.join(600)
    assert not t.is_alive() and seen == list(range(1, 20_001))


def test_a_summary_counts_by_type(bench):
    bench.start()
    bench.append([b"a", b"bb"], journal.RecordType.FEED, ts=10)
    bench.append([b"ccc"], journal.RecordType.INTENT, ts=20)
    bench.drain()
    bench.append([b"d"], journal.RecordType.TIMER, ts=30)
    s = journal.summarize(str(bench.dir))
    assert s["counts"] == {"feed": 2, "intent": 1, "timer": 1}
    assert (s["first_seq"], s["last_seq"], s["first_ts_ns"], s["last_ts_ns"]) == (1, 4, 10, 30)
    assert (s["records"], s["payload_bytes"], s["segments"], s["ring_records"]) == (4, 7, 1, 1)


def test_reading_a_directory_without_a_journal_says_so(tmp_path):
    with pytest.raises(journal.JournalError, match="journal-000001.pgj") as e:
        journal.Reader(str(tmp_path / "nothing"))
    assert e.value.code == 2
