"""supervisor.json: replaced whole, refused when it is not one."""

from __future__ import annotations

import os

import pytest

from orchestrator.observe.segment import process_start_ticks
from orchestrator.supervise import paths, state_file
from orchestrator.supervise.state_file import ProcessState, StateFileError, TreeState


def tree(**changes) -> TreeState:
    me = {"supervisor_pid": os.getpid(), "supervisor_start_ticks": process_start_ticks(os.getpid())}
    return TreeState(name="x", processes=[ProcessState(name="engine", role="engine", pid=5, start_ticks=1)], **me, **changes)


def test_a_folder_too_deep_for_a_socket_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / ("d" * 100)))
    with pytest.raises(paths.RuntimeFolderError, match=f"too long for a socket's path: set {paths.VARIABLE}"):
        paths.runtime_dir("one", make=True)
    assert not (tmp_path / ("d" * 100)).exists()


def test_what_was_written_is_read_and_no_half_of_it_stays_beside(tmp_path):
    state_file.write(tmp_path, tree(generation=3))
    found = state_file.read(tmp_path)
    assert found == tree(generation=3) and found.supervisor_alive() and not found.processes[0].alive()
    assert [p.name for p in tmp_path.iterdir()] == [state_file.FILE]


def test_a_missing_a_foreign_and_a_later_file_are_told_apart(tmp_path):
    with pytest.raises(StateFileError, match="no supervisor has run here"):
        state_file.read(tmp_path)
    (tmp_path / state_file.FILE).write_text("{}")
    with pytest.raises(StateFileError, match="no state file"):
        state_file.read(tmp_path)
    state_file.write(tmp_path, tree(version=99))
    with pytest.raises(StateFileError, match="version 99"):
        state_file.read(tmp_path)


def test_a_file_that_cannot_be_replaced_leaves_the_one_before(tmp_path, monkeypatch):
    state_file.write(tmp_path, tree())
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "no space left")))
    with pytest.raises(OSError, match="no space"):
        state_file.write(tmp_path, tree(generation=2))
    assert state_file.read(tmp_path).generation == 1
    assert [p.name for p in tmp_path.iterdir()] == [state_file.FILE]
