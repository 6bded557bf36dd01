"""`peregrine config check FILE` and `peregrine config show NAME`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import _config_assign

if TYPE_CHECKING:
    from orchestrator.config import Config, Problem

ORDER = 70


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Check a configuration file, or print a shipped profile.")

    @group.command(help="Tell every error of a file at once; exit code 78 when there is one.")
    def check(
        file: Annotated[Path, typer.Argument(help="The file to check.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        from orchestrator.cli._errors import EXIT_CONFIG
        from orchestrator.config import ConfigError, check_file, config_hash, load_file
        from orchestrator.config.memory import memory_mb

        try:
            problems = check_file(file) or cores_problems(load_file(file))
        except ConfigError as err:
            if not as_json:
                raise
            problems = err.problems
        if as_json:
            report: dict[str, object] = {
                "file": str(file),
                "ok": not problems,
                "errors": [p.to_json() for p in problems],
            }
            if not problems:
                cfg = load_file(file)
                report["config_sha256"] = config_hash(cfg)
                report["memory_mb"] = memory_mb(cfg.instruments, cfg.feed, cfg.journal, cfg.engine)
                report["memory_budget_mb"] = cfg.engine.memory_budget_mb
            typer.echo(json.dumps(report))
            raise typer.Exit(EXIT_CONFIG if problems else 0)
        if problems:
            raise ConfigError(problems, str(file))
        cfg = load_file(file)
        memory = memory_mb(cfg.instruments, cfg.feed, cfg.journal, cfg.engine)
        typer.echo(f"{file}: good, config {config_hash(cfg)[:12]}, pools of {memory} of {cfg.engine.memory_budget_mb} MiB")

    @group.command(help="Print a shipped profile: laptop, pinned or replay.")
    def show(
        name: Annotated[str, typer.Argument(help="laptop, pinned or replay.")],
        as_json: Annotated[
            bool, typer.Option("--json", help="Print it with every default filled in, as JSON.")
        ] = False,
    ) -> None:
        from orchestrator.config import effective, load_profile, profile_text

        if as_json:
            typer.echo(json.dumps(effective(load_profile(name))))
        else:
            typer.echo(profile_text(name), nl=False)

    _config_assign.register(group)
    app.add_typer(group, name="config")


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
