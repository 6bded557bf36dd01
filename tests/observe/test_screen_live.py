"""The screen on a real engine: it reads, pauses, resumes and kills it; the report then says who did what, and why."""

from __future__ import annotations

import asyncio
import csv
import getpass
import signal

import pytest
from rig import Engine
from test_screen import cells, log, press_and_type, until

from orchestrator.observe.report_html.build import build_report
from orchestrator.observe.screen.app import TopApp
from orchestrator.observe.screen.source import WHY, SharedMemorySource, SourceError


@pytest.fixture
def running(tmp_path, engine_name):
    """An engine of two shards with its own venue, as `peregrine run` starts it."""
    symbols = [{"symbol": s, "increment_ticks": 100, "round_lot_lots": 100} for s in ("PRGN", "FLCN")]
    one = Engine(tmp_path, engine_name, None, settings={"instruments": symbols, "engine.shards": 2, "risk.max_drawdown_units": 2_000_000_000,
                                                           "risk.max_loss_units": 2_000_000_000})
    one.until("fills", 3)
    yield one
    one.end()


def test_a_real_engine_is_read_paused_resumed_and_killed_from_the_screen(running, tmp_path):
    async def go() -> None:
        app = TopApp(SharedMemorySource(running.name), refresh_s=0.2)
        async with app.run_test(size=(180, 50)) as pilot:
            await until(pilot, lambda: app.reading is not None and len(app.reading.symbols) == 2)
            assert sorted(cells(app, "#symbols", 0)) == ["FLCN", "PRGN"] and len(cells(app, "#shards", 0)) == 2
            assert app.reading.latency["tick_to_order"]["count"] > 0 and sum(app.reading.octaves["tick_to_order"]) > 0
            symbol = app.selected_symbol().symbol
            await pilot.press("p")
            await until(pilot, lambda: app.selected_symbol().state == 3)
            await until(pilot, lambda: "pause symbol" in log(app, "#commands"))
            assert 3 not in [s.state for s in app.reading.symbols if s.symbol != symbol]  # on a busy machine it may be stale for a moment
            await pilot.press("p")
            await until(pilot, lambda: app.selected_symbol().state == 1)
            await press_and_type(app, pilot, "k", *running.name, "enter")
            await until(pilot, lambda: app.reading.kill_level == 1 and all(s["trading_state"] == 5 for s in app.reading.shards))

    asyncio.run(go())
    said = running.finish(signal.SIGINT)
    assert said["stopped_by"] == "kill"
    build_report(running.run_folder, tmp_path / "report")
    with (tmp_path / "report/commands.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    given = [(r["command"], r["detail"], r["who"], r["why"]) for r in rows if r["command"].endswith("symbol")]
    assert given == [(f"{kind} symbol", "FLCN", getpass.getuser(), WHY) for kind in ("pause", "resume")]
    assert [r["detail"] for r in rows if r["command"] == "kill word"] == ["cancel all"] * 2  # a record a shard
    assert all(int(r["seq"]) > 0 and int(r["ts_ns"]) > 0 for r in rows)


def test_an_engine_that_is_not_there_is_a_reading_that_cannot_be_had(engine_name):
    source = SharedMemorySource(engine_name)
    with pytest.raises(SourceError, match="no engine called"):
        source.read()
    with pytest.raises(SourceError):
        source.kill()
    with pytest.raises(SourceError):
        source.pause(symbol="PRGN")
