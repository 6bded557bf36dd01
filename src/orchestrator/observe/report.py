"""The report at the end of a run, for people."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from orchestrator.observe.machine import one_line
from orchestrator.observe.result import RunResult, latency

STAGE_COLUMNS = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99_9", "p99.9"), ("max", "max"), ("count", "count"))


SYMBOLS_SHOWN = 40


def print_report(result: RunResult, console: Console) -> None:
    """Write the whole report."""
    console.print(render(result))


def render(result: RunResult) -> RenderableType:
    """The report as one rich renderable: trading, latency, noise floor, warnings, journal."""
    parts: list[RenderableType] = [Rule(f"{result.config_name or 'run'}: {_how(result)}"), _trading(result)]
    if len(result.symbols) > 1:
        parts.append(_by_symbol(result))
    if result.shards:
        parts.append(_by_shard(result))
    if result.risk_reasons:
        parts.append(Text("refused by the gate: " + _counts(result.risk_reasons)))
    if result.recoveries:
        times = "once" if result.recoveries == 1 else f"{result.recoveries} times"
        parts.append(Text(f"engine recovered {times}, the last in {nanoseconds(result.recovered_ns)}", style="yellow"))
    parts += [*map(_breaker, result.breakers), *map(_kill, result.kills)]
    if result.placement:
        parts.append(Text(result.placement))
    if result.device is not None:
        parts.append(_device(result.device))
    parts += [Rule("latency"), latency_table(result.tick_to_order_ns, result.stages_ns), _noise(result)]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in result.warnings]
    parts.append(Rule("journal"))
    if result.journal:
        where = shlex.quote(result.journal)
        parts.append(Text(f"{result.journal_records:,} records in {result.journal}" + _recovery(result)))
        parts.append(Text(f"replay it    peregrine replay {where}\nprove it     peregrine verify {where}"))
    else:
        parts.append(Text("none was written"))
    parts.append(Text(one_line(result.machine), style="dim"))
    return Group(*parts)


def latency_table(tick_to_order: Mapping[str, int], stages: Mapping[str, Mapping[str, int]]) -> Table:
    """Percentiles, a row a stage, the end-to-end row first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for _, title in STAGE_COLUMNS:
        table.add_column(title, justify="right")
    rows = {"tick_to_order": tick_to_order, **{k: v for k, v in stages.items() if k != "tick_to_order"}}
    for name, values in rows.items():
        full = latency(dict(values))
        style = "bold" if name == "tick_to_order" else ""
        cells = [nanoseconds(full[key]) if key != "count" else f"{full[key]:,}" for key, _ in STAGE_COLUMNS]
        empty = ["-"] * (len(cells) - 1) + ["0"]
        table.add_row(name.replace("_", " "), *(cells if full["count"] else empty), style=style)
    return table


def nanoseconds(value: int) -> str:
    """A time in the unit it reads best in: 740 ns, 12.3 µs, 4.56 ms, 1.20 s."""
    for limit, divisor, unit, digits in ((10**3, 1, "ns", 0), (10**6, 10**3, "µs", 1), (10**9, 10**6, "ms", 2)):
        if abs(value) < limit:
            return f"{value / divisor:.{digits}f} {unit}"
    return f"{value / 10**9:.2f} s"


def money(units: int, units_per_currency: int, currency: str) -> str:
    """Money units as `+1,234.56 USD`, rounded to hundredths for the eye only."""
    return f"{units / units_per_currency:+,.2f} {currency}"


def _recovery(result: RunResult) -> str:
    if result.recovery is None:
        return ""
    r = result.recovery
    start = f"the snapshot after record {r['snapshot_seq']:,}" if r["snapshot_seq"] else "its first record"
    return f"\nrecovered from {start} and {r['replayed_inputs']:,} inputs after it in {nanoseconds(r['ns'])}"


def _device(d: Mapping[str, Any]) -> Text:
    link = d["link"]
    troubles = ("late", "corrupt", "refused", "busy", "broken", "not_asked", "late_answers", "breaker_opened")
    told = {name.replace("_", " "): link[name] for name in troubles if link[name]}
    told |= {name: d[name] for name in ("dropped", "wrong") if d[name]}
    line = f"device {d['backend']} ({d['detail']}): {d['used']:,} decisions answered, {d['fallback']:,} by the kernels"
    return Text(line + (": " + _counts(told) if told else ""))


