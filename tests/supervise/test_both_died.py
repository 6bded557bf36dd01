"""Engine and supervisor die at somebody else's exchange, and nobody is there: a power cut, the memory killer, a reboot."""

from __future__ import annotations

import json
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from test_tree import orders, verify
from tree_rig import Venue

from orchestrator.cli._errors import CliError
from orchestrator.config import config_hash, load_profile
from orchestrator.observe.segment import FOLDER, process_start_ticks
from orchestrator.run import plan
from orchestrator.run.shards import folders
from orchestrator.supervise import both_died, paths, state_file
from orchestrator.supervise.ending import bring_down
from orchestrator.supervise.engine_main import PLAN, Plan
from orchestrator.supervise.run_copy import RunCopy, last_run
from orchestrator.supervise.state_file import ProcessState, TreeState


def power_cut(rig) -> None:
    """Nothing of the tree lives, and nothing of it is left in memory: only the journal's folder."""
    engine = rig.pid("engine")
    rig.kill_supervisor()
    os.kill(engine, signal.SIGKILL)
    rig.wait(lambda: process_start_ticks(engine) == 0)
    shutil.rmtree(rig.runtime)
    for path in FOLDER.iterdir():
        if rig.name in path.name:
            path.unlink()


def test_from_the_journals_folder_alone_a_run_is_resumed_and_one_that_was_being_stopped_is_cancelled_and_held(make_rig):
    venue = Venue(cancel_on_disconnect=False)
    rig = make_rig({**venue.settings(), "supervise.after_both_died": "resume"})
    del rig.settings["venue.rate_per_s"]
    run = rig.up(SUP_TEST_WORD="PEREGRINE1")["run"]
    rig.wait(lambda: orders(rig) > 0 and venue.total("open_orders"))
    rig.ask("pause", why="news", who="anna", shard=1)
    rig.wait(lambda: state_file.read(Path(run)).holds)
    rig.wait(lambda: venue.total("open_orders"))
    power_cut(rig)
    tree = rig.up(SUP_TEST_WORD="PEREGRINE1")
    assert tree["run"] == run and tree["generation"] == 2
    assert tree["state"] == "trading" and "shard 1 paused by anna (news)" in tree["reason"]
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before and venue.total("open_orders"))

    power_cut(rig)  # as it was being stopped, this time
    state = state_file.read(Path(run))
    state.state, state.processes[0].state = "draining", "draining"
    state_file.write(Path(run), state)
    tree = rig.up(SUP_TEST_WORD="PEREGRINE1")
    assert tree["run"] == run and tree["state"] == "ready", tree
    assert "no shard trades: drained by supervisor (engine and supervisor had both died" in tree["reason"]
    assert "but while it was being stopped" in tree["reason"]
    rig.wait(lambda: venue.total("open_orders") == 0)
    before = orders(rig)
    rig.ask("resume", why="looked at it", who="bob", all=True)
    rig.wait(lambda: orders(rig) > before)
    assert rig.down()["open_orders"] == 0 and venue.total("open_orders") == 0 and rig.left() == []
    result = json.loads((Path(run) / "result.json").read_text())
    assert sum(s["position_lots"] for s in result["symbols"].values()) == venue.total("bought") - venue.total("sold")
    for folder in folders(Path(run)):
        verify(folder)
    venue.server.stop()



@pytest.mark.parametrize(
    ("chosen", "attended", "how", "why"),
    [
        (None, True, "ask", ""), (None, False, "cancel", "after_both_died: cancel"), ("ask", False, "ask", ""),
        ("cancel", True, "cancel", "after_both_died: cancel"), ("resume", True, "resume", "after_both_died: resume"),
        ("resume, changed", False, "cancel", "another configuration"), ("resume, a day later", False, "cancel", "the run is of"),
        ("resume, again", False, "cancel", "second time"),
    ],
)  # fmt: skip
def test_who_is_asked_and_what_is_not_resumed(monkeypatch, tmp_path, chosen, attended, how, why):
    chosen, _, but = (chosen or "").partition(", ")
    cfg = load_profile("laptop", [f"supervise.after_both_died={chosen or 'null'}"])
    monkeypatch.setattr(both_died, "_began", lambda run: str(plan.today() - timedelta(days=but == "a day later")))
    (tmp_path / PLAN).write_bytes(msgspec.json.encode(Plan(config={}, folder="", runtime="")))
    found = TreeState(name="r", supervisor_pid=1, supervisor_start_ticks=0, run=str(tmp_path), config_sha256="" if but == "changed" else config_hash(cfg),
                      both_died_ns=both_died.time.time_ns() if but == "again" else 1)  # fmt: skip
    if how == "ask":
        with pytest.raises(CliError, match="died without a supervisor") as refused:
            both_died.choose(cfg, found, attended=attended)
        assert refused.value.code == 69 and all(w in refused.value.hint for w in ("--take-over --name r", "after_both_died=cancel", "down r"))
    else:
        recovery = both_died.choose(cfg, found, attended=attended)
        assert recovery.how == how and why in recovery.why
        (tmp_path / PLAN).unlink()
        with pytest.raises(CliError, match="cannot be read") as refused:
            both_died.choose(cfg, found, attended=attended)
        assert "down r" in refused.value.hint


