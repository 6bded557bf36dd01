"""A deploy that needs a restart: down with the old configuration, up with the new one, and back where that is not well."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.deploy.flow import Job, Outcome, Tools
from orchestrator.deploy.health import Reading, Thresholds, judge, observe, sick
from orchestrator.deploy.history import Manifest, digest

#: runs `peregrine ARGS…`; returns its exit code and the last line it said
Command = Callable[[list[str]], tuple[int, str]]


def peregrine(args: list[str]) -> tuple[int, str]:
    """The command itself, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "orchestrator", *args], capture_output=True, text=True, check=False)
    lines = (done.stderr or done.stdout).strip().splitlines()
    return done.returncode, lines[0] if done.returncode and lines else (lines[-1] if lines else "")


class NoDoor:
    """The control API of a deploy by restart, which gives no commands."""

    def send(self, request: Any) -> Any:
        """Nobody is asked."""
        raise AssertionError(request)


def deploy_by_restart(job: Job, tools: Tools, command: Command = peregrine) -> Outcome:
    """Down, up with the new configuration, health against what it was before; on failure down, up with the old one. Raises
    HistoryError."""
    with tools.history.locked():
        baseline = observe(tools.look, min(job.window_s / 2, 3.0), Thresholds.of(job.before), sleep=tools.sleep)[:2]
        manifest = Manifest(
            number=0, engine=job.engine, who=job.who, why=job.why, when_ns=time.time_ns(), configuration=job.configuration,
            before_sha256=digest(job.before), after_sha256=digest(job.after), run=job.run, restart=True, restored=job.restored,
            id=job.id,
        )  # fmt: skip
        manifest = tools.history.begin(manifest, job.before, job.after, job.sources)
        tools.say(f"backup     {tools.history.path_of(manifest.number, 'before')}")
        problems = _swap(job, tools, manifest, "after", command, baseline)
        if not problems:
            manifest.state = "good"
            tools.history.save(manifest)
            return Outcome("good", manifest.number, manifest=manifest)
        manifest.health = problems
        for problem in problems:
            tools.say(f"UNHEALTHY  {problem}")
        tools.say(f"ROLLBACK   deploy {manifest.number} is taken back: up again with the old configuration")
        left = _swap(job, tools, manifest, "before", command, baseline)
        for problem in left:
            tools.say(f"NOT UNDONE {problem}")
        manifest.state = "failed" if left else "rolled back"
        tools.history.save(manifest)
        return Outcome(manifest.state, manifest.number, problems, left, manifest)


def _swap(job: Job, tools: Tools, manifest: Manifest, which: str, command: Command, baseline: tuple[Reading, Reading]) -> list[str]:
    file: Path = tools.history.path_of(manifest.number, "after" if which == "after" else "before")
    view = job.after if which == "after" else job.before
    for args in (["down", job.engine], ["up", "-c", str(file), "--detach"]):
        tools.say(f"{args[0].ljust(10)} {job.engine}")
        code, said = command(args)
        if code and not (args[0] == "down" and tools.look().alive is False):
            return [f"peregrine {args[0]} ended with {code}: {said}"]
    tools.say(f"verifying  {job.window_s:g} s")
    limits = Thresholds.of(job.before)
    first, last, why = observe(tools.look, job.window_s, limits, sleep=tools.sleep)
    found = [why] if why else [*sick(last), *judge(baseline, (first, last), limits, may_be_quiet=True)]
    return [f"{view['name']}: {problem}" for problem in found]



