"""`peregrine up`: the whole tree of an engine under a supervisor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli._named import Desk, Environment

ORDER = 11


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Start venue, engine and telemetry under a supervisor, and trade once all are ready. Ctrl-C ends all cleanly.")
    def up(
        config: Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file, or FOLDER#ENVIRONMENT/DESK.")] = None,
        environment: Environment = None,
        desk: Desk = None,
        profile: Annotated[str | None, typer.Option(help="A shipped profile: laptop (default) or pinned.")] = None,
        overrides: Annotated[
            list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a setting; may be repeated.")
        ] = None,
        detach: Annotated[bool, typer.Option("--detach", help="Return once it trades; it goes on without this terminal.")] = False,
        take_over: Annotated[
            bool, typer.Option("--take-over", help="Supervise the engine that runs without a supervisor, as it is.")
        ] = False,
        name: Annotated[str | None, typer.Option(help="With --take-over: which engine, where it is not the only one.")] = None,
        panel: Annotated[bool, typer.Option("--panel/--no-panel", help="Live panel in the foreground.")] = True,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object: the tree when detached, else what it came to.")] = False,
    ) -> None:
        from orchestrator.cli._errors import CliError
        from orchestrator.cli._run import load_config
        from orchestrator.cli._trees import pick_tree
        from orchestrator.supervise.daemon import Order

        if name is not None and not take_over:
            raise CliError("--name without --take-over", hint="a new tree's name is engine.name: --set engine.name=NAME")
        if take_over and (config or profile or overrides):
            raise CliError("--take-over with a configuration", hint="an engine is taken over with the one it runs with")
        if take_over:
            order = Order(take_over=pick_tree(name))
        else:
            from orchestrator.config import effective

            cfg = load_config(profile, config, list(overrides or []), "laptop", environment, desk)
            order = Order(config=effective(cfg), config_file=str(config.resolve()) if config else "",
                          attended=sys.stdin is not None and sys.stdin.isatty())
        if detach:
            _detached(order, as_json)
        else:
            _foreground(order, as_json, panel)


def _detached(order: Any, as_json: bool) -> None:
    import msgspec

    from orchestrator.observe.shards import by_thread
    from orchestrator.supervise import state_file
    from orchestrator.supervise.detach import start_daemon
    from orchestrator.supervise.panel import ready_line
    from orchestrator.supervise.view import read_view

    ready, seconds = start_daemon(order, on_stage=None if as_json else lambda stage: typer.echo(f"waiting for {stage} …", err=True))
    state = msgspec.convert(ready, state_file.TreeState)
    view = read_view(state.name)
    served = by_thread([s.thread for s in view.shards]) if view and len(view.shards) > 1 else []
    if as_json:
        typer.echo(json.dumps({**ready, "ready_s": seconds, "threads": served}))
    else:
        typer.echo(ready_line(state, seconds, view.sharing() if view else ""))


def _foreground(order: Any, as_json: bool, panel: bool) -> None:
    import msgspec

    from orchestrator.cli._errors import CliError
    from orchestrator.config import from_effective
    from orchestrator.supervise.foreground import Screen
    from orchestrator.supervise.launch import launch, take_over
    from orchestrator.supervise.panel import end_lines

    with Screen(live=panel and not as_json, quiet=as_json) as screen:
        if order.take_over:
            supervisor = take_over(order.take_over, on_round=screen.update)
        else:
            supervisor = launch(from_effective(order.config), config_file=order.config_file, on_round=screen.update,
                                attended=order.attended)
        report = supervisor.run()
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(report)))
    elif not report.code:
        typer.echo("\n".join(end_lines(report)))
    if report.code:
        notes = "".join(f"\n  {note}" for note in report.notes)
        raise CliError(f"{report.reason}{notes}", hint=report.hint or f"logs: {report.run}/logs", code=report.code)