def test_the_newest_run_of_that_name_counts_and_its_processes_have_no_numbers(tmp_path):
    cfg = load_profile("laptop", [f"journal.dir={tmp_path}", "engine.name=mine"])
    assert last_run(cfg) is None
    for i, (folder, name) in enumerate((("b", "mine"), ("a", "mine"), ("c", "other"))):
        (tmp_path / folder).mkdir()
        copy = RunCopy(tmp_path / folder)
        for generation in (1, 2):
            copy.take(TreeState(name=name, supervisor_pid=os.getpid(), supervisor_start_ticks=1, run="/moved/since", generation=generation, written_ns=1000 + i,
                                processes=[ProcessState(name="engine", role="engine", pid=1, start_ticks=7)]))  # fmt: skip
        copy.close()
    (tmp_path / "latest").symlink_to("c")
    state = last_run(cfg)
    assert state is not None and state.run == str(tmp_path / "a") and state.generation == 2, "the last that was taken"
    assert [(p.pid, p.start_ticks) for p in state.processes] == [(0, 0)]


def test_a_run_that_down_has_closed_the_books_on_is_over_after_a_reboot_too(tmp_path, short, monkeypatch):
    monkeypatch.setenv(paths.VARIABLE, str(short))
    run, runtime = tmp_path / "runs" / "a", paths.runtime_dir("mine", make=True)
    run.mkdir(parents=True)
    cfg = load_profile("laptop", [f"journal.dir={run.parent}", "engine.name=mine"])
    for folder in (run, runtime):
        state_file.write(folder, TreeState(name="mine", supervisor_pid=1, supervisor_start_ticks=0, run=str(run), state="trading", has_traded=True))
    report = bring_down("mine")
    assert report is not None and report.code == 69 and "ask the venue" in report.notes[-1]
    (runtime / state_file.FILE).unlink()
    both_died.remember(cfg, runtime)
    assert not (runtime / state_file.FILE).exists()
    state_file.write(run, msgspec.structs.replace(state_file.read(run), state="trading"))
    both_died.remember(cfg, runtime)
    assert state_file.read(runtime).state == "trading", "and one that nobody has closed is not"


def test_a_supervisor_whose_runtime_folder_was_emptied_is_not_joined_by_a_second_one(tmp_path):
    cfg = load_profile("laptop", [f"journal.dir={tmp_path}", "engine.name=mine"])
    (tmp_path / "a").mkdir()
    me = os.getpid()
    state_file.write(tmp_path / "a", TreeState(name="mine", supervisor_pid=me, supervisor_start_ticks=process_start_ticks(me), run=str(tmp_path / "a")))
    with pytest.raises(CliError, match="supervised already") as refused:
        both_died.remember(cfg, tmp_path)
    assert refused.value.code == 75


@pytest.mark.slow
def test_a_run_that_was_given_up_is_not_followed_by_a_new_one_until_its_orders_are_settled(make_rig):
    venue = Venue(cancel_on_disconnect=False)
    rig = make_rig({**venue.settings(), "supervise.restart.max_restarts": "0", "supervise.after_both_died": "resume"})
    del rig.settings["venue.rate_per_s"]
    run = rig.up(SUP_TEST_WORD="PEREGRINE1")["run"]
    for settled in ("recovered", "by down"):
        before = orders(rig)
        rig.wait(lambda: orders(rig) > before and venue.total("open_orders"))  # noqa: B023
        os.kill(rig.pid("engine"), signal.SIGKILL)
        rig.wait(lambda: not rig.state().supervisor_alive())
        assert rig.state().state == "failed" and rig.state().unsettled
        if settled == "recovered":
            tree = rig.up(SUP_TEST_WORD="PEREGRINE1")
            assert tree["run"] == run and tree["state"] == "ready" and not tree["unsettled"]
            assert "the run had not ended in order (the engine is given up" in tree["reason"]
            rig.wait(lambda: venue.total("open_orders") == 0)
            rig.ask("resume", why="looked at it", who="bob", all=True)
    assert "ask the venue" in rig.call("down", rig.name, "--books-only", code=69).stderr
    assert rig.call("down", rig.name).stdout.count("down already")
    tree = rig.up(SUP_TEST_WORD="PEREGRINE1")
    assert tree["run"] != run and tree["state"] == "trading"
    assert rig.down()["open_orders"] == 0 and venue.total("open_orders") == 0
    venue.server.stop()
