"""Damaged journals: a torn end is cut, anything else is refused with the place."""

import shutil
import struct

import journal_reader as oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotpath import journal
from hotpath.journal import RecordType

PAYLOADS = [bytes([i]) * (10 + 7 * i) for i in range(12)]


def record_offsets(path):
    """(offset, length) of each record, trailer included."""
    data = path.read_bytes()
    at, found = 128, []
    while (r := oracle.parse_record(data, at)) is not None:
        found.append((at, r[0][0]))
        at += r[0][0]
    return found


def flip(path, offset, mask=0x10):
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)


def rewrite_record(path, offset, **changes):
    """Change header fields of a record and give it a right CRC again."""
    data = bytearray(path.read_bytes())
    names = ["length", "type", "pad", "seq", "ts", "generation", "crc"]
    fields = dict(zip(names, oracle.HEADER.unpack_from(data, offset), strict=True)) | changes
    length = fields["length"]
    fields["crc"] = 0
    oracle.HEADER.pack_into(data, offset, *fields.values())
    struct.pack_into("<I", data, offset + 28, oracle.crc32c(bytes(data[offset:offset + length])))
    path.write_bytes(data)


def refusal(bench):
    """The error that C++ gives; the oracle must refuse too."""
    with pytest.raises(journal.JournalError) as e:
        bench.read()
    with pytest.raises(oracle.Corrupt):
        oracle.read_journal(bench.dir)
    with pytest.raises(journal.JournalError) as again:
        bench.recover()
    assert (again.value.fault, again.value.offset) == (e.value.fault, e.value.offset)
    assert f"offset {e.value.offset}" in str(e.value) and e.value.expected and e.value.found
    return e.value


@pytest.fixture
def open_journal(bench):
    """12 records in one open segment; no ring left (as after a reboot)."""
    bench.start(allocate_ahead=False)
    bench.append(PAYLOADS)
    bench.drain()
    bench.power_cut()
    return bench


@pytest.fixture
def closed_journal(bench):
    """12 records over three segments, closed cleanly."""
    bench.start(segment_bytes=600)
    bench.append(PAYLOADS)
    bench.drain()
    bench.close()
    assert bench.segment(3).exists()
    return bench


FIELDS = {"length": 0, "type": 4, "pad": 6, "seq": 8, "ts": 16, "generation": 24, "crc": 28, "payload": 33}


@pytest.mark.parametrize("field", FIELDS)
def test_a_flipped_bit_in_a_record_with_valid_ones_after_it_is_refused_at_its_offset(open_journal, field):
    at, _ = record_offsets(open_journal.segment())[5]
    flip(open_journal.segment(), at + FIELDS[field])
    e = refusal(open_journal)
    assert e.offset == at and e.file.endswith("journal-000001.pgj")
    assert e.fault in ("bad-crc", "bad-length", "torn")
    assert "valid record follows" in e.hint


@pytest.mark.parametrize("field", FIELDS)
def test_a_flipped_bit_in_the_last_record_of_the_open_segment_is_a_torn_end(open_journal, field):
    at, _ = record_offsets(open_journal.segment())[-1]
    flip(open_journal.segment(), at + FIELDS[field])
    assert [r[4] for r in open_journal.read()] == PAYLOADS[:-1]
    assert len(oracle.read_journal(open_journal.dir).records) == 11
    found = open_journal.recover()
    assert (found["last_seq_before"], found["cut_offset"], found["next_seq"]) == (11, at, 13)
    assert found["cut_bytes"] > 0
    assert open_journal.verify()["good"]


def test_the_same_damage_is_refused_while_the_ring_says_the_record_was_on_disk(bench):
    bench.start(allocate_ahead=False)
    bench.append(PAYLOADS)
    bench.drain()
    bench.crash()
    at, _ = record_offsets(bench.segment())[-1]
    flip(bench.segment(), at + 33)
    e = refusal(bench)
    assert e.offset == at and e.fault == "bad-crc"


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("number", [1, 3])
def test_a_flipped_bit_in_a_closed_segment_is_always_refused(closed_journal, number, field):
    path = closed_journal.segment(number)
    at, _ = record_offsets(path)[-2]  # the last one before the trailer
    flip(path, at + FIELDS[field])
    e = refusal(closed_journal)
    assert e.offset == at and e.file == str(path)


