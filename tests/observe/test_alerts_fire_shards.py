"""Alerts of an engine of several shards and of its decision device, fired by real faults in real engines.

`make alerts` runs it (PEREGRINE_ALERTS=all); the rest stands in test_alerts_fire.py.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from rig import Engine, Venue

from orchestrator.config.models_operate import AlertRule
from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLink
from orchestrator.control.messages import Request
from orchestrator.observe import dashboard
from orchestrator.observe.segment import Segment
from orchestrator.observe.shards import read_engine
from tests.observe.monitoring import QUICK, ExporterRun, Monitoring, needs_prometheus, until
from tests.observe.wayward import Wayward

pytestmark = [
    needs_prometheus, pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("PEREGRINE_ALERTS") != "all", reason="make alerts runs it"),
]  # fmt: skip
SYMBOLS = [{"symbol": s, "increment_ticks": 100, "round_lot_lots": 100} for s in ("PRGN", "FLCN", "HAWK", "KITE")]


@pytest.fixture
def engine(tmp_path, engine_name):
    """Starts one engine with a venue of its own."""
    made: list[Engine] = []

    def start(settings, venue=None) -> Engine:
        made.append(Engine(tmp_path, engine_name, venue, settings=settings))
        made[-1].until("fills", 2)
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_shards_that_share_a_thread_inactive_symbols_many_positions_and_leases_over_a_lowered_limit_are_told(engine, tmp_path):
    one = engine({"instruments": SYMBOLS, "engine.shards": 2, "engine.active_symbols": 1, "risk.soft_positions": 2})
    rule = AlertRule(**QUICK | {"round_p99_us": 1})
    with ExporterRun(one.name) as exporter, Monitoring(tmp_path / "m", rule) as seen:
        seen.watch(exporter.address)
        for shard in ("0", "1"):
            seen.expect("PeregrineThreadShared", engine=one.name, shard=shard, severity="info")
            seen.expect("PeregrineSymbolsInactive", engine=one.name, shard=shard, severity="info")
            seen.expect("PeregrineShardSlow", engine=one.name, shard=shard, severity="warning")
        seen.expect("PeregrinePositionsThrottled", engine=one.name, severity="warning")
        assert not seen.firing("PeregrineLeasesOverLimit")
        with Segment(one.name) as segment:
            shards = read_engine(segment).extra["shards"]
        lower = max(s["limit_gross_units"] for s in shards) // 2
        with EngineLink(one.name) as link:
            for shard, s in enumerate(shards):
                account = {
                    "max_account_orders": s["limit_account_orders"], "max_account_notional": s["limit_account_units"], "max_gross": lower,
                    "max_credit": s["limit_credit_units"], "max_loss": s["limit_loss_units"], "max_drawdown": s["limit_drawdown_units"],
                    "max_messages": s["limit_messages"], "message_window_ns": 10**9, "soft_permille": s["soft_permille"],
                }  # fmt: skip
                link.send("limits", shard=shard, body=bodies.limits(account), request=Request(cmd="limits.set", who="risk", why="half of it"))
        seen.expect("PeregrineLeasesOverLimit", engine=one.name, severity="critical")
        assert seen.query(f'peregrine_lease_excess_currency{{engine="{one.name}",limit="gross",of="granted"}} > 0')
        for panel in ("Leased limits", "Above a leased limit"):
            for expr in [e for title, e, _ in dashboard.queries() if title == panel]:
                assert seen.query(expr.replace("$engine", one.name)), expr


def test_a_shard_that_does_not_keep_up_with_its_feed_is_told(engine, tmp_path):
    """Its thread stands still while the smallest ring there is fills."""
    from thread_stop import StoppedThread, permitted, thread_of

    if why := permitted():
        pytest.skip(f"one thread of a child cannot be stopped here: {why}")
    venue = Venue(seed=7, symbols="PRGN,FLCN", rate=12_000, shards=2)
    try:
        one = engine({"instruments": SYMBOLS[:2], "engine.topology": "pipelined", "engine.shards": 2, "engine.feed_ring_kb": 512,
                      "engine.cores": {"engine": None}, "journal.ring_mb": 64}, venue)  # fmt: skip
        with ExporterRun(one.name) as exporter, Monitoring(tmp_path / "m") as seen:
            seen.watch(exporter.address)
            thread = thread_of(one.process.pid, "shard-0")
            assert thread is not None, [(task / "comm").read_text() for task in Path(f"/proc/{one.process.pid}/task").iterdir()]
            stopped = StoppedThread(thread)
            time.sleep(4)
            stopped.resume()
            seen.expect("PeregrineOverruns", engine=one.name, severity="warning")
    finally:
        venue.stop()


def test_a_device_that_falls_silent_or_lies_is_told_with_its_breaker(engine, tmp_path, monkeypatch):
    device = Wayward(tmp_path / "device", monkeypatch)
    one = engine({"policies.placement": "device", "device.backend": "cpu", "device.recompute_every": 1, "device.probe_after": 50})
    with ExporterRun(one.name) as exporter, Monitoring(tmp_path / "m") as seen:
        seen.watch(exporter.address)
        state = f'peregrine_device_state{{engine="{one.name}",state="%s"}} == 1'
        until(lambda: seen.query(state % "asked"), "a device that answers")
        assert not seen.firing("PeregrineDeviceFallback") and not seen.firing("PeregrineDeviceWrong")
        device.fall_silent()
        seen.expect("PeregrineDeviceFallback", engine=one.name, shard="0", severity="warning")
        seen.expect("PeregrineDeviceBreakerOpen", engine=one.name, shard="0", severity="warning")
        assert seen.query(f'peregrine_device_missed_total{{engine="{one.name}"}} >= 3') and one.counters()["orders"] > 0
        device.answer()
        until(lambda: not seen.firing("PeregrineDeviceBreakerOpen"), "a probe that closes the breaker")
        device.lie()
        seen.expect("PeregrineDeviceWrong", engine=one.name, shard="0", severity="critical")
