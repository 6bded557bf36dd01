"""Every alert Peregrine ships, in one table: what it means, how bad it is, what to do first.

    info      worth knowing; nothing need be done
    warning   look at it today
    critical  look at it now: trading suffers
    page      wake somebody: trading has stopped or nobody watches it

ops/prometheus/alerts.yml is made from it with the thresholds of `observe.alerts` (rules.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.config.models_operate import AlertRule

Severity = Literal["info", "warning", "critical", "page"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical", "page")
JOB = "peregrine"  # Prometheus' name for the exporters
PAGE = "docs/concepts/observability.md#alerts"
RUNBOOKS = "docs/runbooks/"


@dataclass(frozen=True)
class Alert:
    """One rule. `hold_s`: the expression must hold so long before it fires."""

    name: str
    severity: Severity
    expr: str
    hold_s: int
    meaning: str  # a line for a person, in the table and in the notification
    first: str  # what to do first
    page: str = PAGE  # where more of it stands, from the repository's root


def alerts(rule: AlertRule, leak_mb_per_hour: int = 64) -> tuple[Alert, ...]:
    """The table with these thresholds, worst first."""
    w, hold = f"[{rule.window_s}s]", rule.hold_s
    found = (
        Alert("PeregrineEngineDown", "page", "peregrine_up == 0", 0,
              "the engine's process is not there", "`peregrine top`; its log says why; the supervisor restarts it unless it gave up", RUNBOOKS + "failed-recovery.md"),
        Alert("PeregrineHeartbeatLost", "page", f"peregrine_up == 1 and peregrine_heartbeat_age_seconds > {rule.heartbeat_after_s}", 0,
              "the engine's process is there but does nothing", "stopped, starved or stuck: kill -9 it and let it recover; the venue's cancel on disconnect has its orders"),
        Alert("PeregrineKilled", "page",
              'max by (engine) (peregrine_kill_level) > 0 or max by (engine) (peregrine_trading_state{state="killed"}) > 0', 0,
              "the kill switch is on, by hand or by a breaker", "find who or what (the commands, the journal); resume only in two steps"),
        Alert("PeregrineJournalStopped", "page", 'peregrine_trading_state{state="journal_stopped"} == 1', 0,
              "the journal takes no more records: no new orders", "the disk is full or failing: make room, then restart the engine", RUNBOOKS + "disk-full.md"),
        Alert("PeregrineProcessFailed", "page", 'peregrine_process_state{state="failed"} == 1', hold,
              "a process of the tree has died and is not back", "its log says why; it waits to be started again, or is given up: then `peregrine up`", RUNBOOKS + "failed-recovery.md"),
        Alert("PeregrineTelemetryDown", "page", f'up{{job="{JOB}"}} == 0', hold,
              "Prometheus cannot read the telemetry process: nobody watches, or the tree has ended",
              "`peregrine status`; an engine that is given up ends the whole tree: `ended.json` in the run's folder says why. On purpose? silence it", RUNBOOKS + "failed-recovery.md"),
        Alert("PeregrineReconcilerDiffers", "page", "peregrine_reconciler_differences > 0", 0,
              "the venue's record and our journals disagree: no number of ours is sure",
              "`peregrine day agreement` names it; is trading held? then call the venue's operations desk", RUNBOOKS + "drop-copy-disagrees.md"),
        Alert("PeregrineSupervisorLost", "critical", "peregrine_supervisor_up == 0", hold,
              "the supervisor has died; the engine follows `supervise.engine_loss_policy`", "start it again: it takes the running engine over"),
        Alert("PeregrineTelemetryUnreadable", "critical", "peregrine_exporter_readable == 0 and on (engine) peregrine_up == 1", hold,
              "the engine runs and its telemetry cannot be read: most alerts are blind",
              "`/readyz` says why; engine and telemetry process of one version? `peregrine status` reads the journal meanwhile"),
        Alert("PeregrineBooksStale", "critical", 'peregrine_feed_state{state="live"} == 0 and on (engine) peregrine_up == 1', rule.stale_after_s,
              "a shard's books are not sound: it sends no new orders", "feed down, or a gap being repaired: look at gaps and the venue's status", RUNBOOKS + "stale-book.md"),
        Alert("PeregrineSessionDown", "critical", "peregrine_session_ready == 0 and on (engine) peregrine_up == 1", hold,
              "a shard's order session is not logged in and reconciled", "the venue's order entry; the engine reconnects by itself", RUNBOOKS + "venue-down.md"),
        Alert("PeregrineOrdersUnanswered", "critical", f"peregrine_unknown_orders > 0 and increase(peregrine_acks_total{w}) == 0", hold,
              "the venue does not answer: the fate of orders is unknown", "ask the venue; unknown orders count against limits until it answers", RUNBOOKS + "venue-down.md"),
        Alert("PeregrineJournalNearlyFull", "critical", f"peregrine_journal_free_bytes / peregrine_journal_ring_bytes < {rule.journal_free_permille / 1000:g}", 0,
              "the journal's writer does not keep up; a full ring stops new orders", "the disk: its latency, its room", RUNBOOKS + "disk-full.md"),
        Alert("PeregrineReconcilerSilent", "critical",
              f"max by (engine) (peregrine_reconciler_status_age_seconds) > {rule.reconciler_silent_s}"
              ' or max by (engine) (peregrine_process_up{role="reconciler"}) unless on (engine) peregrine_reconciler_status_age_seconds', hold,
              "nothing is heard of the reconciler: fills are not compared, and trading goes on",
              "its log; stopped or stuck: kill -9 it, it is started again and reads both records anew", RUNBOOKS + "drop-copy-disagrees.md#reconciler-silent-or-behind"),
        Alert("PeregrineDropCopyLost", "critical",
              'max by (engine) (peregrine_reconciler_state{state=~"lost|starting"}) == 1'
              f" or max by (engine) (increase(peregrine_reconciler_lost_total{w})) > {rule.reconnects - 0.5:g}", hold,
              "the venue's drop copy is lost, was never had, or is cut again and again: fills are not compared",
              "`peregrine day agreement` says why; the network to it, its account: of one account a venue keeps one connection",
              RUNBOOKS + "drop-copy-disagrees.md#reconciler-silent-or-behind"),
        Alert("PeregrineLimitReached", "critical",
              "max by (engine, shard, limit) (peregrine_limit_use_ratio) >= 1 or max by (engine, symbol, limit) (peregrine_symbol_limit_use_ratio) >= 1", 0,
              "a limit is used up: orders that add to it are refused", "is the position wanted? reduce it, or have risk change the limit", RUNBOOKS + "limit-breach.md"),
        Alert("PeregrineBreakerTripped", "critical", "peregrine_breaker_open == 1", 0,
              "a breaker has stopped a shard's new orders", "why it tripped stands in the report and the journal; a person arms it again", RUNBOOKS + "limit-breach.md"),
        Alert("PeregrineLeasesOverLimit", "critical", "peregrine_account_leased_currency > peregrine_account_gross_limit_currency", hold,
              "the shards' leases come to more than the account's gross limit, each shard's own gate aside",
              "a lowered limit's leases are cut at once, by the supervisor: is it there? `peregrine up --take-over`; else `peregrine pause`"),
        Alert("PeregrineDeviceWrong", "critical", f"increase(peregrine_device_wrong_total{w}) > 0", 0,
              "the device answered other bits than the kernels", "its answers are not used any more; run the device's self-test"),
        Alert("PeregrineBreakerAwaitsRearm", "warning", 'peregrine_breaker_state{state="awaits_rearm"} == 1', hold,
              "a tripped breaker has cooled down and nobody has armed it again", "its cause gone? `peregrine ask rearm`, with the reason; else leave it", RUNBOOKS + "limit-breach.md"),
        Alert("PeregrinePositionsThrottled", "warning", "peregrine_positions >= (peregrine_soft_positions > 0)", hold,
              "so many symbols have positions that one more has to wait for its turn", "wanted? `risk.soft_positions`; at `risk.max_positions` no further symbol opens"),
        Alert("PeregrineReconcilerBehind", "warning", f"peregrine_reconciler_lag_seconds > {rule.reconciler_behind_s}", hold,
              "one side alone has told of an execution, and the other does not come up with it",
              "`peregrine day agreement`: which side waits? our session down, the journal's disk, or a drop copy that lags",
              RUNBOOKS + "drop-copy-disagrees.md#reconciler-silent-or-behind"),
        Alert("PeregrineShardSlow", "warning",
              f'histogram_quantile(0.99, sum by (engine, shard, le) (rate(peregrine_stage_latency_seconds_bucket{{stage="round"}}{w})))'
              f" > {rule.round_p99_us / 1e6:g}", hold,
              "a shard is looked at too seldom while there is work for it", "does its thread serve several? a core more, fewer symbols a shard, or `move` it"),
        Alert("PeregrineLimitNear", "warning",
              f"max by (engine, shard, limit) (peregrine_limit_use_ratio) >= {rule.exposure_permille / 1000:g}"
              f" or peregrine_account_gross_currency / peregrine_account_gross_limit_currency >= {rule.exposure_permille / 1000:g}"
              f" or max by (engine, symbol, limit) (peregrine_symbol_limit_use_ratio) >= {rule.exposure_permille / 1000:g}", hold,
              "a limit is nearly used up", "watch it; risk may change it", RUNBOOKS + "limit-breach.md"),
        Alert("PeregrineLatencyHigh", "warning",
              'histogram_quantile(0.99, sum by (engine, le) (rate(peregrine_stage_latency_seconds_bucket{stage="tick_to_order"}'
              f"{w}))) > {rule.tick_to_order_p99_us / 1e6:g}", hold,
              "the 99th percentile of tick to order is over its threshold", "`peregrine doctor`; which stage grew, who shares the core"),
        Alert("PeregrineVenueRejects", "warning",
              f"sum by (engine) (increase(peregrine_venue_rejects_total{w})) / sum by (engine) (increase(peregrine_orders_total{w}) > 0)"
              f" > {rule.reject_ratio_permille / 1000:g}", hold,
              "the venue refuses too many orders", "which code: the panel of rejects by code, the venue's manual"),
        Alert("PeregrineRiskRejects", "warning", f"sum by (engine, reason) (increase(peregrine_risk_rejects_total{w})) > {rule.risk_rejects}", 0,
              "the gate refuses one kind of order again and again", "is the limit meant so, or does a policy misbehave?"),
        Alert("PeregrineFeedGaps", "warning", f"increase(peregrine_gaps_total{w}) > 0", 0,
              "both lines of the feed lost packets", "receive buffers (`peregrine doctor`), the network", RUNBOOKS + "stale-book.md"),
        Alert("PeregrineFeedMalformed", "warning", f"increase(peregrine_malformed_total{w}) > 0", 0,
              "packets of the feed could not be decoded and were thrown away", "a damaged line, or a venue that speaks another version: its notices, the other line",
              RUNBOOKS + "stale-book.md"),
        Alert("PeregrineClockStepped", "warning", f"increase(peregrine_clock_steps_total{w}) > 0", 0,
              "the wall clock was set by more than a second", "who set it? chrony or PTP; nothing is decided by it, but logs and the venue's times are apart by `peregrine_clock_offset_seconds`"),
        Alert("PeregrineOverruns", "warning", f"increase(peregrine_overruns_total{w}) > 0", 0,
              "a shard did not keep up with its feed and is rebuilt", "fewer symbols a shard, or a core of its own"),
        Alert("PeregrineStalls", "warning", f"increase(peregrine_stalls_total{w}) > 0", 0,
              "a shard was not looked at for longer than `engine.stall_ms`", "who takes its core? `peregrine doctor`, and the thread's waits on the dashboard"),
        Alert("PeregrineReconnects", "warning", f"increase(peregrine_reconnects_total{w}) > {rule.reconnects - 0.5:g}", 0,
              "an order session is cut again and again", "the network to the venue, its silence limit"),
        Alert("PeregrineDeviceFallback", "warning",
              f"rate(peregrine_device_fallback_total{w}) / (rate(peregrine_device_fallback_total{w}) + rate(peregrine_device_used_total{w}) > 0)"
              f" > {rule.fallback_permille / 1000:g}", hold,
              "the device does not answer in time; the kernels decide with the same bits", "its health and link: the device's self-test"),
        Alert("PeregrineDeviceBreakerOpen", "warning", 'max by (engine, shard) (peregrine_device_state{state=~"breaker_open|probing"}) == 1', hold,
              "the decision device failed again and again and is not asked; the kernels decide", "its health and link: the device's self-test; it is tried again by itself"),
        Alert("PeregrineEngineStarved", "warning",
              f'sum by (engine, thread) (rate(peregrine_thread_run_delay_seconds_total{{process="engine"}}{w})) > {rule.run_delay_permille / 1000:g}', hold,
              "a thread of the engine is ready to run and has no core", "who shares its core? `peregrine doctor` and its plan give it one of its own"),
        Alert("PeregrineProcessRestarted", "warning", f"increase(peregrine_process_restarts_total{w}) > 0", 0,
              "a process died and was started again", "its log; the recovery time is on the dashboard"),
        Alert("PeregrineMemoryGrows", "warning",
              f"deriv(peregrine_process_anonymous_bytes[{rule.leak_window_s}s]) > {leak_mb_per_hour * 1_000_000 / 3600:.0f}"
              f" and delta(peregrine_process_anonymous_bytes[{rule.leak_window_s}s]) > 8e6", hold,
              "a process grows and does not stop: a leak", "restart it in a quiet hour; keep its metrics for the report"),
        Alert("PeregrineControlRefused", "warning", f"sum by (engine) (increase(peregrine_control_refused_total{w})) > {rule.refused_attempts}", 0,
              "somebody tries commands that are refused", "control.log says who, what and why"),
        Alert("PeregrineNotTrading", "info",
              'max by (engine, shard, state) (peregrine_trading_state{state=~"starting|paused|draining|breaker"}) == 1'
              ' or label_replace(peregrine_trading_enabled == 0, "state", "not enabled", "", "")', hold,
              "a shard is paused, drained, or not yet enabled", "wanted? then nothing; else `peregrine top` says who paused it"),
        Alert("PeregrineSymbolsInactive", "info", "peregrine_active_symbols < peregrine_symbols", hold,
              "not every symbol of a shard may open positions", "wanted? then nothing; else `peregrine ask active_symbols`"),
        Alert("PeregrineThreadShared", "info", "peregrine_thread_shards > 1", hold,
              "several shards take turns on one thread", "enough cores for one each? `engine.cores`; else watch `PeregrineShardSlow`"),
    )  # fmt: skip
    return found if leak_mb_per_hour else tuple(a for a in found if a.name != "PeregrineMemoryGrows")


def _link(page: str) -> str:
    return "" if page == PAGE else f" ([runbook]({page.replace('docs/', '../', 1)}))"


def table() -> str:
    """The table of docs/concepts/observability.md, with the default thresholds."""
    rows = [
        f"| `{a.name}` | {a.severity} | {a.meaning} | {f'{a.hold_s} s' if a.hold_s else 'at once'} | {a.first}{_link(a.page)} |" for a in alerts(AlertRule())
    ]
    return "\n".join(["| alert | severity | meaning | fires after | what to do first |", "|---|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    print(table(), end="")