@pytest.mark.parametrize("offset", [0, 8, 12, 16, 20, 24, 40, 64, 100, 124])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_damaged_segment_header_is_refused(closed_journal, number, offset):
    flip(closed_journal.segment(number), offset)
    e = refusal(closed_journal)
    assert e.fault == "bad-segment-header" and e.file == str(closed_journal.segment(number))


def with_header(path, **changes):
    data = bytearray(path.read_bytes())
    names = ["magic", "format", "semantics", "number", "generation", "first_seq", "previous", "id", "zero", "crc"]
    fields = dict(zip(names, oracle.SEGMENT.unpack_from(data), strict=True)) | changes
    oracle.SEGMENT.pack_into(data, 0, *fields.values())
    struct.pack_into("<I", data, 124, oracle.crc32c(bytes(data[:124])))
    path.write_bytes(data)


@pytest.mark.parametrize(("change", "fault"), [
    ({"format": 2}, "unsupported-version"),
    ({"format": 0}, "unsupported-version"),
    ({"number": 7}, "bad-segment-header"),
    ({"first_seq": 9}, "bad-seq"),
    ({"previous": b"x" * 32}, "bad-chain"),
    ({"generation": 0}, "bad-generation"),
])
def test_a_segment_that_does_not_fit_the_one_before_is_refused(closed_journal, change, fault):
    with_header(closed_journal.segment(2), **change)
    assert refusal(closed_journal).fault == fault


def test_another_journals_segment_is_refused(closed_journal):
    with_header(closed_journal.segment(3), id=1)
    with pytest.raises(journal.JournalError, match="journal id"):
        closed_journal.read()


@pytest.mark.parametrize(("change", "fault"), [
    ({"seq": 99}, "bad-seq"), ({"seq": 4}, "bad-seq"), ({"type": 200}, "bad-type"), ({"generation": 0}, "bad-generation"),
])
@pytest.mark.parametrize("which", [5, -1])
def test_whole_records_that_do_not_belong_are_refused_even_at_the_end(open_journal, which, change, fault):
    at, _ = record_offsets(open_journal.segment())[which]
    rewrite_record(open_journal.segment(), at, **change)
    e = refusal(open_journal)
    assert (e.fault, e.offset) == (fault, at)


def test_an_exchanged_record_with_a_right_crc_breaks_the_chain(closed_journal):
    path = closed_journal.segment(1)
    data = bytearray(path.read_bytes())
    at, length = record_offsets(path)[0]
    data[at + 33] ^= 1
    path.write_bytes(data)
    rewrite_record(path, at)
    e = refusal(closed_journal)
    assert e.fault == "bad-chain" and e.offset == record_offsets(path)[-1][0]


@pytest.mark.parametrize(("offset", "value"), [(32, 99), (40, 99), (48, 99)])
def test_wrong_counts_in_a_trailer_are_refused(closed_journal, offset, value):
    path = closed_journal.segment(2)
    at, _ = record_offsets(path)[-1]
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, at + offset, value)
    path.write_bytes(data)
    rewrite_record(path, at)
    assert refusal(closed_journal).fault == "bad-trailer"


def test_bytes_after_a_trailer_are_refused(closed_journal):
    with closed_journal.segment(3).open("ab") as f:
        f.write(b"\0" * 100)
    assert len(closed_journal.read()) == 12, "zeros: the cut of the allocated space was interrupted"
    with closed_journal.segment(3).open("ab") as f:
        f.write(b"x")
    assert refusal(closed_journal).fault == "bad-trailer"


@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_segment_is_refused(closed_journal, number):
    closed_journal.segment(number).unlink()
    assert refusal(closed_journal).fault == "missing-segment"


@pytest.mark.parametrize("number", [1, 2])
def test_a_truncated_earlier_segment_is_refused(closed_journal, number):
    path = closed_journal.segment(number)
    at, _ = record_offsets(path)[-1]
    with path.open("r+b") as f:
        f.truncate(at)
    e = refusal(closed_journal)
    assert e.fault == "bad-trailer" and e.offset == at


