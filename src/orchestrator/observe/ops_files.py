"""Writes what Prometheus, Alertmanager and Grafana need to watch an engine."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config.models_operate import AlertRule
from orchestrator.observe import rules
from orchestrator.observe.dashboard import dashboard_json


def ops_files(rule: AlertRule | None = None, *, leak_mb_per_hour: int = 64, targets: tuple[str, ...] = ("127.0.0.1:9464",),
              alertmanager: str = "127.0.0.1:9093", webhook: str = rules.WEBHOOK) -> dict[str, str]:
    """Path under ops/ → text."""
    return {
        "prometheus/prometheus.yml": rules.prometheus_yaml(targets, alertmanager=alertmanager),
        "prometheus/alerts.yml": rules.rules_yaml(rule, leak_mb_per_hour),
        "alertmanager/alertmanager.yml": rules.alertmanager_yaml(webhook),
        "grafana/peregrine.json": dashboard_json(),
    }


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write them, folders made; returns where. Raises OSError."""
    out = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        out.append(path)
    return out
