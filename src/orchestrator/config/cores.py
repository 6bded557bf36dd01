"""Which thread gets which core: `auto` is resolved here, and two hot threads on one core are refused."""

from __future__ import annotations

import os
from collections.abc import Iterable

from orchestrator.config.models import Engine
from orchestrator.config.problems import ConfigError, Problem

THREADS = ("feed", "engine", "journal", "helper")


def resolve_cores(engine: Engine, allowed: Iterable[int] | None = None) -> dict[str, int | None]:
    """The core of each thread (`THREADS`), None where the kernel may choose.

    `allowed` are the cores this process may run on, by default its affinity mask. Hot threads (engine; feed when
    pipelined) take the highest free cores, journal and helper the lowest. Raises ConfigError for a core outside
    `allowed`, for two hot threads on one core, and, with refuse_shared_cores, for a helper on a hot core.
    """
    free = sorted(os.sched_getaffinity(0) if allowed is None else set(allowed))
    hot = ["engine", "feed"] if engine.topology == "pipelined" else ["engine"]
    wanted = {name: getattr(engine.cores, name) for name in THREADS}
    out: dict[str, int | None] = {name: core if isinstance(core, int) else None for name, core in wanted.items()}
    problems = [
        Problem(f"engine.cores.{name}", f"core {core}", f"one of {_ranges(free)}", "this process may use only those")
        for name, core in out.items()
        if core is not None and core not in free
    ]
    taken = {core for core in out.values() if core is not None}
    for name in hot:
        if wanted[name] == "auto":
            choice = next((core for core in reversed(free) if core not in taken), free[-1])
            out[name] = choice
            taken.add(choice)
    hot_cores = [core for core in (out[name] for name in hot) if core is not None]
    cool = [core for core in free if core not in hot_cores] or free
    for i, name in enumerate(n for n in ("helper", "journal") if wanted[n] == "auto"):
        out[name] = cool[min(i, len(cool) - 1)]
    if len(set(hot_cores)) < len(hot_cores):
        problems.append(
            Problem("engine.cores", "feed and engine on one core", "a core each", "topology: inline needs only one")
        )
    if engine.refuse_shared_cores:
        for name in ("journal", "helper"):
            if out[name] is not None and out[name] in hot_cores:
                problems.append(
                    Problem(
                        f"engine.cores.{name}",
                        f"core {out[name]}, where the engine spins",
                        f"a core beside it; this process may use {_ranges(free)}",
                        "use --profile laptop, or give the process one more core",
                    )
                )
    if problems:
        raise ConfigError(problems)
    return out


def _ranges(cores: list[int]) -> str:
    return ", ".join(map(str, cores)) if len(cores) <= 16 else f"{cores[0]} to {cores[-1]}"