def _breaker(trip: Mapping[str, Any]) -> Text:
    of = f"shard {trip['shard']}: " if trip["shard"] is not None else ""
    line = f"breaker {trip['breaker'].replace('_', ' ')}: {of}tripped at {_clock(trip['ts_ns'])} UTC, {trip['value']:,} against {trip['limit']:,}"
    if trip["rearmed_ns"] is None:
        return Text(line + ", not armed again", style="yellow")
    why = f" ({trip['why']})" if trip["why"] else ""
    return Text(f"{line}, armed again at {_clock(trip['rearmed_ns'])} by {trip['rearmed_by']}{why}", style="yellow")


def _kill(kill: Mapping[str, Any]) -> Text:
    who = f" by {kill['who']}" if kill["who"] else ""
    why = f" ({kill['why']})" if kill["why"] else ""
    line = f"killed by {kill['by']}{who}{why}: shard {kill['shard']} saw it at {_clock(kill['seen_ns'])} UTC"
    if kill["asked_ns"] is not None:
        line += f", {nanoseconds(max(0, kill['seen_ns'] - kill['asked_ns']))} after it was asked for"
    line += f"; new orders after it {kill['new_after']}"
    if kill["last_order_ns"] is not None and kill["last_order_ns"] > kill["seen_ns"]:
        line += f", the last one before it handed over {nanoseconds(kill['last_order_ns'] - kill['seen_ns'])} later"
    if kill["cancels_sent_ns"] is not None:
        line += f"; cancels out after {nanoseconds(kill['cancels_sent_ns'] - kill['seen_ns'])}"
    elif kill["cancels"]:
        line += "; cancels not taken by the venue's socket"
    if kill.get("still_open") is not None:
        line += f"; still open at the venue: {kill['still_open']}"
    return Text(line, style="yellow")


def _clock(ns: int) -> str:
    return dt.datetime.fromtimestamp(ns / 1e9, dt.UTC).strftime("%H:%M:%S.%f")


def _how(result: RunResult) -> str:
    seed = f", seed {result.seed}" if result.seed is not None else ""
    return f"{result.mode}, {nanoseconds(result.duration_ns)}{seed}, ended by {result.stopped_by}"


def _trading(result: RunResult) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    fees = money(-result.fees_units, result.units_per_currency, result.currency)
    left = [
        ("profit after fees", money(result.pnl_units, result.units_per_currency, result.currency)),
        ("of it fees", fees),
        ("position", f"{result.position_lots:+,} lots"),
        ("fills", f"{result.fills:,} ({result.filled_lots:,} lots)"),
        ("orders", f"{result.orders:,} and {result.cancels:,} cancels"),
    ]
    right = [
        ("feed messages", f"{result.events:,}"),
        ("decisions", f"{result.decisions:,}"),
        ("refused by gate / venue", f"{result.risk_rejects:,} / {result.rejects:,}"),
        ("feed gaps, time stale", f"{result.gaps:,}, {nanoseconds(result.stale_ns)}"),
        ("reconnects, unknown orders", f"{result.reconnects:,}, {result.unknown_orders:,}"),
    ]
    for (a, b), (c, d) in zip(left, right, strict=True):
        table.add_row(Text(a, "dim"), Text(b), Text(c, "dim"), Text(d))
    return table


def _by_symbol(result: RunResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("symbol", "position", "bought", "sold", "fills", "profit"):
        table.add_column(title, justify="left" if title == "symbol" else "right")
    for name, s in list(result.symbols.items())[:SYMBOLS_SHOWN]:
        profit = money(s.pnl_units, result.units_per_currency, result.currency)
        table.add_row(name, f"{s.position_lots:+,}", f"{s.bought_lots:,}", f"{s.sold_lots:,}", f"{s.fills:,}", profit)
    return table


def _by_shard(result: RunResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("shard", "symbols", "position", "orders", "fills", "overruns", "profit"):
        table.add_column(title, justify="right")
    for row in result.shards:
        profit = money(row["pnl_units"], result.units_per_currency, result.currency)
        cells = [f"{row['position']:+,}", *(f"{row[name]:,}" for name in ("orders", "fills", "overruns"))]
        table.add_row(str(row["shard"]), f"{len(row['symbols']):,}", *cells, profit)
    return table


def _counts(reasons: Mapping[str, int]) -> str:
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in ranked)


def _noise(result: RunResult) -> Text:
    noise = latency(result.noise_ns)
    if not noise["count"]:
        return Text("noise floor: not measured in this run", style="dim")
    return Text(
        f"noise floor: a bare spinning thread of this run lost {nanoseconds(noise['p99'])} at p99, "
        f"{nanoseconds(noise['p99_9'])} at p99.9, {nanoseconds(noise['max'])} at worst; no latency above can be better"
    )
