"""Which thread gets which core: `auto` is resolved here, and two hot threads on one core are refused."""

from __future__ import annotations

import os
from collections.abc import Iterable

from orchestrator.config.checks import shard_threads
from orchestrator.config.models import Engine
from orchestrator.config.problems import ConfigError, Problem

COOL_THREADS = ("journal", "helper")


def hot_threads(engine: Engine) -> list[str]:
    """Threads that poll without rest: `engine` when inline; `engine`, `engine-1` …, `feed`, `session` when pipelined."""
    trading = ["engine"] + [f"engine-{i}" for i in range(1, shard_threads(engine))]
    return trading + (["feed", "session"] if engine.topology == "pipelined" else [])


def share_threads(engine: Engine, allowed: Iterable[int]) -> tuple[Engine, str]:
    """`shards_per_thread` filled in where it is left open and there are fewer cores than hot threads; and that in words.

    Shards get as many threads as there are cores beside those of feed and session, at least two (one on one core). Nothing
    is filled in, and "" returned, for a stated number or list of cores, for refuse_shared_cores, which refuses, and where
    there are cores enough.
    """
    cores = len(set(allowed))
    stated = engine.shards_per_thread is not None or isinstance(engine.cores.engine, list) or engine.refuse_shared_cores
    if engine.topology != "pipelined" or stated or len(hot_threads(engine)) <= cores:
        return engine, ""
    most = max(cores - 2, min(2, cores))
    if most >= engine.shards:
        return engine, ""
    shared = engine.model_copy(update={"shards_per_thread": -(-engine.shards // most)})
    threads = shard_threads(shared)
    return shared, f"{engine.shards} shards on {threads} thread{'s' * (threads > 1)}: {cores} core{'s' * (cores > 1)} allowed"


def resolve_cores(engine: Engine, allowed: Iterable[int] | None = None, isolated: Iterable[int] = ()) -> dict[str, int | None]:
    """The core of each thread (`hot_threads`, journal, helper), None where the kernel may choose.

    `allowed` are the cores this process may run on, by default its affinity mask. Hot threads take the free cores that
    the kernel keeps apart (`isolated`), then the highest, journal and helper the lowest. Where there are fewer cores than hot threads, `auto` pins none of them; with
    refuse_shared_cores, which pins every hot thread, that is an error. Raises ConfigError for a core outside `allowed`, for two hot threads on
    one core, and, with refuse_shared_cores, for a helper on a hot core.
    """
    free = sorted(os.sched_getaffinity(0) if allowed is None else set(allowed))
    engine, _ = share_threads(engine, free)
    hot = hot_threads(engine)
    wanted = {name: _wanted(engine, name) for name in [*hot, *COOL_THREADS]}
    out: dict[str, int | None] = {name: core if isinstance(core, int) else None for name, core in wanted.items()}
    problems = [
        Problem(f"engine.cores.{name}", f"core {core}", f"one of {_ranges(free)}", "this process may use only those")
        for name, core in out.items()
        if core is not None and core not in free
    ]
    taken = {core for core in out.values() if core is not None}
    auto = [name for name in hot if wanted[name] == "auto"]
    apart = set(isolated)
    rest = sorted((core for core in free if core not in taken), key=lambda core: (core not in apart, -core))
    if len(hot) <= len(free) and len(auto) <= len(rest):
        out.update(zip(auto, rest, strict=False))
    elif engine.refuse_shared_cores:
        found = f"{len(hot)} hot threads ({', '.join(hot)}), {len(free)} core{'s' * (len(free) > 1)}"
        problems.append(
            Problem("engine.cores", found, "a core for each of them", "topology: inline needs only one, and fewer shard threads fewer")
        )
    hot_cores = [core for core in (out[name] for name in hot) if core is not None]
    beside = [core for core in free if core not in hot_cores]
    cool = [core for core in beside if core not in apart] or beside or free
    for i, name in enumerate(n for n in ("helper", "journal") if wanted[n] == "auto"):
        out[name] = cool[min(i, len(cool) - 1)]
    if len(set(hot_cores)) < len(hot_cores):
        problems.append(Problem("engine.cores", "two hot threads on one core", "a core each", "topology: inline needs only one"))
    if engine.refuse_shared_cores:
        for name in COOL_THREADS:
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


def _wanted(engine: Engine, name: str) -> object:
    if not name.startswith("engine"):
        core = getattr(engine.cores, name)
        hot = name not in COOL_THREADS
        return "auto" if core is None and hot and engine.refuse_shared_cores else core
    cores = engine.cores.engine
    return cores[int(name.partition("-")[2] or 0)] if isinstance(cores, list) else cores


def _ranges(cores: list[int]) -> str:
    return ", ".join(map(str, cores)) if len(cores) <= 16 else f"{cores[0]} to {cores[-1]}"
