"""A process whose heartbeat stands still: is it dead, stopped, stalled or merely slow, and what was done to it?

    stopped   somebody sent it SIGSTOP, or a debugger holds it (state T or t in /proc)
    dead      it is gone, a zombie, or its number belongs to another process
    slow      no beat for longer than it should take, but not yet long enough to act on
    stalled   no beat for `stall_ms` although nothing holds it
    alive     it beats

`judge` is pure: two sightings and the silence between them in, a verdict out, always the same. The silence is counted by
`Watchdog`, which looks again and again: a look adds at most half of `stall_ms`, so that a watcher that was itself stopped,
or a machine that was suspended, never takes its own absence for the other's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.observe.profile import (
    PROC,
    ProcessGone,
    ProcessProfile,
    ThreadProfile,
    between,
    read_process,
)
from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.vitals import GcNumbers, read_vitals

Kind = Literal["alive", "slow", "stalled", "stopped", "dead"]
MS = 1_000_000


@dataclass(frozen=True)
class Limits:
    """How long a heartbeat may stand still."""

    stall_ns: int = 2_000 * MS
    slow_ns: int = 500 * MS

    @classmethod
    def of(cls, stall_ms: int) -> Limits:
        """From `supervise.stall_ms`; slow is a quarter of it."""
        return cls(stall_ms * MS, max(MS, stall_ms * MS // 4))


@dataclass(frozen=True)
class Sighting:
    """A process as it was seen at one moment; `profile` None when it is not there."""

    beats: int
    profile: ProcessProfile | None
    gc: GcNumbers | None = None
    start_ticks: int = 0  # of the process that is watched; 0 = take what is there


@dataclass(frozen=True)
class Verdict:
    """What came of a look; `line` is for a person."""

    name: str
    kind: Kind
    silent_ns: int
    line: str
    evidence: tuple[str, ...] = ()


def judge(name: str, last_beat: Sighting, now: Sighting, silent_ns: int, limits: Limits) -> Verdict:
    """The verdict on `now`, `silent_ns` after `last_beat`, the sighting in which its heartbeat last moved."""
    quiet = f"{silent_ns / 1e9:.1f} s"
    state = now.profile
    if state is None or state.state in "ZX" or (now.start_ticks and state.start_ticks != now.start_ticks):
        how = "gone" if state is None else "a zombie" if state.state in "ZX" else "another process has its number"
        return Verdict(name, "dead", silent_ns, f"{name} is dead: {how}")
    if state.state in "Tt":
        how = "stopped by a signal: kill -CONT" if state.state == "T" else "held by a debugger: pid"
        return Verdict(name, "stopped", silent_ns, f"{name} is {how} {state.pid}; no heartbeat for {quiet}")
    if silent_ns < limits.slow_ns:
        return Verdict(name, "alive", silent_ns, f"{name} beats")
    kind: Kind = "stalled" if silent_ns >= limits.stall_ns else "slow"
    found = evidence(last_beat, now)
    why = "; ".join(found) if found else "no cause seen in /proc"
    return Verdict(name, kind, silent_ns, f"{name} is {kind}: no heartbeat for {quiet} ({why})", found)


def evidence(before: Sighting, after: Sighting) -> tuple[str, ...]:
    """What in the interval could have held the process up, the weightiest first; numbers as /proc and the interpreter gave them."""
    found: list[tuple[float, str]] = []
    if before.profile is not None and after.profile is not None:
        with contextlib.suppress(ValueError):
            found += _of_process(between(before.profile, after.profile))
    if before.gc is not None and after.gc is not None:
        paused_ns = after.gc.pause_ns - before.gc.pause_ns
        if paused_ns > MS:
            n = sum(after.gc.collections) - sum(before.gc.collections)
            found.append((paused_ns, f"garbage collection paused it {paused_ns / MS:.0f} ms in {n} collections"))
        if after.gc.begun_ns and after.profile is not None:
            lasting_ns = after.profile.taken_ns - after.gc.begun_ns
            found.append((lasting_ns, f"garbage collection goes on for {lasting_ns / MS:.0f} ms"))
    return tuple(text for _, text in sorted(found, key=lambda item: -item[0]))


def _of_process(delta: ProcessProfile) -> list[tuple[float, str]]:
    span_ns = max(1, delta.taken_ns)
    found: list[tuple[float, str]] = []
    for thread in delta.threads:
        found += _of_thread(thread, span_ns)
    steal_ns = sum(delta.steal_ns.values())
    if steal_ns * 20 > span_ns:
        found.append((steal_ns, f"other machines on this host took {steal_ns / MS:.0f} ms of its cores"))
    # a process without running, waiting for a core, or asleep in a call: name what its busiest thread does
    if delta.threads and not found:
        main = max(delta.threads, key=lambda t: t.run_ns)
        what = {"D": "waits for a disk or the kernel", "S": "sleeps in a call of the kernel"}.get(main.state, "runs")
        found.append((0, f"thread {main.name} {what}; ran {main.run_ns / MS:.0f} of {span_ns / MS:.0f} ms"))
    return found


def _of_thread(thread: ThreadProfile, span_ns: int) -> list[tuple[float, str]]:
    found: list[tuple[float, str]] = []
    if thread.run_ns * 5 > span_ns * 4:
        found.append((thread.run_ns, f"thread {thread.name} ran {thread.run_ns / MS:.0f} of {span_ns / MS:.0f} ms without a beat: it loops"))
    if thread.run_delay_ns * 5 > span_ns:
        found.append((thread.run_delay_ns, f"thread {thread.name} waited {thread.run_delay_ns / MS:.0f} ms for a core, "
                                           f"{thread.involuntary_switches} times pushed off one"))  # fmt: skip
    if thread.state == "D":
        found.append((span_ns, f"thread {thread.name} waits for a disk or the kernel (state D)"))
    if thread.major_faults:
        found.append((thread.major_faults * MS, f"thread {thread.name}: {thread.major_faults} major page faults"))
    return found


@dataclass
class _Watched:
    pid: int
    start_ticks: int
    beats: Callable[[], int | None]
    gc: Callable[[], GcNumbers | None]
    last_beat: Sighting | None = None
    silent_ns: int = 0
    looked_ns: int = 0


@dataclass
class Watchdog:
    """Watches processes by name; `look` is called a few times in each `stall_ms`."""

    limits: Limits = field(default_factory=Limits)
    proc: Path = PROC
    _watched: dict[str, _Watched] = field(default_factory=dict)

    def watch(self, name: str, pid: int, start_ticks: int, beats: Callable[[], int | None],
              gc: Callable[[], GcNumbers | None] = lambda: None) -> None:
        """Watch (or watch anew) a process; `beats` gives its count of heartbeats, None while there is none to read."""
        self._watched[name] = _Watched(pid, start_ticks, beats, gc)

    def forget(self, name: str) -> None:
        """Watch it no longer: it ended on purpose."""
        self._watched.pop(name, None)

    def look(self, now_ns: int) -> dict[str, Verdict]:
        """A verdict on each; `now_ns` is a monotonic clock."""
        return {name: self._look(name, watched, now_ns) for name, watched in self._watched.items()}

    def _look(self, name: str, w: _Watched, now_ns: int) -> Verdict:
        profile: ProcessProfile | None = None
        with contextlib.suppress(ProcessGone):
            profile = read_process(w.pid, proc=self.proc)
        beats = w.beats()
        now = Sighting(beats if beats is not None else -1, profile, w.gc(), w.start_ticks)
        if beats is None or w.last_beat is None or now.beats != w.last_beat.beats:
            w.last_beat, w.silent_ns = now, 0  # without a heartbeat to read, only dead and stopped can be told
        else:
            w.silent_ns += min(now_ns - w.looked_ns, self.limits.stall_ns // 2)
        w.looked_ns = now_ns
        return judge(name, w.last_beat, now, w.silent_ns, self.limits)


def engine_beats(name: str) -> Callable[[], int | None]:
    """The heartbeat count in an engine's shared segment."""

    def read() -> int | None:
        try:
            with Segment(name) as segment:
                return int(segment.heartbeat_count())
        except SegmentError:
            return None

    return read


def process_beats(folder: Path, name: str) -> tuple[Callable[[], int | None], Callable[[], GcNumbers | None]]:
    """Heartbeats and collections of one of our Python processes, from its vitals file."""

    def beats() -> int | None:
        found = read_vitals(folder, name)
        return found.beats if found else None

    def collections() -> GcNumbers | None:
        found = read_vitals(folder, name)
        return found.gc if found else None

    return beats, collections
