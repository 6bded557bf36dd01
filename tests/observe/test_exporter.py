"""The telemetry process over HTTP: what it serves, and what it outlives."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.observe.exporter import MOST_AT_ONCE, Exporter, parse_address
from orchestrator.observe.reading import Reader
from orchestrator.supervise import state_file
from orchestrator.supervise.paths import runtime_dir
from orchestrator.supervise.state_file import TreeState
from tests.observe.monitoring import ExporterRun, until


@pytest.fixture
def serve():
    """Starts exporters in this process: `serve(name)`; they end with the test."""
    running: list[Exporter] = []

    def start(name: str, listen: str = "127.0.0.1:0", **options) -> Exporter:
        options = {"heartbeat_after_s": 600.0, **options}  # a stand-in's heart does not beat
        one = Exporter(name, listen=listen, reader=Reader(name, keep_s=0), **options)
        one.start()
        running.append(one)
        return one

    yield start
    for one in running:
        one.stop()


def get(exporter: Exporter, path: str, **headers: str) -> tuple[int, str, dict]:
    request = urllib.request.Request(f"http://{exporter.address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], (answer.read().decode())
    except urllib.error.HTTPError as err:
        return err.code, err.headers["Content-Type"], err.read().decode()


def body(exporter: Exporter, path: str) -> tuple[int, dict]:
    code, kind, text = get(exporter, path)
    assert kind == "application/json"
    return code, json.loads(text)


def test_a_healthy_engine_is_healthy_and_ready(stand_in, serve):
    exporter = serve(stand_in().name)
    code, found = body(exporter, "/healthz")
    assert (code, found["ok"], found["reasons"], found["engine"]["pid"]) == (200, True, [], os.getpid())
    assert body(exporter, "/readyz") == (200, {"ready": True, "reasons": [], "engine": found["engine"]}) or body(exporter, "/readyz")[0] == 200


@pytest.mark.parametrize(
    ("counters", "words"),
    [({"feed_state": 4}, "shard 1: books are stale"), ({"feed_state": 1}, "shard 1: books are recovering"),
     ({"session_ready": 0}, "shard 1: the order session is not ready"), ({"trading_state": 3}, "shard 1: paused"),
     ({"trading_state": 4}, "shard 1: drained"), ({"trading_state": 5}, "shard 1: killed"),
     ({"trading_state": 6}, "shard 1: the journal takes no more records"), ({"feed_state": 77}, "shard 1: books are in state 77")],
)  # fmt: skip
def test_what_keeps_one_shard_from_trading_is_named(stand_in, serve, counters, words):
    one = stand_in(shards=2)
    one.counters[1] |= counters
    one.write()
    exporter = serve(one.name)
    code, found = body(exporter, "/readyz")
    assert (code, found["ready"], found["reasons"]) == (503, False, [words])
    assert body(exporter, "/healthz")[0] == 200, "not ready is not ill"


def test_the_kill_word_and_a_supervisor_that_has_not_enabled_trading_are_reasons(stand_in, serve):
    one = stand_in()
    one.head["kill_level"] = 1
    one.write()
    state_file.write(runtime_dir(one.name, make=True), TreeState(name=one.name, supervisor_pid=1, supervisor_start_ticks=1, state="syncing"))
    assert body(serve(one.name), "/readyz")[1]["reasons"] == [
        "the kill word is set", "the supervisor has not enabled trading: the tree is syncing",
    ]  # fmt: skip


def test_a_heartbeat_that_stands_still_is_ill_by_the_exporters_own_clock(stand_in, serve):
    one = stand_in()
    one.head["heartbeat_ns"] = time.time_ns() - 50_000_000_000
    one.write()
    exporter = serve(one.name, heartbeat_after_s=40.0)
    code, found = body(exporter, "/healthz")
    assert code == 503 and found["reasons"][0].startswith("no heartbeat for ") and found["engine"]["alive"]
    one.head["heartbeat_ns"] += 5  # it moves again, however old the clock it is told by
    one.write()
    assert body(exporter, "/healthz")[0] == 200


def test_it_serves_before_the_engine_through_its_restart_and_after_its_end(stand_in, serve):
    one = stand_in()
    one.remove()
    exporter = serve(one.name)

    def shows(line: str) -> bool:
        name, _, value = line.partition(" ")
        labels = f'engine="{one.name}"' + (',shard="0"' if name.endswith("_total") else "")
        return f"peregrine_{name}{{{labels}}} {value}\n" in get(exporter, "/metrics")[2]

    code, found = body(exporter, "/healthz")
    assert code == 503 and "no engine called" in found["reasons"][0] and found["engine"]["state"] == "none"
    assert shows("up 0.0") and "peregrine_orders_total" not in get(exporter, "/metrics")[2]
    one.counters[0]["orders"] = 5
    one.write()
    assert body(exporter, "/readyz")[0] == 200 and shows("orders_total 5.0")
    one.counters[0]["orders"] = 1
    one.restart()
    assert shows("orders_total 1.0") and shows("engine_epoch 2.0")
    one.epoch = 3  # in place: another epoch in the same file
    one.write()
    assert shows("engine_epoch 3.0")
    one.remove()
    assert body(exporter, "/healthz")[0] == 503 and shows("up 0.0")


@pytest.mark.parametrize("damage", [b"", b"x" * 5000, b"PRGSHM01" + b"\xff" * 9000])
def test_a_segment_that_is_none_is_told_and_harms_nothing(stand_in, serve, damage):
    one = stand_in()
    exporter = serve(one.name)
    one.path.write_bytes(damage)
    assert body(exporter, "/healthz")[0] in (200, 503) and get(exporter, "/metrics")[0] == 200
    one.remove()
    one.write()
    assert body(exporter, "/healthz")[0] == 200


def test_reading_writes_nothing_into_the_segment(stand_in, serve):
    one = stand_in()
    before = one.path.read_bytes()
    exporter = serve(one.name, publish_ms=50)
    for path in ("/metrics", "/healthz", "/readyz") * 3:
        get(exporter, path)
    time.sleep(0.2)
    assert one.path.read_bytes() == before


def test_openmetrics_is_spoken_with_those_who_ask_for_it_and_other_paths_are_404(stand_in, serve):
    exporter = serve(stand_in().name)
    code, kind, text = get(exporter, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert code == 200 and kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n")
    assert get(exporter, "/metrics")[1].startswith("text/plain")
    assert body(exporter, "/nothing")[0] == 404 and "/metrics" in body(exporter, "/")[1]["paths"]


def test_clients_that_say_nothing_do_not_keep_others_out_for_good(stand_in, serve, monkeypatch):
    from orchestrator.observe import exporter as module

    monkeypatch.setattr(module._Handler, "timeout", 0.5)
    exporter = serve(stand_in().name)
    address = parse_address(exporter.address)
    silent = [socket.create_connection(address) for _ in range(MOST_AT_ONCE + 5)]

    def served() -> bool:
        with contextlib.suppress(OSError):  # cut off in the middle of its own request
            return get(exporter, "/healthz")[0] == 200
        return False

    until(served, "the silent ones to be cut off")
    for one in silent:
        one.close()


def test_two_on_one_port_both_publish_and_the_second_serves_when_the_first_is_gone(stand_in, serve):
    one, two = stand_in(), stand_in()
    first = Exporter(one.name, listen="127.0.0.1:0")
    first.start()
    second = serve(two.name, listen=first.address)
    assert second.address == "" and second.ready_line()["metrics"] == "" and (runtime_dir(two.name) / "telemetry.sock").exists()
    first.stop()
    until(lambda: second.address, "the port")
    assert body(second, "/healthz")[1]["engine"]["name"] == two.name


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1:", "127.0.0.1:99999", ""])
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="no address"):
        parse_address(text)
    assert parse_address("none") is None and parse_address(":9464") == ("127.0.0.1", 9464)


def test_as_a_process_it_prints_one_ready_line_and_ends_cleanly_at_sigterm(stand_in):
    one = stand_in()
    with ExporterRun(one.name, "--heartbeat-after-s", "600") as exporter:
        assert exporter.ready["name"] == one.name and exporter.ready["pid"] == exporter.process.pid
        assert exporter.get("/readyz")[0] == 200
        path = Path(exporter.ready["telemetry"])
        assert path.stat().st_mode & 0o777 == 0o600
        assert exporter.stop(signal.SIGTERM) == 0 and not path.exists()


def test_many_callers_cost_one_reading(stand_in):
    one = stand_in()
    reader, made = Reader(one.name, keep_s=60), []
    original = reader._read
    reader._read = lambda now_s: made.append(1) or original(now_s)
    threads = [threading.Thread(target=lambda: [reader.read() for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
