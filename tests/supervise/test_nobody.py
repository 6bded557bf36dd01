"""A kill that is written down where nobody lives: which run it is for, and who is asked instead."""

from __future__ import annotations

import pytest

from orchestrator.supervise import paths, state_file
from orchestrator.supervise.lock import SupervisorLock
from orchestrator.supervise.nobody import SomebodyThere, owe_kill
from orchestrator.supervise.state_file import Hold, TreeState


@pytest.fixture
def folder(short, monkeypatch):
    monkeypatch.setenv(paths.VARIABLE, str(short))
    return paths.runtime_dir("desk", make=True)


def tree(folder, tmp_path, **more) -> None:
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    state_file.write(folder, TreeState(name="desk", supervisor_pid=1, supervisor_start_ticks=0, run=str(run), **more))


def test_the_highest_level_is_kept_in_both_places(folder, tmp_path):
    tree(folder, tmp_path, state="trading")
    assert owe_kill("desk", 2) and owe_kill("desk", 1)
    assert [state_file.read(where).kill_owed for where in (folder, tmp_path / "run")] == [2, 2]


def test_a_flatten_that_was_owed_before_the_kill_is_not_given_after_it(folder, tmp_path):
    tree(folder, tmp_path, state="trading", holds=[Hold(shard=0, kind=kind, owed=True) for kind in ("drain", "flatten", "reduce_only")])
    assert owe_kill("desk", 1)
    assert [[h.kind for h in state_file.read(where).holds] for where in (folder, tmp_path / "run")] == [["drain"], ["drain"]]


@pytest.mark.parametrize(("state", "unsettled", "owed"), [("stopped", False, 0), ("failed", False, 1), ("failed", True, 1)])
def test_one_that_failed_may_be_started_again_and_one_that_was_taken_down_is_over(folder, tmp_path, state, unsettled, owed):
    tree(folder, tmp_path, state=state, unsettled=unsettled)
    assert owe_kill("desk", 1) == bool(owed) and state_file.read(folder).kill_owed == owed


def test_a_supervisor_that_is_coming_is_asked_and_its_state_left_alone(folder, tmp_path):
    tree(folder, tmp_path, state="trading")
    lock = SupervisorLock(folder)
    with pytest.raises(SomebodyThere):
        owe_kill("desk", 1)
    lock.close()
    assert state_file.read(folder).kill_owed == 0


def test_where_nothing_ever_ran_nothing_is_written(folder):
    assert not owe_kill("desk", 1) and not owe_kill("other", 1) and list(folder.glob("*.json")) == []
