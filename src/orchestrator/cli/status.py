"""`peregrine status`: an engine's process tree, its shards, and its positions against their limits."""

from __future__ import annotations

import json
from typing import Any

import typer

from orchestrator.cli._control import Options, controlled

ORDER = 41


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="The process tree, the shards, positions against limits: what the supervisor knows.")
    @controlled(changes=False)
    def status(options: Options) -> None:
        found = options.ask("status").data
        if options.as_json:
            typer.echo(json.dumps(found))
        else:
            _print(found)


def _print(found: dict[str, Any]) -> None:
    from orchestrator.observe.console import stdout

    console = stdout()
    console.print(headline(found), highlight=False)
    for table in (_processes(found), _shards(found), _positions(found), _use(found)):
        if table is not None:
            console.print()
            console.print(table)
    if line := threads_line(found):
        console.print(line, highlight=False)
    for reason in found.get("reasons", []):
        console.print(f"no new orders: {reason}", style="bold red", markup=False, highlight=False)
    for remark in found.get("remarks", []):
        console.print(f"note: {remark}", style="yellow", markup=False, highlight=False)
    for problem in found["problems"]:
        console.print(f"! {problem}", style="yellow", markup=False, highlight=False)


def headline(found: dict[str, Any]) -> str:
    """One line: who, how, since when."""
    tree, engine = found["tree"], found["engine"]
    killed = engine["engine"]["kill_level"] if engine else 0
    if killed:
        words = [found["name"], f"KILLED (level {killed}): no new orders until `peregrine revive`", tree["state"]]
    else:
        words = [found["name"], tree["state"], "trading enabled" if tree["trading_enabled"] else "trading not enabled"]
    if tree["reason"]:
        words.append(tree["reason"])
    return ", ".join(words)


def threads_line(found: dict[str, Any]) -> str:
    """Which shards share a thread, "" where none does or nothing is known."""
    from orchestrator.observe.shards import sharing

    return sharing([shard["thread"] for shard in (found["engine"] or {}).get("shards", [])])


def _table(*titles: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title.lstrip(">"), justify="right" if title.startswith(">") else "left")
    return table


def _processes(found: dict[str, Any]) -> Any:
    processes = found["tree"]["processes"]
    if not processes:
        return None
    table = _table("process", "state", ">pid", ">restarts", "cpus", "reason")
    for p in processes:
        table.add_row(p["name"], p["state"], str(p["pid"] or "-"), str(p["restarts"]), ",".join(map(str, p["cpus"])) or "-", p["reason"])
    return table


def _shards(found: dict[str, Any]) -> Any:
    from orchestrator.observe.panel import FEED_STATES, TRADING_STATES
    from orchestrator.observe.standing import breakers_of

    engine = found["engine"]
    if engine is None:
        return None
    table = _table("shard", "feed", "session", "engine", ">orders", ">fills", ">working", ">unknown", ">gaps", ">journal")
    for number, c in enumerate(engine.get("shards") or [engine["counters"]]):
        table.add_row(str(number), _word(FEED_STATES, c["feed_state"]), "ready" if c["session_ready"] else "not ready",
                      breakers_of(c) or _word(TRADING_STATES, c["trading_state"]), *(f"{c[n]:,}" for n in (
                          "orders", "fills", "working_orders", "unknown_orders", "gaps", "journal_seq")))  # fmt: skip
    return table


def _word(words: tuple[str, ...], index: int) -> str:
    return words[index] if 0 <= index < len(words) else f"state {index}"


def _positions(found: dict[str, Any], most: int = 40) -> Any:
    engine, limits = found["engine"], found["limits"]
    if engine is None or limits is None:
        return None
    worst = {row["symbol"]: limit for row, limit in zip(engine["instruments"], engine["limits"], strict=True)}
    rows = sorted(engine["instruments"], key=lambda r: -abs(r["position_lots"]))
    table = _table("symbol", ">position", ">most long", ">most short", ">use", ">working", ">profit, units", "book")
    for row in rows[:most]:
        own = limits["symbols"].get(row["symbol"], limits["symbols_default"])
        position, now = row["position_lots"], worst[row["symbol"]]  # with its open orders, as the gate counts it
        sides = (("long", now["worst_long_lots"]), ("short", now["worst_short_lots"]))
        side, lots = max(sides, key=lambda s: s[1] / max(1, own[f"max_{s[0]}_lots"]))
        table.add_row(row["symbol"], f"{position:+,}", f"{own['max_long_lots']:,}", f"{own['max_short_lots']:,}",
                      use_of(max(0, lots), own[f"max_{side}_lots"]), f"{row['working_lots']:,}", f"{row['pnl_units']:,}",
                      ("stale", "trading", "halted", "stopped")[row["state"]] if 0 <= row["state"] < 4 else str(row["state"]))  # fmt: skip
    if len(rows) > most:
        table.add_row(f"and {len(rows) - most} more")
    return table


def _use(found: dict[str, Any]) -> Any:
    engine, limits = found["engine"], found["limits"]
    if engine is None or limits is None:
        return None
    counters, account = engine["counters"], limits["account"]
    table = _table("of the account", ">now", ">limit", ">use")
    for what, now, limit in (
        ("orders at the venue", counters["working_orders"], account["max_account_orders"]),
        ("loss, units", max(0, -counters["pnl_units"]), account["max_loss_units"]),
    ):
        table.add_row(what, f"{now:,}", f"{limit:,}", use_of(now, limit))
    return table


def use_of(now: int, limit: int) -> str:
    """Share of a limit, for people."""
    return f"{100 * now // limit} %" if limit > 0 else "-" if now == 0 else "over"