def test_a_journal_cut_at_any_byte_of_its_last_three_records_keeps_every_whole_one(open_journal):
    path = open_journal.segment()
    whole = path.read_bytes()
    offsets = record_offsets(path)
    for size in range(offsets[-3][0], len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = sum(at + length <= size for at, length in offsets)
        reader = journal.Reader(str(open_journal.dir))
        assert [r[4] for r in reader] == PAYLOADS[:kept]
        end_of_last = max(at + length for at, length in offsets[:kept])
        torn = len(whole[end_of_last:size].rstrip(b"\0"))
        assert reader.end["torn_bytes"] == torn == oracle.read_journal(open_journal.dir).torn_bytes


@pytest.mark.parametrize("back", [1, 5, 20, 33, 40])
def test_after_a_cut_the_journal_goes_on_without_a_hole(open_journal, back):
    path = open_journal.segment()
    with path.open("r+b") as f:
        f.truncate(path.stat().st_size - back)
    found = open_journal.start()
    assert found["recovered_seq"] == 12 and found["cut_bytes"] > 0
    open_journal.append([b"after"])
    open_journal.close()
    records = open_journal.read()
    assert [r[1] for r in records] == list(range(1, 14))
    assert records[11][0] == RecordType.RECOVERED and records[12][4] == b"after"


def test_the_operator_can_cut_damage_before_valid_records_and_the_bytes_are_kept(open_journal):
    at, _ = record_offsets(open_journal.segment())[5]
    whole = open_journal.segment().read_bytes()
    flip(open_journal.segment(), at + 40)
    refusal(open_journal)
    found = open_journal.recover(cut_damaged_tail=True)
    assert (found["last_seq_before"], found["cut_offset"]) == (5, at)
    kept = open_journal.dir / f"journal-000001.pgj.cut-{at}"
    assert kept.read_bytes()[41:] == whole[at + 41:] and found["cut_file"] == str(kept)
    assert [r[4] for r in open_journal.read()][:5] == PAYLOADS[:5]
    assert open_journal.verify()["good"]


def test_the_operators_cut_does_not_touch_closed_segments(closed_journal):
    flip(closed_journal.segment(2), 128 + 40)
    with pytest.raises(journal.JournalError):
        closed_journal.recover(cut_damaged_tail=True)


def test_a_segment_cut_off_at_its_creation_is_as_good_as_not_there(closed_journal):
    for content in (b"", bytes(100), bytes(128), bytes(4096)):
        closed_journal.segment(4).write_bytes(content)
        assert len(closed_journal.read()) == 12
    assert closed_journal.recover()["recovered_seq"] == 13
    assert closed_journal.verify()["good"]


def test_a_damaged_record_in_the_ring_is_refused_with_its_position(bench):
    bench.start()
    bench.append(PAYLOADS)
    bench.crash()
    ring = next(bench.shm.iterdir())
    flip(ring, oracle.RING_DATA + 48 + 33)
    with pytest.raises(journal.JournalError) as e:
        bench.read()
    assert (e.value.fault, e.value.offset, e.value.file) == ("bad-crc", 48, str(ring))


def test_a_foreign_file_in_place_of_the_ring_is_refused(bench):
    (bench.shm / "t.pgr").write_bytes(b"x" * 131072)
    with pytest.raises(journal.JournalError, match="not a|another magic|Peregrine"):
        bench.recover()


def test_verify_reports_instead_of_raising(open_journal):
    at, _ = record_offsets(open_journal.segment())[2]
    flip(open_journal.segment(), at + 34)
    v = open_journal.verify()
    assert not v["good"] and v["error"]["offset"] == at and v["summary"]["records"] == 2
    assert "bad-crc" in v["text"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(1, 3), st.data())
def test_any_single_damaged_byte_gives_the_same_verdict_in_cpp_and_python(closed_journal, number, data):
    path = closed_journal.segment(number)
    whole = path.read_bytes()
    offset = data.draw(st.integers(0, len(whole) - 1))
    flip(path, offset, data.draw(st.integers(1, 255)))
    try:
        try:
            expected = [r.payload for r in oracle.read_journal(closed_journal.dir).records]
        except (oracle.Corrupt, struct.error):
            expected = None
        verdict = closed_journal.verify()
        assert verdict["good"] == (expected is not None)
        if expected is not None:
            # Only the trailer of the last segment can go: then that segment is open again.
            assert expected == PAYLOADS and number == 3
    finally:
        path.write_bytes(whole)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_as_a_segment_never_crash_the_reader(make_bench, content, with_good_header):
    b = make_bench()
    b.start()
    b.power_cut()
    head = b.segment().read_bytes()[:128] if with_good_header else b""
    b.segment().write_bytes(head + content)
    v = b.verify()
    assert v["summary"]["records"] == 0
    shutil.rmtree(b.dir)
