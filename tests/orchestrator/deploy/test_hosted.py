"""Deploys that the supervisor's process does by itself: one at a time, told while they run, whole after any cut."""

from __future__ import annotations

import json
import os
import threading
import time
from types import SimpleNamespace

import pytest
from deploy_rig import FakeEngine, view

from orchestrator.config import effective, from_effective
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Problem, Reply, Request
from orchestrator.deploy import health, hosted
from orchestrator.deploy.history import History, Manifest, digest
from orchestrator.deploy.hosted import Deploys

RUN = "/runs/1"
BAD = {"risk__max_order_lots": 100, "risk__collar_ticks": 0}


class Host:
    def __init__(self) -> None:
        self.cfg = from_effective(view())
        self.down_for = ""

    def run_folder(self) -> str:
        return RUN

    def config(self):
        return self.cfg

    def take_config(self, cfg) -> None:
        self.cfg = cfg

    def stays_down(self) -> str:
        return self.down_for


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """A supervisor's deploys onto a stand-in engine whose time goes on with each look."""
    engine, host, audit = FakeEngine(view()), Host(), []
    history = History("peregrine", tmp_path)

    def running(name, past, run):
        now, own = past.now(str(run))
        return SimpleNamespace(run=str(run), now=now or view(), started=view(), own_limits=own)

    def look():
        engine.sleep(0)
        return engine.look()

    monkeypatch.setattr(hosted, "running", running)
    monkeypatch.setattr(hosted, "RETRY_S", 0.01)
    monkeypatch.setattr(health, "POLL_S", 0.002)
    engine.close = lambda: None

    def supervisor() -> Deploys:
        return Deploys("peregrine", host, audit.append, history=history, door=lambda name: engine, look=look)

    made = supervisor()
    yield SimpleNamespace(engine=engine, host=host, audit=audit, history=history, deploys=made, supervisor=supervisor)
    made.close()


def asked(after=None, *, window_ms: int = 400, why: str = "because", **args) -> Request:
    sent = {"config": json.dumps(after).encode()} if after is not None else {}
    return Request(cmd="deploy", args={**sent, "window_ms": window_ms, **args}, who="ada", why=why)


def over(deploys: Deploys, request: Request) -> dict:
    deadline = time.monotonic() + 90
    while (told := deploys.status(request.id))["state"] == "under way":
        assert time.monotonic() < deadline, told
        time.sleep(0.005)
    return told


def done(rig, request: Request) -> dict:
    assert rig.deploys.begin(request) == {"deploy": request.id, "state": "under way"}
    return over(rig.deploys, request)


def test_what_was_sent_is_applied_told_line_by_line_kept_and_audited(rig):
    request = asked(view(risk__max_loss_units=5_000_000, observe__log_level="debug"))
    told = done(rig, request)
    assert (told["state"], told["number"], told["health"]) == ("good", 1, [])
    assert [line.split()[0] for line in told["lines"]] == ["backup", "applied", "applied", "verifying"]
    assert rig.deploys.status(request.id, told["next"])["lines"] == [] and rig.deploys.status()["id"] == request.id
    assert all(r.who == "ada" and r.why == "deploy 1: because" for r in rig.engine.seen if r.cmd != "limits.get")
    assert rig.host.cfg.risk.max_loss_units == 5_000_000, "the tree would be restarted with it"
    assert [(line["event"], line["id"], line["state"]) for line in rig.audit] == [("deploy", request.id, "good")]
    assert rig.history.view(1, "after") == effective(rig.host.cfg) and not list(rig.history.folder.glob("sent-*"))
    assert len(list((rig.history.folder / "0001/sources").iterdir())) == 1, "what was sent is kept as it came"
    back = done(rig, asked(rollback=0))
    assert back["state"] == "good" and rig.engine.risk["max_loss_units"] == view()["risk"]["max_loss_units"]
    assert rig.host.cfg.risk.max_loss_units == rig.engine.risk["max_loss_units"]


def test_what_fails_health_is_taken_back_by_itself(rig):
    told = done(rig, asked(view(**BAD), window_ms=2000))
    assert told["state"] == "rolled back" and "the gate refused" in told["health"][0]
    assert rig.engine.risk == view()["risk"] and rig.host.cfg.risk.collar_ticks > 0


