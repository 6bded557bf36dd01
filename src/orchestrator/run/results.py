"""From the compiled engine's summary to the one result object."""

from __future__ import annotations

import hashlib
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


#: Of a summary with a device: decisions it answered, those the kernels made up for, and answers that were not used.
DEVICE = ("device_used", "device_fallback", "device_late", "device_dropped", "device_wrong", "device_full")
_LINK = ("asked", "answered", "late", "corrupt", "refused", "busy", "broken", "not_asked", "late_answers", "retries",
         "breaker_opened", "breaker_closed", "probes")  # fmt: skip


def apply_device(result: RunResult, shards: list[dict[str, Any]]) -> None:
    """`result.device`: sums over the shards that have one; each note of a device that cannot answer is a warning."""
    links = [s["device"] for s in shards if s.get("device")]
    if not links:
        return
    result.device = {
        "backend": links[0]["backend"], "detail": links[0]["detail"],
        **{name.removeprefix("device_"): sum(s[name] for s in shards) for name in DEVICE},
        "link": {name: sum(link[name] for link in links) for name in _LINK},
        "breaker": next((link["breaker"] for link in links if link["breaker"] != "closed"), "closed"),
    }  # fmt: skip
    notes = sorted({link["note"] for link in links if link["note"]})
    result.warnings += [f"device {links[0]['backend']}: {note}; the kernels decide meanwhile" for note in notes]
    if result.device["wrong"]:
        result.warnings.append(f"device {links[0]['backend']}: {result.device['wrong']:,} answers were not what the kernels compute")


_SUMMED = ("events", "decisions", "orders", "replaces", "cancels", "fills", "filled_lots", "rejects", "risk_rejects",
           "pnl_units", "fees_units", "unknown_orders", "journal_records", "reconnects", "alarms", "connections")  # fmt: skip
_ROW = ("events", "decisions", "orders", "cancels", "fills", "rejects", "risk_rejects", "pnl_units", "overruns",
        "journal_records")  # fmt: skip


def apply_shards(result: RunResult, shards: list[dict[str, Any]], policies: list[LoadedPolicy], *,
                 latency: dict[str, Any] | None = None) -> None:
    """Fill in what the shards of a run came to together, with a row each where there are several."""
    apply_device(result, shards)
    if len(shards) == 1:
        apply_summary(result, shards[0], policies)
        return
    merged: dict[str, Any] = {name: sum(s.get(name, 0) for s in shards) for name in _SUMMED}
    merged["risk_reasons"] = {}
    for shard in shards:
        for reason, n in shard["risk_reasons"].items():
            merged["risk_reasons"][reason] = merged["risk_reasons"].get(reason, 0) + n
    for name in ("gaps", "stale_ns"):
        merged[name] = max(s[name] for s in shards)
    merged["symbols"] = {symbol: facts for s in shards for symbol, facts in s["symbols"].items()}
    merged["killed"] = any(s["killed"] for s in shards)
    merged["breaker"] = any(s["breaker"] for s in shards)
    merged["last_alarm"] = next((s["last_alarm"] for s in reversed(shards) if s["alarms"]), None)
    merged["latency"] = latency or {}
    for name in ("order_hash", "state_hash"):
        merged[name] = combined_hash([s[name] for s in shards])
    apply_summary(result, merged, policies)
    result.shards = [
        {"shard": i, "symbols": list(s["symbols"]), **{name: s.get(name, 0) for name in _ROW},
         "orders": s["orders"] + s["replaces"], "position": sum(f["position_lots"] for f in s["symbols"].values()),
         "order_hash": f"{s['order_hash']:016x}", "state_hash": f"{s['state_hash']:016x}"}
        for i, s in enumerate(shards)
    ]  # fmt: skip


def combined_hash(hashes: list[int]) -> int:
    """One number for several shards' hashes, in shard order; a single shard's own."""
    if len(hashes) == 1:
        return hashes[0]
    data = b"".join(h.to_bytes(8, "little") for h in hashes)
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
