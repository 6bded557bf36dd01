"""`peregrine doctor`: is this machine fit to trade on, what would make it so, and a unit for systemd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli._named import Desk, Environment

ORDER = 60


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Check this machine; each finding comes with its fix. Exit code 69 when trading would fail.")
    def doctor(
        profile: Annotated[str | None, typer.Option(help="Profile to judge the machine for (laptop).")] = None,
        config: Annotated[Path | None, typer.Option("-c", "--config", help="Configuration to judge it for: a file, or FOLDER#ENVIRONMENT/DESK.")] = None,
        environment: Environment = None,
        desk: Desk = None,
        fix_plan: Annotated[bool, typer.Option("--fix-plan", help="Print a script that would make this machine fit; run nothing.")] = False,
        systemd: Annotated[bool, typer.Option("--systemd", help="Print a systemd unit for this machine and configuration.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        from orchestrator.cli._errors import EXIT_USAGE, CliError
        from orchestrator.cli._run import load_config

        if fix_plan and systemd:
            raise CliError("--fix-plan and --systemd print two different files", hint="one after the other", code=EXIT_USAGE)
        cfg = load_config(profile, config, [], "laptop", environment, desk)
        if fix_plan:
            _fix_plan(cfg, as_json)
        elif systemd:
            _unit(cfg, config, as_json)
        else:
            _examine(cfg, as_json)


def _fix_plan(cfg: Any, as_json: bool) -> None:
    from orchestrator.observe.fix_plan import make_plan
    from orchestrator.observe.fix_script import script

    plan = make_plan(cfg)
    typer.echo(json.dumps({**plan.to_json(), "script": script(plan)}) if as_json else script(plan), nl=as_json)


def _unit(cfg: Any, config: Path | None, as_json: bool) -> None:
    from orchestrator.supervise.unit import unit_for

    unit = unit_for(cfg, config.absolute() if config else None)
    typer.echo(json.dumps({"name": unit.name, "path": unit.path, "unit": unit.text}) if as_json else unit.text, nl=as_json)


def _examine(cfg: Any, as_json: bool) -> None:
    from orchestrator.cli._errors import EXIT_UNAVAILABLE
    from orchestrator.config.cores import hot_threads
    from orchestrator.config.memory import memory_mb
    from orchestrator.observe.clock_sync import read_clock
    from orchestrator.observe.doctor import Needs, examine
    from orchestrator.observe.machine import describe, one_line

    findings = examine(
        Needs(
            ring_mb=cfg.journal.ring_mb * cfg.engine.shards,
            memory_mb=cfg.engine.memory_budget_mb,
            pools_mb=memory_mb(cfg.instruments, cfg.feed, cfg.journal, cfg.engine),
            journal_dir=cfg.journal.dir,
            hot_threads=len(hot_threads(cfg.engine)),
            pinned=cfg.engine.refuse_shared_cores,
            device_address=cfg.device.address,
            device_needed=cfg.policies.placement == "device" and cfg.device.backend == "vfio",
        )
    )
    failed = any(f.status == "fail" for f in findings)
    machine = describe()
    if as_json:
        found = [f.to_json() for f in findings]
        typer.echo(json.dumps({"ok": not failed, "machine": machine, "clock": read_clock().to_json(), "findings": found}))
    else:
        _show(findings, one_line(machine))
    raise typer.Exit(EXIT_UNAVAILABLE if failed else 0)


def _show(findings: list, machine: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.observe.console import stdout

    console = stdout()
    console.print(machine, style="dim", highlight=False, markup=False)
    table = Table(box=None, show_header=False, padding=(0, 1))
    style = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for finding in findings:
        table.add_row(Text(finding.status, style[finding.status]), Text(finding.name), Text(finding.found))
        if finding.fix and finding.status != "ok":
            table.add_row("", "", Text(f"fix: {finding.fix}", style="cyan"))
    console.print(table)
    counts = {status: sum(f.status == status for f in findings) for status in style}
    console.print(f"{counts['ok']} ok, {counts['warn']} to improve, {counts['fail']} in the way", highlight=False)
    console.print("all of it as a script to read: peregrine doctor --fix-plan", style="dim", highlight=False)