@pytest.mark.parametrize(("sent", "code", "words"), [
    (b"\x00\xff", "usage", "not good"), (b"version: 1\nrisk: {max_loss: 5}", "usage", "not good"),
    (json.dumps(view(engine__name="another")).encode(), "refused", "of another, this is peregrine"),
    (json.dumps(view(engine__idle="spin")).encode(), "conflict", "1 of 1 changes need a restart"),
    (json.dumps(view(policies__members=[{"file": "/nowhere.safetensors", "slot": 0}])).encode(), "usage", "nowhere"),
])  # fmt: skip
def test_what_is_no_change_for_this_engine_is_refused_and_nothing_is_sent(rig, sent, code, words):
    request = asked()
    request.args["config"] = sent
    told = done(rig, request)
    assert (told["state"], told["code"]) == ("refused", code) and words in told["message"], told
    assert rig.engine.commands() == [] and rig.history.all() == [] and rig.audit[-1]["state"] == "refused"


def test_one_at_a_time_and_the_same_request_begins_nothing_twice(rig):
    request = asked(view(risk__max_loss_units=5_000_000), window_ms=600_000)
    rig.deploys.begin(request)
    assert rig.deploys.begin(request) == {"deploy": request.id, "state": "under way"}
    with pytest.raises(ControlError, match="a deploy of ada is under way") as busy:
        rig.deploys.begin(asked(view()))
    assert busy.value.code == "busy"
    while "verifying" not in rig.deploys.status()["stage"]:
        time.sleep(0.005)
    assert rig.deploys.begin(asked(abort=True, why="no"))["deploy"] == request.id
    told = over(rig.deploys, request)
    assert told["state"] == "rolled back" and "stopped by ada: no" in told["health"][0]
    assert rig.engine.risk == view()["risk"]
    with pytest.raises(ControlError, match="no deploy is under way"):
        rig.deploys.begin(asked(abort=True))
    new = rig.supervisor()  # which knows the id from the history
    assert new.begin(request) == {"deploy": request.id, "state": "rolled back"}
    assert new.status(request.id)["health"] == told["health"]
    with pytest.raises(ControlError, match="no deploy with the id"):
        new.status("never")


def test_an_engine_that_goes_away_is_waited_for_and_then_given_back_what_it_had(rig):
    """It comes back by itself, from its journal, and so with the bad configuration."""
    whole, gone = rig.engine.send, threading.Event()

    def send(request):
        if gone.is_set():
            return Reply(id=request.id, ok=False, error=Problem("unavailable", "no engine runs just now"))
        return whole(request)

    rig.engine.send = send

    def dies(engine):
        if engine.risk["max_loss_units"] == 5_000_000 and not gone.is_set() and engine.alive:
            gone.set()
            engine.alive = False

    rig.engine.on_tick = dies
    request = asked(view(risk__max_loss_units=5_000_000))
    rig.deploys.begin(request)
    while rig.deploys.status()["stage"] != "not":
        time.sleep(0.005)
    assert rig.deploys.status()["state"] == "under way"
    gone.clear()
    told = over(rig.deploys, request)
    assert told["state"] == "rolled back" and told["health"][0] == "the engine is gone"
    assert rig.engine.risk == view()["risk"]


def test_the_end_of_the_tree_takes_back_what_is_under_way_and_begins_nothing_more(rig):
    request = asked(view(risk__max_loss_units=5_000_000), window_ms=600_000)
    rig.deploys.begin(request)
    while "verifying" not in rig.deploys.status()["stage"]:
        time.sleep(0.005)
    rig.deploys.stop("the tree ends")
    assert over(rig.deploys, request)["state"] == "rolled back" and rig.engine.risk == view()["risk"]
    with pytest.raises(ControlError, match="the tree ends"):
        rig.deploys.begin(asked(view()))


def test_stopped_before_anything_was_changed_it_says_so(rig, monkeypatch):
    request = asked(view(risk__max_loss_units=5_000_000), window_ms=600_000)
    monkeypatch.setattr(rig.engine, "sleep", lambda seconds: None)  # its time stands: the look before the change goes on
    rig.deploys.begin(request)
    rig.deploys.begin(asked(abort=True, why="no"))
    told = over(rig.deploys, request)
    assert told["state"] == "refused" and "nothing was changed: stopped by ada" in told["message"] and rig.engine.commands() == []


