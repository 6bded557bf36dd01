"""A deploy to a stand-in engine: applied and kept when it does well, taken back when it does not, whole or said so."""

from __future__ import annotations

import pytest
from deploy_rig import rig, view

from orchestrator.control.messages import Problem, Reply
from orchestrator.deploy.flow import DeployRefused, deploy, take_back
from orchestrator.deploy.history import HistoryError

BAD = {"risk__max_order_lots": 100, "risk__collar_ticks": 0}  # good by every check, and nothing passes the gate


def test_a_good_change_is_journaled_watched_and_kept(tmp_path):
    engine, job, tools, said = rig(tmp_path, view(risk__max_loss_units=5_000_000, observe__log_level="debug"))
    outcome = deploy(job, tools)
    assert outcome.state == "good" and outcome.health == []
    assert engine.commands() == [("limits.set", {"limits": {"max_loss_units": 5_000_000}}), ("log_level", {"level": "debug"})]
    assert all(r.who == "ada" and r.why == "deploy 1: because" for r in engine.seen if r.cmd != "limits.get")
    assert engine.risk["max_loss_units"] == 5_000_000
    manifest = tools.history.get(1)
    assert manifest.state == "good" and [s.effects[0]["seq"] for s in manifest.steps] == [102, 103]
    assert tools.history.view(1, "before") == job.before and tools.history.view(1, "after") == job.after
    assert any("shard 0 seq 102" in line for line in said)


def test_what_passes_validation_but_fails_health_is_taken_back_in_reverse(tmp_path):
    engine, job, tools, said = rig(tmp_path, view(policies__members=[{"file": "builtin:default", "slot": 0, "weight": 3}], **BAD))
    outcome = deploy(job, tools)
    assert outcome.state == "rolled back" and "the gate refused" in outcome.health[0]
    assert [cmd for cmd, _ in engine.commands()] == ["limits.set", "weights", "weights", "limits.set"]
    assert engine.risk == job.before["risk"] and engine.weights[0] == 1
    assert tools.history.get(1).state == "rolled back" and [s.state for s in tools.history.get(1).steps] == ["undone", "undone"]
    assert any(line.startswith("ROLLBACK") for line in said) and any("taken back" in r.args["text"] for r in engine.seen if r.cmd == "note")
    engine.counters.update(risk_rejects=0)
    job.after = view(risk__max_loss_units=5_000_000)
    assert deploy(job, tools).state == "good", "a deploy that was taken back stands in nobody's way"


@pytest.mark.parametrize(("what", "words"), [
    (lambda e: setattr(e, "alive", False), "the engine is gone"),
    (lambda e: setattr(e, "epoch", 2), "another one"),
    (lambda e: setattr(e, "kill_level", 1), "kill word"),
    (lambda e: e.counters.update(trading_state=5), "the engine is killed"),
    (lambda e: e.counters.update(trading_state=6), "stopped by its journal"),
    (lambda e: setattr(e, "beats", False), "no heartbeat for"),
    (lambda e: e.counters.update(feed_state=4), "not live any more"),
    (lambda e: e.counters.update(session_ready=0), "session is not ready"),
    (lambda e: e.counters.update(stale_ns=e.counters["stale_ns"] + 500_000_000), "stale for"),
    (lambda e: e.counters.update(rejects=e.counters["rejects"] + 1), "the venue refused"),
    (lambda e: e.counters.update(orders=e.counters["orders"] - 2), "no order was sent"),
    (lambda e: e.counters.update(trading_state=3), "trading is paused"),
])  # fmt: skip
def test_every_finding_of_health_takes_the_change_back(tmp_path, what, words):
    engine, job, tools, _ = rig(tmp_path, view(risk__max_loss_units=5_000_000))
    applied = lambda: engine.risk["max_loss_units"] == 5_000_000  # noqa: E731
    done: list[bool] = []

    def tick(e):
        if applied() or done:
            done.append(True)
            what(e)

    engine.on_tick = tick
    outcome = deploy(job, tools)
    assert outcome.state == "rolled back" and any(words in problem for problem in outcome.health), outcome.health
    assert engine.risk["max_loss_units"] == job.before["risk"]["max_loss_units"]


