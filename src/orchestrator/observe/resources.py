"""What the processes of an engine's tree cost, for the metrics: one call, a process that is gone is left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.observe.profile import ProcessGone, read_process


@dataclass(frozen=True)
class ThreadUse:
    """Threads of one name, added up; counts since they started."""

    user_ns: int = 0
    system_ns: int = 0
    run_delay_ns: int = 0  # ready, but no core for it
    voluntary_switches: int = 0
    involuntary_switches: int = 0
    minor_faults: int = 0
    major_faults: int = 0


@dataclass(frozen=True)
class Resources:
    """Memory of a process now, and its threads by name."""

    resident_bytes: int = 0
    anonymous_bytes: int = 0  # of its own, in core or swapped: what a leak grows
    locked_bytes: int = 0
    swap_bytes: int = 0
    thread_count: int = 0
    threads: dict[str, ThreadUse] = field(default_factory=dict)
    steal_ns: dict[int, int] = field(default_factory=dict)  # of each core of the machine


def read(pid: int) -> Resources | None:
    """A process's use now; None when it is gone."""
    try:
        found = read_process(pid)
    except ProcessGone:
        return None
    names = ThreadUse.__dataclass_fields__
    sums: dict[str, dict[str, int]] = {}
    for thread in found.threads:
        row = sums.setdefault(thread.name, dict.fromkeys(names, 0))
        for name in names:
            row[name] += getattr(thread, name)
    return Resources(
        resident_bytes=found.rss_bytes,
        anonymous_bytes=found.anonymous_bytes,
        locked_bytes=found.locked_bytes,
        swap_bytes=found.swap_bytes,
        thread_count=len(found.threads),
        threads={name: ThreadUse(**row) for name, row in sums.items()},
        steal_ns=dict(found.steal_ns),
    )

