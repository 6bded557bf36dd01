"""`peregrine config deploy`, `history` and `rollback`."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli._errors import EXIT_CONFIG, EXIT_INTERNAL, EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
from orchestrator.cli._named import Desk, Environment, Settings

if TYPE_CHECKING:
    from orchestrator.config.difference import Change
    from orchestrator.deploy.flow import Job, Outcome, Tools

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Who = Annotated[str | None, typer.Option("--who", help="Who asks for it; without it this user.")]
Why = Annotated[str, typer.Option("--why", help="Why: it goes into the journal and the history.")]
Window = Annotated[str, typer.Option("--window", help="How long the engine is watched afterwards: 500ms, 10s, 2m.")]


def register(group: typer.Typer) -> None:
    """Add the commands to `peregrine config`."""
    group.command(help="Validate, back up, apply by journaled commands, watch, and take back what does not do well (exit code 75).")(deploy)
    group.command(help="What was deployed to an engine: when, by whom, why, and what came of it.")(history)
    group.command(help="Go back to what ran before the last good deploy, or before deploy N; finish one that was cut off.")(rollback)


def deploy(
    config: Annotated[str | None, typer.Option("-c", "--config", help="File, folder, or FOLDER#ENVIRONMENT/DESK.")] = None,
    environment: Environment = None,
    desk: Desk = None,
    overrides: Settings = None,
    who: Who = None,
    why: Why = "",
    window: Window = "10s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Down and up again where a change needs it.")] = False,
    over_drift: Annotated[bool, typer.Option("--over-drift", help="Even where limits were set by hand since.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a configuration to the running engine of its name."""
    from orchestrator.cli._named import view_of
    from orchestrator.config import effective
    from orchestrator.deploy.flow import DeployRefused, planned
    from orchestrator.run.plan import load_policies

    view = view_of(config, environment, desk, overrides or ())
    load_policies(view.config)  # an artifact that cannot be loaded is a bad configuration
    if not why and not dry_run:
        raise CliError("a deploy needs a reason", hint="--why 'TICKET-12: smaller orders'")
    sources = sorted({Path(o.source) for o in view.tree.origins.values() if o.kind == "file"})
    with _errors():
        job, tools = _job(view.config.engine.name, effective(view.config), who, why, view.source, window, as_json)
        job.sources, job.over_drift = sources, over_drift
        try:
            steps = planned(job)
        except DeployRefused as err:
            if restart and not dry_run:
                from orchestrator.deploy.restart import deploy_by_restart

                _end(deploy_by_restart(job, tools), as_json)
            listed = "".join(f"\n    {line}" for line in change_lines(err.changes))
            raise CliError(f"{err}{listed}", hint=err.hint, code=EXIT_CONFIG) from err
        if dry_run:
            _show_plan(steps, as_json)
            return
        from orchestrator.deploy.flow import deploy as run_deploy

        with _door(tools):
            _end(run_deploy(job, tools), as_json)


