"""The command ring: one owner at a time, nothing taken on trust."""

import signal
import subprocess
import sys

import pytest

from hotpath import _core

HOLDER = """
import sys, time
from hotpath import _core
segment = _core.Segment.attach(sys.argv[1], write=True)
writer = _core.CommandWriter(segment)
writer.push(b"from the holder")
print("ready", flush=True)
time.sleep(60)
"""

READ_SEQ_AT, WRITE_SEQ_AT, SLOTS_AT = 256, 128, 384


@pytest.fixture
def segment(segment_name):
    return _core.Segment.create(segment_name, [_core.command_region(4)])


@pytest.fixture
def reader(segment):
    return _core.CommandReader(segment)


@pytest.fixture
def holder(segment_name, reader):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, segment_name], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_commands_arrive_in_order_and_whole(segment, reader):
    writer = _core.CommandWriter(segment)
    sent = [b"", b"x", bytes(range(200)), b"y" * _core.COMMAND_MAX_BYTES]
    assert all(writer.push(command) for command in sent)
    assert [reader.poll() for _ in range(5)] == [*sent, None]
    assert (writer.written, writer.consumed) == (4, 4)


def test_a_full_command_ring_says_so(segment, reader):
    writer = _core.CommandWriter(segment)
    assert [writer.push(b"c") for _ in range(5)] == [True] * 4 + [False]
    reader.poll()
    assert writer.push(b"c")


def test_a_command_that_is_too_long_is_refused(segment, reader):
    writer = _core.CommandWriter(segment)
    with pytest.raises(_core.ShmError, match="at most 1016"):
        writer.push(bytes(_core.COMMAND_MAX_BYTES + 1))
    assert reader.poll() is None


def test_only_one_process_may_command(segment, holder):
    assert segment.header()["lease_pid"] == holder.pid
    with pytest.raises(_core.ShmError, match=rf"held by pid {holder.pid}; hint"):
        _core.CommandWriter(segment)


def test_a_dead_holders_lease_is_taken_over_and_counted(segment, reader, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    writer = _core.CommandWriter(segment)
    assert segment.header()["lease_takeovers"] == 1
    assert writer.push(b"from the next")
    assert [reader.poll(), reader.poll()] == [b"from the holder", b"from the next"]


def test_a_released_lease_is_free_and_its_writer_refused(segment, reader):
    first = _core.CommandWriter(segment)
    with pytest.raises(_core.ShmError, match="already holds"):
        _core.CommandWriter(segment)
    first.release()
    assert segment.header()["lease_pid"] == 0
    second = _core.CommandWriter(segment)
    assert second.holds_lease and not first.holds_lease
    with pytest.raises(_core.ShmError, match="lost"):
        first.push(b"late")
    assert reader.poll() is None
    assert segment.header()["lease_takeovers"] == 0


def test_a_writer_gives_its_lease_back_when_it_goes(segment, reader):
    writer = _core.CommandWriter(segment)
    del writer
    assert segment.header()["lease_pid"] == 0


def test_a_malformed_slot_is_dropped_and_the_next_one_read(segment, reader):
    writer = _core.CommandWriter(segment)
    for command in (b"first", b"second"):
        writer.push(command)
    memory = memoryview(segment.region("commands"))
    memory[SLOTS_AT:SLOTS_AT + 4] = (1017).to_bytes(4, "little")
    with pytest.raises(ValueError, match="malformed"):
        reader.poll()
    assert reader.poll() == b"second"


@pytest.mark.parametrize("written", [5, 2**63, 2**64 - 1])
def test_impossible_counters_put_the_ring_out_of_use_and_do_not_stop_the_engine(segment, reader, written):
    memory = memoryview(segment.region("commands"))
    memory[WRITE_SEQ_AT:WRITE_SEQ_AT + 8] = written.to_bytes(8, "little")
    for _ in range(2):
        with pytest.raises(_core.ShmError, match="broken"):
            reader.poll()
    memory[WRITE_SEQ_AT:WRITE_SEQ_AT + 8] = bytes(8)
    with pytest.raises(_core.ShmError, match="broken"):
        reader.poll()


def test_a_segment_without_a_command_ring_says_so(segment_name):
    segment = _core.Segment.create(segment_name, [_core.RegionSpec("commands", 100)])
    with pytest.raises(_core.ShmError, match="has no command ring"):
        _core.CommandWriter(segment)


def test_a_read_only_attachment_cannot_command(segment_name, segment, reader):
    with pytest.raises(_core.ShmError, match="read-only"):
        _core.CommandWriter(_core.Segment.attach(segment_name))
    with pytest.raises(_core.ShmError, match="only the engine"):
        _core.CommandReader(_core.Segment.attach(segment_name, write=True))
