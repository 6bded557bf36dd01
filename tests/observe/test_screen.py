"""`peregrine top` as a screen: what its keys do, what it shows, and that it survives what readings may bring."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from screen_stand_in import START_NS, StandIn
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, RichLog, Static

from orchestrator.observe.screen import tables
from orchestrator.observe.screen.alerts import Alert, Summed, alerts_between
from orchestrator.observe.screen.app import TopApp
from orchestrator.observe.screen.bars import octave_bars, use_bar
from orchestrator.observe.screen.dialogs import HelpDialog, KillDialog
from orchestrator.observe.screen.reading import Use, octaves_of
from orchestrator.observe.screen.source import SourceError
from orchestrator.observe.telemetry import HistogramView, bucket_of

Act = Callable[[TopApp, Pilot[None]], Awaitable[None]]


def on_screen(source: StandIn, act: Act, size: tuple[int, int] = (180, 50)) -> None:
    """Run the screen on a stand-in; `act` is called after its first reading."""

    async def go() -> None:
        app = TopApp(source, refresh_s=0.2)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.reading is not None)
            await act(app, pilot)

    asyncio.run(go())
    assert source.closed


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Let the screen work until it holds."""
    for _ in range(600):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError("waited for it in vain")


async def press_and_type(app: TopApp, pilot: Pilot[None], key: str, *typed: str) -> None:
    """A key that opens a line to type into; what is typed once that line has the focus."""
    await pilot.press(key)
    await until(pilot, lambda: isinstance(app.focused, Input))
    await pilot.press(*typed)


def cells(app: TopApp, table: str, column: int) -> list[str]:
    """The text of one column, from the top."""
    t = app.screen_stack[0].query_one(table, DataTable)
    return [str(t.get_row_at(i)[column]).strip() for i in range(t.row_count)]


def log(app: TopApp, name: str) -> str:
    """All lines of a log."""
    return "\n".join(line.text for line in app.screen_stack[0].query_one(name, RichLog).lines)


def test_every_shard_and_symbol_of_a_reading_is_in_its_table():
    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        assert cells(app, "#shards", 0) == [str(i) for i in range(8)]
        assert cells(app, "#symbols", 0) == [f"S{i:03}" for i in range(400)]
        await until(pilot, lambda: "80,000" in cells(app, "#shards", 7))  # events a second, from two readings

    on_screen(StandIn(8, 50), act)


def test_p_pauses_the_selected_symbol_and_p_again_resumes_it():
    source = StandIn()

    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("down", "p")
        await until(pilot, lambda: source.asked == ["pause S001"])
        await until(pilot, lambda: app.selected_symbol() is not None and app.selected_symbol().state == 3)
        assert cells(app, "#symbols", 8)[1] == "stopped by us"
        await pilot.press("p")
        await until(pilot, lambda: source.asked == ["pause S001", "resume S001"])
        await until(pilot, lambda: "took effect at record 9" in log(app, "#alerts"))

    on_screen(source, act)


def test_shift_p_pauses_the_selected_shard():
    source = StandIn()

    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        app.query_one("#shards", DataTable).focus()
        await pilot.press("down", "P")
        await until(pilot, lambda: source.asked == ["pause 1"])
        await until(pilot, lambda: cells(app, "#shards", 2)[1] == "paused")
        await pilot.press("P")
        await until(pilot, lambda: source.asked == ["pause 1", "resume 1"])

    on_screen(source, act)


def test_kill_needs_the_engines_name_typed_to_the_letter():
    source = StandIn(name="desk")

    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        await press_and_type(app, pilot, "k", "enter", *"Desk", "enter")
        await until(pilot, lambda: app.screen.query_one("#kill-name", Input).value == "Desk")
        await until(pilot, lambda: "nothing was done" in str(app.screen.query_one("#kill-said", Static).render()))
        assert isinstance(app.screen, KillDialog) and source.asked == []
        await pilot.press(*["backspace"] * 4, *"desk", "enter")
        await until(pilot, lambda: source.asked == ["kill"])
        await until(pilot, lambda: "kill word set" in log(app, "#alerts") and "engine killed" in log(app, "#alerts"))
        assert "KILL WORD SET" in str(app.query_one("#head", Static).render())

    on_screen(source, act)


