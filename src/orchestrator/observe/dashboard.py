"""The Grafana dashboard, from a table of panels: ops/grafana/peregrine.json is made from it by `peregrine ops`.

Written for Grafana 9 and later (schema version 38), import by file. Two variables: the data source and the engine. Panels,
options and variables hold only what Grafana's published types know (@grafana/schema 11).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "table", "bargauge", "heatmap"]
SCHEMA_VERSION = 38
COLUMNS = 24
E = 'engine=~"$engine"'
STAGES = ("tick_to_order", "decode_book", "features", "policy", "risk", "encode_journal", "send", "order_to_ack")


@dataclass(frozen=True)
class Panel:
    """One panel: its queries as (expression, legend). `unit` as Grafana calls it: s, bytes, percentunit, short."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: Kind = "timeseries"
    width: int = 8
    text: str = ""


_NO_RECONCILER = "Empty where no reconciler runs."


def _quantile(q: float, stage: str) -> str:
    return f'histogram_quantile({q:g}, sum by (le) (rate(peregrine_stage_latency_seconds_bucket{{{E}, stage="{stage}"}}[$__rate_interval])))'


def _rate(metric: str, by: str = "shard") -> str:
    return f"sum by ({by}) (rate({metric}{{{E}}}[$__rate_interval]))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "At a glance": (
        Panel("Engine", "short", ((f"peregrine_up{{{E}}}", "up"), (f"peregrine_kill_level{{{E}}}", "kill level"),
              (f"sum(peregrine_session_ready{{{E}}})", "sessions ready"), (f'sum(peregrine_feed_state{{{E}, state="live"}})', "shards live")), "stat", 8),
        Panel("Heartbeat age", "s", ((f"peregrine_heartbeat_age_seconds{{{E}}}", "{{engine}}"),), "stat", 4),
        Panel("Profit", "currencyUSD", ((f"sum(peregrine_pnl_currency{{{E}}})", "all shards"),), "stat", 4),
        Panel("Alerts", "short", (('ALERTS{alertstate="firing"}', "{{severity}} {{alertname}}"),), "table", 8),
    ),
    "Latency per stage": (
        Panel("Tick to order", "s", tuple((_quantile(q, "tick_to_order"), f"p{q * 100:g}") for q in (0.5, 0.9, 0.99, 0.999)), width=12),
        Panel("99th percentile of each stage", "s", tuple((_quantile(0.99, stage), stage) for stage in STAGES), width=12),
        Panel("Tick to order, all values", "s", (
              (f'sum by (le) (increase(peregrine_stage_latency_seconds_bucket{{{E}, stage="tick_to_order"}}[$__rate_interval]))', "{{le}}"),), "heatmap", 12),
        Panel("Order to the venue's answer", "s", ((_quantile(0.5, "order_to_ack"), "p50"), (_quantile(0.99, "order_to_ack"), "p99")), width=12),
    ),
    "Orders and rejects": (
        Panel("Orders", "ops", ((_rate("peregrine_orders_total"), "orders, shard {{shard}}"), (_rate("peregrine_cancels_total"), "cancels, shard {{shard}}"))),
        Panel("Fills", "ops", ((_rate("peregrine_fills_total"), "shard {{shard}}"),)),
        Panel("Decisions", "ops", ((_rate("peregrine_decisions_total"), "asked, shard {{shard}}"), (_rate("peregrine_held_total"), "held, shard {{shard}}"))),
        Panel("Refused by the venue", "ops", ((f"{_rate('peregrine_venue_rejects_total', 'code')} > 0", "code {{code}}"),), text="Empty while nothing is refused."),
        Panel("Refused by the gate", "ops", ((f"{_rate('peregrine_risk_rejects_total', 'reason')} > 0", "{{reason}}"),), text="Empty while nothing is refused."),
        Panel("Working and unknown orders", "short", ((f"peregrine_working_orders{{{E}}}", "working, shard {{shard}}"), (f"peregrine_unknown_orders{{{E}}}", "unknown, shard {{shard}}"))),
    ),
    "Feed health": (
        Panel("Messages", "ops", ((_rate("peregrine_events_total"), "shard {{shard}}"),)),
        Panel("Books not live", "short", ((f'1 - peregrine_feed_state{{{E}, state="live"}}', "shard {{shard}}"),)),
        Panel("Stale time", "percentunit", ((_rate("peregrine_stale_seconds_total"), "shard {{shard}}"),), text="Share of the time without sound books."),
        Panel("Gaps, rebuilds, overruns", "short", tuple((f"sum by (shard) (increase(peregrine_{name}_total{{{E}}}[$__rate_interval]))", f"{name}, shard {{{{shard}}}}")
              for name in ("gaps", "snapshots", "overruns", "malformed")), width=12),
        Panel("Lag behind the feed", "s", ((f"peregrine_lag_seconds{{{E}}}", "now, shard {{shard}}"), (_quantile(0.99, "lag"), "p99")), width=12),
        Panel("Stalls", "short", ((f"sum by (shard) (increase(peregrine_stalls_total{{{E}}}[$__rate_interval]))", "shard {{shard}}"),), width=12),
        Panel("Reconnects", "short", ((f"sum by (shard) (increase(peregrine_reconnects_total{{{E}}}[$__rate_interval]))", "shard {{shard}}"),), width=12),
    ),
    "Shards": (
        Panel("What a shard does", "short", ((f"peregrine_trading_state{{{E}}} == 1", "shard {{shard}}: {{state}}"),), width=12,
              text="A line for the state a shard is in; breaker: it has tripped and stands until it is armed again."),
        Panel("Time between two looks at a shard", "s", tuple(
              (f'histogram_quantile({q:g}, sum by (shard, le) (rate(peregrine_stage_latency_seconds_bucket{{{E}, stage="round"}}[$__rate_interval])))',
               f"p{q * 100:g}, shard {{{{shard}}}}") for q in (0.5, 0.99)), width=12, text="While there was work for it, sampled."),
        Panel("Shards that share a thread", "short", ((f"peregrine_thread_shards{{{E}}}", "with shard {{shard}}"),), text="1: it has the thread to itself."),
        Panel("Symbols that may open", "short", ((f"peregrine_active_symbols{{{E}}}", "active, shard {{shard}}"), (f"peregrine_symbols{{{E}}}", "configured, shard {{shard}}"))),
        Panel("Symbols with a position or orders", "short", ((f"sum(peregrine_positions{{{E}}})", "now"), (f"sum(peregrine_soft_positions{{{E}}})", "one more waits"),
              (f'sum(peregrine_limit{{{E}, limit="positions"}})', "no more")), text="From the soft level on a shard opens one more only now and then."),
    ),
    "Positions and limits": (
        Panel("Position", "short", ((f"peregrine_symbol_position_lots{{{E}}}", "{{symbol}}"),)),
        Panel("Profit by symbol", "currencyUSD", ((f"peregrine_symbol_pnl_currency{{{E}}}", "{{symbol}}"),)),
        Panel("Profit and fees", "currencyUSD", ((f"sum(peregrine_pnl_currency{{{E}}})", "profit"), (f"sum(peregrine_fees_currency{{{E}}})", "fees"))),
        Panel("Use of account limits", "percentunit", ((f"max by (limit) (peregrine_limit_use_ratio{{{E}}})", "{{limit}}"),), "bargauge", 8),
        Panel("Account limits: used and limit", "short", ((f"sum by (limit) (peregrine_limit_used{{{E}}})", "{{limit}} used"),
              (f'sum by (limit) (peregrine_limit{{{E}, limit!="gross"}}) or min by (limit) (peregrine_limit{{{E}, limit="gross"}})', "{{limit}} limit")), "table", 8),
        Panel("Breakers", "short", ((f"max by (breaker) (peregrine_breaker_open{{{E}}})", "{{breaker}}"),)),
        Panel("Breakers tripped", "short", ((f'max by (shard, breaker, state) (peregrine_breaker_state{{{E}, state!="armed"}})', "{{breaker}} of shard {{shard}}: {{state}}"),),
              text="Cooling: it cannot be armed again yet. Awaits rearm: a person has to."),
        Panel("Gross exposure of the account", "currencyUSD", ((f"peregrine_account_gross_currency{{{E}}}", "used"), (f"peregrine_account_leased_currency{{{E}}}", "leased to shards"),
              (f"peregrine_account_gross_limit_currency{{{E}}}", "limit")), text="Empty for an engine of one shard: all of the limit is its own."),
        Panel("Leases of the shards", "percentunit", ((f'max by (shard) (peregrine_limit_use_ratio{{{E}, limit="gross_lease"}})', "shard {{shard}}"),), "bargauge", 8,
              text="How much of its part of the account's gross limit a shard uses."),
        Panel("Leased limits", "currencyUSD", ((f"peregrine_lease_budget_currency{{{E}}}", "{{limit}} budget"), (f"peregrine_lease_out_currency{{{E}}}", "{{limit}} out"),
              (f"peregrine_lease_granted_currency{{{E}}}", "{{limit}}, shard {{shard}} has"), (f"peregrine_lease_used_currency{{{E}}}", "{{limit}}, shard {{shard}} uses")),
              text="Empty for an engine of one shard."),
        Panel("Above a leased limit", "currencyUSD", ((f"peregrine_lease_excess_currency{{{E}}}", "{{limit}} {{of}}"),),
              text="Empty for an engine of one shard. Granted: leases that are being cut. Used: what stands above the limit after it was lowered, or after a price moved; it goes as positions and orders do."),
        Panel("Symbols nearest to a limit", "percentunit", ((f"topk(10, max by (symbol, limit) (peregrine_symbol_limit_use_ratio{{{E}}}))", "{{symbol}} {{limit}}"),), "bargauge", 8),
    ),
    "Journal": (
        Panel("Written", "Bps", ((_rate("peregrine_journal_bytes_total"), "shard {{shard}}"),)),
        Panel("Ring in use", "percentunit", ((f"1 - peregrine_journal_free_bytes{{{E}}} / peregrine_journal_ring_bytes{{{E}}}", "shard {{shard}}"),),
              text="What the writer has not yet moved to disk."),
        Panel("Records", "ops", ((_rate("peregrine_journal_seq_total"), "shard {{shard}}"),)),
    ),
    "The venue's drop copy": (
        Panel("Drop copy against journals", "short", ((f"peregrine_reconciler_state{{{E}}} == 1", "{{state}}"),), width=6, text=_NO_RECONCILER),
        Panel("Differences", "short", ((f"peregrine_reconciler_differences{{{E}}}", "stand now"), (f"peregrine_reconciler_waiting{{{E}}}", "told by one side alone")),
              width=6, text=_NO_RECONCILER),
        Panel("Executions agreed", "ops", ((f"rate(peregrine_reconciler_agreed_total{{{E}}}[$__rate_interval])", "agreed"),
              (f"rate(peregrine_reconciler_lost_total{{{E}}}[$__rate_interval])", "connections lost")), width=6, text=_NO_RECONCILER),
        Panel("Reconciler behind and silent", "s", ((f"peregrine_reconciler_lag_seconds{{{E}}}", "oldest that one side alone has"),
              (f"peregrine_reconciler_status_age_seconds{{{E}}}", "nothing heard of it")), width=6, text=_NO_RECONCILER),
    ),
    "Device": (
        Panel("State of the device", "short", ((f"peregrine_device_state{{{E}}} == 1", "shard {{shard}}: {{state}}"),), width=12,
              text="None: the kernels decide. Breaker open: it failed again and again, and is not asked until one decision probes it."),
        Panel("Asked, missed, failed", "ops", tuple((_rate(f"peregrine_device_{name}_total"), f"{words}, shard {{{{shard}}}}") for name, words in (
              ("asked", "asked"), ("missed", "deadline missed"), ("failed", "failed"), ("trips", "breaker opened"))), width=12),
        Panel("Decisions by the device", "ops", ((_rate("peregrine_device_used_total"), "answered, shard {{shard}}"), (_rate("peregrine_device_fallback_total"), "kernels made up, shard {{shard}}")), width=12),
        Panel("Answers nobody could use", "ops", tuple((_rate(f"peregrine_device_{name}_total"), name + ", shard {{shard}}") for name in ("late", "dropped", "wrong", "full")), width=12),
    ),
    "Control plane and processes": (
        Panel("Processes", "short", ((f"peregrine_process_up{{{E}}}", "{{process}}"), (f"peregrine_supervisor_up{{{E}}}", "supervisor")), text="Empty for an engine without a supervisor."),
        Panel("Restarts", "short", ((f"peregrine_process_restarts_total{{{E}}}", "{{process}}"),), text="Empty for an engine without a supervisor."),
        Panel("Recovery", "s", ((f"peregrine_process_recovery_seconds{{{E}}}", "{{process}}"),), text="Empty for an engine without a supervisor."),
        Panel("Memory", "bytes", ((f"peregrine_process_resident_bytes{{{E}}}", "{{process}} resident"), (f"peregrine_process_anonymous_bytes{{{E}}}", "{{process}} its own"))),
        Panel("CPU", "percentunit", ((_rate("peregrine_thread_cpu_seconds_total", "process, thread"), "{{process}} {{thread}}"),)),
        Panel("Ready but no core", "percentunit", ((_rate("peregrine_thread_run_delay_seconds_total", "process, thread"), "{{process}} {{thread}}"),)),
        Panel("Switches and faults", "ops", ((_rate("peregrine_thread_switches_total", "process, kind"), "{{process}} {{kind}}"), (_rate("peregrine_thread_faults_total", "process, kind"), "{{process}} {{kind}} faults"))),
        Panel("Steal", "percentunit", ((_rate("peregrine_cpu_steal_seconds_total", "cpu"), "core {{cpu}}"),)),
        Panel("Commands refused", "ops", ((_rate("peregrine_control_refused_total", "reason"), "{{reason}}"),)),
    ),
}  # fmt: skip


