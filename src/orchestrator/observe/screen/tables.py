"""Rows of the screen's tables from a reading: text and colour, nothing of the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from orchestrator.observe.panel import BOOK_STATES, FEED_STATES, TRADING_STATES
from orchestrator.observe.report import nanoseconds
from orchestrator.observe.screen.bars import octave_bars, use_bar
from orchestrator.observe.screen.reading import CommandRow, ScreenReading, SymbolRow, Use
from orchestrator.observe.standing import breakers_of
from orchestrator.observe.telemetry import HISTOGRAMS

GOOD, MIDDLING, BAD = "green", "yellow", "bold red"
BUY, SELL = "#4da6ff", "#ff9a3c"
SHARD_COLUMNS = ("shard", "feed", "engine", "lag", "loop", "thr", "stalls", "ev/s", "ord/s", "work", "held", "profit", "fills", "orders")
SYMBOL_COLUMNS = ("symbol", "shard", "bid", "ask", "last", "position", "working", "profit", "book")
#: how the symbols can be sorted: name, key, whether the largest come first
SORTS: tuple[tuple[str, Callable[[SymbolRow], object], bool], ...] = (
    ("symbol", lambda s: s.symbol, False),
    ("profit, worst first", lambda s: s.pnl_units, False),
    ("profit, best first", lambda s: s.pnl_units, True),
    ("largest position", lambda s: abs(s.position_lots), True),
    ("most working", lambda s: s.working_lots, True),
    ("book state", lambda s: (s.state == 1, s.symbol), False),
)


def right(text: str, style: str = "") -> Text:
    """A number's cell."""
    return Text(text, style, justify="right")


def head(r: ScreenReading, where: str) -> Text:
    """The line over everything: which engine, how it is."""
    up = max(0, r["now_ns"] - r["started_ns"]) if r["started_ns"] else 0
    line = Text.assemble((r.name, "bold"), ("  pid ", "dim"), str(r.pid), ("  up ", "dim"), nanoseconds(up))
    for name, word, good in (
        ("feed", _word(FEED_STATES, r["feed_state"]), r["feed_state"] == 2),
        ("session", "ready" if r["session_ready"] else "not ready", bool(r["session_ready"])),
        ("engine", "ended" if not r.alive else _word(TRADING_STATES, r["trading_state"]), r.alive and r["trading_state"] == 1),
    ):
        line.append(f"  {name} ", "dim").append(word, GOOD if good else BAD if word in _ALARMING else MIDDLING)
    line.append("  profit ", "dim").append(money(r["pnl_units"], r.units_per_currency), GOOD if r["pnl_units"] >= 0 else BAD)
    if r.kill_level:
        line.append("  KILL WORD SET", "bold red reverse")
    if r.tree:
        line.append("  ").append(r.tree, BAD if "gone" in r.tree else "dim")
    line.append(f"  via {where}", "dim")
    return line


_ALARMING = {"killed", "ended", "down", "stale", "gapped", "not ready", "stopped by the journal", "stopped by a breaker"}


def shard_rows(r: ScreenReading, before: ScreenReading | None) -> list[list[Text]]:
    """A row a shard. Lag and loop: 99th percentiles of what the shard says itself, since it began; of a source that does not
    tell, the age of its oldest message just now."""
    threads = [c.get("thread", 0) for c in r.shards]
    out = []
    for i, c in enumerate(r.shards):
        old = before.shards[i] if before is not None and i < len(before.shards) and before.pid == r.pid else None
        held = sum(1 for s in r.symbols if s.position_lots and s.shard in (i, -1))
        trading = c.get("trading_state", 0)
        own = r.shard_latency[i] if i < len(r.shard_latency) else {}
        lag_ns, loop_ns = own.get("lag", c.get("lag_ns", 0)), own.get("round", 0)
        thread = threads[i]
        out.append([
            right(str(i)), _state(_word(FEED_STATES, c.get("feed_state", 0)), c.get("feed_state") == 2),
            _state(breakers_of(c) or _word(TRADING_STATES, trading), trading == 1),
            right(short_time(lag_ns) if lag_ns else "-", MIDDLING if lag_ns > 100_000_000 else ""),
            right(short_time(loop_ns) if loop_ns else "-", MIDDLING if loop_ns > 1_000_000 else ""),
            right(str(thread) + ("*" if threads.count(thread) > 1 else "")), right(f"{c.get('stalls', 0):,}", MIDDLING if c.get("stalls") else "dim"),
            right(_rate(c, old, "events")), right(_rate(c, old, "orders")), right(f"{c.get('working_orders', 0):,}"),
            right(f"{held:,}" if -1 not in {s.shard for s in r.symbols} else "-"), _money(c.get("pnl_units", 0), r.units_per_currency),
            right(short_count(c.get("fills", 0))), right(short_count(c.get("orders", 0))),
        ])  # fmt: skip
    return out


def sorted_symbols(r: ScreenReading, sort: int, words: str) -> list[SymbolRow]:
    """The symbols a filter leaves (all its words, in symbol or book state), in the chosen order."""
    wanted = words.upper().split()
    left = [s for s in r.symbols if all(w in s.symbol.upper() or w in _word(BOOK_STATES, s.state).upper() for w in wanted)]
    _, key, descending = SORTS[sort % len(SORTS)]
    return sorted(left, key=key, reverse=descending)  # type: ignore[arg-type]


