"""A deploy that needs a restart, on a stand-in: up with the new configuration, or up again with the old one."""

from __future__ import annotations

import json
from pathlib import Path

from deploy_rig import rig, view

from orchestrator.deploy.restart import deploy_by_restart


class Tree:
    """Ups and downs of an engine that is not well while its idle is `spin`; `fails`: what an `up` ends with, each in turn."""

    def __init__(self, engine, *, fails: tuple[int, ...] = ()) -> None:
        self.engine, self.fails, self.asked = engine, list(fails), []

    def __call__(self, args: list[str]) -> tuple[int, str]:
        if args[0] == "down":
            self.asked.append("down")
            self.engine.alive = False
            return 0, ""
        view = json.loads(Path(args[2]).read_text())
        self.asked.append(view["engine"]["idle"])
        if self.fails and (code := self.fails.pop(0)):
            return code, "error: no room"
        self.engine.alive, self.engine.epoch = True, self.engine.epoch + 1
        self.engine.counters.update(orders=0, risk_rejects=0, session_ready=int(view["engine"]["idle"] != "spin"))
        return 0, ""


def test_a_restart_that_does_well_is_kept(tmp_path):
    engine, job, tools, said = rig(tmp_path, view(engine__idle="sleep"))
    tree = Tree(engine)
    outcome = deploy_by_restart(job, tools, tree)
    assert outcome.state == "good" and tree.asked == ["down", "sleep"] and tools.history.get(1).restart
    assert [line.split()[0] for line in said] == ["backup", "down", "up", "verifying"]


def test_one_that_is_not_well_or_does_not_come_up_is_taken_back(tmp_path):
    for fails in ((), (69,)):
        engine, job, tools, said = rig(tmp_path / str(fails), view(engine__idle="spin"))
        tree = Tree(engine, fails=fails)
        outcome = deploy_by_restart(job, tools, tree)
        assert outcome.state == "rolled back" and tree.asked == ["down", "spin", "down", job.before["engine"]["idle"]]
        assert ("ended with 69" if fails else "order session is not ready") in outcome.health[0]
        assert engine.alive and engine.counters["session_ready"] and any(line.startswith("ROLLBACK") for line in said)


def test_one_that_cannot_be_taken_back_is_said(tmp_path):
    engine, job, tools, _ = rig(tmp_path, view(engine__idle="spin"))
    outcome = deploy_by_restart(job, tools, Tree(engine, fails=(69, 69)))
    assert outcome.state == "failed" and "peregrine up ended with 69" in outcome.left[0] and not engine.alive


def test_what_it_refused_before_it_may_refuse_after(tmp_path):
    """Measured against the same engine before it went down, not against none."""
    engine, job, tools, _ = rig(tmp_path, view(engine__idle="sleep"))
    engine.on_tick = lambda e: e.counters.update(risk_rejects=e.counters["risk_rejects"] + 4)
    assert deploy_by_restart(job, tools, Tree(engine)).state == "good"