def queries() -> list[tuple[str, str, str]]:
    """(panel, expression, legend) of every query, for whoever wants to run them all."""
    return [(p.title, expr, legend) for panels in ROWS.values() for p in panels for expr, legend in p.queries]


def build() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, members in ROWS.items():
        panels.append({"id": len(panels) + 1, "type": "row", "title": row, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}})  # fmt: skip
        y += 1
        x, height = 0, 8 if any(p.kind not in ("stat", "table") for p in members) else 5
        for member in members:
            if x + member.width > COLUMNS:
                x, y = 0, y + height
            panels.append(_panel(member, len(panels) + 1, x, y, height))
            x += member.width
        y += height
    return {
        "__inputs": [{"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus", "pluginName": "Prometheus", "description": ""}],
        "__requires": [{"type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.0.0"},
                       {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"}],
        "uid": "peregrine", "title": "Peregrine", "tags": ["peregrine"], "schemaVersion": SCHEMA_VERSION, "version": 1, "id": None,
        "editable": True, "graphTooltip": 1, "refresh": "5s", "time": {"from": "now-30m", "to": "now"}, "timezone": "browser",
        "annotations": {"list": []}, "links": [],
        "templating": {"list": [{
            "name": "engine", "label": "Engine", "type": "query", "datasource": _SOURCE, "refresh": 2, "sort": 1, "multi": False,
            "includeAll": False, "hide": 0, "options": [],
            "query": {"query": "label_values(peregrine_up, engine)", "refId": "engine"},
        }]},
        "panels": panels,
    }  # fmt: skip


_SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}


def _panel(p: Panel, number: int, x: int, y: int, height: int) -> dict[str, Any]:
    instant = p.kind in ("stat", "table", "bargauge")
    return {
        "id": number, "type": p.kind, "title": p.title, "description": p.text, "datasource": _SOURCE,
        "gridPos": {"h": height, "w": p.width, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": p.unit, **_defaults(p.kind)}, "overrides": []},
        "options": _options(p.kind),
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": _SOURCE, "expr": expr, "legendFormat": legend, "editorMode": "code",
             "range": not instant, "instant": instant, "format": {"table": "table", "heatmap": "heatmap"}.get(p.kind, "time_series")}
            for i, (expr, legend) in enumerate(p.queries)
        ],
    }  # fmt: skip


def _defaults(kind: Kind) -> dict[str, Any]:
    if kind == "bargauge":
        steps = [{"color": "green", "value": None}, {"color": "orange", "value": 0.8}, {"color": "red", "value": 1}]
        return {"min": 0, "max": 1, "thresholds": {"mode": "absolute", "steps": steps}, "color": {"mode": "thresholds"}}
    if kind == "timeseries":
        return {"custom": {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": False}}
    return {}


def _options(kind: Kind) -> dict[str, Any]:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if kind == "timeseries":
        return {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True}, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "heatmap":
        return {"calculate": False, "yAxis": {"unit": "s"}, "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64}, "tooltip": {"mode": "single", "yHistogram": False}}
    if kind == "bargauge":
        return {"reduceOptions": reduce, "orientation": "horizontal", "displayMode": "basic"}
    return {"reduceOptions": reduce} if kind == "stat" else {"showHeader": True}


def dashboard_json() -> str:
    """ops/grafana/peregrine.json."""
    return json.dumps(build(), indent=1) + "\n"
