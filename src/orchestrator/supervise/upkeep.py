"""Stalls and leaks of the processes of a tree, looked for by the supervisor: told in the log and in `alarms`.

Nothing here decides about trading or ends a process. A look costs a reading of /proc of each process, every `WATCH_NS`;
between two it costs a comparison.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.config.models import Config
from orchestrator.observe import log
from orchestrator.observe.leaks import LeakRule, LeakWatch
from orchestrator.observe.profile import ProcessGone, read_process
from orchestrator.observe.watchdog import Limits, Verdict, Watchdog, process_beats

WATCH_NS = 500_000_000
SELF = "supervisor"
_log = log.logger()


class Upkeep:
    """For the life of a supervisor; `runtime` is where the processes of its tree write their vitals."""

    def __init__(self, cfg: Config, runtime: Path, engine_beats: Callable[[], int | None]) -> None:
        self._runtime, self._engine_beats = runtime, engine_beats
        self._watchdog = Watchdog(Limits.of(cfg.supervise.stall_ms))
        self._leaks = LeakWatch(LeakRule(limit_mb_per_hour=cfg.supervise.leak_mb_per_hour))
        self._watched: dict[str, tuple[int, int]] = {}
        self._kinds: dict[str, str] = {}
        self._due_ns = self._sample_ns = 0
        self.verdicts: dict[str, Verdict] = {}
        self._standing: list[tuple[str, ...]] = []
        self.alarms: tuple[str, ...] = ()

    def look(self, now_ns: int, living: Mapping[str, tuple[int, int]]) -> bool:
        """One round at a monotonic time; `living` is pid and start ticks of each process by name. True when `alarms`
        are others than before: by whom and of what, not by their numbers."""
        if now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + WATCH_NS
        self._follow(living)
        self.verdicts = self._watchdog.look(now_ns)
        for name, verdict in self.verdicts.items():
            if verdict.kind != self._kinds.get(name, "alive"):
                say = _log.info if verdict.kind == "alive" else _log.warning
                say(verdict.line, of=name, verdict=verdict.kind, silent_ms=verdict.silent_ns // 1_000_000)
            self._kinds[name] = verdict.kind
        if now_ns >= self._sample_ns:
            self._sample_ns = now_ns + int(self._leaks.rule.sample_s * 1e9)
            self._sample()
        stalls = [(n, v.kind, v.line) for n, v in self.verdicts.items() if v.kind in ("stopped", "stalled")]
        leaks = [(n, "leak", leak.line) for n, leak in self._leaks.alarms().items()]
        before, self._standing = self._standing, [key[:2] for key in (*stalls, *leaks)]
        if before == self._standing:
            return False
        self.alarms = tuple(line for *_, line in (*stalls, *leaks))
        return True

    def growth_mb_per_hour(self) -> dict[str, float]:
        """How fast each process grows, as far as it has been watched long enough."""
        found = {name: self._leaks.growth_mb_per_hour(name) for name in (*self._watched, SELF)}
        return {name: rate for name, rate in found.items() if rate is not None}

    def _follow(self, living: Mapping[str, tuple[int, int]]) -> None:
        for name in [name for name in self._watched if name not in living]:
            self._watchdog.forget(name)
            self._leaks.forget(name)
            del self._watched[name]
            self._kinds.pop(name, None)
        for name, process in living.items():
            if self._watched.get(name) != process:
                self._watched[name] = process
                beats, collections = process_beats(self._runtime, name)
                self._watchdog.watch(name, *process, self._engine_beats if name == "engine" else beats, collections)

    def _sample(self) -> None:
        for name, pid in [*((name, pid) for name, (pid, _) in self._watched.items()), (SELF, os.getpid())]:
            with contextlib.suppress(ProcessGone):
                leak = self._leaks.add(name, read_process(pid))
                if leak is not None:
                    _log.error(leak.line, of=name, mb_per_hour=round(leak.mb_per_hour))
