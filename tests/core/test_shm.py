"""Segments: who owns them, what a reader refuses, what survives a crash and a restart."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hotpath import _core
from orchestrator.control.kill_word import set_kill_word
from orchestrator.observe import segment as segments

LAYOUT_VERSION_AT = 8
TOTAL_BYTES_AT = 16
PID_AT = 32
START_TICKS_AT = 40
N_REGIONS_AT = 56
FIRST_REGION_AT = 256

OWNER = """
import sys, time
from hotpath import _core
segment = _core.Segment.create(sys.argv[1], [_core.RegionSpec("data", 100)])
memoryview(segment.region("data"))[:5] = b"hello"
segment.heartbeat(123)
print("ready", flush=True)
time.sleep(60)
"""


def region(name="data", size=100, **more):
    return _core.RegionSpec(name, size, **more)


def start_owner(name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", OWNER, name], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def owner(segment_name):
    process = start_owner(segment_name)
    yield process
    process.kill()
    process.communicate()


def patch(name: str, offset: int, data: bytes) -> None:
    with Path(_core.Segment.path_of(name)).open("r+b") as f:
        f.seek(offset)
        f.write(data)


def test_header_and_regions_say_what_was_asked_for(segment_name):
    segment = _core.Segment.create(segment_name, [region("a", 1), region("b", 5000, version=7, lock=True)], epoch=9)
    header = segment.header()
    assert (header["epoch"], header["pid"], header["n_regions"]) == (9, os.getpid(), 2)
    assert header["start_ticks"] == _core.process_start_ticks(os.getpid()) > 0
    assert header["total_bytes"] == 4096 * 4 == Path(_core.Segment.path_of(segment_name)).stat().st_size
    a, b = segment.regions()
    assert (a["name"], a["offset"], a["bytes"], a["lock"]) == ("a", 4096, 1, "not asked for")
    assert (b["name"], b["offset"], b["bytes"], b["version"]) == ("b", 8192, 5000, 7)
    assert b["lock"] == "locked" or b["lock"].startswith("failed: ")
    assert Path(_core.Segment.path_of(segment_name)).stat().st_mode & 0o777 == 0o600


def test_a_region_is_shared_memory_seen_by_numpy(segment_name):
    segment = _core.Segment.create(segment_name, [region(size=80)])
    written = np.frombuffer(segment.region("data"), "<u8")
    read = np.frombuffer(_core.Segment.attach(segment_name).region("data"), "<u8")
    written[:] = np.arange(10)
    assert list(read) == list(range(10))
    assert not read.flags.writeable


def test_memory_stays_while_a_view_of_it_lives(segment_name):
    segment = _core.Segment.create(segment_name, [region()])
    view = memoryview(segment.region("data"))
    segment.close(remove_name=True)
    view[0] = 1
    assert view[0] == 1
    with pytest.raises(_core.ShmError, match="closed"):
        segment.header()
    with pytest.raises(_core.ShmError, match="no segment"):
        _core.Segment.attach(segment_name)


def test_an_anonymous_segment_needs_no_name():
    segment = _core.Segment.create_anonymous([region()])
    assert segment.name == "" and not segment.superseded()
    assert segment.header()["epoch"] == 1


@pytest.mark.parametrize(("regions", "complaint"), [
    ([region(), region()], "two regions"), ([region("")], "expected 1 to 31"), ([region("x" * 32)], "expected 1 to 31"),
    ([region(size=0)], "expected 1 to"), ([region(f"r{n}") for n in range(61)], "a segment holds 60"),
])
def test_senseless_regions_are_refused(segment_name, regions, complaint):
    with pytest.raises(_core.ShmError, match=complaint):
        _core.Segment.create(segment_name, regions)


@pytest.mark.parametrize("name", ["", "../etc/passwd", "a/b", "x" * 101, "a b"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(_core.ShmError, match="segment name"):
        _core.Segment.create(name, [])


def test_more_than_the_machine_has_is_an_error_and_not_a_crash(segment_name):
    with pytest.raises(_core.ShmError, match="hint: see how full"):
        _core.Segment.create(segment_name, [region(size=1 << 40)])
    assert segment_name not in _core.Segment.list_names()


def test_another_layout_version_is_refused_with_both_versions_named(segment_name):
    _core.Segment.create(segment_name, [region()])
    patch(segment_name, LAYOUT_VERSION_AT, (77).to_bytes(4, "little"))
    with pytest.raises(_core.ShmError, match=r"layout version 77, this build reads version 1; hint:"):
        _core.Segment.attach(segment_name)


@pytest.mark.parametrize(("offset", "data", "complaint"), [
    (0, b"NOTOURS!", "magic"),
    (0, bytes(8), "still being made"),
    (TOTAL_BYTES_AT, (1 << 40).to_bytes(8, "little"), "damaged"),
    (TOTAL_BYTES_AT, bytes(8), "damaged"),
    (N_REGIONS_AT, (61).to_bytes(4, "little"), "damaged"),
    (FIRST_REGION_AT + 32, (1 << 60).to_bytes(8, "little"), "region 0 lies at"),
    (FIRST_REGION_AT + 40, (2**64 - 1).to_bytes(8, "little"), "region 0 lies at"),
    (FIRST_REGION_AT, b"x" * 32, "damaged"),
])
def test_a_damaged_header_is_refused(segment_name, offset, data, complaint):
    _core.Segment.create(segment_name, [region()])
    patch(segment_name, offset, data)
    with pytest.raises(_core.ShmError, match=complaint):
        _core.Segment.attach(segment_name)


def test_a_truncated_file_is_refused(segment_name):
    _core.Segment.create(segment_name, [region()])
    path = Path(_core.Segment.path_of(segment_name))
    os.truncate(path, 4096)
    with pytest.raises(_core.ShmError, match="damaged"):
        _core.Segment.attach(segment_name)
    os.truncate(path, 100)
    with pytest.raises(_core.ShmError, match="has 100 bytes"):
        _core.Segment.attach(segment_name)


def test_a_living_engine_keeps_its_name(owner, segment_name):
    with pytest.raises(_core.ShmError, match=rf"running engine \(pid {owner.pid}\); hint"):
        _core.Segment.create(segment_name, [region()])
    with pytest.raises(_core.ShmError, match="running engine"):
        _core.Segment.unlink(segment_name, only_if_dead=True)
    assert _core.Segment.attach(segment_name).owner_liveness() == "alive"


def test_memory_of_a_killed_engine_can_still_be_read_and_its_owner_is_known_dead(owner, segment_name):
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    segment = _core.Segment.attach(segment_name)
    assert bytes(memoryview(segment.region("data"))[:5]) == b"hello"
    assert segment.header()["heartbeat_ns"] == 123
    assert segment.owner_liveness() == "dead"
    _core.Segment.unlink(segment_name, only_if_dead=True)
    assert segment_name not in _core.Segment.list_names()


def test_a_restart_after_a_crash_makes_the_next_epoch(owner, segment_name):
    before = _core.Segment.attach(segment_name)
    assert before.epoch == 1 and not before.superseded()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    after = _core.Segment.create(segment_name, [region()])
    assert after.epoch == 2
    assert before.superseded() and not after.superseded()
    assert before.epoch == 1 and bytes(memoryview(before.region("data"))[:5]) == b"hello"
    assert bytes(memoryview(after.region("data"))[:5]) == bytes(5)


def test_a_zombie_is_dead(segment_name):
    process = start_owner(segment_name)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet reaped
    assert _core.Segment.attach(segment_name).owner_liveness() == "dead"
    process.communicate()


def test_a_reused_pid_is_not_the_owner(segment_name):
    segment = _core.Segment.create(segment_name, [region()])
    patch(segment_name, START_TICKS_AT, (1).to_bytes(8, "little"))
    assert segment.owner_liveness() == "reused"
    patch(segment_name, PID_AT, (2**31 - 1).to_bytes(4, "little"))
    assert segment.owner_liveness() == "dead"


def test_the_kill_word_is_a_level_that_every_process_sees(segment_name):
    segment = _core.Segment.create(segment_name, [region()])
    killer = _core.Segment.attach(segment_name, write=True)
    assert segment.kill_level == _core.KillLevel.RUN
    killer.set_kill(_core.KillLevel.FLATTEN)
    for _ in range(2):  # reading does not take it away
        assert segment.kill_level == _core.KillLevel.FLATTEN
    header = segment.header()
    assert header["kill_pid"] == os.getpid() and header["kill_ns"] > 0
    killer.set_kill(_core.KillLevel.RUN)
    assert segment.kill_level == _core.KillLevel.RUN


@pytest.mark.parametrize("again", ["python", "engine's own code"])
def test_a_kill_is_lifted_only_by_who_has_seen_that_very_one(segment_name, again):
    segment = _core.Segment.create(segment_name, [region()])
    with segments.Segment(segment_name, write=True) as word:
        word.kill(1)
        seen = word.kill_word()
        assert seen == segment.kill_word and seen & 0xFFFFFFFF == 1
        word.kill(1) if again == "python" else segment.set_kill(1)
        stamped = segment.header()["kill_ns"]
        assert not segment.lift_kill(seen) and segment.kill_level == _core.KillLevel.CANCEL_ALL and segment.header()["kill_ns"] == stamped
        assert segment.lift_kill(word.kill_word()) and segment.kill_level == _core.KillLevel.RUN and word.status().kill_level == 0
        assert not segment.lift_kill(seen)


def test_a_kill_word_that_stands_higher_is_stamped_anew_and_not_lowered(segment_name):
    segment = _core.Segment.create(segment_name, [region()])
    assert set_kill_word(segment_name, "flatten") == ""
    seen = segment.kill_word
    assert set_kill_word(segment_name, "cancel") == "" and not segment.lift_kill(seen) and segment.kill_level == _core.KillLevel.FLATTEN


def test_a_read_only_segment_takes_no_kill(segment_name):
    _core.Segment.create(segment_name, [region()])
    with pytest.raises(_core.ShmError, match="read-only"):
        _core.Segment.attach(segment_name).set_kill(1)


def test_a_heartbeat_moves_the_time_and_the_count(segment_name):
    segment = _core.Segment.create(segment_name, [region()])
    segment.heartbeat(1000)
    segment.heartbeat(1000)
    header = _core.Segment.attach(segment_name).header()
    assert (header["heartbeat_ns"], header["heartbeat_count"]) == (1000, 2)
    segment.set_state(_core.EngineState.TRADING)
    assert segment.header()["state"] == _core.EngineState.TRADING


def test_segments_are_listed_by_name(segment_name):
    assert segment_name not in _core.Segment.list_names()
    segment = _core.Segment.create(segment_name, [region()])
    assert segment_name in _core.Segment.list_names()
    segment.close(remove_name=True)
    assert segment_name not in _core.Segment.list_names()


def test_a_region_that_is_not_there_is_named_in_the_error(segment_name):
    segment = _core.Segment.create(segment_name, [region()])
    with pytest.raises(KeyError, match="no region 'nonesuch'"):
        segment.region("nonesuch")
