"""The live panel of `run` and `top`: one screen from one telemetry snapshot."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Box
from rich.table import Table
from rich.text import Text

from orchestrator.observe.report import latency_table, money, nanoseconds
from orchestrator.observe.telemetry import HISTOGRAMS, Snapshot

FEED_STATES = ("down", "recovering", "live", "gapped", "stale", "ended")
TRADING_STATES = ("starting", "trading", "throttled", "paused", "draining", "killed", "stopped by the journal", "stopped by a breaker")
BOOK_STATES = ("stale", "trading", "halted", "stopped by us")
_GOOD = {"live", "trading", "ready"}
_BAD = {"down", "stale", "killed", "gapped", "stopped by the journal", "not ready"}


def render(
    snapshot: Snapshot, previous: Snapshot | None = None, *, title: str = "peregrine", currency: str = "USD"
) -> RenderableType:
    """The panel of one snapshot; `previous` gives the rates."""
    return Box(
        Group(
            _states(snapshot),
            _instruments(snapshot, currency),
            *_shards(snapshot, currency),
            _counters(snapshot, previous, currency),
            Text(),
            _latency(snapshot),
        ),
        title=title,
        title_align="left",
        border_style="dim",
    )


class LivePanel:
    """Shows snapshots as they come: a live panel on a terminal, a line now and then elsewhere.

    Use as a context manager; hand `update` to the runner as `on_tick`.
    """

    def __init__(
        self, console: Console, *, title: str = "peregrine", currency: str = "USD", line_every_ns: int = 5_000_000_000
    ) -> None:
        self.console = console
        self.title = title
        self.currency = currency
        self.line_every_ns = line_every_ns
        self.previous: Snapshot | None = None
        self._last_line_ns = 0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> LivePanel:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Show one snapshot."""
        if self._live:
            self._live.update(render(snapshot, self.previous, title=self.title, currency=self.currency), refresh=True)
        elif snapshot["now_ns"] - self._last_line_ns >= self.line_every_ns:
            self._last_line_ns = snapshot["now_ns"]
            self.console.print(one_line(snapshot, self.currency), highlight=False, markup=False, soft_wrap=True)
        self.previous = snapshot


def one_line(snapshot: Snapshot, currency: str = "USD") -> str:
    """The state of the run in a line, for logs."""
    elapsed = nanoseconds(max(0, snapshot["now_ns"] - snapshot["started_ns"]))
    position = int(snapshot.instruments["position_lots"].sum()) if len(snapshot.instruments) else 0
    return (
        f"{elapsed}: {snapshot['events']:,} events, {snapshot['orders']:,} orders, {snapshot['fills']:,} fills, "
        f"position {position:+,}, profit {money(snapshot['pnl_units'], snapshot.units_per_currency, currency)}, "
        f"feed {_word(FEED_STATES, snapshot['feed_state'])}, {snapshot['gaps']} gaps"
    )


def _word(words: tuple[str, ...], index: int) -> str:
    return words[index] if 0 <= index < len(words) else f"state {index}"


def _coloured(word: str) -> Text:
    return Text(word, "green" if word in _GOOD else "bold red" if word in _BAD else "yellow")


def _states(s: Snapshot) -> Text:
    elapsed = max(0, s["now_ns"] - s["started_ns"]) if s["started_ns"] else 0
    line = Text.assemble(("up ", "dim"), nanoseconds(elapsed), ("   feed ", "dim"))
    line.append_text(_coloured(_word(FEED_STATES, s["feed_state"])))
    line.append("   session ", "dim").append_text(_coloured("ready" if s["session_ready"] else "not ready"))
    line.append("   engine ", "dim").append_text(_coloured(_word(TRADING_STATES, s["trading_state"])))
    return line


def _instruments(s: Snapshot, currency: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("symbol", "bid", "ask", "last", "position", "working", "profit", "book"):
        table.add_column(title, justify="left" if title in ("symbol", "book") else "right")
    for row in s.instruments[:20]:
        table.add_row(
            row["symbol"].decode("ascii", "replace").strip(),
            *(_price(int(row[name]), s.units_per_currency) for name in ("bid_ticks", "ask_ticks", "last_ticks")),
            f"{int(row['position_lots']):+,}",
            f"{int(row['working_lots']):,}",
            money(int(row["pnl_units"]), s.units_per_currency, currency),
            _coloured(_word(BOOK_STATES, int(row["state"]))),
        )
    if len(s.instruments) > 20:
        table.add_row(f"and {len(s.instruments) - 20} more")
    return table


def _shards(s: Snapshot, currency: str) -> list[RenderableType]:
    """A row a shard, where there are several."""
    shards: list[Snapshot] = s.extra.get("shards", [])  # type: ignore[assignment]
    if not shards:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("shard", "symbols", "feed", "engine", "events", "orders", "fills", "overruns", "profit"):
        table.add_column(title, justify="left" if title in ("feed", "engine") else "right")
    for i, one in enumerate(shards):
        table.add_row(
            str(i),
            f"{len(one.instruments):,}",
            _coloured(_word(FEED_STATES, one["feed_state"])),
            _coloured(_word(TRADING_STATES, one["trading_state"])),
            *(f"{one[name]:,}" for name in ("events", "orders", "fills", "overruns")),
            money(one["pnl_units"], one.units_per_currency, currency),
        )
    return [table]


def _price(ticks: int, per_unit: int) -> str:
    return f"{ticks / per_unit:,.4f}" if ticks else "-"


def _counters(s: Snapshot, previous: Snapshot | None, currency: str) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    rows = [
        [("events", f"{s['events']:,}{_rate(s, previous, 'events')}"), ("orders", f"{s['orders']:,}{_rate(s, previous, 'orders')}")],
        [("fills", f"{s['fills']:,}"), ("profit", money(s["pnl_units"], s.units_per_currency, currency))],
        [("working / unknown", f"{s['working_orders']:,} / {s['unknown_orders']:,}"),
         ("refused by gate / venue", f"{s['risk_rejects']:,} / {s['rejects']:,}")],
        [("gaps, time stale", f"{s['gaps']:,}, {nanoseconds(s['stale_ns'])}"),
         ("journal", f"{s['journal_seq']:,} records, {s['journal_free_bytes'] >> 20:,} MiB free")],
    ]  # fmt: skip
    for row in rows:
        table.add_row(*(cell for name, value in row for cell in (Text(name, "dim"), Text(value))))
    return table


def _rate(s: Snapshot, previous: Snapshot | None, name: str) -> str:
    if previous is None or s["now_ns"] <= previous["now_ns"]:
        return ""
    per_s = (s[name] - previous[name]) * 10**9 // (s["now_ns"] - previous["now_ns"])
    return f" ({per_s:,}/s)"


def _latency(s: Snapshot) -> Table:
    summaries = {name: s.histograms[name].summary() for name in HISTOGRAMS if name in s.histograms}
    return latency_table(summaries.get("tick_to_order", {}), summaries)
