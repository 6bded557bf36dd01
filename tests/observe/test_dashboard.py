"""The dashboard: a shape Grafana imports, and every query of every panel against a real Prometheus and a real engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orchestrator.observe import dashboard
from orchestrator.observe.metrics import METRICS
from tests.observe.engines import trading
from tests.observe.monitoring import ExporterRun, Monitoring, needs_prometheus, until

ROOT = Path(__file__).resolve().parents[2]
#: panel → why an empty answer is right for a healthy engine without supervisor and device
EMPTY_IS_RIGHT = {
    "Alerts": "nothing fires",
    "Refused by the venue": "nothing is refused",
    "Refused by the gate": "nothing is refused",
    "Leased limits": "one shard",
    "Above a leased limit": "one shard",
    "Processes": "no supervisor",
    "Restarts": "no supervisor",
    "Recovery": "no supervisor",
    "Gross exposure of the account": "one shard",
    **dict.fromkeys((p.title for p in dashboard.ROWS["The venue's drop copy"]), "no reconciler"),
}
#: what a slow or crowded machine may raise although the engine is well
CROWDED = {"PeregrineLatencyHigh", "PeregrineEngineStarved", "PeregrineFeedGaps", "PeregrineOverruns", "PeregrineStalls", "PeregrineShardSlow"}


def shown() -> list[dict]:
    return [p for p in dashboard.build()["panels"] if p["type"] != "row"]


def test_the_shipped_file_is_made_from_the_table():
    assert (ROOT / "ops/grafana/peregrine.json").read_text() == dashboard.dashboard_json(), "write it anew: peregrine ops"


def test_panels_have_their_own_place_number_and_data_source():
    built = json.loads(dashboard.dashboard_json())
    assert built["schemaVersion"] >= 36 and built["title"] and built["uid"] and built["templating"]["list"][0]["name"] == "engine"
    ids = [p["id"] for p in built["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for p in built["panels"]:
        at = p["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, p["title"]
        taken |= cells
        if p["type"] == "row":
            continue
        assert p["type"] in ("timeseries", "stat", "table", "bargauge", "heatmap")
        assert p["datasource"] == {"type": "prometheus", "uid": "${DS_PROMETHEUS}"} and p["fieldConfig"]["defaults"]["unit"]
        assert p["targets"] and len({t["refId"] for t in p["targets"]}) == len(p["targets"])
        assert all(t["expr"] and t["legendFormat"] for t in p["targets"])


def test_every_row_the_desk_asked_for_is_there():
    words = " ".join(dashboard.ROWS).lower()
    for what in ("latency per stage", "orders and rejects", "feed", "positions and limits", "journal", "control plane"):
        assert what in words


def test_panels_ask_only_for_metrics_there_are():
    known = {m.name for m in METRICS} | {f"{m.name}_bucket" for m in METRICS if m.kind == "histogram"}
    for title, expr, _ in dashboard.queries():
        for name in re.findall(r"peregrine_\w+", expr):
            assert name in known, f"{title}: {name}"
        assert 'engine=~"$engine"' in expr or expr.startswith("ALERTS"), title


def test_a_panel_that_may_be_empty_says_so():
    texts = {p["title"]: p["description"] for p in shown()}
    assert all(texts[title].startswith("Empty") for title in EMPTY_IS_RIGHT if title != "Alerts")


@needs_prometheus
@pytest.mark.slow
def test_every_query_of_every_panel_has_an_answer_from_a_real_prometheus_that_scrapes_a_trading_engine(tmp_path):
    from orchestrator.config.models_operate import AlertRule

    with trading(tmp_path / "w") as (_, engine), ExporterRun(engine.name) as exporter, Monitoring(tmp_path / "m", AlertRule()) as seen:
        seen.watch(exporter.address)
        until(lambda: engine.counters()["fills"] > 20, "fills")
        until(lambda: seen.query(f'rate(peregrine_fills_total{{engine="{engine.name}"}}[5s]) > 0'), "a rate of fills")
        waiting = [(title, expr.replace("$engine", engine.name).replace("$__rate_interval", "5s")) for title, expr, _ in dashboard.queries()]

        def answered() -> bool:  # a scrape that came too late leaves a rate without an answer for a moment
            for one in list(waiting):
                if seen.query(one[1]):
                    waiting.remove(one)
            return {title for title, _ in waiting} <= set(EMPTY_IS_RIGHT)

        until(answered, f"an answer to each of {waiting}")
        assert {title for title, _ in waiting} >= {"Processes", "Restarts", "Recovery"}, "what is said to be empty is"
        assert seen.names() <= CROWDED, "a healthy engine raises no alarm"