def test_escape_leaves_the_kill_dialog_and_nothing_is_done():
    source = StandIn(name="desk")

    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        await press_and_type(app, pilot, "k", *"desk", "escape")
        await until(pilot, lambda: not isinstance(app.screen, KillDialog))
        assert source.asked == [] and not source.killed

    on_screen(source, act)


def test_f_filters_the_symbols_and_escape_shows_all_again():
    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        await press_and_type(app, pilot, "f", *"s00")
        await until(pilot, lambda: len(cells(app, "#symbols", 0)) == 8)
        await pilot.press("7")
        await until(pilot, lambda: cells(app, "#symbols", 0) == ["S007"])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.focused, DataTable))
        await pilot.press("p")
        await until(pilot, lambda: app.source.asked == ["pause S007"])
        await pilot.press("escape")
        await until(pilot, lambda: len(cells(app, "#symbols", 0)) == 8)
        assert app.query_one("#filter", Input).value == ""

    on_screen(StandIn(), act)


def test_s_walks_through_the_orders_and_the_table_follows():
    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        for n in range(1, len(tables.SORTS) + 1):
            name, key, descending = tables.SORTS[app.sort]
            expected = [s.symbol for s in sorted(app.reading.symbols, key=key, reverse=descending)]
            assert cells(app, "#symbols", 0) == expected, name
            await pilot.press("s")
            await until(pilot, lambda n=n: app.sort == n % len(tables.SORTS))
        assert app.sort == 0

    on_screen(StandIn(2, 20), act)


def test_the_cursor_stays_on_its_symbol_when_the_order_moves():
    source = StandIn()

    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down")
        await until(pilot, lambda: app.selected_symbol().symbol == "S002")
        reading = app.reading
        app.sort = 1
        app.show(replace(reading, symbols=[replace(s, pnl_units=-10**9 if s.symbol == "S002" else s.pnl_units) for s in reading.symbols]))
        assert app.selected_symbol().symbol == "S002" and cells(app, "#symbols", 0)[0] == "S002"

    on_screen(source, act)


def test_a_reading_that_cannot_be_had_is_said_once_and_the_next_one_is_shown():
    source = StandIn()

    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        source.broken = "no engine called desk"
        await until(pilot, lambda: "no reading" in str(app.query_one("#head", Static).render()))
        seen = app.reading.taken_ns
        await until(pilot, lambda: "no reading" in log(app, "#alerts"))
        await pilot.pause(0.5)
        assert log(app, "#alerts").count("no reading") == 1
        source.broken = ""
        await until(pilot, lambda: app.reading.taken_ns > seen)
        await until(pilot, lambda: "desk" in str(app.query_one("#head", Static).render()))

    on_screen(source, act)


def test_commands_are_told_once_with_who_and_why():
    source = StandIn()

    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "refused" in log(app, "#commands"))
        read = source.step
        await until(pilot, lambda: source.step > read + 2)  # told again in each reading
        said = log(app, "#commands")
        assert said.count("pause") == 1 and "kim: news" in said and "record 17,592" in said and "refused" in said

    on_screen(source, act)


def test_a_command_that_is_refused_is_told_as_a_fault():
    source = StandIn()

    def refuse(**_: object) -> str:
        raise SourceError("shard 0 did not take pause", "ask again")

    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        source.pause = refuse
        await pilot.press("p")
        await until(pilot, lambda: "did not take pause (ask again)" in log(app, "#alerts"))

    on_screen(source, act)


def test_help_and_a_narrow_terminal_work():
    async def act(app: TopApp, pilot: Pilot[None]) -> None:
        assert app.screen.has_class("narrow")
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog))
        await pilot.pause(0.2)  # readings go on below it
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, HelpDialog))

    on_screen(StandIn(), act, size=(90, 30))


# ---- what it is made of

def test_alerts_tell_changes_once_and_good_news_too():
    source = StandIn()
    first = source.read()
    assert [a.text for a in alerts_between(None, replace(first, limits=[]))] == []
    source.feed_state, source.gaps = 4, 3
    second = source.read()
    said = [(a.level, a.text, a.times) for a in alerts_between(first, second)]
    assert ("bad", "shard 0: feed stale", 0) in said and ("warn", "feed gap", 3) in said
    assert alerts_between(second, replace(second)) == []
    source.feed_state = 2
    assert ("good", "shard 1: feed live") in [(a.level, a.text) for a in alerts_between(second, source.read())]
    gone = alerts_between(second, replace(second, alive=False))
    assert [a.text for a in gone] == ["the engine process has ended"]
    assert "another engine process: 4711 before, 5 now" in [a.text for a in alerts_between(second, replace(second, pid=5))]


