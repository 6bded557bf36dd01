"""Drives the whole-system simulator: seeds over worker processes, findings with the command that replays them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: How a run is cut: not at all, after a journal record, after a send, by a disk that fills, or with two shards.
CUTS = ("none", "record", "send", "disk", "lease")


@dataclass
class Seed:
    """What one seed came to; `finding` is empty when the judge saw nothing wrong."""

    seed: int
    finding: str = ""
    cut: str = "none"
    number: int = 0
    runs: int = 0
    records: int = 0
    sends: int = 0
    recoveries: int = 0
    operator_cuts: int = 0
    fills: int = 0
    orders: int = 0
    late_bytes: int = 0
    journal_records: int = 0
    fingerprint: int = 0
    variant: int = 0

    def replay(self) -> str:
        """The command that runs exactly what failed."""
        where = f" --cut {self.cut} --number {self.number}" if self.runs > 0 else ""
        return f"peregrine simulate --seed {self.seed}{where}"


@dataclass
class Report:
    """All seeds of a call."""

    seeds: int = 0
    runs: int = 0
    recoveries: int = 0
    fills: int = 0
    orders: int = 0
    journal_records: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, seed: Seed, journal: Path | None) -> None:
        """Counts one seed in."""
        self.seeds += 1
        for name in ("runs", "recoveries", "fills", "orders", "journal_records"):
            setattr(self, name, getattr(self, name) + getattr(seed, name))
        if seed.finding:
            self.failed.append({"seed": seed.seed, "finding": seed.finding, "cut": seed.cut, "number": seed.number,
                                "replay": seed.replay(), "journal": str(journal) if journal else ""})


def memory_folder() -> str:
    """A new folder in memory where there is one: each run writes and reads a whole journal."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.mkdtemp(prefix="peregrine-simulate-", dir=base)


class Runner:
    """One simulator in this process. Use as a context manager: it owns a folder in memory."""

    def __init__(self, blueprints: list[dict[str, Any]], start_ns: int, mutant: str = "") -> None:
        from hotpath import _venue

        self._folder = memory_folder()
        self._simulation = _venue.Simulation(blueprints, self._folder, start_ns)
        self._mutant = mutant

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, seed: int, cut: str = "", number: int = 0) -> Seed:
        """Every run of the seed, or only the one that `cut` and `number` name."""
        return Seed(**self._simulation.run(seed, self._mutant, cut, number))

    def keep_journal(self, seed: int, under: Path) -> Path:
        """Copies the last run's journal to `under`/seed-N, where decode and verify can read it."""
        to = under / f"seed-{seed}"
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self._simulation.journal_dir, to)
        (to / "ring.path").unlink(missing_ok=True)  # that ring is gone
        return to


def work(runner: Runner, seeds: range, cut: str, number: int, keep: Path) -> Iterator[tuple[Seed, Path | None]]:
    """Runs `seeds` one after the other in this process."""
    for seed in seeds:
        result = runner.run(seed, cut, number)
        yield result, runner.keep_journal(seed, keep) if result.finding else None


def run_jobs(seeds: range, jobs: int, keep: Path, command: list[str], tell: Callable[[Seed, Path | None], None]) -> None:
    """Spreads `seeds` over `jobs` processes of `command`, each told its seeds as `first:stop:step`.

    A process prints one JSON line before each seed and one after it. One that ends in the middle (the engine stopped
    itself at an assertion) is a finding of the seed it was at.
    """
    processes = []
    for job in range(jobs):
        part = range(seeds.start + job, seeds.stop, jobs)
        if not part:
            continue
        args = [*command, f"{part.start}:{part.stop}:{part.step}", str(keep)]
        processes.append((part, subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)))
    try:
        for part, process in processes:
            at = part.start
            assert process.stdout is not None and process.stderr is not None
            for line in process.stdout:
                message = json.loads(line)
                if "begin" in message:
                    at = message["begin"]
                    continue
                journal = message.pop("journal")
                tell(Seed(**message), Path(journal) if journal else None)
            process.wait()
            if process.returncode != 0:
                last = process.stderr.read().strip().splitlines()[-1:]
                tell(Seed(at, finding=f"the process ended with code {process.returncode}: {' '.join(last)}"), None)
    finally:
        for _, process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def worker(blueprints: list[dict[str, Any]], start_ns: int, span: str, keep: Path) -> None:
    """The body of one process of `run_jobs`."""
    first, stop, step = (int(x) for x in span.split(":"))
    with Runner(blueprints, start_ns) as runner:
        for seed in range(first, stop, step):
            print(json.dumps({"begin": seed}), flush=True)
            for result, journal in work(runner, range(seed, seed + 1), "", 0, keep):
                print(json.dumps({**result.__dict__, "journal": str(journal) if journal else ""}), flush=True)


def worker_command() -> list[str]:
    """How this Python starts a worker: it gets two more arguments, the seeds and where failing journals go."""
    return [sys.executable, "-m", "orchestrator.run.simulate"]