def test_a_step_that_is_refused_takes_back_those_before_it(tmp_path):
    engine, job, tools, _ = rig(tmp_path, view(risk__max_loss_units=5_000_000, observe__log_level="debug"))
    engine.refuse["log_level"] = 0
    outcome = deploy(job, tools)
    assert outcome.state == "failed", "the one that was refused cannot be taken back either: said, not hidden"
    assert outcome.left and engine.risk["max_loss_units"] == job.before["risk"]["max_loss_units"]
    with pytest.raises(DeployRefused, match="deploy 1 of ada is failed"):
        deploy(job, tools)
    engine.refuse.clear()
    assert take_back(1, tools).state == "rolled back"
    assert deploy(job, tools).state == "good"


def test_a_deploy_cut_off_between_two_commands_is_taken_back_at_once_or_by_the_next(tmp_path):
    engine, job, tools, _ = rig(tmp_path, view(risk__max_loss_units=5_000_000, observe__log_level="debug"))
    whole = engine.send

    def interrupted(request):
        if request.cmd == "log_level" and request.args["level"] == "debug":
            raise KeyboardInterrupt
        return whole(request)

    engine.send = interrupted
    with pytest.raises(KeyboardInterrupt):
        deploy(job, tools)
    assert tools.history.get(1).state == "rolled back" and engine.risk["max_loss_units"] == job.before["risk"]["max_loss_units"]
    manifest = tools.history.get(1)  # and as a power cut would leave it: no rollback at all
    manifest.state = "applying"
    for step in manifest.steps:
        step.state = "sent"
    tools.history.save(manifest)
    engine.risk["max_loss_units"], engine.send = 5_000_000, whole
    with pytest.raises(DeployRefused, match="is applying"):
        deploy(job, tools)
    assert take_back(1, tools).state == "rolled back" and engine.risk["max_loss_units"] == job.before["risk"]["max_loss_units"]
    with pytest.raises(HistoryError, match="nothing is left"):
        take_back(1, tools)


def test_nothing_is_changed_on_a_sick_engine_by_drift_or_when_a_restart_is_needed(tmp_path):
    engine, job, tools, _ = rig(tmp_path, view(risk__max_loss_units=5_000_000))
    engine.counters["session_ready"] = 0
    with pytest.raises(DeployRefused, match="order session is not ready"):
        deploy(job, tools)
    engine.counters["session_ready"], engine.risk["max_long_lots"] = 1, 950
    with pytest.raises(DeployRefused, match="max_long_lots is 950, configured 1000"):
        deploy(job, tools)
    job.over_drift = True
    job.after = view(engine__idle="spin", risk__max_loss_units=5_000_000)
    with pytest.raises(DeployRefused, match="1 of 2 changes need a restart") as err:
        deploy(job, tools)
    assert [c.place for c in err.value.changes] == ["engine.idle"]
    assert engine.commands() == [] and tools.history.all() == []
    job.after = job.before
    assert deploy(job, tools).state == "nothing to do"


def test_two_deploys_at_once_cannot_be(tmp_path):
    _, job, tools, _ = rig(tmp_path, view(risk__max_loss_units=5_000_000))
    with tools.history.locked(), pytest.raises(HistoryError, match="under way"):
        deploy(job, tools)


def test_a_control_api_that_is_not_there_changes_nothing_and_says_so(tmp_path):
    engine, job, tools, _ = rig(tmp_path, view(risk__max_loss_units=5_000_000))
    engine.send = lambda request: Reply(id=request.id, ok=False, error=Problem("unavailable", "no engine runs just now"))
    with pytest.raises(DeployRefused, match="no engine runs just now"):
        deploy(job, tools)


@pytest.mark.parametrize(("change", "state"), [({"engine__active_symbols": 1}, "good"), ({"risk__max_loss_units": 5_000_000}, "rolled back")])
def test_refusals_that_the_change_itself_means_are_no_fault_of_it_and_of_another_they_are(tmp_path, change, state):
    engine, job, tools, _ = rig(tmp_path, view(**{"engine__active_symbols": 2, **change}), view(engine__active_symbols=2))

    def tick(e):
        if any(cmd in ("active_symbols", "limits.set") for cmd, _ in e.commands()):
            e.counters.update(risk_rejects=e.counters["risk_rejects"] + 9, refused_as_quieted=e.counters.get("refused_as_quieted", 0) + 9)

    engine.on_tick = tick
    assert deploy(job, tools).state == state


def test_a_symbol_restricted_is_paused_and_silence_is_then_no_fault(tmp_path):
    engine, job, tools, _ = rig(tmp_path, view(risk__restricted_symbols=["WIDE"]))
    engine.on_tick = lambda e: e.counters.update(orders=e.counters["orders"] - 2) if e.paused else None
    assert deploy(job, tools).state == "good" and engine.paused == {"WIDE"}
