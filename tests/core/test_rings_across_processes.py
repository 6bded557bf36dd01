"""Rings between two processes over a named segment, with no Python object shared."""

import subprocess
import sys
import zlib

import numpy as np
import pytest

from hotpath import _core, rings
from hotpath.core.dtypes import EVENT_DTYPE

PRODUCER = """
import sys, zlib, numpy as np
from hotpath import rings
from hotpath.core.dtypes import EVENT_DTYPE
name, total = sys.argv[1], int(sys.argv[2])
ring = rings.SpscRing.open(name)
rng = np.random.default_rng(1)
sent = 0
while sent < total:
    array = ring.reserve_array(min(int(rng.integers(1, 40)), total - sent), EVENT_DTYPE)
    n = len(array)
    array["seq"] = np.arange(sent, sent + n)
    array["order_id"] = array["seq"] * np.uint64(0x9E3779B97F4A7C15)
    for row in array:
        row["aux"] = zlib.crc32(row.tobytes()[:56])
    ring.commit(n)
    sent += n
"""

READER = """
import sys
from hotpath import rings
reader = rings.BroadcastReader.open(sys.argv[1], "telemetry")
print("ready", flush=True)
got = 0
while reader.position < int(sys.argv[2]):
    for at in range(0, len(data := reader.poll_many(64)), 56):
        message = data[at:at + 56]
        assert message == message[:8] * 7, "torn"
        got += 1
print(got, reader.lost)
"""


def python(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True)


def test_another_process_fills_a_named_ring_and_every_slot_arrives_whole_in_order(segment_name):
    total = 5000
    ring = rings.SpscRing.create(segment_name, slot_bytes=64, slot_count=128)
    with python(PRODUCER, segment_name, str(total)) as producer:
        expected = 0
        while expected < total:
            array = ring.peek_array(64, EVENT_DTYPE)
            if not len(array):
                assert producer.poll() in (None, 0), "the producer died"
                continue
            assert list(array["seq"]) == list(range(expected, expected + len(array)))
            for row in array:
                assert row["aux"] == zlib.crc32(row.tobytes()[:56])
            expected += len(array)
            ring.consume(len(array))
    assert producer.returncode == 0
    assert len(ring) == 0


def test_a_read_only_reader_in_another_process_follows_the_broadcast(segment_name):
    total = 20_000
    size = rings.BroadcastWriter.bytes_needed(64, 256)
    segment = _core.Segment.create(segment_name, [_core.RegionSpec("telemetry", size, _core.RegionKind.BROADCAST)])
    writer = rings.BroadcastWriter(segment.region("telemetry"), slot_bytes=64, slot_count=256)
    with python(READER, segment_name, str(total)) as reader:
        assert reader.stdout.readline() == "ready\n"
        for n in range(total):
            writer.publish(n.to_bytes(8, "little") * 7)
        got, lost = map(int, reader.stdout.read().split())
    assert reader.returncode == 0
    assert got + lost == total


def test_a_ring_of_a_read_only_segment_cannot_be_taken_up_for_consuming(segment_name):
    rings.SpscRing.create(segment_name, slot_bytes=64, slot_count=4)
    view = _core.Segment.attach(segment_name).region("ring")
    assert memoryview(view).readonly
    with pytest.raises((BufferError, TypeError)):
        rings.SpscRing(view)
    assert np.frombuffer(view, "<u8", count=1)[0] == int.from_bytes(b"PPRGPSC1", "little")
