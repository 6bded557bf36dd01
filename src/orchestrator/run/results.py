"""From the compiled engine's summary to the one result object."""

from __future__ import annotations

from typing import Any

from orchestrator.observe.result import RunResult, SymbolResult
from orchestrator.run.plan import LoadedPolicy

STAGES = ("decode_book", "features", "policy", "risk", "encode_journal", "send", "order_to_ack")


def apply_summary(result: RunResult, summary: dict[str, Any], policies: list[LoadedPolicy]) -> None:
    """Fill in everything a shard's summary says (counters, money, latencies where it has them)."""
    result.events = summary["events"]
    result.decisions = summary["decisions"]
    result.orders = summary["orders"] + summary["replaces"]
    result.cancels = summary["cancels"]
    result.fills = summary["fills"]
    result.filled_lots = summary["filled_lots"]
    result.rejects = summary["rejects"]
    result.risk_rejects = summary["risk_rejects"]
    result.risk_reasons = dict(summary["risk_reasons"])
    result.pnl_units = summary["pnl_units"]
    result.fees_units = summary["fees_units"]
    result.gaps = summary["gaps"]
    result.stale_ns = summary["stale_ns"]
    result.unknown_orders = summary["unknown_orders"]
    result.reconnects = summary.get("reconnects", max(0, summary["connections"] - 1))
    result.symbols = {symbol: SymbolResult(**facts) for symbol, facts in summary["symbols"].items()}
    result.policies = [{"slot": p.slot, "name": p.name, "sha256": p.sha256} for p in policies]
    result.journal_records = summary.get("journal_records", 0)
    result.order_hash = f"{summary['order_hash']:016x}"
    result.state_hash = f"{summary['state_hash']:016x}"
    latency = summary.get("latency", {})
    result.tick_to_order_ns = dict(latency.get("tick_to_order", {}))
    result.stages_ns = {name: dict(latency[name]) for name in STAGES if name in latency}
    result.noise_ns = dict(latency.get("noise", {}))
    if summary["killed"]:
        result.stopped_by = "breaker" if summary["breaker"] else "kill"
    if summary["alarms"]:
        code, a, b, _ = summary["last_alarm"]
        result.warnings.append(f"{summary['alarms']} order-session alarms, the last with code {code} ({a}, {b})")
