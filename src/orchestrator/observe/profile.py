"""What a process costs and what it is made to wait for, read from /proc alone, thread by thread.

    before = read_process(pid)
    ...
    for thread in between(before, read_process(pid)).threads: print(thread.name, thread.run_delay_ns)

All counts are since the start of the thread; `between` makes differences of two readings. `run_delay_ns` is the time a
thread was ready and had no core: what other threads of this machine took. Steal is what other machines on the same host
took; it is known for each core, not for a thread. Sources: proc(5), Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

PROC = Path("/proc")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class ProcessGone(LookupError):
    """There is no such process, or it ended while it was read."""


@dataclass(frozen=True)
class ThreadProfile:
    """One thread; or, made by `between`, what it did in an interval."""

    tid: int
    name: str
    state: str = "?"  # R S D T t Z X, as in /proc
    cpu: int = -1  # core it last ran on
    allowed_cpus: tuple[int, ...] = ()
    voluntary_switches: int = 0  # it waited
    involuntary_switches: int = 0  # it was pushed off its core
    minor_faults: int = 0
    major_faults: int = 0  # waited for a disk
    user_ns: int = 0
    system_ns: int = 0
    run_ns: int = 0
    run_delay_ns: int = 0  # ready, but no core for it
    timeslices: int = 0


COUNTS = tuple(f.name for f in fields(ThreadProfile) if f.name not in ("tid", "name", "state", "cpu", "allowed_cpus"))


@dataclass(frozen=True)
class ProcessProfile:
    """A process at one moment (or, by `between`, over an interval: then memory is that of the end)."""

    pid: int
    name: str
    state: str
    start_ticks: int
    taken_ns: int  # monotonic clock; an interval's length after `between`
    rss_bytes: int = 0
    anonymous_bytes: int = 0  # memory of its own, in core or swapped: what a leak grows
    shared_bytes: int = 0  # /dev/shm and the like, as far as touched
    locked_bytes: int = 0
    swap_bytes: int = 0
    pss_bytes: int | None = None  # only when asked for
    steal_ns: dict[int, int] = field(default_factory=dict)  # of each core of the machine
    threads: tuple[ThreadProfile, ...] = ()

    def total(self, name: str) -> int:
        """A count of ThreadProfile summed over the threads that live."""
        return sum(getattr(thread, name) for thread in self.threads)

    def to_json(self) -> dict[str, object]:
        """The fields as a JSON-able dict."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        out["threads"] = [{f.name: getattr(t, f.name) for f in fields(t)} for t in self.threads]
        out["steal_ns"] = {str(cpu): ns for cpu, ns in self.steal_ns.items()}
        return out


def read_process(pid: int, *, pss: bool = False, proc: Path = PROC) -> ProcessProfile:
    """Read a process; threads that end meanwhile are left out. Raises ProcessGone.

    `pss` walks all its page tables (a millisecond and more a gigabyte, with its memory map held): not for an engine that
    trades. It stays None where the kernel does not let this user see it.
    """
    folder = proc / str(pid)
    stat = _stat(folder / "stat")
    status = _fields(_text(folder / "status"))
    threads = []
    for task in sorted(_tasks(folder), key=int):
        try:
            threads.append(_thread(folder / "task" / task, int(task)))
        except ProcessGone:
            continue
    if _stat(folder / "stat").start_ticks != stat.start_ticks:
        raise ProcessGone(f"process {pid} ended while it was read")
    return ProcessProfile(
        pid=pid,
        name=stat.name,
        state=stat.state,
        start_ticks=stat.start_ticks,
        taken_ns=time.monotonic_ns(),
        rss_bytes=_kib(status, "VmRSS"),
        anonymous_bytes=_kib(status, "RssAnon") + _kib(status, "VmSwap"),
        shared_bytes=_kib(status, "RssShmem"),
        locked_bytes=_kib(status, "VmLck"),
        swap_bytes=_kib(status, "VmSwap"),
        pss_bytes=_pss(folder) if pss else None,
        steal_ns=machine_steal_ns(proc),
        threads=tuple(threads),
    )


