"""`peregrine config …`: make, check, show and compare configurations; bring a changed one to a running engine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import _config_assign, _config_deploy
from orchestrator.cli._named import Desk, Environment, Settings

if TYPE_CHECKING:
    from orchestrator.config import Config, Problem, View

ORDER = 70
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Make, check, show, compare and deploy configurations.")
    group.command(help="Write a commented template: base, environments, a desk.")(init)
    group.command(help="Tell every error of a configuration at once; exit code 78 when there is one.")(check)
    group.command(help="Print a shipped profile, or a file or folder as one merged view; --origin tells where each value came from.")(show)
    group.command(help="What differs between two configurations; exit code 1 when something does.")(diff)
    _config_deploy.register(group)
    _config_assign.register(group)
    app.add_typer(group, name="config")


def init(folder: Annotated[Path, typer.Argument(help="A new or empty folder.")], as_json: AsJson = False) -> None:
    """Write the template."""
    from orchestrator.config.origin import write_template

    written = write_template(folder)
    if as_json:
        typer.echo(json.dumps({"written": [str(file) for file in written]}))
        return
    for file in written:
        typer.echo(file)
    typer.echo(f"next: peregrine config show {folder} --env development --desk rates --origin")


def check(
    file: Annotated[str | None, typer.Argument(help="File, folder, or FOLDER#ENVIRONMENT/DESK.")] = None,
    environment: Environment = None,
    desk: Desk = None,
    overrides: Settings = None,
    every: Annotated[bool, typer.Option("--all", help="Tell every problem in full, however many there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every problem at once."""
    from orchestrator.cli._errors import EXIT_CONFIG
    from orchestrator.cli._named import name_of
    from orchestrator.config import ConfigError, check_file, config_hash, load_view
    from orchestrator.config.environments import layered
    from orchestrator.config.memory import memory_mb
    from orchestrator.config.problems import IN_FULL

    view: View | None = None
    name, text = None, str(file)
    try:
        name = name_of(file, environment, desk)
        text = name.text()
        problems = check_file(name, overrides or (), os.environ)
        if not problems:
            view = load_view(name, overrides or (), environ=os.environ)
            problems = cores_problems(view.config)
    except ConfigError as err:
        if not (as_json or every):
            raise
        problems, text = err.problems, err.source or text
    if as_json:
        report: dict[str, object] = {"file": text, "ok": not problems, "errors": [p.to_json() for p in problems]}
        if not problems and view is not None:
            cfg = view.config
            report["environment"] = cfg.environment
            report["config_sha256"] = config_hash(cfg)
            report["memory_mb"] = memory_mb(cfg.instruments, cfg.feed, cfg.journal, cfg.engine)
            report["memory_budget_mb"] = cfg.engine.memory_budget_mb
        typer.echo(json.dumps(report))
        raise typer.Exit(EXIT_CONFIG if problems else 0)
    if problems or view is None:
        raise ConfigError(problems, text, layered=name is not None and layered(name),
                          limit=len(problems) if every else IN_FULL)  # fmt: skip
    cfg = view.config
    memory = memory_mb(cfg.instruments, cfg.feed, cfg.journal, cfg.engine)
    typer.echo(f"{text}: good, config {config_hash(cfg)[:12]}, pools of {memory} of {cfg.engine.memory_budget_mb} MiB")


def show(
    name: Annotated[str | None, typer.Argument(help="laptop, pinned, replay; a file; a folder, or FOLDER#ENVIRONMENT/DESK.")] = None,
    environment: Environment = None,
    desk: Desk = None,
    overrides: Settings = None,
    origin: Annotated[bool, typer.Option("--origin", help="For each value: the file and line, profile, variable or option it came from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every default filled in, as one JSON object.")] = False,
) -> None:
    """One merged view."""
    from orchestrator.cli._named import view_of
    from orchestrator.config import PROFILES, effective, profile_text
    from orchestrator.config.origin import merged_text, settings

    plain_profile = name is not None and not Path(name).exists() and "#" not in name and (environment, desk) == (None, None)
    if plain_profile and (name in PROFILES or not str(name).endswith((".yaml", ".yml"))) and not (as_json or origin or overrides):
        typer.echo(profile_text(str(name)), nl=False)
        return
    view = view_of(name, environment, desk, overrides or ())
    if not origin:
        typer.echo(json.dumps(effective(view.config)) if as_json else merged_text(view), nl=as_json)
        return
    found = settings(view)
    if as_json:
        listed = {s.place: {"value": s.value, "origin": s.origin.to_json()} for s in found}
        typer.echo(json.dumps({"configuration": view.source, "settings": listed}))
        return
    from orchestrator.config.origin import shown_value

    rows = [(s.place, shown_value(s.value), s.origin.text()) for s in found]
    wide = [min(max(len(row[i]) for row in rows), limit) for i, limit in ((0, 60), (1, 40))]
    for place, value, text in rows:
        typer.echo(f"{place.ljust(wide[0])}  {value.ljust(wide[1])}  {text}".rstrip())


def diff(
    a: Annotated[str, typer.Argument(help="Profile, file, or FOLDER#ENVIRONMENT/DESK.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    as_json: AsJson = False,
) -> None:
    """Setting by setting."""
    from orchestrator.cli._named import view_of
    from orchestrator.config import effective
    from orchestrator.config.difference import changes

    views = [view_of(text, None, None) for text in (a, b)]
    found = changes(effective(views[0].config), effective(views[1].config))
    if as_json:
        typer.echo(json.dumps({"a": views[0].source, "b": views[1].source, "changes": [c.to_json() for c in found]}))
    else:
        for line in _config_deploy.change_lines(found):
            typer.echo(line)
        if not found:
            typer.echo("no difference")
    raise typer.Exit(1 if found else 0)


def cores_problems(cfg: Config) -> list[Problem]:
    """What this machine's cores cannot give: only where the configuration insists on a core for each hot thread."""
    from orchestrator.config import ConfigError
    from orchestrator.config.cores import resolve_cores

    if cfg.engine.refuse_shared_cores:
        try:
            resolve_cores(cfg.engine)
        except ConfigError as err:
            return err.problems
    return []
