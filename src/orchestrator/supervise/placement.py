"""Where each process of the tree runs: CPUs, memory node, scheduling, locked memory; planned, applied, verified, told.

    plan = plan_placement(cfg, read_topology())
    ...
    account = apply(plan["engine"])        # in the child, before exec: all of it is inherited

The engine gets one memory node and, with SMT, one CPU of each physical core, and pins its own threads within that
(config/cores.py decides the same here and there). The others get what no hot thread and no hot thread's sibling uses.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.config.cores import COOL_THREADS, hot_threads, resolve_cores
from orchestrator.config.models import Config, EmbeddedVenue
from orchestrator.observe.profile import parse_cpu_list
from orchestrator.observe.topology import Topology, cpu_list

PROCESSES = ("supervisor", "venue", "engine", "telemetry")
FILES = 65_536
SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}
GET_MEMPOLICY = {"x86_64": 239, "aarch64": 236}
MPOL_DEFAULT, MPOL_PREFERRED = 0, 1


@dataclass(frozen=True)
class Placement:
    """One process. `threads` are the engine's own pins; a node of None leaves memory to the kernel."""

    process: str
    cpus: tuple[int, ...]
    node: int | None = None
    nice: int = 0
    scheduling: str = "other"  # other or batch; never fifo: a thread that spins would be throttled, or starve the machine
    lock_memory: bool = False
    threads: dict[str, int | None] = field(default_factory=dict)
    why: str = ""

    def line(self) -> str:
        """In a line for a person."""
        pins = ", ".join(f"{name} on {core}" for name, core in self.threads.items() if core is not None)
        parts = [f"CPUs {cpu_list(self.cpus)}", f"nice {self.nice}", f"{self.scheduling} class"]
        parts += [f"memory of node {self.node}"] if self.node is not None else []
        parts += ["memory locked"] if self.lock_memory else []
        return f"{self.process}: {', '.join(parts)}" + (f"; {pins}" if pins else "") + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Account:
    """What became of a placement: `problems` are the things that could not be had, each a line."""

    process: str
    line: str
    problems: tuple[str, ...] = ()


def plan_placement(cfg: Config, topology: Topology) -> dict[str, Placement]:
    """A placement for each process of the tree. Pure. Raises ConfigError when the configured cores cannot be had here."""
    allowed = tuple(n for n in topology.allowed if any(cpu.number == n for cpu in topology.cpus)) or topology.allowed
    node, why = _engine_node(cfg, topology, allowed)
    mine = allowed if node is None else tuple(n for n in allowed if topology.node_of(n) == node)
    engine_cpus = _engine_cpus(cfg, topology, mine)
    threads = resolve_cores(cfg.engine, engine_cpus, topology.isolated)
    hot = {core for name, core in threads.items() if name not in COOL_THREADS and core is not None}  # shards may share threads by now
    beside = {s for core in hot for s in topology.siblings_of(int(core or 0))}
    rest = tuple(n for n in allowed if n not in hot and n not in beside and n not in topology.isolated)
    rest = rest or tuple(n for n in allowed if n not in hot) or allowed
    if rest == allowed and hot:
        why = "; ".join(filter(None, [why, "too few CPUs: the others share the engine's"]))
    others = Placement("", rest, nice=cfg.supervise.nice)
    plan = {
        "supervisor": replace(others, process="supervisor", nice=0),
        "engine": Placement("engine", engine_cpus, node, 0, "other", cfg.engine.mlock, threads, why),
        "telemetry": replace(others, process="telemetry", scheduling="batch"),
    }
    if isinstance(cfg.venue, EmbeddedVenue):
        plan["venue"] = replace(others, process="venue")
    return {name: plan[name] for name in PROCESSES if name in plan}


def _engine_node(cfg: Config, topology: Topology, allowed: tuple[int, ...]) -> tuple[int | None, str]:
    """The node the engine lives on, and why; None where there is only one or the configuration says so."""
    if cfg.supervise.numa == "off" or len(topology.nodes) < 2:
        return None, ""
    by_node = {node: [n for n in allowed if topology.node_of(n) == node] for node in topology.nodes}
    fixed = _fixed_cores(cfg)
    if fixed:
        nodes = {topology.node_of(core) for core in fixed}
        if len(nodes) > 1:
            return None, f"its cores lie on nodes {cpu_list(nodes)}: memory is left to the kernel"
        return nodes.pop(), "where its configured cores are"
    wanted = len(hot_threads(cfg.engine)) + 1
    fits = [node for node in topology.nodes if len(topology.one_a_core(tuple(by_node[node]))) >= wanted]
    fits = fits or [node for node in topology.nodes if len(by_node[node]) >= wanted]
    if not fits:
        return None, f"no node has {wanted} CPUs for it: memory is left to the kernel"
    device = dict(topology.devices).get(cfg.device.address, -1)
    if device in fits:
        return device, f"where the device {cfg.device.address} is"
    nic = topology.nic_of_address(getattr(cfg.venue, "interface", None) or "")
    if nic is not None and nic.node in fits:
        return nic.node, f"where {nic.name} is, which receives the feed"
    if isinstance(cfg.venue, EmbeddedVenue):
        return max(fits, key=lambda n: (len(by_node[n]), -n)), "the node with most CPUs"
    carded = [nic for nic in topology.nics if nic.node in fits]
    if len({nic.node for nic in carded}) == 1:
        return carded[0].node, f"where {carded[0].name} is"
    return max(fits, key=lambda n: (len(by_node[n]), -n)), "the node with most CPUs"