def between(before: ProcessProfile, after: ProcessProfile) -> ProcessProfile:
    """What happened from one reading to the other; a thread that is new counts from its own start.

    Raises ValueError when the two are not of the same process.
    """
    if (before.pid, before.start_ticks) != (after.pid, after.start_ticks):
        raise ValueError(f"two processes: {before.pid} started at {before.start_ticks}, {after.pid} at {after.start_ticks}")
    old = {thread.tid: thread for thread in before.threads}
    threads = []
    for thread in after.threads:
        was = old.get(thread.tid)
        # a number used again: counts never fall, so one that did belongs to another thread
        same = was is not None and all(getattr(was, name) <= getattr(thread, name) for name in COUNTS)
        counts = {name: getattr(thread, name) - (getattr(was, name) if same else 0) for name in COUNTS}
        threads.append(replace(thread, **counts))
    steal = {cpu: max(0, ns - before.steal_ns.get(cpu, ns)) for cpu, ns in after.steal_ns.items()}
    return replace(after, taken_ns=after.taken_ns - before.taken_ns, threads=tuple(threads), steal_ns=steal)


def machine_steal_ns(proc: Path = PROC) -> dict[int, int]:
    """Time another machine on this host ran while a core of ours wanted to, by core; empty where it is not told."""
    try:
        text = (proc / "stat").read_text()
    except OSError:
        return {}
    out = {}
    for line in text.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu" and len(values) >= 8:
            out[int(name[3:])] = int(values[7]) * TICK_NS
    return out


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """`0-3,8` as the kernel writes it; empty for anything that is no such list."""
    cpus: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            continue
        cpus += range(int(first), int(last if dash else first) + 1)
    return tuple(cpus)


@dataclass(frozen=True)
class _Stat:
    name: str
    state: str
    start_ticks: int
    cpu: int
    minor_faults: int
    major_faults: int
    user_ns: int
    system_ns: int


def _stat(path: Path) -> _Stat:
    text = _text(path)
    name = text[text.find("(") + 1 : text.rfind(")")]
    values = text[text.rfind(")") + 1 :].split()  # values[0] is field 3 of proc(5)
    if len(values) < 37:
        raise ProcessGone(f"{path} is cut short")
    return _Stat(name, values[0], int(values[19]), int(values[36]), int(values[7]), int(values[9]),
                 int(values[11]) * TICK_NS, int(values[12]) * TICK_NS)  # fmt: skip


def _thread(folder: Path, tid: int) -> ThreadProfile:
    stat, status = _stat(folder / "stat"), _fields(_text(folder / "status"))
    sched = _text(folder / "schedstat", "0 0 0").split()
    return ThreadProfile(
        tid=tid,
        name=stat.name,
        state=stat.state,
        cpu=stat.cpu,
        allowed_cpus=parse_cpu_list(status.get("Cpus_allowed_list", "")),
        voluntary_switches=_int(status, "voluntary_ctxt_switches"),
        involuntary_switches=_int(status, "nonvoluntary_ctxt_switches"),
        minor_faults=stat.minor_faults,
        major_faults=stat.major_faults,
        user_ns=stat.user_ns,
        system_ns=stat.system_ns,
        run_ns=int(sched[0]),
        run_delay_ns=int(sched[1]),
        timeslices=int(sched[2]),
    )


def _tasks(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder / "task") if name.isdigit()]  # noqa: PTH208 (names, not paths)
    except OSError as err:
        raise ProcessGone(f"process {folder.name}: {err.strerror}") from err


def _text(path: Path, missing: str | None = None) -> str:
    """A file of /proc; one that is not there raises, or gives `missing`. ESRCH comes from a process that just ended."""
    try:
        return path.read_text(errors="replace") or missing or ""
    except OSError as err:
        if missing is not None:
            return missing
        raise ProcessGone(f"{path}: {err.strerror}") from err


def _fields(text: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _int(values: dict[str, str], name: str) -> int:
    first = values.get(name, "0").split()
    return int(first[0]) if first and first[0].isdigit() else 0


def _kib(values: dict[str, str], name: str) -> int:
    return _int(values, name) << 10


def _pss(folder: Path) -> int | None:
    values = _fields(_text(folder / "smaps_rollup", ""))
    return _kib(values, "Pss") if "Pss" in values else None