def symbol_row(s: SymbolRow, per: int) -> list[Text]:
    """One symbol's cells."""
    side = BUY if s.position_lots > 0 else SELL if s.position_lots < 0 else "dim"
    return [
        Text(s.symbol, "bold"), right(str(s.shard) if s.shard >= 0 else "-"), *(right(_price(t, per)) for t in (s.bid_ticks, s.ask_ticks, s.last_ticks)),
        right(f"{s.position_lots:+,}" if s.position_lots else "0", side), right(f"{s.working_lots:,}"), _money(s.pnl_units, per),
        _state(_word(BOOK_STATES, s.state), s.state == 1),
    ]  # fmt: skip


def latency_lines(r: ScreenReading, width: int = 80) -> Text:
    """Percentiles and the distribution of each stage, the end-to-end row first; where there is little room, fewer columns."""
    shown = ("p50", "p90", "p99", "p99_9", "max") if width >= 80 else ("p50", "p99", "max")
    bars = width >= 16 + 7 * (len(shown) + 1) + 21
    out = Text(f"{'':<14}" + "".join(f"{name.replace('_', '.'):>7}" for name in (*shown, "count")), "dim", no_wrap=True)
    out.append((f"  64 ns {'134 ms':>15}" if bars else "") + "\n")
    for name in HISTOGRAMS:
        values = r.latency.get(name)
        if not values:
            continue
        out.append(f"{name.replace('_', ' '):<14}", "bold" if name == "tick_to_order" else "")
        if not values["count"]:
            out.append(f"{'-':>7}" * len(shown) + f"{0:>7}\n", "dim")
            continue
        out.append("".join(f"{short_time(values[k]):>7}" for k in shown) + f"{short_count(values['count']):>7}  ")
        if bars and name in r.octaves:
            out.append_text(octave_bars(r.octaves[name]))
        out.append("\n")
    return out


def short_time(ns: int) -> str:
    """A time in at most six characters: 740ns, 12.3µs, 456µs, 4.6ms."""
    text = nanoseconds(ns).replace(" ", "")
    for unit in ("ns", "µs", "ms", "s"):
        if text.endswith(unit) and not text[: -len(unit)][-1:].isalpha():
            value = float(text[: -len(unit)].replace(",", ""))
            return f"{value:.0f}{unit}" if value >= 100 or unit == "ns" else f"{value:.1f}{unit}"
    return text


def short_count(n: int) -> str:
    """A count in at most six characters: 9,999, 12.3k, 4.56M."""
    return f"{n:,}" if n < 10_000 else f"{n / 1e3:.0f}k" if n < 10_000_000 else f"{n / 1e6:.0f}M"


def limit_lines(r: ScreenReading, most: int = 40) -> Text:
    """Bars of use against limits, the soft zone marked."""
    if not r.limits:
        return Text("This engine does not tell its limits.", "dim")
    out = Text(no_wrap=True)
    for use in r.limits[:most]:
        out.append(f"{use.name:<15.15}")
        out.append_text(use_bar(use.permille, r.soft_permille))
        out.append(f"{use.permille / 10:>6.1f} %  ")
        out.append(f"{_amount(use.used, use, r)} of {_amount(use.limit, use, r)}\n", "dim")
    if len(r.limits) > most:
        out.append(f"and {len(r.limits) - most} more\n", "dim")
    return out


def command_line(c: CommandRow, clock: str) -> Text:
    """A command as it happened."""
    line = Text.assemble((clock, "dim"), " ", (c.kind.replace("_", " "), "bold"), ("  shard ", "dim"), str(c.shard))
    line.append("  record ", "dim").append(f"{c.seq:,}" if c.seq else "-").append("  ")
    line.append(c.outcome, GOOD if c.outcome == "applied" else MIDDLING if c.outcome in ("duplicate", "repeated") else BAD)
    if c.who or c.why:
        line.append(f"  {c.who}", "cyan").append(f": {c.why}" if c.why else "", "dim")
    return line


def money(units: int, per: int) -> str:
    """Money for the eye: +1,550.15."""
    return f"{units / per:+,.2f}"


def _money(units: int, per: int) -> Text:
    return right(money(units, per), GOOD if units > 0 else "red" if units < 0 else "dim")


def _price(ticks: int, per: int) -> str:
    return f"{ticks / per:,.4f}" if ticks else "-"


def _amount(value: int, use: Use, r: ScreenReading) -> str:
    return f"{value / r.units_per_currency:,.0f}" if use.unit == "u" else f"{value:,}"


def _rate(new: object, old: object, name: str) -> str:
    a, b = dict(new), dict(old) if old else {}  # type: ignore[call-overload]
    span_ns = a.get("now_ns", 0) - b.get("now_ns", 0)
    return f"{(a.get(name, 0) - b.get(name, 0)) * 10**9 // span_ns:,}" if b and span_ns > 0 else "-"


def _state(word: str, good: bool) -> Text:
    return Text(word, GOOD if good else BAD if word in _ALARMING or "rearm" in word or "cooling" in word else MIDDLING)


def _word(words: Sequence[str], index: int) -> str:
    return words[index] if 0 <= index < len(words) else f"state {index}"
