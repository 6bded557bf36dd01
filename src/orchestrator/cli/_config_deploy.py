"""`peregrine config deploy`, `history` and `rollback`."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestrator.cli._errors import EXIT_CONFIG, EXIT_INTERNAL, EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
from orchestrator.cli._named import Desk, Environment, Settings

if TYPE_CHECKING:
    from orchestrator.cli._control import Options
    from orchestrator.config.difference import Change
    from orchestrator.deploy.flow import Job, Outcome, Tools

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Who = Annotated[str | None, typer.Option("--who", help="Who asks for it; without it this user.")]
Why = Annotated[str, typer.Option("--why", help="Why: it goes into the journal and the history.")]
Window = Annotated[str, typer.Option("--window", help="How long the engine is watched afterwards: 500ms, 10s, 2m.")]
Restart = Annotated[bool, typer.Option("--restart", help="Down and up again where a change needs it.")]
Remote = Annotated[str | None, typer.Option("--remote", metavar="HOST:PORT", help="The engine's supervisor on another machine.")]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="With --remote: your key file.")]
ServerKey = Annotated[str | None, typer.Option("--server-key", metavar="KEY|FILE", help="With --remote: the server's public key.")]
POLL_S = 0.1
AWAY_S = 180.0  # a tree that goes down and up answers again by then
SOURCE_CHARS = 200


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
    restart: Restart = False,
    over_drift: Annotated[bool, typer.Option("--over-drift", help="Even where limits were set by hand since.")] = False,
    remote: Remote = None,
    key: Key = None,
    server_key: ServerKey = None,
    as_json: AsJson = False,
) -> None:
    """Bring a configuration to the running engine of its name."""
    from orchestrator.cli._control import Options
    from orchestrator.cli._named import view_of
    from orchestrator.config import effective
    from orchestrator.run.plan import load_policies

    view = view_of(config, environment, desk, overrides or ())
    if not why and not dry_run:
        raise CliError("a deploy needs a reason", hint="--why 'TICKET-12: smaller orders'")
    engine, after = view.config.engine.name, effective(view.config)
    if remote is None:
        load_policies(view.config)  # an artifact that cannot be loaded is a bad configuration
        with _errors():
            _before_it_is_sent(engine, after, view, who, why, window, dry_run, restart, as_json)
    args = {"config": json.dumps(after).encode(), "source": view.source[:SOURCE_CHARS],
            **{name: True for name, on in (("over_drift", over_drift), ("dry_run", dry_run), ("restart", restart)) if on}}
    options = Options(name=None if remote else engine, remote=remote, key=key, server_key=server_key, why=why or "dry run", who=_person(who),
                      as_json=as_json)  # fmt: skip
    _bring(options, args, window, _files_of(view) if remote is None else [])


def _files_of(view: Any) -> list[Path]:
    return sorted({Path(o.source) for o in view.tree.origins.values() if o.kind == "file"})


def _before_it_is_sent(engine: str, after: dict[str, Any], view: Any, who: str | None, why: str, window: str, dry_run: bool, restart: bool,
                       as_json: bool) -> None:
    """What needs a restart is refused here, or done by one; a dry run ends here."""
    from orchestrator.deploy.flow import DeployRefused, plan_of, planned

    job, tools = _job(engine, after, who, why, view.source, window, as_json)
    job.sources = _files_of(view)
    steps = plan_of(job)
    try:
        if not (restart and steps.needs_restart):
            planned(job)
        elif not dry_run:
            from orchestrator.deploy.restart import deploy_by_restart

            _end(deploy_by_restart(job, tools), as_json)
    except DeployRefused as err:
        listed = "".join(f"\n    {line}" for line in change_lines(err.changes))
        raise CliError(f"{err}{listed}", hint=err.hint, code=EXIT_CONFIG) from err
    if dry_run:
        _show_plan({"steps": [s.to_json() for s in steps.steps], "changes": [c.to_json() for c in steps.changes],
                    "kept": change_lines(steps.kept), "restart": change_lines(steps.needs_restart)}, as_json)  # fmt: skip


def history(
    engine: Annotated[str | None, typer.Argument(help="Engine's name; without it every engine that has a history.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what was deployed."""
    import msgspec

    from orchestrator.deploy.history import History, state_dir
    from orchestrator.supervise import paths

    known = sorted(p.parent.name for p in state_dir("x").parent.parent.glob("*/deploys"))
    names = [engine] if engine else known
    if engine and engine not in known and engine not in paths.names():
        listed = ", ".join(sorted({*known, *paths.names()})) or "there is none"
        raise CliError(f"no engine {engine} here, and nothing was deployed to one of that name", hint=f"engines: {listed}", code=EXIT_UNAVAILABLE)
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
    restart: Restart = False,
    remote: Remote = None,
    key: Key = None,
    server_key: ServerKey = None,
    as_json: AsJson = False,
) -> None:
    """Deploy what ran before."""
    from orchestrator.cli._control import Options
    from orchestrator.deploy.history import state_dir

    if engine is None and remote is None:
        names = sorted(p.parent.name for p in state_dir("x").parent.parent.glob("*/deploys"))
        if len(names) != 1:
            raise CliError("which engine?" if names else "nothing was deployed yet", hint=f"--name {' or '.join(names)}" if names else "")
        engine = names[0]
    options = Options(name=engine, remote=remote, key=key, server_key=server_key, why=why, who=_person(who), as_json=as_json)
    _bring(options, {"rollback": number or 0, **({"restart": True} if restart else {})}, window)