def test_what_a_dead_supervisor_left_half_done_is_taken_back_by_the_next_one_and_what_was_good_is_in_force(rig):
    done(rig, asked(view(risk__max_loss_units=6_000_000)))
    rig.host.cfg = from_effective(view())  # it died before it took it over
    cut = asked(view(risk__max_loss_units=5_000_000))
    assert done(rig, cut)["state"] == "good"
    manifest = rig.history.get(2)
    manifest.state = "verifying"
    rig.history.save(manifest)
    (rig.history.folder / "sent-x").mkdir()
    new = rig.supervisor()
    new.recover()
    told = over(new, cut)
    assert told["state"] == "rolled back" and told["health"] == ["deploy 2 was cut off"], told
    new.close()
    assert rig.engine.risk["max_loss_units"] == 6_000_000 and not list(rig.history.folder.glob("sent-*"))
    rig.supervisor().recover()
    deadline = time.monotonic() + 90
    while rig.host.cfg.risk.max_loss_units != 6_000_000 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert rig.host.cfg.risk.max_loss_units == 6_000_000


def test_what_was_cut_off_in_another_run_stands_in_nobodys_way(rig):
    done(rig, asked(view(risk__max_loss_units=5_000_000)))
    manifest = rig.history.get(1)
    manifest.state, manifest.run = "applying", "/runs/0"
    rig.history.save(manifest)
    seen = len(rig.engine.seen)
    rig.supervisor().recover()
    assert len(rig.engine.seen) == seen
    rig.engine.risk["max_loss_units"] = view()["risk"]["max_loss_units"]
    assert done(rig, asked(view(risk__max_loss_units=6_000_000)))["state"] == "good"


def test_a_dry_run_tells_the_commands_and_what_takes_a_restart_and_sends_nothing(rig):
    told = done(rig, asked(view(risk__max_loss_units=5_000_000, observe__log_level="debug"), dry_run=True))
    assert (told["state"], [s["cmd"] for s in told["plan"]["steps"]], told["plan"]["restart"]) == ("planned", ["limits.set", "log_level"], [])
    assert {c["setting"] for c in told["plan"]["changes"]} == {"risk.max_loss_units", "observe.log_level"}
    assert done(rig, asked(view(engine__idle="spin"), dry_run=True))["code"] == "conflict"
    told = done(rig, asked(view(engine__idle="spin"), dry_run=True, restart=True))
    assert told["state"] == "planned" and told["plan"]["restart"] == ["engine.idle: yield → spin"]
    assert done(rig, asked(view(), dry_run=True))["plan"]["changes"] == []
    assert rig.engine.seen == [] and rig.history.all() == [] and {line["state"] for line in rig.audit} == {"planned", "refused"}


class Apart:
    """A process that takes the tree down and up: `ends` with this code, once it is told to."""

    def __init__(self, rig, outcome: str = "", code: int = 0) -> None:
        self.rig, self.outcome, self.returncode, self.pid = rig, outcome, code, 1
        self.job, self.begun, self.going, self.lock = None, threading.Event(), threading.Event(), None

    def begin(self, job, folder, history):
        self.job = job
        if self.outcome:
            self.lock = history.locked()
            self.lock.__enter__()
            made = Manifest(number=0, engine="peregrine", who=job.who, why=job.why, when_ns=1, configuration=job.configuration,
                            before_sha256=digest(job.before), after_sha256=digest(job.after), run=job.run, restart=True, id=job.id)  # fmt: skip
            history.begin(made, job.before, job.after, job.sources)
            history.tell(made.number, "down       peregrine")
        self.begun.set()
        return self

    def end(self) -> None:
        if self.outcome:
            made = self.rig.history.get(1)
            made.state = self.outcome
            self.rig.history.tell(1, "verifying  1 s")
            self.rig.history.save(made)
            self.lock.__exit__(None, None, None)
        self.going.set()

    def poll(self):
        return self.returncode if self.going.is_set() else None


def began(rig, process, monkeypatch, **more) -> Request:
    monkeypatch.setattr(hosted.apart, "begin", process.begin)
    request = asked(view(engine__idle="spin"), restart=True, **more)
    rig.deploys.begin(request)
    assert process.begun.wait(60)
    while rig.deploys.status()["stage"] not in ("applying", "restarting", "refused"):
        time.sleep(0.005)
    return request