def history(
    engine: Annotated[str | None, typer.Argument(help="Engine's name; without it every engine that has a history.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what was deployed."""
    import msgspec

    from orchestrator.deploy.history import History, state_dir

    names = [engine] if engine else sorted(p.parent.name for p in state_dir("x").parent.parent.glob("*/deploys"))
    with _errors():
        found = [m for name in names for m in History(name).all()]
    if as_json:
        typer.echo(json.dumps({"deploys": msgspec.to_builtins(found)}))
        return
    for m in found:
        when = dt.datetime.fromtimestamp(m.when_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")
        what = f"takes back {m.restored}" if m.restored else m.configuration
        typer.echo(f"{m.engine} {m.number:>4}  {when}  {m.state.ljust(11)}  {m.who}: {m.why or '-'}  "
                   f"[{what}, {m.before_sha256[:12]} → {m.after_sha256[:12]}, {len(m.steps)} commands]")  # fmt: skip
        for problem in m.health:
            typer.echo(f"      unhealthy: {problem}")
    if not found:
        typer.echo("nothing was deployed yet", err=True)


def rollback(
    number: Annotated[int | None, typer.Argument(help="Deploy to go back before; without it the last good one.")] = None,
    engine: Annotated[str | None, typer.Option("--name", help="Engine's name, where more than one has a history.")] = None,
    who: Who = None,
    why: Why = "rollback",
    window: Window = "10s",
    as_json: AsJson = False,
) -> None:
    """Deploy what ran before."""
    from orchestrator.deploy.flow import DeployRefused, take_back
    from orchestrator.deploy.flow import deploy as run_deploy
    from orchestrator.deploy.history import History, state_dir

    if engine is None:
        names = sorted(p.parent.name for p in state_dir("x").parent.parent.glob("*/deploys"))
        if len(names) != 1:
            raise CliError("which engine?" if names else "nothing was deployed yet", hint=f"--name {' or '.join(names)}" if names else "")
        engine = names[0]
    with _errors():
        past = History(engine)
        cut = past.unfinished()
        if number is None:
            good = [m.number for m in past.all() if m.state == "good" and not m.restored]
            number = cut.number if cut else (good[-1] if good else None)
        if number is None:
            raise CliError(f"no good deploy to {engine} to go back from", hint=f"peregrine config history {engine}")
        job, tools = _job(engine, past.view(number, "before"), who, why, f"before deploy {number}", window, as_json)
        job.restored, job.on_a_sick_engine, job.over_drift = number, True, True
        with _door(tools):
            if cut is not None and cut.number == number:
                outcome = take_back(number, tools)
                outcome.state = "good" if outcome.state == "rolled back" else outcome.state
                _end(outcome, as_json)
            try:
                _end(run_deploy(job, tools), as_json)
            except DeployRefused as err:
                listed = "".join(f"\n    {line}" for line in change_lines(err.changes))
                file = past.path_of(number, "before")
                raise CliError(f"{err}{listed}", hint=f"peregrine config deploy -c {file} --restart --why …" if err.changes else err.hint,
                               code=EXIT_CONFIG if err.changes else EXIT_TRY_AGAIN) from err  # fmt: skip


def change_lines(found: list[Change]) -> list[str]:
    """Differences for people: a line each."""
    from orchestrator.config.difference import ABSENT
    from orchestrator.config.origin import shown_value

    def said(value: Any) -> str:
        return "(absent)" if value is ABSENT else shown_value(value)

    return [f"{c.place}: {said(c.before)} → {said(c.after)}" for c in found]


def _job(engine: str, after: dict[str, Any], who: str | None, why: str, configuration: str, window: str, as_json: bool) -> tuple[Job, Tools]:
    from orchestrator.cli._durations import duration_ns
    from orchestrator.config import effective, from_effective
    from orchestrator.deploy.flow import Job, Tools
    from orchestrator.deploy.health import read
    from orchestrator.deploy.history import History
    from orchestrator.deploy.running import running

    past = History(engine)
    now = running(engine, past)
    job = Job(
        engine=engine, run=now.run, before=now.now, after=effective(from_effective(after)), who=who or f"{getpass.getuser()}@{socket.gethostname()}"[:64],
        why=why, configuration=configuration, own_limits=now.own_limits, window_s=duration_ns(window) / 1e9,
        restricted_at_start=set(now.started["risk"]["restricted_symbols"]),
    )  # fmt: skip
    return job, Tools(_Later(engine), lambda: read(engine), past, lambda line: typer.echo(line, err=as_json))


class _Later:
    """The door, opened when something is first asked of it."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._door: Any = None

    def send(self, request: Any) -> Any:
        """Pass a request on."""
        from orchestrator.deploy.door import open_door

        if self._door is None:
            self._door = open_door(self._engine)
        return self._door.send(request)

    def close(self) -> None:
        """Let go."""
        if self._door is not None:
            self._door.close()


@contextlib.contextmanager
def _door(tools: Any) -> Iterator[None]:
    from orchestrator.cli._run import terminable

    try:
        with terminable():
            yield
    finally:
        tools.door.close()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    from orchestrator.deploy.door import DoorError
    from orchestrator.deploy.flow import DeployRefused
    from orchestrator.deploy.history import HistoryError
    from orchestrator.deploy.running import NotRunning

    try:
        yield
    except DeployRefused as err:
        raise CliError(f"nothing was changed: {err}", hint=err.hint, code=EXIT_TRY_AGAIN) from err
    except (HistoryError, NotRunning, DoorError) as err:
        raise CliError(str(err), hint=err.hint, code=EXIT_UNAVAILABLE) from err


def _show_plan(steps: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"steps": [s.to_json() for s in steps.steps], "changes": [c.to_json() for c in steps.changes]}))
        return
    for i, step in enumerate(steps.steps, 1):
        typer.echo(f"{i}. {step.cmd.ljust(14)} {step.says}")
    for line in change_lines(steps.kept):
        typer.echo(f"kept: {line}")
    if not steps.changes:
        typer.echo("nothing to do: that is what runs")


def _end(outcome: Outcome, as_json: bool) -> None:
    """Print what came of it and leave with its exit code."""
    if as_json:
        typer.echo(json.dumps(outcome.to_json()))
    elif outcome.state == "nothing to do":
        typer.echo("nothing to do: that is what runs")
    else:
        typer.echo(f"deploy {outcome.number}: {outcome.state}")
    if outcome.state in ("good", "nothing to do"):
        raise typer.Exit(0)
    if outcome.state == "rolled back":
        raise CliError(f"deploy {outcome.number} was rolled back: {'; '.join(outcome.health)}",
                       hint="the engine runs as before; the history has both configurations", code=EXIT_TRY_AGAIN)  # fmt: skip
    raise CliError(f"deploy {outcome.number} FAILED and could not be taken back whole: {'; '.join(outcome.left)}",
                   hint=f"peregrine kill stops the engine; peregrine config rollback {outcome.number} tries again", code=EXIT_INTERNAL)  # fmt: skip