def _engine_cpus(cfg: Config, topology: Topology, mine: tuple[int, ...]) -> tuple[int, ...]:
    """One CPU a physical core, where that leaves a core for each hot thread and one beside; else all of them."""
    single = topology.one_a_core(mine)
    fixed = _fixed_cores(cfg)
    if len(single) > len(hot_threads(cfg.engine)) and fixed <= set(single):
        return single
    return tuple(sorted(set(mine) | (fixed & set(topology.allowed))))


def _fixed_cores(cfg: Config) -> set[int]:
    cores = cfg.engine.cores
    named: list[Any] = cores.engine if isinstance(cores.engine, list) else [cores.engine]
    return {c for c in [*named, cores.feed, cores.session, *(getattr(cores, n) for n in COOL_THREADS)] if isinstance(c, int)}


def apply(placement: Placement) -> Account:
    """Take the placement on, in the process that is to have it, before exec; then look whether the kernel did as told.

    Never raises: a machine that grants less still trades, and the account says what it does not grant.
    """
    problems: list[str] = []
    _try(problems, f"CPUs {cpu_list(placement.cpus)}", lambda: os.sched_setaffinity(0, placement.cpus))
    if os.getpriority(os.PRIO_PROCESS, 0) != placement.nice:
        _try(problems, f"nice {placement.nice}", lambda: os.setpriority(os.PRIO_PROCESS, 0, placement.nice))
    policy = os.SCHED_BATCH if placement.scheduling == "batch" else os.SCHED_OTHER
    _try(problems, f"{placement.scheduling} scheduling", lambda: os.sched_setscheduler(0, policy, os.sched_param(0)))
    if placement.node is not None:
        _try(problems, f"memory of node {placement.node}", lambda: prefer_node(placement.node))
    if placement.lock_memory:
        _raise_limit(resource.RLIMIT_MEMLOCK, resource.RLIM_INFINITY)
    _raise_limit(resource.RLIMIT_NOFILE, FILES)
    return verify(placement, tuple(problems))


def verify(placement: Placement, problems: tuple[str, ...] = ()) -> Account:
    """Compare what the kernel says of this process with the placement."""
    wrong = list(problems)
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    if cpus != tuple(sorted(placement.cpus)):
        wrong.append(f"runs on CPUs {cpu_list(cpus)}, not {cpu_list(placement.cpus)}")
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice != placement.nice:
        wrong.append(f"nice {nice}, not {placement.nice}")
    if placement.node is not None and preferred_node() not in (placement.node, None):
        wrong.append(f"memory of node {preferred_node()}, not {placement.node}")
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if placement.lock_memory and limit != resource.RLIM_INFINITY:
        wrong.append(f"only {limit >> 10} KiB may be locked: ulimit -l, or LimitMEMLOCK=infinity in the unit")
    parts = [f"CPUs {cpu_list(cpus)}", f"nice {nice}", {os.SCHED_BATCH: "batch"}.get(os.sched_getscheduler(0), "other")]
    parts += [f"node {placement.node}"] if placement.node is not None else []
    line = f"{placement.process}: " + ", ".join(parts) + (f"; {'; '.join(wrong)}" if wrong else "")
    return Account(placement.process, line, tuple(wrong))


def prefer_node(node: int | None) -> None:
    """Memory taken from now on comes from this node while it has some (set_mempolicy(2), kept over exec). Raises OSError."""
    number = SET_MEMPOLICY.get(platform.machine())
    if number is None:
        raise OSError(38, f"set_mempolicy is not known on {platform.machine()}")
    mode = MPOL_DEFAULT if node is None else MPOL_PREFERRED
    mask = ctypes.c_ulong(0 if node is None else 1 << node)
    bits = 0 if node is None else 8 * ctypes.sizeof(mask) + 1  # the kernel takes one bit less than it is told
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, mode, ctypes.byref(mask) if node is not None else None, bits) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def preferred_node() -> int | None:
    """The node that `prefer_node` set, None where there is none or the kernel does not say."""
    number = GET_MEMPOLICY.get(platform.machine())
    mode, mask = ctypes.c_int(0), (ctypes.c_ulong * 16)()
    libc = ctypes.CDLL(None, use_errno=True)
    if number is None or libc.syscall(number, ctypes.byref(mode), mask, 8 * ctypes.sizeof(mask), None, 0) != 0 or mode.value == MPOL_DEFAULT:
        return None
    return next((i for i in range(64) if mask[0] >> i & 1), None)


def allowed_of(pid: int) -> tuple[int, ...]:
    """The CPUs another process may use, empty when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Cpus_allowed_list:"):
                return parse_cpu_list(line.partition(":")[2].strip())
    return ()


def _raise_limit(which: int, wanted: int) -> None:
    """Up to `wanted` as far as the hard limit, or this user's rights, allow."""
    soft, hard = resource.getrlimit(which)
    if soft == wanted or (soft != resource.RLIM_INFINITY and wanted != resource.RLIM_INFINITY and soft >= wanted):
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (wanted, wanted))
        return
    with contextlib.suppress(ValueError, OSError):
        reachable = hard if wanted == resource.RLIM_INFINITY or hard != resource.RLIM_INFINITY else wanted
        resource.setrlimit(which, (reachable, hard))


def _try(problems: list[str], what: str, act: Any) -> None:
    try:
        act()
    except OSError as err:
        problems.append(f"{what}: {err.strerror}")