def test_a_restart_is_done_by_a_process_of_its_own_and_told_by_whichever_supervisor_there_is(rig, monkeypatch):
    process = Apart(rig, "good")
    request = began(rig, process, monkeypatch)
    told = rig.deploys.status(request.id)
    assert (told["state"], told["lines"], told["next"]) == ("under way", ["down       peregrine"], 1) and process.job.id == request.id
    with pytest.raises(ControlError, match="not stopped half way"):
        rig.deploys.begin(asked(abort=True))
    rig.deploys.close()  # taken down with its tree
    assert rig.deploys.status(request.id)["state"] == "under way", "nobody takes it back"
    new = rig.supervisor()
    new.recover()
    assert new.status(request.id, 1)["lines"] == [] and new.status(request.id)["state"] == "under way"
    process.end()
    told = new.status(request.id, 1)
    assert (told["state"], told["number"], told["lines"], told["next"]) == ("good", 1, ["verifying  1 s"], 2)
    assert [s.name for s in (rig.history.folder / "0001/sources").iterdir()] == ["00-sent.yaml"], "what was sent is kept as it came"


def test_a_restart_that_never_goes_down_is_told_by_the_supervisor_that_began_it(rig, monkeypatch):
    process = Apart(rig, code=75)
    request = began(rig, process, monkeypatch)
    process.end()
    told = over(rig.deploys, request)
    assert (told["state"], told["code"]) == ("refused", "refused") and "did not begin: exit code 75" in told["message"]


def test_a_restart_that_was_cut_off_is_no_longer_under_way(rig, monkeypatch):
    process = Apart(rig, "applying")
    request = began(rig, process, monkeypatch)
    process.lock.__exit__(None, None, None)
    told = rig.deploys.status(request.id)
    assert told["state"] == "failed" and "cut off" in told["left"][0]


def test_a_tree_that_nobody_could_start_again_is_not_taken_down(rig, monkeypatch):
    rig.host.down_for = "its unit of systemd ends whatever would start it again"
    monkeypatch.setattr(hosted.apart, "begin", None)
    told = done(rig, asked(view(engine__idle="spin"), restart=True))
    assert told["state"] == "refused" and "unit of systemd" in told["message"] and "on the engine's machine" in told["hint"]
    assert done(rig, asked(view(risk__max_loss_units=5_000_000), restart=True))["state"] == "good", "what needs none is done"


def cut_off(rig, before: dict, after: dict) -> None:
    made = Manifest(number=0, engine="peregrine", who="ada", why="x", when_ns=1, configuration="c", before_sha256=digest(before),
                    after_sha256=digest(after), run="/runs/0", restart=True, id="cut")  # fmt: skip
    rig.history.begin(made, before, after, [])


def test_a_restart_that_was_cut_off_with_the_new_configuration_up_is_taken_back_by_another_restart(rig, monkeypatch):
    cut_off(rig, view(engine__idle="spin"), view())
    assert done(rig, asked(view(risk__max_loss_units=5_000_000)))["message"].startswith("deploy 1 of ada is applying")
    told = done(rig, asked(rollback=1))
    assert told["code"] == "conflict" and told["changes"] == ["engine.idle: yield → spin"], "it is not said to be back while it is not"
    process = Apart(rig, code=1)
    process.going.set()
    monkeypatch.setattr(hosted.apart, "begin", process.begin)
    done(rig, asked(rollback=1, restart=True))
    assert process.job.restored == 1 and process.job.after["engine"]["idle"] == "spin"


def test_a_restart_that_was_cut_off_stands_in_nobodys_way_once_what_ran_before_runs_again(rig):
    cut_off(rig, view(), view(engine__idle="spin"))
    assert done(rig, asked(rollback=0))["state"] == "rolled back" and rig.history.unfinished() is None
    assert done(rig, asked(view(risk__max_loss_units=5_000_000)))["state"] == "good"


@pytest.mark.parametrize("where", ["the file", "the base of a folder", "a policy"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(rig, tmp_path, where):
    """Nobody writes into it: whoever opened it would wait for ever, and no other deploy could begin."""
    folder = tmp_path / "sent"
    folder.mkdir()
    pipe = folder / ("base.yaml" if where == "the base of a folder" else "pipe")
    os.mkfifo(pipe)
    if where == "a policy":
        after = view()
        after["policies"]["members"][0]["file"] = str(pipe)
        request = asked(after)
    else:
        request = asked(path=f"{folder}#production" if where != "the file" else str(pipe))
    told = done(rig, request)
    assert told["state"] == "refused" and told["code"] == "usage"
    assert ("no base.yaml" if where == "the base of a folder" else "no regular file") in told["message"]
