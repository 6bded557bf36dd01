"""The screen's source behind a control API: what it asks, and what it makes of answers and refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Effect, Reply
from orchestrator.observe import telemetry
from orchestrator.observe.screen.reading import of_json, of_snapshot
from orchestrator.observe.screen.source import ControlSource, SourceError

COUNTERS = {"now_ns": 2_000, "started_ns": 1_000, "orders": 7, "feed_state": 2, "session_ready": 1, "trading_state": 1,
            "gross_units": 40, "limit_gross_units": 100, "soft_permille": 700}  # fmt: skip
ENGINE = {
    "engine": {"name": "far", "pid": 9, "epoch": 1, "state": "trading", "alive": True, "heartbeat_ns": 0, "kill_level": 0},
    "counters": COUNTERS,
    "latency_ns": {"tick_to_order": {"p50": 1, "p90": 2, "p99": 3, "p99_9": 4, "max": 5, "count": 6}},
    "instruments": [{"symbol": "PRGN", "bid_ticks": 1, "ask_ticks": 2, "last_ticks": 2, "position_lots": -3, "pnl_units": 4, "working_lots": 5, "state": 1}],
    "limits": [{"worst_long_lots": 0, "limit_long_lots": 100, "worst_short_lots": 90, "limit_short_lots": 100}],
}  # fmt: skip


class Client:
    """Answers as a supervisor would; `calls` is what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.engine: Any = ENGINE
        self.refuse = False

    def call(self, cmd: str, args: dict[str, Any], *, why: str, who: str) -> Reply:
        """One call."""
        self.calls.append((cmd, args))
        assert bool(why) == (cmd not in ("status", "commands")) and who
        if self.refuse:
            raise ControlError("denied", "viewer may not pause", "ask for the role operator")
        if cmd == "status":
            return Reply(id="1", ok=True, data={"ts_ns": 5_000, "engine": self.engine, "problems": ["engine: it ended"]})
        if cmd == "commands":
            return Reply(id="1", ok=True, data=[{"shard": 0, "seq": 4, "ts_ns": 3, "kind": "pause", "who": "kim", "why": "news"}])
        return Reply(id="1", ok=True, effects=[Effect(0, 1234, 5)])

    def close(self) -> None:
        """Nothing to let go."""


def test_a_remote_reading_is_what_the_same_engine_shows_here():
    reading = ControlSource(Client(), "far:1").read()
    assert (reading.name, reading.pid, reading["orders"], reading.symbols[0].position_lots) == ("far", 9, 7, -3)
    assert [(u.name, u.permille) for u in reading.limits] == [("gross exposure", 400), ("PRGN short", 900)]
    assert reading.soft_permille == 700 and reading.commands[0].who == "kim" and reading.taken_ns == 5_000


def test_pause_resume_and_kill_go_through_the_api_and_say_where_they_took_effect():
    client = Client()
    source = ControlSource(client, "far:1")
    assert source.pause(symbol="PRGN") == "pause PRGN: took effect at record 1,234 of shard 0"
    source.resume(shard=0)
    source.kill()
    assert client.calls == [("pause", {"symbol": "PRGN"}), ("resume", {"shard": 0}), ("kill", {})]


def test_a_refusal_and_an_engine_that_is_gone_are_said_with_what_to_do():
    client = Client()
    source = ControlSource(client, "far:1")
    client.engine = None
    with pytest.raises(SourceError, match="it ended"):
        source.read()
    client.refuse = True
    with pytest.raises(SourceError, match="may not pause") as refused:
        source.pause(symbol="PRGN")
    assert refused.value.hint == "ask for the role operator"


def test_an_engine_that_tells_no_limits_has_none_on_the_screen():
    counters = {name: value for name, value in COUNTERS.items() if "limit" not in name}
    assert of_json({**ENGINE, "counters": counters, "limits": []}, 0, []).limits == []


def test_shared_memory_and_json_of_the_same_engine_make_the_same_rows():
    from orchestrator.cli.top import to_json

    region = telemetry.build({name: COUNTERS.get(name, 0) for name in telemetry.COUNTERS}, {"send": [100, 200]}, [("PRGN", 1, 2, 2, -3, 4, 5, 1)])
    snapshot = telemetry.read(region)
    status: Any = SimpleNamespace(**ENGINE["engine"])  # type: ignore[dict-item]
    near, far = of_snapshot(status, snapshot, 9, []), of_json(to_json(status, snapshot), 9, [])
    assert near.symbols == far.symbols and near.latency == far.latency and near.counters == far.counters
    assert near.octaves["send"][6:8] == [1, 1] and near.octaves == far.octaves and near.limits == far.limits
