"""telemetry.sock: what a subscriber gets, and what one that hangs costs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import zmq

from orchestrator.observe.publish import HIGH_WATER, TOPIC, Publisher
from orchestrator.observe.reading import Reader
from orchestrator.supervise import state_file
from orchestrator.supervise.paths import runtime_dir
from orchestrator.supervise.state_file import TreeState
from tests.observe.monitoring import ExporterRun, until

HANGS = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.setsockopt(zmq.RCVHWM, 1)
socket.setsockopt(zmq.SUBSCRIBE, b"")
socket.connect("ipc://" + sys.argv[1])
socket.recv_multipart()
print("subscribed", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def subscriber(path):
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, TOPIC)
    socket.setsockopt(zmq.RCVTIMEO, 60_000)
    socket.connect(f"ipc://{path}")
    try:
        yield socket
    finally:
        socket.close(0)
        context.term()


def test_a_subscriber_gets_readings_in_the_written_form(stand_in):
    one = stand_in(shards=2)
    folder = runtime_dir(one.name, make=True)
    state_file.write(folder, TreeState(name=one.name, supervisor_pid=5, supervisor_start_ticks=6, state="trading", trading_enabled=True))
    with ExporterRun(one.name, "--publish-ms", "50") as exporter, subscriber(exporter.ready["telemetry"]) as socket:
        topic, frame = socket.recv_multipart()
        found = msgspec.msgpack.decode(frame)
        assert topic == TOPIC and found["v"] == 1 and abs(found["ts_ns"] - time.time_ns()) < 60e9
        assert found["engine"]["engine"]["name"] == one.name and len(found["engine"]["shards"]) == 2
        assert found["engine"]["instruments"][0]["symbol"] == "S0" and len(found["engine"]["limits"]) == 2
        assert found["engine"]["limits"][0]["limit_long_lots"] == 1000 and found["engine"]["latency_ns"]["risk"]["count"] == 38
        assert msgspec.convert(found["tree"], TreeState).trading_enabled
        one.remove()
        until(lambda: msgspec.msgpack.decode(socket.recv_multipart()[1])["engine"] is None, "a reading without an engine")


def test_a_subscriber_that_hangs_costs_a_queue_and_nobody_else_anything(stand_in):
    one = stand_in()
    reader = Reader(one.name, keep_s=0)
    with Publisher(runtime_dir(one.name, make=True)) as publisher:
        hung = subprocess.Popen([sys.executable, "-c", HANGS, str(publisher.path)], stdout=subprocess.PIPE)
        try:
            os.set_blocking(hung.stdout.fileno(), False)

            def heard() -> bytes:
                publisher.send(reader.read())
                return hung.stdout.read() or b""

            until(heard, "the subscriber that will hang")
            os.kill(hung.pid, signal.SIGSTOP)
            with subscriber(publisher.path) as good:
                good.setsockopt(zmq.RCVTIMEO, 100)
                grown_from, reading = _rss_bytes(), reader.read()
                for _ in range(2_000):
                    publisher.send(reading)
                    with contextlib.suppress(zmq.Again):
                        good.recv_multipart(zmq.NOBLOCK)
                assert _rss_bytes() - grown_from < 64 << 20, f"kept for the hung one: at most {HIGH_WATER} and what the kernel takes"
                fresh_ns = time.time_ns()

                def served() -> bool:
                    publisher.send(reader.read())
                    newest_ns = 0
                    with contextlib.suppress(zmq.Again):
                        while True:  # what was sent before is read first, however much of it waits
                            newest_ns = msgspec.msgpack.decode(good.recv_multipart()[1])["ts_ns"]
                    return newest_ns > fresh_ns

                until(served, "a fresh reading at the one that listens")
        finally:
            hung.kill()
            hung.wait()
            hung.stdout.close()
    reader.close()


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_socket_file_is_ours_alone_and_gone_afterwards(stand_in):
    folder = runtime_dir(stand_in().name, make=True)
    with Publisher(folder) as publisher:
        assert publisher.path.stat().st_mode & 0o777 == 0o600
    assert not publisher.path.exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(zmq.ZMQError):
        Publisher(tmp_path / "nowhere")