def _bring(options: Options, args: dict[str, Any], window: str, sources: list[Path] | None = None) -> NoReturn:
    """Have the supervisor do it, tell how it goes, and leave with the exit code of what came of it. `sources` are kept
    beside the backup, where it is on this machine."""
    from orchestrator.cli._control import cli_error
    from orchestrator.cli._durations import duration_ns
    from orchestrator.cli._run import terminable
    from orchestrator.control.errors import ControlError

    args = {**args, "window_ms": max(100, duration_ns(window) // 1_000_000)}
    with options.client() as client, terminable():
        try:
            begun = client.call("deploy", args, why=options.reason(), who=options.person()).data["deploy"]
            told = _follow(client, begun, options, away_s=AWAY_S if args.get("restart") else 0.0)
        except ControlError as err:
            raise cli_error(err) from err
    if told["state"] == "planned":
        _show_plan(told["plan"], options.as_json)
    if sources and told["number"]:
        from orchestrator.deploy.history import History

        History(options.name or "").keep(told["number"], sources)
    _tell(told, options.as_json)


def _follow(client: Any, begun: str, options: Options, away_s: float = 0.0) -> dict[str, Any]:
    """Until it is over; Ctrl-C has it taken back. Lines go to stderr where JSON is wanted. `away_s`: the supervisor may be gone
    for so long, since the tree goes down and up."""
    from orchestrator.control.errors import ControlError

    seen, heard_s = 0, time.monotonic()
    while True:
        try:
            told: dict[str, Any] = client.call("deploy.status", {"id": begun, "after": seen}).data
            heard_s = time.monotonic()
            for line in told["lines"]:
                typer.echo(line, err=options.as_json)
            seen = told["next"]
            if told["state"] != "under way":
                return told
            time.sleep(POLL_S)
        except ControlError as err:
            if err.code not in ("timeout", "unavailable") or time.monotonic() - heard_s > away_s:
                raise
            time.sleep(POLL_S)
        except KeyboardInterrupt:
            typer.echo("interrupted: it is taken back", err=True)
            client.call("deploy", {"abort": True}, why="interrupted", who=options.person())


def _tell(told: dict[str, Any], as_json: bool) -> NoReturn:
    if told["state"] == "refused":
        listed = "".join(f"\n    {line}" for line in told["changes"])
        code = {"usage": EXIT_CONFIG, "conflict": EXIT_CONFIG, "refused": EXIT_TRY_AGAIN, "internal": EXIT_INTERNAL}.get(told["code"], EXIT_UNAVAILABLE)
        raise CliError(f"nothing was changed: {told['message']}{listed}", hint=told["hint"], code=code)
    _over(told["state"], told["number"], told["health"], told["left"],
          {name: told[name] for name in ("state", "number", "health", "left", "steps", "id")}, as_json)  # fmt: skip


def _person(who: str | None) -> str:
    return who or f"{getpass.getuser()}@{socket.gethostname()}"[:64]


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
    from orchestrator.deploy.restart import NoDoor
    from orchestrator.deploy.running import running

    past = History(engine)
    now = running(engine, past)
    job = Job(
        engine=engine, run=now.run, before=now.now, after=effective(from_effective(after)), who=_person(who),
        why=why, configuration=configuration, own_limits=now.own_limits, window_s=duration_ns(window) / 1e9,
        restricted_at_start=set(now.started["risk"]["restricted_symbols"]),
    )  # fmt: skip
    return job, Tools(NoDoor(), lambda: read(engine), past, lambda line: typer.echo(line, err=as_json))


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


def _show_plan(plan: dict[str, Any], as_json: bool) -> NoReturn:
    """What a dry run found: `steps`, `changes`, and as lines what is `kept` and what takes a `restart`."""
    if as_json:
        typer.echo(json.dumps(plan))
        raise typer.Exit(0)
    if plan["restart"]:
        typer.echo("down and up again, for the sake of:")
    for line in plan["restart"]:
        typer.echo(f"    {line}")
    for i, step in enumerate([] if plan["restart"] else plan["steps"], 1):
        typer.echo(f"{i}. {step['cmd'].ljust(14)} {step['says']}")
    for line in plan["kept"]:
        typer.echo(f"kept: {line}")
    if not plan["changes"]:
        typer.echo("nothing to do: that is what runs")
    raise typer.Exit(0)


def _end(outcome: Outcome, as_json: bool) -> NoReturn:
    """Print what came of it and leave with its exit code."""
    _over(outcome.state, outcome.number, outcome.health, outcome.left, outcome.to_json(), as_json)


def _over(state: str, number: int, health: list[str], left: list[str], whole: dict[str, Any], as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps(whole))
    else:
        typer.echo("nothing to do: that is what runs" if state == "nothing to do" else f"deploy {number}: {state}")
    if state in ("good", "nothing to do"):
        raise typer.Exit(0)
    if state == "rolled back":
        raise CliError(f"deploy {number} was rolled back: {'; '.join(health)}",
                       hint="the engine runs as before; the history has both configurations", code=EXIT_TRY_AGAIN)  # fmt: skip
    raise CliError(f"deploy {number} FAILED and could not be taken back whole: {'; '.join(left)}",
                   hint=f"peregrine kill stops the engine; peregrine config rollback {number} tries again", code=EXIT_INTERNAL)  # fmt: skip
