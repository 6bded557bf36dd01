"""The wall clock passes midnight in New York, there or back, and the engine dies: the run's own day counts, not the clock's."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from test_tree import orders, verify
from tree_rig import Venue

from orchestrator.config.problems import ConfigError
from orchestrator.run import plan
from orchestrator.run.journals import read_header
from orchestrator.run.resuming import check_day
from orchestrator.run.shards import folders

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from chaos_clock import SteppedClock  # noqa: E402

S = 1_000_000_000


def step_to(clock: SteppedClock, day: dt.date) -> None:
    """Ten minutes into `day` in New York."""
    clock.offset_ns = plan.session_midnight_ns(day) + 600 * S - time.time_ns()
    assert dt.datetime.fromtimestamp((time.time_ns() + clock.offset_ns) / S, ZoneInfo(plan.SESSION_ZONE)).date() == day


def test_a_step_over_midnight_and_a_death_are_recovered_in_the_runs_own_day_and_only_a_run_that_is_over_is_not(make_rig, tmp_path):
    clock, venue = SteppedClock(tmp_path), Venue()
    rig = make_rig(venue.settings())
    del rig.settings["venue.rate_per_s"]
    run = rig.up(SUP_TEST_WORD="PEREGRINE1", **clock.environment)["run"]
    began = dt.date.fromisoformat(read_header(folders(rig.run_folder())[0])[0].session_date)
    for day in (began + dt.timedelta(days=1), began - dt.timedelta(days=1)):
        rig.wait(lambda: orders(rig) > 0 and venue.total("open_orders"))
        engine = rig.pid("engine")
        check_day(rig.run_folder(), began + dt.timedelta(days=7))  # a person may recover it as well
        step_to(clock, day)
        os.kill(engine, signal.SIGKILL)
        rig.wait(lambda: (t := rig.state()).state == "failed" or (t.state == "trading" and t.processes[0].pid not in (0, engine)))  # noqa: B023
        assert rig.state().state == "trading", f"{day}: {rig.state().reason}"
        before = orders(rig)
        rig.wait(lambda: orders(rig) > before)  # noqa: B023
    assert rig.state().run == run and clock.asked
    report = rig.down()
    assert report["restarts"] == {"engine": 2} and report["open_orders"] == 0 and rig.left() == []
    assert venue.total("open_orders") == 0
    for folder in folders(rig.run_folder()):
        verify(folder)
        assert read_header(folder)[0].session_date == began.isoformat()
    for over, day in ((False, began - dt.timedelta(days=1)), (False, began), (True, began + dt.timedelta(days=1))):
        with pytest.raises(ConfigError, match="start a new run") if over else nullcontext():
            check_day(rig.run_folder(), day)
    venue.server.stop()
