"""Every alert fired by a fault, read back from a real Prometheus and a real Alertmanager.

A share runs with the tests; all of it with `make alerts` (PEREGRINE_ALERTS=all). Where the fault is not made in a real
engine the test's name says `stand-in`: then a segment of the real layout, or a real state file, is written by the test.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from chaos_clock import SteppedClock

from orchestrator.config.models_operate import AlertRule
from orchestrator.observe.alerts import alerts
from orchestrator.observe.segment import HEADER_BYTES, KILL_LEVELS, Segment, process_start_ticks
from orchestrator.supervise import state_file
from orchestrator.supervise.paths import runtime_dir
from orchestrator.supervise.state_file import ProcessState, TreeState
from tests.observe.engines import trading
from tests.observe.monitoring import QUICK, ExporterRun, Monitoring, needs_prometheus, until

pytestmark = [needs_prometheus, pytest.mark.slow]
whole = pytest.mark.skipif(os.environ.get("PEREGRINE_ALERTS") != "all", reason="make alerts runs it")

HERE = Path(__file__).resolve().parent
#: alert → a word of the test that fires it, here or in a file beside this one
FIRED_BY = {
    "PeregrineKilled": "killed", "PeregrineHeartbeatLost": "killed", "PeregrineEngineDown": "killed", "PeregrineTelemetryDown": "killed",
    "PeregrineBooksStale": "silent", "PeregrineSessionDown": "silent", "PeregrineOrdersUnanswered": "silent",
    "PeregrineFeedGaps": "noisy", "PeregrineVenueRejects": "noisy", "PeregrineReconnects": "noisy", "PeregrineLatencyHigh": "noisy",
    "PeregrineStalls": "killed", "PeregrineBreakerTripped": "breaker", "PeregrineBreakerAwaitsRearm": "breaker",
    "PeregrineLimitReached": "limits", "PeregrineLimitNear": "limits", "PeregrineRiskRejects": "limits",
    "PeregrineJournalNearlyFull": "journal", "PeregrineJournalStopped": "journal",
    "PeregrineOverruns": "keep_up", "PeregrineDeviceFallback": "device", "PeregrineDeviceWrong": "device", "PeregrineDeviceBreakerOpen": "device",
    "PeregrineThreadShared": "shards", "PeregrineShardSlow": "shards", "PeregrineSymbolsInactive": "shards",
    "PeregrinePositionsThrottled": "shards", "PeregrineLeasesOverLimit": "shards",
    "PeregrineProcessFailed": "real_tree", "PeregrineProcessRestarted": "real_tree", "PeregrineSupervisorLost": "real_tree",
    "PeregrineNotTrading": "real_tree", "PeregrineControlRefused": "real_tree", "PeregrineEngineStarved": "starved", "PeregrineMemoryGrows": "stand_in_tree",
    "PeregrineFeedMalformed": "noisy", "PeregrineClockStepped": "noisy", "PeregrineTelemetryUnreadable": "stand_in_tree",
    "PeregrineReconcilerDiffers": "drop_copy", "PeregrineReconcilerSilent": "drop_copy", "PeregrineDropCopyLost": "drop_copy", "PeregrineReconcilerBehind": "drop_copy",
}  # fmt: skip


def test_every_alert_is_fired_by_a_test():
    assert set(FIRED_BY) == {a.name for a in alerts(AlertRule())}
    files = [*HERE.glob("test_alerts_fire*.py"), HERE / "test_tree_seen.py"]
    bodies = {m[1]: m[2] for file in files for m in re.finditer(r"^def (test_\w+)\((.*?)(?=^(?:def|@|class)\b|\Z)", file.read_text(), re.M | re.S)}
    for alert, word in FIRED_BY.items():
        own = [body for name, body in bodies.items() if word in name and "every_alert" not in name]
        assert any(f'"{alert}"' in body for body in own), f"{alert}: no test of {word} waits for it"


def test_a_killed_stopped_and_dead_engine_and_a_dead_exporter_are_told_and_what_they_explain_is_kept_back(tmp_path):
    rule = AlertRule(**QUICK | {"window_s": 120})  # a stall is told for so long: an engine may take a while to trade on after one
    with trading(tmp_path / "w") as (_, engine), ExporterRun(engine.name, "--heartbeat-after-s", "1") as exporter, Monitoring(tmp_path / "m", rule) as seen:
        seen.watch(exporter.address)
        os.kill(engine.pid, signal.SIGSTOP)
        seen.expect("PeregrineHeartbeatLost", engine=engine.name, severity="page")
        assert exporter.get("/healthz")[0] == 503 and "no heartbeat" in exporter.get("/readyz")[1]
        os.kill(engine.pid, signal.SIGCONT)
        until(lambda: exporter.get("/readyz")[0] == 200, "an engine that trades on")
        seen.expect("PeregrineStalls", engine=engine.name, shard="0")
        with Segment(engine.name, write=True) as segment:
            segment.kill(KILL_LEVELS["cancel"])
        seen.expect("PeregrineKilled", engine=engine.name, severity="page")
        for receiver in ("record", "desk", "oncall", "pager"):
            until(lambda receiver=receiver: "PeregrineKilled" in seen.receiver.heard(receiver), f"{receiver} to hear of it")
        engine.kill()
        seen.expect("PeregrineEngineDown", engine=engine.name, severity="page")
        assert "ended without a word" in exporter.get("/healthz")[1]
        engine.start()
        until(lambda: exporter.get("/healthz")[0] == 200, "the exporter to show the engine's next life")
        until(lambda: "shard 0: killed" in exporter.get("/readyz")[1], "it to say that a kill outlives the process")
        until(lambda: not seen.firing("PeregrineEngineDown"), "the alert to end")
        exporter.stop(signal.SIGKILL)
        seen.expect("PeregrineTelemetryDown", instance=exporter.address, severity="page")


@whole
def test_a_venue_that_falls_silent_or_answers_late_makes_books_stale_the_session_go_down_and_orders_unanswered(tmp_path):
    with (trading(tmp_path / "w") as (venue, engine), trading(tmp_path / "v", faults="lag=9s", wait=False, execution__session__answer_timeout_ns=60_000_000_000) as (_, unanswered),
          ExporterRun(engine.name) as exporter, ExporterRun(unanswered.name) as other, Monitoring(tmp_path / "m") as seen):  # fmt: skip
        seen.watch(exporter.address, other.address)
        seen.expect("PeregrineOrdersUnanswered", engine=unanswered.name, severity="critical")
        os.kill(venue.pid, signal.SIGSTOP)
        seen.expect("PeregrineBooksStale", engine=engine.name, severity="critical")
        seen.expect("PeregrineSessionDown", engine=engine.name, severity="critical")
        assert "books are" in exporter.get("/readyz")[1] and "session is not ready" in exporter.get("/readyz")[1]


@whole
def test_noisy_venues_raise_gaps_rejects_and_reconnects_a_latency_passes_a_low_threshold_and_a_clock_is_set(tmp_path):
    rule, clock = AlertRule(**QUICK | {"tick_to_order_p99_us": 1, "reconnects": 1}), SteppedClock(tmp_path)
    with (trading(tmp_path / "w", faults="reject=30%,disconnect=4s", wait=False) as (_, refused),
          trading(tmp_path / "v", faults="a.loss=10%,b.loss=10%,a.corrupt=2%", wait=False, preload=clock.environment) as (_, lossy),
          ExporterRun(refused.name) as exporter, ExporterRun(lossy.name) as other, Monitoring(tmp_path / "m", rule) as seen):  # fmt: skip
        seen.watch(exporter.address, other.address)
        for name in ("PeregrineVenueRejects", "PeregrineLatencyHigh", "PeregrineReconnects"):
            seen.expect(name, engine=refused.name, severity="warning")
        seen.expect("PeregrineFeedGaps", engine=lossy.name, severity="warning")
        seen.expect("PeregrineFeedMalformed", engine=lossy.name, severity="warning")
        assert not seen.firing("PeregrineClockStepped")
        clock.offset_ns += 5_000_000_000
        seen.expect("PeregrineClockStepped", engine=lossy.name, severity="warning")
        codes = seen.query(f'sum by (code) (peregrine_venue_rejects_total{{engine="{refused.name}"}}) > 0')
        assert codes and all(r["metric"]["code"].isdigit() for r in codes)


@whole
def test_limits_that_are_used_up_are_told_with_the_limit_and_the_reason(tmp_path):
    rule = AlertRule(**QUICK | {"risk_rejects": 2})
    with trading(tmp_path / "w", risk__max_account_orders=1, risk__max_working_orders=1) as (_, engine), ExporterRun(engine.name) as exporter, Monitoring(tmp_path / "m", rule) as seen:
        seen.watch(exporter.address)
        seen.expect("PeregrineLimitReached", engine=engine.name, limit="orders")
        seen.expect("PeregrineLimitNear", engine=engine.name, limit="orders")
        seen.expect("PeregrineRiskRejects", engine=engine.name, reason="account_orders")


@whole
def test_a_breaker_that_trips_is_told_by_its_name(tmp_path):
    quick = {"max_messages": 3, "cooldown_ns": 6_000_000_000}
    with trading(tmp_path / "w", risk__breakers=quick, wait=False) as (_, engine), ExporterRun(engine.name) as exporter, Monitoring(tmp_path / "m") as seen:
        seen.watch(exporter.address)
        seen.expect("PeregrineBreakerTripped", engine=engine.name, breaker="message_rate", severity="critical")
        assert "shard 0: stopped by a breaker: message rate" in exporter.get("/readyz")[1]
        state = f'peregrine_breaker_state{{engine="{engine.name}",breaker="message_rate",state="%s"}} == 1'
        until(lambda: seen.query(state % "cooling") or seen.query(state % "awaits_rearm"), "the breaker's cooldown")
        assert seen.query(f'peregrine_trading_state{{engine="{engine.name}",state="breaker"}} == 1')
        seen.expect("PeregrineBreakerAwaitsRearm", engine=engine.name, breaker="message_rate", severity="warning")


@whole
def test_a_journal_whose_writer_stands_still_is_told_before_and_after_its_ring_is_full(tmp_path):
    from thread_stop import StoppedThread, permitted, thread_of

    if why := permitted():
        pytest.skip(f"one thread of a child cannot be stopped here: {why}")
    with trading(tmp_path / "w", rate=3000) as (_, engine), ExporterRun(engine.name) as exporter, Monitoring(tmp_path / "m") as seen:
        seen.watch(exporter.address)
        thread = until(lambda: thread_of(engine.pid, "prg-journal"), "the writer's thread")
        stopped = StoppedThread(thread)
        try:
            seen.expect("PeregrineJournalNearlyFull", engine=engine.name)
            seen.expect("PeregrineJournalStopped", engine=engine.name, severity="page")
        finally:
            engine.process.kill()
            stopped.reap()


@whole
def test_an_engine_starved_by_busy_neighbours_is_told(tmp_path):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        rule = AlertRule(**QUICK | {"run_delay_permille": 10})
        with trading(tmp_path / "w", engine__idle="spin") as (_, engine), ExporterRun(engine.name) as exporter, Monitoring(tmp_path / "m", rule) as seen:
            seen.watch(exporter.address)
            seen.expect("PeregrineEngineStarved", engine=engine.name)
    finally:
        for one in busy:
            one.kill()
            one.wait()


@whole
def test_a_leaking_process_and_telemetry_of_another_layout_are_told_by_a_stand_in_tree(tmp_path, stand_in):
    one = stand_in()
    leak = subprocess.Popen([sys.executable, "-c", "import time; kept = []\nwhile True: kept.append(bytearray(1 << 20)); time.sleep(0.05)"])
    process = ProcessState(name="leaky", role="telemetry", pid=leak.pid, start_ticks=process_start_ticks(leak.pid), state="trading")
    tree = TreeState(name=one.name, supervisor_pid=os.getpid(), supervisor_start_ticks=process_start_ticks(os.getpid()),
                     trading_enabled=True, state="trading", processes=[process])  # fmt: skip
    state_file.write(runtime_dir(one.name, make=True), tree)
    try:
        with ExporterRun(one.name, "--heartbeat-after-s", "600") as exporter, Monitoring(tmp_path / "m") as seen:
            seen.watch(exporter.address)
            seen.expect("PeregrineMemoryGrows", process="leaky")
            assert not seen.firing("PeregrineTelemetryUnreadable")
            with one.path.open("r+b") as file:
                file.seek(HEADER_BYTES)
                file.write(bytes(64))
            seen.expect("PeregrineTelemetryUnreadable", engine=one.name, severity="critical")
            assert exporter.get("/readyz")[0] == 503
    finally:
        leak.kill()
        leak.wait()
