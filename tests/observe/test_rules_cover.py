"""Every metric has an alert, or a reason why it has none; and what an alert tells to do can be looked up."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from orchestrator.config.models_operate import AlertRule
from orchestrator.observe.alerts import PAGE, alerts
from orchestrator.observe.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]
ALERTS = alerts(AlertRule())
ASKED = {name.removesuffix("_bucket") for a in ALERTS for name in re.findall(r"peregrine_\w+", a.expr)}

COUNTS = "counts what is done; no number of it is bad by itself"
NUMBER = "says which one it is"
#: metric, or a pattern of several → why no rule asks for it. One that shows harm names the alert that tells of it.
NO_ALERT = {
    "engine_epoch": NUMBER, "engine_pid": NUMBER, "thread": NUMBER, "supervisor_generation": NUMBER, "exporter_attached_total": NUMBER,
    "exporter_start_timestamp_seconds": NUMBER,
    "engine_state": "PeregrineEngineDown and PeregrineNotTrading tell of the states that matter",
    "events_total": COUNTS, "inputs_total": COUNTS, "idle_polls_total": COUNTS, "decisions_total": COUNTS, "held_total": COUNTS,
    "cancels_total": COUNTS, "fills_total": COUNTS, "filled_lots_total": COUNTS, "working_orders": COUNTS, "journal_seq_total": COUNTS,
    "journal_bytes_total": COUNTS, "recovered_total": COUNTS, "device_asked_total": COUNTS, "reconciler_agreed_total": COUNTS,
    "last_input_timestamp_seconds": "a feed that is silent makes books stale: PeregrineBooksStale",
    "stale_seconds_total": "the past of PeregrineBooksStale",
    "snapshots_total": "what a gap or an overrun leads to: PeregrineFeedGaps, PeregrineOverruns",
    "lag_seconds": "a tenth of a second's reading jumps: PeregrineShardSlow, and PeregrineOverruns when it was too much",
    "stall_max_seconds": "the length of what PeregrineStalls tells",
    "pnl_currency": "judged by the account's limits on loss and drawdown: PeregrineLimitNear, PeregrineLimitReached",
    "fees_currency": "part of the profit, which is judged",
    "limit": "part of limit_use_ratio", "limit_used": "part of limit_use_ratio", "soft_ratio": "a setting",
    "symbol_limit": "part of symbol_limit_use_ratio", "symbol_limit_used": "part of symbol_limit_use_ratio",
    "symbol_position_lots": "judged by its limit: PeregrineLimitNear, PeregrineLimitReached",
    "symbol_working_lots": "part of the worst case that symbol_limit_use_ratio judges",
    "symbol_pnl_currency": "judged for the account, not for a symbol",
    "symbol_state": "halts are the venue's daily business and pauses a person's",
    "breaker_trips_total": "the past of PeregrineBreakerTripped",
    "*lease*": "what a shard may come to is judged together: PeregrineLeasesOverLimit",
    "device_late_total": "the decision was made without it: PeregrineDeviceFallback",
    "device_dropped_total": "the book had moved on; too many are PeregrineDeviceFallback",
    "device_full_total": "decided at once by the kernels: PeregrineDeviceFallback",
    "device_missed_total": "PeregrineDeviceFallback, then PeregrineDeviceBreakerOpen",
    "device_failed_total": "PeregrineDeviceFallback, then PeregrineDeviceBreakerOpen",
    "device_trips_total": "the past of PeregrineDeviceBreakerOpen",
    "clock_offset_seconds": "what a step leaves behind: PeregrineClockStepped",
    "session_phase": "how far it is: PeregrineSessionDown where it gets no further",
    "lost_orders": "they kill: PeregrineKilled",
    "lost_messages": "they kill: PeregrineKilled",
    "tree_state": "sums up the processes' states: PeregrineProcessFailed",
    "process_recovery_seconds": "the length of what PeregrineProcessRestarted tells",
    "process_stalled_seconds": "a stalled engine's heartbeat stands still: PeregrineHeartbeatLost",
    "process_resident_bytes": "follows process_anonymous_bytes and the page cache: PeregrineMemoryGrows",
    "process_locked_bytes": "as planned at the start, which refuses what does not fit", "process_threads": COUNTS,
    "process_swap_bytes": "the engine's memory is locked; the others are slow then, and the start checks for room",
    "thread_cpu_seconds_total": COUNTS, "thread_switches_total": COUNTS, "thread_faults_total": COUNTS,
    "cpu_steal_seconds_total": "what it does to the engine is told: PeregrineEngineStarved, PeregrineStalls",
    "reconciler_waiting": "for how long is judged: PeregrineReconcilerBehind",
    "reconciler_last_seq": NUMBER, "reconciler_last_agreed_seq": NUMBER,
    "reconciler_gaps_total": "a gap is a difference that stands: PeregrineReconcilerDiffers",
}  # fmt: skip


def reasons(metric: str) -> list[str]:
    return [why for pattern, why in NO_ALERT.items() if fnmatchcase(metric.removeprefix("peregrine_"), pattern)]


def test_every_metric_is_asked_for_by_an_alert_or_says_why_not():
    missing = [m.name for m in METRICS if m.name not in ASKED and not reasons(m.name)]
    assert not missing, f"neither an alert nor a reason: {missing}"


def test_no_reason_is_left_of_a_metric_that_is_gone_or_has_an_alert_by_now_and_alerts_named_in_one_exist():
    for pattern, why in NO_ALERT.items():
        hit = [m.name for m in METRICS if fnmatchcase(m.name.removeprefix("peregrine_"), pattern)]
        assert hit, f"{pattern}: no such metric"
        assert "*" in pattern or hit[0] not in ASKED, f"{pattern} has an alert"
        for name in re.findall(r"Peregrine\w+", why):
            assert name in {a.name for a in ALERTS}, f"{pattern}: {name}"


def test_the_page_an_alert_names_exists_with_its_section_and_speaks_of_what_to_do():
    for a in ALERTS:
        path, _, section = a.page.partition("#")
        text = (ROOT / path).read_text()
        titles = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in re.findall(r"^#+ (.+)$", text, re.M)}
        assert not section or section in titles, f"{a.name}: {a.page}"
        assert a.page == PAGE or "## Act" in text, f"{a.name}: {path} is no runbook"
        assert len(a.first) > 15 and a.first != a.meaning, f"{a.name}: what to do?"
