"""The live screen of `peregrine top`: tables of shards and symbols, latencies, limits, alerts, commands, and four keys that act.

Readings are taken on a thread, so that a slow source leaves the keys alive; what is shown is always a whole reading.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import DataTable, Footer, Input, RichLog, Static

from orchestrator.observe.screen import tables
from orchestrator.observe.screen.alerts import Alert, Summed, alerts_between
from orchestrator.observe.screen.dialogs import HelpDialog, KillDialog
from orchestrator.observe.screen.reading import CommandRow, ScreenReading, SymbolRow
from orchestrator.observe.screen.source import Source, SourceError

_STYLES = {"good": "green", "note": "dim", "warn": "yellow", "bad": "bold red"}
_STOPPED = 3  # a book state: stopped by us
_PAUSED = (3, 4)  # trading states: paused, draining


class TopApp(App[None]):
    """Shows one engine until it is left. `refresh_s` is the time between two readings."""

    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = None
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause_symbol", "pause symbol"), Binding("P,shift+p", "pause_shard", "pause shard"),
        Binding("k", "kill", "kill"), Binding("f", "filter", "filter"), Binding("s", "sort", "sort"),
        Binding("question_mark", "help", "help"), Binding("q,ctrl+c", "quit", "quit", priority=False),
        Binding("escape", "unfilter", show=False),
    ]  # fmt: skip
    CSS = """
    Screen { layout: vertical; }
    #head { height: auto; max-height: 2; padding: 0 1; background: $panel; }
    #body { height: 1fr; scrollbar-size: 1 1; scrollbar-background: $background; scrollbar-color: $surface-lighten-2; }
    #latency, #limits { text-wrap: nowrap; }
    #left { width: 11fr; } #right { width: 9fr; }
    .box { border: round $surface-lighten-2; border-title-color: $text-muted; padding: 0 1; }
    #shards { height: auto; max-height: 11; }
    #symbols-box { height: 1fr; }
    #filter { display: none; height: 3; }
    #filter.on { display: block; }
    DataTable { height: auto; max-height: 100%; background: transparent; }
    #symbols { height: 1fr; }
    #latency-box { height: 13; }
    #limits-box { height: 1fr; }
    #logs { height: 9; }
    #alerts-box { width: 9fr; } #commands-box { width: 11fr; }
    RichLog { background: transparent; overflow-x: hidden; overflow-y: scroll; }
    RichLog, DataTable, VerticalScroll { scrollbar-size: 1 1; scrollbar-background: $background; scrollbar-color: $surface-lighten-2; }
    #kill-name { margin-top: 1; }
    Screen.narrow #body { layout: vertical; overflow-y: auto; }
    Screen.narrow #left, Screen.narrow #right { width: 1fr; height: auto; }
    Screen.narrow #latency-box { height: auto; }
    Screen.narrow #symbols-box { height: 14; } Screen.narrow #limits-box { height: 12; }
    KillDialog, HelpDialog { align: center middle; }
    #kill, #help { width: 74; height: auto; padding: 1 2; border: round $error; background: $surface; }
    #help { border: round $primary; }
    #kill-title { text-style: bold; color: $error; } #kill-said { color: $warning; }
    """

    def __init__(self, source: Source, *, refresh_s: float = 0.5, clock: Callable[[int], str] | None = None) -> None:
        super().__init__()
        self.source = source
        self.refresh_s = refresh_s
        self.reading: ScreenReading | None = None
        self.sort = 0
        self.words = ""
        self._before: ScreenReading | None = None
        self._shown: list[SymbolRow] = []
        self._said: set[tuple[int, int, int, str]] = set()
        self._summed = Summed()
        self._reading_now = False
        self._failed = ""
        self._left = False
        self._clock = clock or _clock

    def compose(self) -> ComposeResult:
        """The boxes and what is in them."""
        yield Static("…", id="head")
        with Horizontal(id="body"):
            with Vertical(id="left"):
                with Vertical(classes="box", id="shards-box") as box:
                    box.border_title = "shards"
                    box.styles.height = "auto"
                    yield DataTable(id="shards", cursor_type="row", cell_padding=0)
                with Vertical(classes="box", id="symbols-box") as box:
                    box.border_title = "symbols"
                    yield Input(placeholder="part of a name, or a state: stale, trading, halted, stopped", id="filter")
                    yield DataTable(id="symbols", cursor_type="row", cell_padding=0)
            with Vertical(id="right"):
                with VerticalScroll(classes="box", id="latency-box", can_focus=False) as box:
                    box.border_title = "latency"
                    yield Static("", id="latency")
                with VerticalScroll(classes="box", id="limits-box", can_focus=False) as box:
                    box.border_title = "limits"
                    yield Static("", id="limits")
        with Horizontal(id="logs"):
            with Vertical(classes="box", id="commands-box") as box:
                box.border_title = "commands"
                yield RichLog(id="commands", wrap=True, min_width=20, max_lines=500)
            with Vertical(classes="box", id="alerts-box") as box:
                box.border_title = "alerts"
                yield RichLog(id="alerts", wrap=True, min_width=20, max_lines=500)
        yield Footer()

    def on_mount(self) -> None:
        """Columns, first reading, and the timer of the others."""
        self._main = self.screen  # a dialog may be over it when a reading comes
        for name, columns in (("#shards", tables.SHARD_COLUMNS), ("#symbols", tables.SYMBOL_COLUMNS)):
            table = self._main.query_one(name, DataTable)
            for column in columns:
                words = column in ("feed", "engine", "symbol", "book")
                table.add_column(f" {column}" if words else Text(f" {column}", justify="right"), key=column)
        self._main.query_one("#symbols", DataTable).focus()
        self.set_interval(self.refresh_s, self.take)
        self.take()

    async def action_quit(self) -> None:
        """Leave; what a thread still brings is dropped."""
        self._left = True
        self.exit()

    def on_unmount(self) -> None:
        """The source is let go with the screen."""
        self._left = True
        self.source.close()

    def on_resize(self) -> None:
        """Below 150 columns the halves stand one above the other."""
        self.screen_stack[0].set_class(self.size.width < 150, "narrow")

    def _bring(self, act: Callable[..., None], *args: object) -> None:
        """From a thread to the screen, unless it has been left meanwhile."""
        with contextlib.suppress(RuntimeError):  # the loop is over
            self.call_from_thread(lambda: None if self._left or not self.is_running else act(*args))

    # ---- reading

    def take(self) -> None:
        """Begin a reading, unless one is under way."""
        if not self._reading_now:
            self._reading_now = True
            self._take()

    @work(thread=True)
    def _take(self) -> None:
        try:
            reading = self.source.read()
        except SourceError as err:
            self._bring(self._unreadable, err)
        else:
            self._bring(self.show, reading)
        finally:
            self._reading_now = False

    def _unreadable(self, err: SourceError) -> None:
        if str(err) != self._failed:
            self._failed = str(err)
            self._tell([Alert(self.reading.taken_ns if self.reading else 0, "bad", f"no reading: {err}")])
        self._main.query_one("#head", Static).update(Text(f"no reading: {err}" + (f" ({err.hint})" if err.hint else ""), "bold red"))

    def show(self, reading: ScreenReading) -> None:
        """Show a whole reading."""
        self._failed = ""
        self._before, self.reading = self.reading, reading
        self._main.query_one("#head", Static).update(tables.head(reading, self.source.where))
        _fill(self._main.query_one("#shards", DataTable), tables.shard_rows(reading, self._before))
        self._show_symbols()
        room = self._main.query_one("#latency-box").content_size.width
        self._main.query_one("#latency", Static).update(tables.latency_lines(reading, room))
        self._main.query_one("#limits", Static).update(tables.limit_lines(reading))
        self._tell(self._summed.take(alerts_between(self._before, reading), reading.taken_ns))
        self._tell_commands(reading.commands)

    def _show_symbols(self) -> None:
        if self.reading is None:
            return
        table = self._main.query_one("#symbols", DataTable)
        chosen = self.selected_symbol()
        self._shown = tables.sorted_symbols(self.reading, self.sort, self.words)
        _fill(table, [tables.symbol_row(s, self.reading.units_per_currency) for s in self._shown])
        if chosen is not None:  # the cursor stays on the symbol, wherever it has moved to
            at = next((i for i, s in enumerate(self._shown) if s.symbol == chosen.symbol), None)
            if at is not None and at != table.cursor_row:
                table.move_cursor(row=at, animate=False)
        title = f"symbols: {len(self._shown):,}" + (f" of {len(self.reading.symbols):,}, “{self.words}”" if self.words else "")
        self._main.query_one("#symbols-box").border_title = f"{title}, by {tables.SORTS[self.sort][0]}"

    def _tell(self, alerts: Sequence[Alert]) -> None:
        log = self._main.query_one("#alerts", RichLog)
        for alert in alerts:
            log.write(Text.assemble((self._clock(alert.ts_ns), "dim"), " ", (alert.text, _STYLES[alert.level])))

    def _tell_commands(self, commands: Sequence[CommandRow]) -> None:
        log = self._main.query_one("#commands", RichLog)
        for c in commands:
            if (key := (c.shard, c.seq, c.ts_ns, c.kind)) not in self._said:
                self._said.add(key)
                log.write(tables.command_line(c, self._clock(c.ts_ns)))

    def selected_symbol(self) -> SymbolRow | None:
        """The symbol under the cursor."""
        row = self._main.query_one("#symbols", DataTable).cursor_row
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def selected_shard(self) -> int | None:
        """The shard under the cursor of the shards table."""
        row = self._main.query_one("#shards", DataTable).cursor_row
        return row if self.reading is not None and 0 <= row < len(self.reading.shards) else None

    # ---- keys

    def action_pause_symbol(self) -> None:
        """Pause the selected symbol, or resume it when it is stopped."""
        if (chosen := self.selected_symbol()) is None:
            self.notify("no symbol is selected", severity="warning")
            return
        act = self.source.resume if chosen.state == _STOPPED else self.source.pause
        self._act(lambda: act(symbol=chosen.symbol))

    def action_pause_shard(self) -> None:
        """Pause the selected shard, or resume it when it is paused."""
        if self.reading is None or (shard := self.selected_shard()) is None:
            self.notify("no shard is selected", severity="warning")
            return
        paused = self.reading.shards[shard].get("trading_state") in _PAUSED
        act = self.source.resume if paused else self.source.pause
        self._act(lambda: act(shard=shard))

    def action_kill(self) -> None:
        """Ask for the engine's name; kill when it was typed."""
        if self.reading is None:
            self.notify("there is no reading yet", severity="warning")
            return
        held = sum(1 for s in self.reading.symbols if s.position_lots)
        self.push_screen(KillDialog(self.reading.name, held, self.reading["working_orders"]), self._killed)

    def _killed(self, typed: bool | None) -> None:
        if typed:
            self._act(self.source.kill)

    @work(thread=True)
    def _act(self, act: Callable[[], str]) -> None:
        try:
            said, severity = act(), "information"
        except SourceError as err:
            said, severity = f"{err}" + (f" ({err.hint})" if err.hint else ""), "error"
        self._bring(self._told, said, severity)

    def _told(self, said: str, severity: str) -> None:
        self.notify(said, severity="error" if severity == "error" else "information", markup=False)
        level = "bad" if severity == "error" else "note"
        self._tell([Alert(self.reading.taken_ns if self.reading else 0, level, said)])
        self.take()

    def action_filter(self) -> None:
        """Show the filter's line and type into it."""
        line = self._main.query_one("#filter", Input)
        line.add_class("on")
        line.focus()

    def action_unfilter(self) -> None:
        """All symbols again."""
        line = self._main.query_one("#filter", Input)
        line.remove_class("on")
        line.value = ""
        self._main.query_one("#symbols", DataTable).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.input.id == "filter":
            self.words = event.value
            self._show_symbols()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the table, the filter stays."""
        if event.input.id == "filter":
            self._main.query_one("#symbols", DataTable).focus()

    def action_sort(self) -> None:
        """The next order, seen from its top."""
        self.sort = (self.sort + 1) % len(tables.SORTS)
        self._shown = []
        self._show_symbols()
        self._main.query_one("#symbols", DataTable).move_cursor(row=0, animate=False)

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(HelpDialog())


def _fill(table: DataTable[Text], rows: Sequence[Sequence[Text]]) -> None:
    """Make the table's rows these, changing only cells that differ: the cursor and the scroll stay where they are."""
    columns = list(table.columns)
    while table.row_count > len(rows):
        table.remove_row(f"r{table.row_count - 1}")
    for i, row in enumerate(rows):
        cells = [_apart(cell) for cell in row]
        if i >= table.row_count:
            table.add_row(*cells, key=f"r{i}")
            continue
        held = table.get_row_at(i)
        for j, cell in enumerate(cells):
            if held[j] != cell or held[j].spans != cell.spans:
                # Columns grow and do not shrink: to shrink one, every cell of it would be measured for each that changes.
                table.update_cell(f"r{i}", columns[j], cell, update_width=cell.cell_len > table.columns[columns[j]].content_width)


def _apart(cell: Text) -> Text:
    """The cell a space from the one before it: the tables are laid out close, so that all of a row is seen."""
    return Text.assemble(" ", (cell.plain, cell.style), justify=cell.justify, no_wrap=True)


def _clock(ts_ns: int) -> str:
    return f"{dt.datetime.fromtimestamp(ts_ns / 1e9):%H:%M:%S}" if ts_ns else "--:--:--"
