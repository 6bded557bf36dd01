"""Deploys inside the supervisor's process: begun by a command of the control API, done on a thread of their own.

The command answers at once that it has begun; `deploy.status` tells how far it is and what came of it, by the request's id.
One runs at a time. Each of its commands goes through the control API like anybody's, so it is judged, audited and journaled
there; who asked for the deploy is who asks for each of them.

    who sends                      the configuration
    config: bytes                  a whole one as YAML or JSON, from this machine or another
    path: FILE, FOLDER#ENV/DESK    read on this machine
    rollback: N                    what ran before deploy N; 0 = before the last good one, or what is left of one cut off
    abort: true                    nothing new: the one under way is taken back

    dry_run: true                  with the first three: what would be done, and nothing is
    restart: true                  with the first three: down and up again where a change needs it (apart.py)

What is cut off by the supervisor's death is in the manifest; the next supervisor takes it back (`recover`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import msgspec

from orchestrator.config import ConfigError, config_hash, effective, from_effective, load_view, parse_name
from orchestrator.config.difference import ABSENT, Change
from orchestrator.config.models import Config
from orchestrator.config.origin import shown_value
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Request
from orchestrator.deploy import apart
from orchestrator.deploy.door import Door, DoorError, open_door
from orchestrator.deploy.flow import DeployRefused, Job, Outcome, Tools, deploy, plan_of, planned, take_back
from orchestrator.deploy.health import Reading, read
from orchestrator.deploy.history import History, HistoryError, Manifest, digest
from orchestrator.deploy.running import NotRunning, running
from orchestrator.observe import log

WINDOW_MS = 10_000
BACK_AGAIN_S = 120.0  # how long an engine that went away is waited for, to take back what it was given
RETRY_S = 0.25
CLOSE_S = 3.0
MAX_LINES = 1000
RESTARTING = "restarting"  # the stage of a deploy that goes on without this supervisor
SENT = "sent-"  # folders of configurations that were sent, while they are dealt with
#: what of a deploy that was cut off is still to be taken back
CUT_OFF = ("applying", "verifying", "failed")
_log = log.logger()


class Host(Protocol):
    """The supervisor, as far as deploys need it; called from their thread."""

    def run_folder(self) -> str:
        """Of the run there is now."""
        ...

    def config(self) -> Config:
        """The configuration in force."""
        ...

    def take_config(self, cfg: Config) -> None:
        """This one is in force from now on: a restart and a takeover go on with it."""
        ...

    def stays_down(self) -> str:
        """Why nobody could start the tree again once it is down; "" where that can be done."""
        ...


class Progress(msgspec.Struct, kw_only=True):
    """How far a deploy is. `state`: under way, good, rolled back, failed, refused, nothing to do, planned; the last five changed
    nothing, but for `failed`, where `left` says what could not be taken back."""

    id: str
    who: str
    why: str
    state: str = "under way"
    stage: str = "validating"
    number: int = 0
    lines: list[str] = []
    health: list[str] = []
    left: list[str] = []
    steps: list[dict[str, Any]] = []
    code: str = ""  # refused: usage (a configuration that is none), conflict (needs a restart), refused, unavailable, internal
    message: str = ""
    hint: str = ""
    changes: list[str] = []  # refused: what needs a restart
    plan: dict[str, Any] = {}  # of a dry run: `steps`, `changes`, `kept`, and whether it takes a `restart`


class Aborted(Exception):
    """Somebody stopped it; raised where a deploy sleeps."""


class Deploys:
    """Of one engine, for the life of its supervisor. Threads may share it."""

    def __init__(self, engine: str, host: Host, audit: Callable[[dict[str, Any]], None], *, history: History | None = None,
                 door: Callable[[str], Any] = open_door, look: Callable[[], Reading] | None = None) -> None:
        self._engine, self._host, self._audit, self._door = engine, host, audit, door
        self._history = history or History(engine)
        self._look = look or (lambda: read(engine))
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._now: Progress | None = None
        self._abort, self._closing = threading.Event(), threading.Event()
        self._why_aborted = ""

    # ---- commands

    def begin(self, request: Request) -> dict[str, Any]:
        """Start one; returns at once. Raises ControlError: busy while another is under way."""
        if self._closing.is_set():
            raise ControlError("unavailable", "the tree ends")
        if request.args.get("abort"):
            return self._ask_abort(f"stopped by {request.who}: {request.why}")
        with self._lock:
            if self._now is not None and self._now.id == request.id:
                return {"deploy": request.id, "state": self._now.state}
            if self._now is not None and self._now.state == "under way":
                raise ControlError("busy", f"a deploy of {self._now.who} is under way ({self._now.stage})",
                                   "wait for it, or stop it: peregrine ask deploy abort=true")  # fmt: skip
            if (found := self._by_id(request.id)) is not None:
                return {"deploy": request.id, "state": found.state}
            now = self._now = Progress(id=request.id, who=request.who, why=request.why)
            self._start(lambda door: self._whole(request, now, door), now)
        return {"deploy": request.id, "state": "under way"}

    def status(self, request_id: str = "", after: int = 0) -> dict[str, Any]:
        """How far the deploy with that id is, or the newest one; lines from number `after` on. Raises ControlError."""
        with self._lock:
            now = self._now
            ours = now is not None and request_id in ("", now.id)
            if now is not None and ours and now.stage != RESTARTING:
                return _told(now, after)
        manifest = self._by_id(now.id if now is not None and ours else request_id)
        if manifest is None and now is not None and ours:
            return _told(now, after)
        if manifest is None:
            raise ControlError("refused", f"no deploy with the id {request_id}" if request_id else "nothing was deployed yet",
                               "peregrine config history lists what was deployed")  # fmt: skip
        state, left = "under way" if manifest.state in ("applying", "verifying") else manifest.state, []
        if manifest.restart and state == "under way" and not self._history.under_way():
            manifest = self._by_id(manifest.id) or manifest  # it may have come to its end since it was read
            if manifest.state in ("applying", "verifying"):
                state, left = "failed", ["what took the tree down and up was itself cut off"]
            else:
                state = manifest.state
        return _told(Progress(id=manifest.id, who=manifest.who, why=manifest.why, state=state, stage=manifest.state, number=manifest.number,
                              health=manifest.health, left=left, steps=msgspec.to_builtins(manifest.steps),
                              lines=self._history.told(manifest.number)), after)  # fmt: skip

    def recover(self) -> None:
        """For a supervisor that has begun: what one before it left half done in this run is taken back, and the
        configuration in force is what deploys made of it."""
        run = self._host.run_folder()
        try:
            cut = self._history.unfinished()
            view, _ = self._history.now(run)
        except HistoryError as err:
            _log.error("the history of deploys cannot be used", reason=str(err), hint=err.hint)
            return
        for folder in self._history.folder.glob(SENT + "*"):
            rmtree(folder, ignore_errors=True)
        if view is not None and digest(view) != config_hash(self._host.config()):
            threading.Thread(target=self._adopt, args=(view,), name="deploy-adopt", daemon=True).start()
        if cut is None or cut.run != run or cut.restart:
            return
        with self._lock:
            now = self._now = Progress(id=cut.id, who=cut.who, why=cut.why, number=cut.number, stage="taking back")
            self._start(lambda door: self._take_back(cut.number, now, self._tools(door, now)), now)

    def stop(self, why: str) -> None:
        """The engine ends: have the one under way taken back, once; does not wait."""
        self._closing.set()
        self._stop(why)

    def _stop(self, why: str) -> None:
        self._why_aborted = why
        self._abort.set()

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """No more of them; waits for the one under way to be taken back, as long as that."""
        self.stop("its supervisor ended")
        if self._thread is not None:
            self._thread.join(timeout_s)

    # ---- on its thread

    def _start(self, work: Callable[[Any], None], now: Progress) -> None:
        self._abort.clear()
        self._thread = threading.Thread(target=self._guarded, args=(work, now), name="deploy", daemon=True)
        self._thread.start()

    def _guarded(self, work: Callable[[Any], None], now: Progress) -> None:
        door = _Later(self._engine, self._door)
        _log.info("a deploy begins", id=now.id, who=now.who, why=now.why)
        try:
            work(door)
        except ConfigError as err:
            self._refused(now, "usage", f"the configuration is not good: {err}", "peregrine config check says more")
        except DeployRefused as err:
            now.changes = [_line(c) for c in err.changes]
            self._refused(now, "conflict" if err.changes else "refused", str(err), err.hint)
        except (HistoryError, NotRunning) as err:
            self._refused(now, "unavailable", str(err), err.hint)
        except DoorError as err:
            self._refused(now, err.code, err.message, err.hint)
        except Aborted as err:
            self._refused(now, "refused", f"nothing was changed: {err}", "")
        except Exception as err:
            _log.exception("a deploy failed")
            self._refused(now, "internal", f"{type(err).__name__}: {err}", "this is a defect; the supervisor's log says more")
        finally:
            with suppress(Exception):
                door.close()
            fields = {"id": now.id, "who": now.who, "why": now.why, "number": now.number, "state": now.stage, "health": now.health,
                      "left": now.left, **({"error": f"{now.code}: {now.message}"} if now.code else {})}  # fmt: skip
            over = now.stage != RESTARTING  # else it goes on without this supervisor, and the next one tells of it
            (_log.info if now.stage in ("good", "nothing to do", "planned", RESTARTING) else _log.warning)("a deploy is over" if over else "a deploy goes on", **fields)
            self._audit({"event": "deploy", **fields})
            now.state = now.stage if over else now.state  # last: who reads it finds everything else there

    def _whole(self, request: Request, now: Progress, door: Any) -> None:
        tools = self._tools(door, now)
        self._history.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryDirectory(dir=self._history.folder, prefix=SENT) as folder:
            if (number := request.args.get("rollback")) is not None:
                job = self._rollback_job(request, number, now, tools)
            else:
                job = self._wanted(request, Path(folder))
            outcome = self._done(job, request, now, tools, Path(folder)) if job is not None else None
        if outcome is not None and outcome.state == "failed":
            self._take_back(outcome.number, now, tools, outcome)
        elif outcome is not None:
            self._over(now, outcome)

    def _done(self, job: Job, request: Request, now: Progress, tools: Tools, folder: Path) -> Outcome | None:
        """The job as it was asked for: only planned, by commands, or by a restart. None when nothing is to be told of it."""
        steps = plan_of(job)
        restart = bool(steps.needs_restart and request.args.get("restart"))
        if steps.needs_restart and not restart:
            planned(job)  # refuses, naming them
        if restart and (why := self._host.stays_down()):
            raise DeployRefused(why, "on the engine's machine: change its configuration and restart it there")
        if request.args.get("dry_run"):
            now.plan = {"steps": [s.to_json() for s in steps.steps], "changes": [c.to_json() for c in steps.changes],
                        "kept": [_line(c) for c in steps.kept], "restart": [_line(c) for c in steps.needs_restart]}  # fmt: skip
            now.stage = "planned"
            return None
        return self._apart(job, now, folder) if restart else self._deploy(job, now, tools)

    def _apart(self, job: Job, now: Progress, folder: Path) -> Outcome | None:
        """Down and up again by a process that outlives this one. None: we end before it does."""
        process = apart.begin(job, folder, self._history)
        now.stage = RESTARTING
        _log.info("a process of its own takes the tree down and up again", id=now.id, pid=process.pid)
        while process.poll() is None:
            if self._closing.wait(RETRY_S):
                return None
        manifest = self._by_id(job.id)
        if manifest is None:
            raise DeployRefused(f"the restart did not begin: {apart.last_words(folder) or f'exit code {process.returncode}'}")
        return Outcome(manifest.state, manifest.number, manifest.health, [], manifest)

    def _deploy(self, job: Job, now: Progress, tools: Tools) -> Outcome:
        try:
            return deploy(job, tools)
        except Aborted:
            manifest = self._by_id(now.id)
            if manifest is None:  # nothing was changed yet
                raise
            return Outcome(manifest.state, manifest.number, manifest.health, [], manifest)

    def _wanted(self, request: Request, folder: Path) -> Job:
        """The configuration that was sent or named, whole and judged. Raises ConfigError, DeployRefused."""
        from orchestrator.run.plan import load_policies

        args = request.args
        if "path" in args:
            name = replace(parse_name(args["path"]), regular=True)
        else:  # through a file of ours: what was sent is judged as any file is, and kept as it came
            name = parse_name(folder / "sent.yaml")
            name.path.write_bytes(args["config"])
        view = load_view(name)
        if view.config.engine.name != self._engine:
            raise DeployRefused(f"the configuration is of {view.config.engine.name}, this is {self._engine}", "engine.name says whose it is")
        load_policies(view.config)
        job = self._job(request, effective(view.config), name.text() if "path" in args else args.get("source") or f"sent by {request.who}")
        job.sources = sorted({Path(o.source) for o in view.tree.origins.values() if o.kind == "file"})
        job.over_drift = bool(args.get("over_drift"))
        return job

    def _job(self, request: Request, after: dict[str, Any], source: str) -> Job:
        now = running(self._engine, self._history, Path(self._host.run_folder()))
        return Job(
            engine=self._engine, run=now.run, before=now.now, after=after, who=request.who, why=request.why, configuration=source,
            own_limits=now.own_limits, restricted_at_start=set(now.started["risk"]["restricted_symbols"]), id=request.id,
            window_s=request.args.get("window_ms", WINDOW_MS) / 1000,
        )  # fmt: skip

    def _rollback_job(self, request: Request, number: int, now: Progress, tools: Tools) -> Job | None:
        """What ran before; None when something cut off was to be taken back, which is done then."""
        past = self._history
        cut = past.unfinished()
        number = number or (cut.number if cut else max((m.number for m in past.all() if m.state == "good" and not m.restored), default=0))
        if not number:
            raise DeployRefused(f"no good deploy to {self._engine} to go back from", f"peregrine config history {self._engine}")
        half_done = cut is not None and cut.number == number
        if cut is not None and half_done and not cut.restart:
            self._take_back(number, now, tools)
            return None
        view = past.view(number, "before")
        job = self._job(request, effective(from_effective(view)), f"before deploy {number}")
        if half_done and not plan_of(job).changes:  # a restart that was cut off, and what ran before runs again
            self._take_back(number, now, tools)
            return None
        job.restored, job.on_a_sick_engine, job.over_drift = number, True, True
        return job

    def _take_back(self, number: int, now: Progress, tools: Tools, outcome: Outcome | None = None) -> None:
        """Until all of it is back: an engine that went away comes back by itself, with what it was given."""
        until = time.monotonic() + BACK_AGAIN_S
        while True:
            if outcome is None or outcome.state == "failed":
                with suppress(HistoryError):  # somebody else is at it
                    outcome = take_back(number, tools)
            if (outcome is not None and outcome.state != "failed") or time.monotonic() > until or self._closing.wait(RETRY_S):
                break
        if outcome is None:
            self._refused(now, "unavailable", f"deploy {number} could not be taken back: another one is under way", f"peregrine config rollback {number}")
        else:
            self._over(now, outcome)

    def _tools(self, door: Door, now: Progress) -> Tools:
        def say(line: str) -> None:
            if len(now.lines) < MAX_LINES:
                now.lines.append(line)
            now.stage = line.split(" ", 1)[0].lower()

        def sleep(seconds: float) -> None:
            if self._abort.wait(seconds):
                raise Aborted(self._why_aborted)

        return Tools(door, self._look, self._history, say, sleep, self._adopt)

    def _adopt(self, view: Mapping[str, Any]) -> None:
        try:
            self._host.take_config(from_effective(view))
        except (ControlError, ConfigError, OSError) as err:  # the next supervisor does it: the history says which it is
            _log.error("the configuration deployed is not the tree's yet", reason=str(err))

    # ---- what came of it

    def _over(self, now: Progress, outcome: Outcome) -> None:
        now.number, now.health, now.left = outcome.number, list(outcome.health), list(outcome.left)
        now.steps = msgspec.to_builtins(outcome.manifest.steps) if outcome.manifest else []
        now.stage = outcome.state

    def _refused(self, now: Progress, code: str, message: str, hint: str) -> None:
        now.code, now.message, now.hint = code, message, hint
        now.stage = "refused"

    def _ask_abort(self, why: str) -> dict[str, Any]:
        with self._lock:
            if self._now is None or self._now.state != "under way":
                raise ControlError("refused", "no deploy is under way", "peregrine config history says what became of the last one")
            if self._now.stage == RESTARTING:
                raise ControlError("refused", "the tree goes down and up again: that is not stopped half way",
                                   "wait for it, then peregrine config rollback")  # fmt: skip
            self._stop(why)
            return {"deploy": self._now.id, "state": "taken back"}

    def _by_id(self, request_id: str) -> Manifest | None:
        """Of the history: the newest with this id, or the newest at all."""
        with suppress(HistoryError):
            return self._history.by_id(request_id)
        return None


def _told(progress: Progress, after: int) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(progress)
    return {**told, "lines": told["lines"][after:], "next": len(told["lines"])}


def _line(change: Change) -> str:
    return f"{change.place}: {_said(change.before)} → {_said(change.after)}"


def _said(value: Any) -> str:
    return "(absent)" if value is ABSENT else shown_value(value)


class _Later:
    """The door, opened when something is first asked of it."""

    def __init__(self, engine: str, opens: Callable[[str], Any]) -> None:
        self._engine, self._opens = engine, opens
        self._door: Any = None

    def send(self, request: Request) -> Any:
        """Pass a request on."""
        if self._door is None:
            self._door = self._opens(self._engine)
        return self._door.send(request)

    def close(self) -> None:
        """Let go."""
        if self._door is not None:
            self._door.close()