def test_what_repeats_itself_is_told_at_once_and_then_summed_up_every_ten_seconds():
    summed, second = Summed(), 10**9
    refused = Alert(0, "note", "order refused by the gate", 700)
    other = Alert(0, "bad", "shard 1: feed stale")
    told = [[a.text for a in summed.take([refused, other], n * second)] for n in (0, 4, 9, 10, 11)]
    assert told == [["shard 1: feed stale", "700 times: order refused by the gate"], ["shard 1: feed stale"], ["shard 1: feed stale"],
                    ["shard 1: feed stale", "2,100 times: order refused by the gate"], ["shard 1: feed stale"]]  # fmt: skip


def test_a_tripped_breaker_is_shown_and_told_by_name_and_shards_that_share_a_thread_are_marked():
    first = StandIn(3, 1).read()
    shards = [{**c, "thread": i // 2, "stalls": i} for i, c in enumerate(first.shards)]
    shards[2] |= {"trading_state": 7, "breakers_open": 2, "breakers_cooling": 2}
    second = replace(first, shards=shards, shard_latency=[{"lag": 5_200_000, "round": 276_000}] * 3)
    rows = [[cell.plain for cell in row] for row in tables.shard_rows(second, first)]
    assert [row[tables.SHARD_COLUMNS.index("thr")] for row in rows] == ["0*", "0*", "1"]
    assert rows[2][2:5] == ["reject rate, cooling down", "5.2ms", "276µs"] and rows[2][6] == "2"
    assert ("bad", "shard 2: engine stopped by a breaker: reject rate, cooling down") in [(a.level, a.text) for a in alerts_between(first, second)]


@pytest.mark.parametrize(("width", "columns", "bars"), [(100, 6, True), (72, 4, True), (50, 4, False)])
def test_the_latency_table_gives_up_columns_and_then_bars_where_there_is_little_room(width, columns, bars):
    lines = tables.latency_lines(StandIn().read(), width).plain.splitlines()
    assert max(map(len, lines)) <= width and ("134 ms" in lines[0]) == bars
    assert len(lines[0].replace("64 ns", "").replace("134 ms", "").split()) == columns


def test_a_limit_tells_its_soft_zone_and_then_its_end():
    reading = StandIn().read()

    def at(used: int):
        return replace(reading, limits=[Use("credit", used, 1000, "n")], taken_ns=START_NS + used)

    assert alerts_between(at(0), at(799)) == []
    assert [a.level for a in alerts_between(at(799), at(800))] == ["warn"]
    assert alerts_between(at(800), at(900)) == []
    assert [a.level for a in alerts_between(at(900), at(1000))] == ["bad"]


@given(st.integers(0, 5000), st.integers(1, 1000), st.integers(1, 60))
def test_a_bar_is_as_wide_as_it_should_be_and_as_full_as_its_limit(permille, soft, width):
    bar = use_bar(permille, soft, width)
    assert len(bar) == width
    full = bar.plain.count("█")
    assert full == min(1000, permille) * width // 1000
    colours = {str(span.style) for span in bar.spans[:full]}
    assert not full or colours == {"bold red" if permille >= 1000 else "yellow" if permille >= soft else "cyan"}


@pytest.mark.parametrize("values", [[0], [1, 63, 64, 65], [10**3] * 50 + [10**9], list(range(0, 200_000, 37))])
def test_a_distribution_by_octave_counts_every_value_once(values):
    import numpy as np

    counts = np.zeros(8960, "<u8")
    for value in values:
        counts[bucket_of(value, 8, 8960)] += 1
    octaves = octaves_of(HistogramView("x", counts, 8, max(values)))
    expected = [0] * 42
    for value in values:
        expected[max(0, value.bit_length() - 1)] += 1
    assert octaves == expected
    assert len(octave_bars(octaves)) == 21


def test_use_of_a_limit_of_nothing_is_full_once_anything_is_used():
    assert Use("x", 0, 0, "n").permille == 0 and Use("x", 1, 0, "n").permille == 1000 and Use("x", -5, 10, "n").permille == 0
