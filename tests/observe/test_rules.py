"""The shipped rules: promtool's word on them, and each alert by promtool's own unit tests, fired and not fired."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from orchestrator.config.models_operate import AlertRule
from orchestrator.observe import rules
from orchestrator.observe.alerts import SEVERITIES, alerts, table
from orchestrator.observe.metrics import METRICS
from tests.observe.monitoring import needs_prometheus

ROOT = Path(__file__).resolve().parents[2]
RULE = AlertRule(leak_window_s=600)
ALERTS = {a.name: a for a in alerts(RULE)}
E = 'engine="e"'
S = 'engine="e",shard="0"'
UP = ('peregrine_up{engine="e"}', "1x60")


def of(metric: str, values: str, labels: str = S) -> tuple[str, str]:
    return f"peregrine_{metric}{{{labels}}}", values


#: alert → series of a healthy engine's metric, the same when something is wrong, and the labels the alert then carries;
#: a value each 15 s
CASES: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]], dict[str, str]]] = {
    "PeregrineEngineDown": ([UP], [of("up", "1x20 0x60", E)], {}),
    "PeregrineHeartbeatLost": ([UP, of("heartbeat_age_seconds", "0.1x60", E)], [UP, of("heartbeat_age_seconds", "0x20 0+15x60", E)], {}),
    "PeregrineKilled": ([of("kill_level", "0x60", E), of("trading_state", "0x60", S + ',state="killed"')],
                        [of("kill_level", "0x60", E), of("trading_state", "1x60", S + ',state="killed"')], {}),
    "PeregrineJournalStopped": ([of("trading_state", "0x60", S + ',state="journal_stopped"')],
                                [of("trading_state", "1x60", S + ',state="journal_stopped"')], {"shard": "0", "state": "journal_stopped"}),
    "PeregrineProcessFailed": ([of("process_state", "0x60", E + ',process="p",state="failed"')],
                               [of("process_state", "1x60", E + ',process="p",state="failed"')], {"process": "p", "state": "failed"}),
    "PeregrineSupervisorLost": ([of("supervisor_up", "1x60", E)], [of("supervisor_up", "0x60", E)], {}),
    "PeregrineTelemetryDown": ([('up{job="peregrine",instance="i"}', "1x60")], [('up{job="peregrine",instance="i"}', "0x60")], {"job": "peregrine", "instance": "i"}),
    "PeregrineBooksStale": ([UP, of("feed_state", "1x60", S + ',state="live"')], [UP, of("feed_state", "0x60", S + ',state="live"')], {"shard": "0", "state": "live"}),
    "PeregrineSessionDown": ([UP, of("session_ready", "1x60")], [UP, of("session_ready", "0x60")], {"shard": "0"}),
    "PeregrineOrdersUnanswered": ([of("unknown_orders", "1x60"), of("acks_total", "0+5x60")], [of("unknown_orders", "1x60"), of("acks_total", "5x60")], {"shard": "0"}),
    "PeregrineJournalNearlyFull": ([of("journal_free_bytes", "900x60"), of("journal_ring_bytes", "1000x60")],
                                   [of("journal_free_bytes", "199x60"), of("journal_ring_bytes", "1000x60")], {"shard": "0"}),
    "PeregrineLimitReached": ([of("limit_use_ratio", "0.7x60", S + ',limit="gross"')], [of("limit_use_ratio", "1x60", S + ',limit="gross"')], {"shard": "0", "limit": "gross"}),
    "PeregrineLimitNear": ([of("symbol_limit_use_ratio", "0.79x60", S + ',symbol="A",limit="long"')],
                           [of("symbol_limit_use_ratio", "0.8x60", S + ',symbol="A",limit="long"')], {"symbol": "A", "limit": "long"}),
    "PeregrineLatencyHigh": (
        [of("stage_latency_seconds_bucket", f"0+{n}x60", f'{S},stage="tick_to_order",le="{le}"') for le, n in (("9.99e-05", 100), ("0.001", 100), ("+Inf", 100))],
        [of("stage_latency_seconds_bucket", f"0+{n}x60", f'{S},stage="tick_to_order",le="{le}"') for le, n in (("9.99e-05", 98), ("0.001", 100), ("+Inf", 100))], {}),
    "PeregrineVenueRejects": ([of("venue_rejects_total", "0+5x60", S + ',code="3"'), of("orders_total", "0+101x60")],
                              [of("venue_rejects_total", "0+6x60", S + ',code="3"'), of("orders_total", "0+100x60")], {}),
    "PeregrineRiskRejects": ([of("risk_rejects_total", "0+5x60", S + ',reason="gross"')], [of("risk_rejects_total", "0+6x60", S + ',reason="gross"')], {"reason": "gross"}),
    "PeregrineFeedGaps": ([of("gaps_total", "7x60")], [of("gaps_total", "7x45 8x10")], {"shard": "0"}),
    "PeregrineOverruns": ([of("overruns_total", "0x60")], [of("overruns_total", "0x45 1x10")], {"shard": "0"}),
    "PeregrineStalls": ([of("stalls_total", "3x60")], [of("stalls_total", "3x45 4x10")], {"shard": "0"}),
    "PeregrineBreakerTripped": ([of("breaker_open", "0x60", S + ',breaker="loss"')], [of("breaker_open", "1x60", S + ',breaker="loss"')], {"shard": "0", "breaker": "loss"}),
    "PeregrineReconnects": ([of("reconnects_total", "0x45 2x10")], [of("reconnects_total", "0x45 3x10")], {"shard": "0"}),
    "PeregrineDeviceFallback": ([of("device_fallback_total", "0+4x60"), of("device_used_total", "0+96x60")],
                                [of("device_fallback_total", "0+6x60"), of("device_used_total", "0+94x60")], {"shard": "0"}),
    "PeregrineDeviceWrong": ([of("device_wrong_total", "0x60")], [of("device_wrong_total", "0x45 1x10")], {"shard": "0"}),
    "PeregrineProcessRestarted": ([of("process_restarts_total", "1x60", E + ',process="p"')], [of("process_restarts_total", "1x45 2x10", E + ',process="p"')], {"process": "p"}),
    "PeregrineMemoryGrows": ([of("process_anonymous_bytes", "1e8x60", E + ',process="p"')],
                             [of("process_anonymous_bytes", "1e8+300000x60", E + ',process="p"')], {"process": "p"}),
    "PeregrineControlRefused": ([of("control_refused_total", "40x60", E + ',reason="role"')], [of("control_refused_total", "0+1x60", E + ',reason="role"')], {}),
    "PeregrineEngineStarved": ([of("thread_run_delay_seconds_total", "0+2.9x60", E + ',process="engine",thread="t"')],
                               [of("thread_run_delay_seconds_total", "0+3.1x60", E + ',process="engine",thread="t"')], {"thread": "t"}),
    "PeregrineLeasesOverLimit": ([of("account_leased_currency", "100x60", E), of("account_gross_limit_currency", "100x60", E)],
                                 [of("account_leased_currency", "101x60", E), of("account_gross_limit_currency", "100x60", E)], {}),
    "PeregrineBreakerAwaitsRearm": ([of("breaker_state", "0x60", S + ',breaker="loss",state="awaits_rearm"')],
                                    [of("breaker_state", "1x60", S + ',breaker="loss",state="awaits_rearm"')], {"shard": "0", "breaker": "loss", "state": "awaits_rearm"}),
    "PeregrinePositionsThrottled": ([of("positions", "100x60"), of("soft_positions", "0x60")], [of("positions", "100x60"), of("soft_positions", "100x60")], {"shard": "0"}),
    "PeregrineShardSlow": (
        [of("stage_latency_seconds_bucket", f"0+{n}x60", f'{S},stage="round",le="{le}"') for le, n in (("0.0009", 100), ("0.01", 100), ("+Inf", 100))],
        [of("stage_latency_seconds_bucket", f"0+{n}x60", f'{S},stage="round",le="{le}"') for le, n in (("0.0009", 90), ("0.01", 100), ("+Inf", 100))], {"shard": "0"}),
    "PeregrineDeviceBreakerOpen": ([of("device_state", "0x60", S + ',state="breaker_open"'), of("device_state", "1x60", S + ',state="asked"')],
                                   [of("device_state", "0x60", S + ',state="breaker_open"'), of("device_state", "1x60", S + ',state="probing"')], {"shard": "0"}),
    "PeregrineSymbolsInactive": ([of("active_symbols", "50x60"), of("symbols", "50x60")], [of("active_symbols", "49x60"), of("symbols", "50x60")], {"shard": "0"}),
    "PeregrineThreadShared": ([of("thread_shards", "1x60")], [of("thread_shards", "2x60")], {"shard": "0"}),
    "PeregrineTelemetryUnreadable": ([UP, of("exporter_readable", "1x60", E)], [UP, of("exporter_readable", "0x60", E)], {}),
    "PeregrineFeedMalformed": ([of("malformed_total", "7x60")], [of("malformed_total", "7x45 8x10")], {"shard": "0"}),
    "PeregrineClockStepped": ([of("clock_steps_total", "1x60")], [of("clock_steps_total", "1x45 2x10")], {"shard": "0"}),
    "PeregrineReconcilerDiffers": ([of("reconciler_differences", "0x60", E)], [of("reconciler_differences", "0x45 1x10", E)], {}),
    "PeregrineReconcilerSilent": ([of("process_up", "1x60", E + ',process="reconciler",role="reconciler"'), of("reconciler_status_age_seconds", "0.5x60", E)],
                                  [of("process_up", "1x60", E + ',process="reconciler",role="reconciler"')], {}),
    "PeregrineDropCopyLost": ([of("reconciler_state", "0x60", E + ',state="lost"'), of("reconciler_state", "1x60", E + ',state="agreed"')],
                              [of("reconciler_state", "1x60", E + ',state="lost"'), of("reconciler_state", "0x60", E + ',state="agreed"')], {}),
    "PeregrineReconcilerBehind": ([of("reconciler_lag_seconds", "29x60", E)], [of("reconciler_lag_seconds", "31x60", E)], {}),
    "PeregrineNotTrading": ([of("trading_state", "0x60", S + ',state="paused"'), of("trading_enabled", "1x60", E)],
                            [of("trading_state", "1x60", S + ',state="paused"'), of("trading_enabled", "1x60", E)], {"shard": "0", "state": "paused"}),
}  # fmt: skip
EVAL = "13m"
#: alert → others that fire with it
ALSO = {"PeregrineLimitReached": ("PeregrineLimitNear",)}


def test_there_is_a_case_for_every_alert():
    assert set(CASES) == set(ALERTS)


def test_alerts_have_a_known_severity_words_for_people_and_ask_for_metrics_there_are():
    known = {m.name for m in METRICS} | {f"{m.name}_bucket" for m in METRICS if m.kind == "histogram"}
    for a in ALERTS.values():
        assert a.severity in SEVERITIES and a.meaning and a.first and a.name.startswith("Peregrine")
        assert set(re.findall(r"peregrine_\w+", a.expr)) <= known, a.name
    assert list(ALERTS.values()) == sorted(ALERTS.values(), key=lambda a: -SEVERITIES.index(a.severity)), "worst first"
    for source, targets in rules.EXPLAINS.items():
        assert {source, *targets.split("|")} <= set(ALERTS)


def test_the_shipped_files_are_made_from_the_tables():
    from orchestrator.observe.ops_files import ops_files

    for name, text in ops_files().items():
        assert (ROOT / "ops" / name).read_text() == text, f"ops/{name}: write it anew: peregrine ops"


def test_the_page_has_the_table_of_alerts():
    page = (ROOT / "docs/concepts/observability.md").read_text()
    begin, end = "<!-- alerts: python -m orchestrator.observe.alerts -->\n", "<!-- end of alerts -->"
    assert page.partition(begin)[2].partition(end)[0] == table(), "write it anew: python -m orchestrator.observe.alerts"


def test_thresholds_of_a_configuration_reach_the_rules():
    text = rules.rules_yaml(AlertRule(exposure_permille=500, tick_to_order_p99_us=40, stale_after_s=77, window_s=60), leak_mb_per_hour=36)
    found = {r["alert"]: r for r in yaml.safe_load(text)["groups"][0]["rules"]}
    assert ">= 0.5" in found["PeregrineLimitNear"]["expr"] and found["PeregrineBooksStale"]["for"] == "77s"
    assert "> 4e-05" in found["PeregrineLatencyHigh"]["expr"] and "[60s]" in found["PeregrineLatencyHigh"]["expr"]
    assert "> 10000" in found["PeregrineMemoryGrows"]["expr"]
    assert "PeregrineMemoryGrows" not in rules.rules_yaml(AlertRule(), leak_mb_per_hour=0)


def promtool(*args: str) -> str:
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_promtool_takes_the_shipped_rules_and_configuration():
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(ROOT / "ops/prometheus/alerts.yml"))
    assert "SUCCESS" in promtool("check", "config", str(ROOT / "ops/prometheus/prometheus.yml"))


@needs_prometheus
def test_promtool_finds_nothing_wrong_with_what_the_exporter_serves(stand_in):
    from prometheus_client import CollectorRegistry, generate_latest

    from orchestrator.observe.metrics import EngineCollector
    from orchestrator.observe.reading import Reader

    registry = CollectorRegistry(auto_describe=False)
    registry.register(EngineCollector(Reader(stand_in().name)))
    done = subprocess.run(["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def unit_tests(folder: Path) -> Path:
    """One promtool test of every alert, with an engine each where it must fire and one where it must not."""
    (folder / "alerts.yml").write_text(rules.rules_yaml(RULE))
    series, expected = [], {name: [] for name in CASES}
    for name, (well, ill, labels) in CASES.items():
        for where, rows in (("well", well), ("ill", ill)):
            who = f"{where}-{name}"
            series += [{"series": s.replace('engine="e"', f'engine="{who}"').replace('instance="i"', f'instance="{who}"'), "values": v} for s, v in rows]
        own = {"instance": who} if "instance" in labels else {"engine": who}
        for fires in (name, *ALSO.get(name, ())):
            a = ALERTS[fires]
            expected[fires].append({
                "exp_labels": {"severity": a.severity, **labels, **own},
                "exp_annotations": {"summary": f"{who}: {a.meaning}", "first": a.first, "runbook": a.page},
            })  # fmt: skip
    asked = [{"eval_time": EVAL, "alertname": name, "exp_alerts": found} for name, found in expected.items()]
    path = folder / "tests.yml"
    test = {"interval": "15s", "input_series": series, "alert_rule_test": asked}
    path.write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "15s", "tests": [test]}))
    return path


@needs_prometheus
def test_by_promtools_unit_tests_each_alert_fires_with_its_labels_and_words_and_none_on_a_healthy_engine(tmp_path):
    promtool("test", "rules", str(unit_tests(tmp_path)))


@needs_prometheus
@pytest.mark.parametrize(
    ("right", "wrong"), [("peregrine_supervisor_up == 0", "peregrine_supervisor_up == 2"), ("peregrine_gaps_total[300s]) > 0", "peregrine_gaps_total[300s]) >= 0")]
)
def test_a_rule_that_is_off_is_found_by_the_unit_tests(tmp_path, right, wrong):
    path = unit_tests(tmp_path)
    text = (tmp_path / "alerts.yml").read_text()
    assert right in text
    (tmp_path / "alerts.yml").write_text(text.replace(right, wrong))
    with pytest.raises(AssertionError, match="alertname: Peregrine(SupervisorLost|FeedGaps)"):
        promtool("test", "rules", str(path))


@needs_prometheus
@pytest.mark.parametrize(("severity", "receivers"), list(rules.ESCALATION.items()))
def test_amtool_says_who_hears_of_which_severity(severity, receivers):
    config = str(ROOT / "ops/alertmanager/alertmanager.yml")
    done = subprocess.run(["amtool", "config", "routes", "test", f"--config.file={config}", f"severity={severity}", "engine=e"],
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0 and done.stdout.strip().split(",") == list(receivers)


@needs_prometheus
def test_amtool_takes_the_shipped_configuration():
    config = str(ROOT / "ops/alertmanager/alertmanager.yml")
    done = subprocess.run(["amtool", "check-config", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr


def test_worse_severities_are_told_sooner_to_more_and_repeated_more_often():
    for worse, milder in zip(SEVERITIES[:0:-1], SEVERITIES[-2::-1], strict=True):
        assert all(w < m for w, m in zip(rules.WINDOWS[worse], rules.WINDOWS[milder], strict=True))
        assert set(rules.ESCALATION[milder]) < set(rules.ESCALATION[worse])
