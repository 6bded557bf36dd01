"""Metrics of the control plane: the process tree, what its processes cost, the control API's refusals, the exporter itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import get_args

from orchestrator.observe.metric_table import Kind, Metric, Sample
from orchestrator.observe.reading import Reading
from orchestrator.observe.resources import Resources, ThreadUse
from orchestrator.supervise.state_file import LifeState, ProcessState

_STARTED_S = time.time()


def _tree(value: Callable[[Reading], float]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        if r.tree is not None:
            yield (), value(r)

    return samples


def _members(value: Callable[[ProcessState], float]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        for p in r.tree.processes if r.tree else []:
            yield (p.name, p.role), value(p)

    return samples


def _member_states(r: Reading) -> Iterable[Sample]:
    for p in r.tree.processes if r.tree else []:
        yield from (((p.name, p.role, state), int(p.state == state)) for state in get_args(LifeState))


def _tree_states(r: Reading) -> Iterable[Sample]:
    if r.tree is not None:
        yield from (((state,), int(r.tree.state == state)) for state in get_args(LifeState))


def _use(value: Callable[[Resources], float]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        return (((name,), value(found)) for name, found in r.processes.items())

    return samples


def _threads(value: Callable[[ThreadUse], Iterable[tuple[tuple[str, ...], float]]]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        for process, found in r.processes.items():
            for name, use in found.threads.items():
                yield from (((process, name, *labels), n) for labels, n in value(use))

    return samples


def _steal(r: Reading) -> Iterable[Sample]:
    for found in list(r.processes.values())[:1]:  # the machine's, the same whoever is asked
        yield from (((str(cpu),), ns / 1e9) for cpu, ns in found.steal_ns.items())


def _refused(r: Reading) -> Iterable[Sample]:
    yield from (((reason,), n) for reason, n in r.refused.items())


def _metric(group: str, name: str, kind: Kind, unit: str, labels: str, text: str, samples: Callable[[Reading], Iterable[Sample]]) -> Metric:
    return Metric(f"peregrine_{name}", kind, unit, tuple(labels.split()), text, samples, group)


METRICS: tuple[Metric, ...] = (
    _metric("tree", "supervisor_up", "gauge", "", "", "1 while the supervisor that wrote supervisor.json lives; absent without one",
            _tree(lambda r: int(r.tree is not None and r.tree.supervisor_alive()))),
    _metric("tree", "supervisor_generation", "gauge", "", "", "rises by one when a supervisor takes over from another",
            _tree(lambda r: r.tree.generation if r.tree else 0)),
    _metric("tree", "trading_enabled", "gauge", "", "", "1 when the supervisor has enabled trading",
            _tree(lambda r: int(r.tree is not None and r.tree.trading_enabled))),
    _metric("tree", "tree_state", "gauge", "", "state", "1 for the state of the whole tree, 0 for the others", _tree_states),
    _metric("tree", "process_up", "gauge", "", "process role", "1 while the process lives", _members(lambda p: int(p.alive()))),
    _metric("tree", "process_state", "gauge", "", "process role state", "1 for the process's state, 0 for the others", _member_states),
    _metric("tree", "process_restarts_total", "counter", "", "process role", "restarts of the process by the supervisor", _members(lambda p: p.restarts)),
    _metric("tree", "process_recovery_seconds", "gauge", "seconds", "process role",
            "last restart: from its death seen to trading again; 0 = none yet", _members(lambda p: p.recovery_ns / 1e9)),
    _metric("tree", "process_stalled_seconds", "gauge", "seconds", "process role", "its heartbeat has stood still so long; 0 = it has not",
            _members(lambda p: p.stalled_ns / 1e9)),
    _metric("resources", "process_resident_bytes", "gauge", "bytes", "process", "memory in core", _use(lambda u: u.resident_bytes)),
    _metric("resources", "process_anonymous_bytes", "gauge", "bytes", "process", "memory of its own, swapped or not: what a leak grows",
            _use(lambda u: u.anonymous_bytes)),
    _metric("resources", "process_locked_bytes", "gauge", "bytes", "process", "memory locked into core", _use(lambda u: u.locked_bytes)),
    _metric("resources", "process_swap_bytes", "gauge", "bytes", "process", "memory swapped out", _use(lambda u: u.swap_bytes)),
    _metric("resources", "process_threads", "gauge", "", "process", "threads", _use(lambda u: u.thread_count)),
    _metric("resources", "thread_cpu_seconds_total", "counter", "seconds", "process thread mode", "time on a core; threads of one name added up",
            _threads(lambda t: [(("user",), t.user_ns / 1e9), (("system",), t.system_ns / 1e9)])),
    _metric("resources", "thread_run_delay_seconds_total", "counter", "seconds", "process thread", "ready to run, but no core for it",
            _threads(lambda t: [((), t.run_delay_ns / 1e9)])),
    _metric("resources", "thread_switches_total", "counter", "", "process thread kind", "context switches: it waited (voluntary) or was pushed off its core",
            _threads(lambda t: [(("voluntary",), t.voluntary_switches), (("involuntary",), t.involuntary_switches)])),
    _metric("resources", "thread_faults_total", "counter", "", "process thread kind", "page faults: from memory (minor), from a disk (major)",
            _threads(lambda t: [(("minor",), t.minor_faults), (("major",), t.major_faults)])),
    _metric("resources", "cpu_steal_seconds_total", "counter", "seconds", "cpu", "time another machine on this host took from a core", _steal),
    _metric("control", "control_refused_total", "counter", "", "reason", "attempts the control API refused, by reason", _refused),
    _metric("exporter", "exporter_attached_total", "counter", "", "", "segments attached to: more than one when the engine was started again",
            lambda r: [((), r.attached)]),
    _metric("exporter", "exporter_readable", "gauge", "", "", "1 when the engine's telemetry could be read", lambda r: [((), int(bool(r.shards)))]),
    _metric("exporter", "exporter_start_timestamp_seconds", "gauge", "seconds", "", "start of this exporter, since the epoch", lambda r: [((), _STARTED_S)]),
)  # fmt: skip
