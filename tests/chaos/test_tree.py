"""A supervised tree among deaths, stops, dropped lines and steps of the clock; broken configurations deployed to it; and the line
that fails by request. The make target has more of each."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from chaos_clock import ClockChaos  # noqa: E402
from chaos_deploy import DeployChaos  # noqa: E402
from chaos_line import Line  # noqa: E402
from chaos_tree import TreeChaos  # noqa: E402

CARDS = ("clock stepped", "engine killed", "supervisor killed", "engine and supervisor killed", "line dropped")


@pytest.mark.slow
def test_a_tree_among_deaths_and_steps_of_the_clock_loses_nothing_and_trades_again(tmp_path):
    chaos = ClockChaos(tmp_path, len(CARDS) + 1, 4, deaths=True, deck={**dict.fromkeys(CARDS, 1), "clock stepped": 2})
    try:
        chaos.run()
        found = chaos.result()
    finally:
        chaos.end()
    assert found["good"], found
    assert set(found["did"]) == set(CARDS) and found["supervisors"] >= 3 and found["lives"] >= 3
    assert found["steps"] == 2 and found["asked"] > 0 and found["line_drops"] == 1
    assert found["orders"] > 0 and found["risk_rejects"] > 0, "it traded, and up to its limits"


@pytest.mark.slow
def test_an_account_of_two_shards_keeps_its_limits_by_the_venues_record_while_they_drain_and_the_leased_limit_falls(tmp_path):
    cards = ("shard drained", "limit lowered", "engine and supervisor killed", "shard moved")
    chaos = TreeChaos(tmp_path, len(cards), 6, deck=dict.fromkeys(cards, 1), shards=2)
    try:
        chaos.run()
        found = chaos.result()
    finally:
        chaos.end()
    assert found["good"], found
    assert set(found["did"]) == set(cards) and found["shards"] == 2 and found["lives"] >= 2
    account = found["account"]
    assert account["orders"] > 0 and chaos.leased_units // 4 < account["worst_units"] <= chaos.leased_units


@pytest.mark.slow
def test_broken_configurations_are_refused_or_taken_back_while_it_trades(tmp_path):
    chaos = DeployChaos(tmp_path, 3, 2, {"cut off": 1, "wrong type": 1, "unwell": 1})
    try:
        chaos.run()
        found = chaos.result()
    finally:
        chaos.end()
    assert found["good"], found
    assert found["codes"] == {"78": 2, "75": 1} and found["lives"] == 1 and found["supervisors"] == 1


def test_a_line_passes_on_stalls_and_drops(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as venue:
        line = Line(f"127.0.0.1:{venue.getsockname()[1]}")
        try:
            host, _, port = line.address.partition(":")
            engine = socket.create_connection((host, int(port)))
            other, _ = venue.accept()
            for a, b in ((engine, other), (other, engine)):
                a.sendall(b"hello")
                assert b.recv(5) == b"hello"
            line.stall(600)
            engine.sendall(b"late")
            other.settimeout(0.05)
            with pytest.raises(TimeoutError):
                other.recv(4)
            line.stall(0)
            other.settimeout(60)
            assert other.recv(4) == b"late"
            dropping = threading.Thread(target=line.drop, args=("rst",))
            dropping.start()
            with pytest.raises(ConnectionResetError):
                engine.recv(1)
            dropping.join()
            engine.close()
            other.close()
            assert line.drops == 1
        finally:
            line.close()
