"""`peregrine run`: trade, live or in virtual time, and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli._named import Desk, Environment

ORDER = 10


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Trade, by default against the shipped exchange, and end with a report. Ctrl-C stops cleanly.")
    def run(
        profile: Annotated[str | None, typer.Option(help="laptop (default), pinned or replay.")] = None,
        config: Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file, or FOLDER#ENVIRONMENT/DESK.")] = None,
        environment: Environment = None,
        desk: Desk = None,
        duration: Annotated[
            str | None, typer.Option("--for", help="How long: 500ms, 15s, 2m. Without it: until stopped.")
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object instead of panel and report.")
        ] = False,
        virtual: Annotated[
            bool, typer.Option("--virtual", help="Venue and engine in virtual time, in this process.")
        ] = False,
        seed: Annotated[int | None, typer.Option(min=0, help="Seed of the shipped exchange's order flow.")] = None,
        journal: Annotated[Path | None, typer.Option(help="Folder under which the run's journal goes.")] = None,
        resume: Annotated[
            Path | None,
            typer.Option("--resume", metavar="RUN", help="Folder of an earlier run: recover its journal and trade on."),
        ] = None,
        use_snapshots: Annotated[
            bool,
            typer.Option("--snapshots/--no-snapshots", help="With --resume: start from the newest snapshot, or from the first record."),
        ] = True,
        cut_damaged_tail: Annotated[
            bool,
            typer.Option("--cut-damaged-tail", help="With --resume, after a power cut: cut the journal at the damage, keep what was cut."),
        ] = False,
        overrides: Annotated[
            list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a setting; may be repeated.")
        ] = None,
        one_process: Annotated[
            bool,
            typer.Option("--one-process", help="The engine in this very process, without a supervisor: for debuggers and profilers."),
        ] = False,
        panel: Annotated[bool, typer.Option("--panel/--no-panel", help="Live panel while it runs.")] = True,
    ) -> None:
        from orchestrator.cli._durations import duration_ns
        from orchestrator.cli._errors import CliError
        from orchestrator.cli._run import journal_errors, load_config, runner, show_result, terminable
        from orchestrator.observe.console import stderr
        from orchestrator.observe.panel import LivePanel

        for_ns = duration_ns(duration) if duration else None
        if virtual and for_ns is None:
            raise CliError("--virtual without --for", hint="say how much virtual time: --for 60s")
        if resume is not None and (virtual or seed is not None or journal is not None):
            raise CliError("--resume with --virtual, --seed or --journal", hint="the run goes on in its own folder, live")
        if resume is not None and not resume.is_dir():
            raise CliError(f"{resume} is not there", hint="the report of a run names its journal")
        if cut_damaged_tail and resume is None:
            raise CliError("--cut-damaged-tail without --resume", hint="name the run whose journal is damaged: --resume RUN")
        again: dict[str, Any] = {"resume": resume, "use_snapshots": use_snapshots, "cut_damaged_tail": cut_damaged_tail}
        changes = list(overrides or [])
        if seed is not None:
            changes.append(f"venue.seed={seed}")
        if journal is not None:
            changes.append(f"journal.dir={str(journal)!r}")
        with terminable(), journal_errors():
            try:
                cfg = load_config(profile, config, changes, "replay" if virtual else "laptop", environment, desk)
                engine = runner()
                trade = engine.run_live if one_process else engine.run_supervised
                if virtual:
                    result = engine.run_virtual(cfg, for_ns=for_ns, on_tick=None)
                elif as_json or not panel or not cfg.report.panel:
                    result = trade(cfg, for_ns=for_ns, on_tick=None, **again)
                else:
                    title = f"peregrine {cfg.name}" + (f", for {duration}" if duration else ", Ctrl-C to stop")
                    with LivePanel(stderr(), title=title, currency=cfg.account.currency) as live:
                        result = trade(cfg, for_ns=for_ns, on_tick=live.update, **again)
            except KeyboardInterrupt:
                typer.echo("stopped before trading began", err=True)
                raise typer.Exit(0) from None
        show_result(result, as_json)
        raise typer.Exit(0)
