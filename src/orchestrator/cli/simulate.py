"""`peregrine simulate`: engine, venue, network and disk in virtual time, ended at every record and every send."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from peregrine_sim.simulate import Seed

ORDER = 35
KEEP = Path("build/simulate")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Search for a lost, doubled or forbidden order: the engine is ended after every journal record and every send, "
                      "recovered, and judged by the venue's own record. Exit code 1 when a seed fails.")
    def simulate(
        seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
        seeds: Annotated[int, typer.Option(min=1, help="How many, from --seed on.")] = 1,
        jobs: Annotated[int, typer.Option(min=0, help="Processes; 0 = one for each core this one may use.")] = 0,
        cut: Annotated[str, typer.Option(help="Only the run cut there: none, record, send, disk or lease.")] = "",
        number: Annotated[int, typer.Option(min=0, help="With --cut: which record, which send, how many bytes of disk.")] = 0,
        keep: Annotated[Path, typer.Option(help="Where the journal of a failing seed is left.")] = KEEP,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        from orchestrator.cli._errors import CliError
        from orchestrator.run import simulate as engines
        from peregrine_sim import simulate as simulator

        if cut and cut not in simulator.CUTS:
            raise CliError(f'--cut "{cut}" is unknown', hint="one of " + ", ".join(simulator.CUTS))
        if cut and seeds != 1:
            raise CliError("--cut names one run of one seed", hint="leave --seeds away")
        report = simulator.Report()
        began = time.monotonic()

        def tell(result: Seed, journal: Path | None) -> None:
            report.add(result, journal)
            if result.finding and not as_json:
                typer.echo(failure(result, journal))
            if sys.stderr.isatty() and not as_json:
                print(f"\r{report.seeds}/{seeds} seeds, {report.runs:,} runs ", end="", file=sys.stderr, flush=True)

        if seeds == 1:
            with simulator.Runner(engines.blueprints(), engines.start_ns()) as runner:
                for result, journal in simulator.work(runner, range(seed, seed + 1), cut, number, keep):
                    tell(result, journal)
        else:
            n = jobs or len(os.sched_getaffinity(0))
            simulator.run_jobs(range(seed, seed + seeds), n, keep, simulator.worker_command(), tell)
        if sys.stderr.isatty() and not as_json:
            print(file=sys.stderr)
        seconds = time.monotonic() - began
        typer.echo(json.dumps({**report.__dict__, "seconds": round(seconds, 3)}) if as_json else summary(report, seconds))
        raise typer.Exit(1 if report.failed else 0)


def failure(result: Seed, journal: Path | None) -> str:
    """What a person needs of a failing seed: what, where, how to see it again."""
    where = {"none": "the engine was never ended", "record": f"ended after journal record {result.number}",
             "send": f"ended after send {result.number}", "disk": f"with a disk of {result.number} bytes", "lease": "two shards on one account"}[result.cut]  # fmt: skip
    lines = [f"seed {result.seed} FAILED: {result.finding}", f"  {where}", f"  replay:  {result.replay()}"]
    if journal is not None:
        lines.append(f"  journal: {journal}   (peregrine decode, peregrine verify)")
    return "\n".join(lines)


def summary(report: Any, seconds: float) -> str:
    """The last line for people."""
    verdict = f"{len(report.failed)} of {report.seeds} seeds FAILED" if report.failed else f"{report.seeds} seeds good"
    return (f"{verdict}: {report.runs:,} runs, {report.recoveries:,} recoveries, {report.orders:,} orders, {report.fills:,} fills, "
            f"{report.journal_records:,} journal records read back, {seconds:.1f} s")
