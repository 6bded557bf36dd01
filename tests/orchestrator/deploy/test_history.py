"""The history of deploys: whole at every moment, checked when it is read, folded into what runs now."""

from __future__ import annotations

import json

import pytest
from deploy_rig import rig, view

from orchestrator.config import config_hash, from_effective
from orchestrator.deploy.flow import deploy
from orchestrator.deploy.history import History, HistoryError, digest, state_dir


def test_the_hash_of_a_view_is_the_configurations():
    assert digest(view()) == config_hash(from_effective(view()))


def test_what_runs_now_is_what_the_last_deploy_of_this_run_left(tmp_path):


    engine, job, tools, _ = rig(tmp_path, view(risk__max_loss_units=5_000_000))
    assert tools.history.now(job.run) == (None, set())
    deploy(job, tools)
    assert tools.history.now(job.run)[0] == job.after and tools.history.now("/runs/2")[0] is None
    job.before, job.after = job.after, view(risk__collar_ticks=0)
    assert deploy(job, tools).state == "rolled back"
    assert tools.history.now(job.run)[0] == job.before
    assert [m.number for m in tools.history.all()] == [1, 2]


def test_a_backup_that_was_changed_or_lost_is_refused(tmp_path):
    _, job, tools, _ = rig(tmp_path, view(risk__max_loss_units=5_000_000))
    deploy(job, tools)
    path = tools.history.path_of(1, "before")
    changed = json.loads(path.read_text())
    changed["risk"]["max_loss_units"] = 1
    path.write_text(json.dumps(changed))
    with pytest.raises(HistoryError, match="not what the manifest says"):
        tools.history.view(1, "before")
    with pytest.raises(HistoryError, match="no deploy 7"):
        tools.history.get(7)
    (tmp_path / "0001/manifest.json").write_text("{")
    with pytest.raises(HistoryError, match="no manifest"):
        tools.history.all()


def test_sources_are_copied_beside_the_views(tmp_path):
    source = tmp_path / "base.yaml"
    source.write_text("version: 1\n")
    _, job, tools, _ = rig(tmp_path / "h", view(risk__max_loss_units=5_000_000))
    job.sources = [source, tmp_path / "gone.yaml"]
    deploy(job, tools)
    assert [p.read_text() for p in (tmp_path / "h/0001/sources").iterdir()] == ["version: 1\n"]
    tools.history.keep(1, [source])
    assert sorted(p.name for p in (tmp_path / "h/0001/sources").iterdir()) == ["00-base.yaml", "01-base.yaml"]
    tools.history.keep(99, [source])  # of a history that is kept elsewhere


def test_the_place_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("PEREGRINE_STATE_DIR", raising=False)
    assert state_dir("e") == tmp_path / "peregrine/e/deploys"
    monkeypatch.setenv("PEREGRINE_STATE_DIR", str(tmp_path / "s"))
    assert History("e").folder == tmp_path / "s/e/deploys" and History("e").all() == []
