"""The files under ops/: rules and configuration for Prometheus and Alertmanager, made from the tables.

    ops/prometheus/prometheus.yml      who is scraped, which rules, which Alertmanager
    ops/prometheus/alerts.yml          alerts.py with the thresholds of `observe.alerts`
    ops/alertmanager/alertmanager.yml  who hears of what, how often at most
    ops/grafana/peregrine.json         dashboard.py

`peregrine ops` writes them; those in the repository are made with the default thresholds, which a test compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from orchestrator.config.models_operate import AlertRule
from orchestrator.observe.alerts import JOB, SEVERITIES, Severity, alerts

HEADER = "# Made by `peregrine ops` from the thresholds of observe.alerts: change those, and make it again.\n"
WEBHOOK = "http://127.0.0.1:9465/"

#: severity → (first notice after, further ones of a group at the soonest, the same again), seconds; the last two are the
#: window and so the most that is sent in one: one notice a window, one more for what is new in it
WINDOWS: dict[Severity, tuple[int, int, int]] = {
    "page": (0, 60, 300),
    "critical": (10, 300, 3_600),
    "warning": (60, 900, 14_400),
    "info": (300, 3_600, 86_400),
}
#: severity → receivers, in order: each step adds to the one before it
ESCALATION: dict[Severity, tuple[str, ...]] = {
    "info": ("record",),
    "warning": ("record", "desk"),
    "critical": ("record", "desk", "oncall"),
    "page": ("record", "desk", "oncall", "pager"),
}
#: an alert that explains others: they are kept back while it fires, for the same engine
EXPLAINS = {
    "PeregrineEngineDown": "PeregrineTelemetryUnreadable|PeregrineHeartbeatLost|PeregrineBooksStale|PeregrineSessionDown|PeregrineOrdersUnanswered|PeregrineNotTrading|PeregrineProcessRestarted",
    "PeregrineBreakerTripped": "PeregrineNotTrading|PeregrineRiskRejects",
    "PeregrineHeartbeatLost": "PeregrineBooksStale|PeregrineStalls|PeregrineSessionDown|PeregrineOrdersUnanswered|PeregrineNotTrading|PeregrineLatencyHigh",
    "PeregrineKilled": "PeregrineNotTrading|PeregrineRiskRejects",
    "PeregrineJournalStopped": "PeregrineJournalNearlyFull|PeregrineRiskRejects",
    "PeregrineDeviceBreakerOpen": "PeregrineDeviceFallback",
    "PeregrineSessionDown": "PeregrineReconnects|PeregrineOrdersUnanswered",
    "PeregrineReconcilerDiffers": "PeregrineNotTrading",
    "PeregrineReconcilerSilent": "PeregrineReconcilerBehind|PeregrineDropCopyLost",
    "PeregrineDropCopyLost": "PeregrineReconcilerBehind|PeregrineNotTrading",
}


def rules_yaml(rule: AlertRule | None = None, leak_mb_per_hour: int = 64) -> str:
    """ops/prometheus/alerts.yml."""
    rows = [
        {
            "alert": a.name,
            "expr": a.expr,
            **({"for": f"{a.hold_s}s"} if a.hold_s else {}),
            "labels": {"severity": a.severity},
            "annotations": {"summary": f"{{{{ or $labels.engine $labels.instance }}}}: {a.meaning}", "first": a.first, "runbook": a.page},
        }
        for a in alerts(rule or AlertRule(), leak_mb_per_hour)
    ]
    return HEADER + _dump({"groups": [{"name": JOB, "rules": rows}]})


def prometheus_yaml(targets: Iterable[str] = ("127.0.0.1:9464",), *, alertmanager: str = "127.0.0.1:9093",
                    scrape_s: int = 5, rules: str = "alerts.yml") -> str:
    """ops/prometheus/prometheus.yml; `scrape_s` is also how often rules are evaluated."""
    return HEADER + _dump({
        "global": {"scrape_interval": f"{scrape_s}s", "scrape_timeout": f"{min(scrape_s, 10)}s", "evaluation_interval": f"{scrape_s}s"},
        "rule_files": [rules],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": list(targets)}]}],
    })  # fmt: skip


def alertmanager_yaml(webhook: str = WEBHOOK, windows: dict[Severity, tuple[int, int, int]] | None = None) -> str:
    """ops/alertmanager/alertmanager.yml: each receiver is a webhook, at `webhook` + its name, to be replaced by mail or pager."""
    names = ESCALATION["page"]
    routes = []
    for receiver in names:
        for severity in reversed(SEVERITIES):
            if receiver in ESCALATION[severity]:
                wait_s, interval_s, repeat_s = (windows or WINDOWS)[severity]
                routes.append({
                    "receiver": receiver, "matchers": [f'severity="{severity}"'], "continue": True,
                    "group_wait": f"{wait_s}s", "group_interval": f"{interval_s}s", "repeat_interval": f"{repeat_s}s",
                })  # fmt: skip
    tree: dict[str, Any] = {
        "route": {"receiver": "record", "group_by": ["engine", "severity"], "routes": routes},
        "inhibit_rules": [
            {"source_matchers": [f'alertname="{source}"'], "target_matchers": [f'alertname=~"{targets}"'], "equal": ["engine"]}
            for source, targets in EXPLAINS.items()
        ],
        "receivers": [{"name": name, "webhook_configs": [{"url": webhook + name, "send_resolved": True}]} for name in names],
    }
    return HEADER + _dump(tree)


def _dump(tree: Any) -> str:
    return yaml.safe_dump(tree, sort_keys=False, width=1000, allow_unicode=True)
