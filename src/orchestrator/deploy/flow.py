"""A deploy from beginning to end: validated → backup → applied, each command journaled → health → good, or back again.

    what was cut off      is in the manifest: the next deploy refuses until `config rollback` has taken it back
    what fails            is taken back in reverse order, each command journaled too, and said loudly
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.config.difference import Change
from orchestrator.config.plan_changes import Plan, Step, plan
from orchestrator.deploy.door import Door, DoorError, ask
from orchestrator.deploy.health import Reading, Thresholds, judge, observe, sick
from orchestrator.deploy.history import History, HistoryError, Manifest, StepDone, digest

_QUIETING = ("pause", "active_symbols")


class DeployRefused(Exception):
    """Nothing was changed; the text says why."""

    def __init__(self, message: str, hint: str = "", *, changes: list[Change] | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.changes = changes or []


@dataclass
class Job:
    """What is to be deployed to which engine, by whom and why. `before` and `after` are effective configurations."""

    engine: str
    run: str
    before: dict[str, Any]
    after: dict[str, Any]
    who: str
    why: str
    configuration: str
    sources: list[Path] = field(default_factory=list)
    own_limits: set[str] = field(default_factory=set)
    restricted_at_start: set[str] = field(default_factory=set)
    window_s: float = 10.0
    over_drift: bool = False
    on_a_sick_engine: bool = False
    restored: int = 0
    id: str = ""  # of the request it came by


@dataclass
class Outcome:
    """What came of it. `state`: good, rolled back, failed, or nothing to do."""

    state: str
    number: int = 0
    health: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # what a failed rollback could not take back
    manifest: Manifest | None = None

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        steps = msgspec.to_builtins(self.manifest.steps) if self.manifest else []
        return {"state": self.state, "number": self.number, "health": self.health, "left": self.left, "steps": steps}


@dataclass(frozen=True)
class Tools:
    """What a deploy works with: the control API, a look at the engine, its history, a line for people. `adopt` gets the
    configuration that is in force once it was found good: what the tree would be restarted with."""

    door: Door
    look: Callable[[], Reading]
    history: History
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    adopt: Callable[[Mapping[str, Any]], None] | None = None


def plan_of(job: Job) -> Plan:
    """What a job comes to: commands, and changes that need a restart."""
    return plan(job.before, job.after, own_limits=job.own_limits, restricted_at_start=job.restricted_at_start)


def planned(job: Job) -> Plan:
    """The commands a job comes to. Raises DeployRefused, naming each change that needs a restart."""
    found = plan_of(job)
    if found.needs_restart:
        raise DeployRefused(f"{len(found.needs_restart)} of {len(found.changes)} changes need a restart of the engine",
                            "deploy the rest alone, or add --restart: down and up again", changes=found.needs_restart)  # fmt: skip
    return found


def deploy(job: Job, tools: Tools) -> Outcome:
    """Do it. Raises DeployRefused when nothing was changed, HistoryError for a history that cannot be used."""
    with tools.history.locked():
        if (cut := tools.history.unfinished()) is not None and job.restored != cut.number and (cut.run == job.run or cut.restart):
            raise DeployRefused(f"deploy {cut.number} of {cut.who} is {cut.state}: what it did is not known to be whole",
                                f"peregrine config rollback {cut.number}")  # fmt: skip
        steps = planned(job)
        if not steps.changes:
            return Outcome("nothing to do")
        if steps.steps and (differing := drift(job, tools)) and not job.over_drift:
            raise DeployRefused("limits in force are not those of the running configuration: " + "; ".join(differing),
                                "somebody set them by hand: put them into the configuration, or --over-drift")  # fmt: skip
        limits = Thresholds.of(job.before)
        first, last, why = observe(tools.look, min(job.window_s / 2, 3.0), limits, sleep=tools.sleep)
        found = sick(last) + ([why] if why else [])
        if found and not job.on_a_sick_engine:
            raise DeployRefused("the engine is not well before the change: " + "; ".join(found), "put that right first; `config rollback` works on a sick engine too")
        return _apply(job, steps, tools, limits, (first, last))


def _apply(job: Job, steps: Plan, tools: Tools, limits: Thresholds, baseline: tuple[Reading, Reading]) -> Outcome:
    manifest = Manifest(
        number=0, engine=job.engine, who=job.who, why=job.why, when_ns=time.time_ns(), configuration=job.configuration,
        before_sha256=digest(job.before), after_sha256=digest(job.after), run=job.run, restored=job.restored,
        id=job.id,
    )  # fmt: skip
    manifest = tools.history.begin(manifest, job.before, job.after, job.sources)
    tools.say(f"backup     {tools.history.path_of(manifest.number, 'before')}")
    problems: list[str] = []
    try:
        _note(tools, manifest, f"deploy {manifest.number} begins: {manifest.after_sha256[:12]}")
        for i, step in enumerate(steps.steps, 1):
            _do(tools, manifest, step)
            where = ", ".join(f"shard {e['shard']} seq {e['seq']}" for e in manifest.steps[-1].effects)
            tools.say(f"applied    {i}/{len(steps.steps)} {step.says}" + (f"  [{where}]" if where else ""))
        manifest.state = "verifying"
        tools.history.save(manifest)
        tools.say(f"verifying  {job.window_s:g} s")
        first, last, why = observe(tools.look, job.window_s, limits, before=baseline[1], sleep=tools.sleep)
        quiet = any(step.cmd in _QUIETING for step in steps.steps)
        problems = [why] if why else judge(baseline, (first, last), limits, may_be_quiet=quiet)
    except DoorError as err:
        problems = [f"{manifest.steps[-1].says if manifest.steps else 'the first command'}: {err.message}"]
    except BaseException as err:
        _roll_back(tools, manifest, [f"cut off: {err or type(err).__name__}"])
        raise
    if problems:
        return _roll_back(tools, manifest, problems)
    manifest.state = "good"
    tools.history.save(manifest)
    _note(tools, manifest, f"deploy {manifest.number} is good", required=False)
    if tools.adopt is not None:
        tools.adopt(job.after)
    return Outcome("good", manifest.number, manifest=manifest)


def _do(tools: Tools, manifest: Manifest, step: Step) -> None:
    done = StepDone(cmd=step.cmd, args=step.args, says=step.says, undo=list(step.undo), id=uuid.uuid4().hex)
    manifest.steps.append(done)
    tools.history.save(manifest)  # before it is sent: what was cut off may have been done
    try:
        reply = ask(tools.door, step.cmd, step.args, who=manifest.who, why=_why(manifest), id=done.id)
    except DoorError as err:
        done.state, done.error = "refused", f"{err.code}: {err.message}"
        tools.history.save(manifest)
        raise
    done.state = "done"
    done.effects = [{"shard": e.shard, "seq": e.seq, "ts_ns": e.ts_ns} for e in reply.effects]
    tools.history.save(manifest)


def _roll_back(tools: Tools, manifest: Manifest, problems: list[str]) -> Outcome:
    """Take every step back, the last first; also one that was refused, for a shard may have taken it."""
    manifest.health = problems
    for problem in problems:
        tools.say(f"UNHEALTHY  {problem}")
    tools.say(f"ROLLBACK   deploy {manifest.number} is taken back")
    left: list[str] = []
    for step in reversed(manifest.steps):
        if step.state == "undone":
            continue
        try:
            for cmd, args in step.undo:
                reply = ask(tools.door, cmd, args, who=manifest.who, why=f"{_why(manifest)}, taken back"[:160])
                where = ", ".join(f"shard {e.shard} seq {e.seq}" for e in reply.effects)
                tools.say(f"undone     {step.says}" + (f"  [{where}]" if where else ""))
            step.state = "undone"
        except DoorError as err:
            left.append(f"{step.says}: {err.message}")
            tools.say(f"NOT UNDONE {left[-1]}")
        tools.history.save(manifest)
    manifest.state = "failed" if left else "rolled back"
    tools.history.save(manifest)
    _note(tools, manifest, f"deploy {manifest.number} was taken back: {'; '.join(problems)}", required=False)
    return Outcome(manifest.state, manifest.number, problems, left, manifest)


def take_back(number: int, tools: Tools) -> Outcome:
    """Finish the rollback of a deploy that was cut off or could not be taken back. Raises HistoryError."""
    with tools.history.locked():
        manifest = tools.history.get(number)
        if manifest.state not in ("applying", "verifying", "failed"):
            raise HistoryError(f"deploy {number} is {manifest.state}: nothing is left of it to take back")
        problem = f"deploy {number} was {'cut off' if manifest.state != 'failed' else 'not taken back whole'}"
        return _roll_back(tools, manifest, list(dict.fromkeys([*manifest.health, problem])))


def drift(job: Job, tools: Tools) -> list[str]:
    """Limits in force that are not the running configuration's; empty where the engine does not tell."""
    try:
        reply = ask(tools.door, "limits.get", {}, who=job.who, why="")
    except DoorError as err:
        if err.code in ("usage", "denied"):
            return []
        raise DeployRefused(f"the engine cannot be reached: {err.message}", err.hint) from err
    data = reply.data if isinstance(reply.data, Mapping) else {}
    told: dict[str, Any] = {**data.get("symbols_default", {}), **data.get("account", {})}
    risk = dict(job.before["risk"])
    if risk.get("short_sales") == "refuse":
        risk["max_short_lots"] = 0
    out = [f"{name} is {told[name]}, configured {risk[name]}" for name in sorted(told) if name in risk and told[name] != risk[name]]
    for symbol, own in sorted(data.get("symbols", {}).items()):
        wanted = {**{name: risk[name] for name in own if name in risk}, **risk["by_symbol"].get(symbol, {})}
        if risk.get("short_sales") == "refuse":
            wanted["max_short_lots"] = 0
        out += [f"{name} of {symbol} is {own[name]}, configured {wanted[name]}" for name in sorted(own) if name in wanted and own[name] != wanted[name]]
    return out


def _note(tools: Tools, manifest: Manifest, text: str, *, required: bool = True) -> None:
    """A line in the journal beside the commands."""
    try:
        ask(tools.door, "note", {"text": text[:100]}, who=manifest.who, why=_why(manifest))
    except DoorError:
        if required:
            raise


def _why(manifest: Manifest) -> str:
    return f"deploy {manifest.number}: {manifest.why}"[:160]
