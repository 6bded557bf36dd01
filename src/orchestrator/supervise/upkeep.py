"""What the supervisor does for the machine's sake: says it lives, tells the service manager, looks for stalls and leaks.

One `look` a round; most rounds it only beats. Nothing here decides about trading or ends a process: it tells, in the log
and in `alarms`, which the state file carries. Costs a reading of /proc of each process every `WATCH_NS`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from orchestrator.config.models import Config
from orchestrator.observe import log
from orchestrator.observe.leaks import LeakRule, LeakWatch
from orchestrator.observe.profile import ProcessGone, read_process
from orchestrator.observe.vitals import vitals
from orchestrator.observe.watchdog import Limits, Verdict, Watchdog, process_beats
from orchestrator.supervise.notify import Notifier
from orchestrator.supervise.tree import Tree

WATCH_NS = 500_000_000
NAME = "supervisor"
_log = log.logger()


class Upkeep:
    """For the life of a supervisor; `close` at its end."""

    def __init__(self, tree: Tree, engine_beats: Callable[[], int | None], notifier: Notifier | None = None) -> None:
        self._tree = tree
        self.notifier = notifier or Notifier()
        self._vitals = vitals(tree.runtime, NAME).__enter__()
        self._beats = engine_beats
        self._watchdog = Watchdog(Limits.of(tree.cfg.supervise.stall_ms))
        self._leaks = LeakWatch(rule_of(tree.cfg))
        self._watched: dict[str, tuple[int, int]] = {}
        self._kinds: dict[str, str] = {}
        self._due_ns = self._sample_ns = self._feed_ns = 0
        self._told_ready = False
        self.verdicts: dict[str, Verdict] = {}

    def look(self, now_ns: int, *, ready: bool) -> None:
        """One round, at a monotonic time; `ready`: has the tree been ready once."""
        if self._vitals is not None:
            self._vitals.beat()
        self._tell(now_ns, ready)
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + WATCH_NS
        self._follow()
        self.verdicts = self._watchdog.look(now_ns)
        for name, verdict in self.verdicts.items():
            if verdict.kind != self._kinds.get(name, "alive"):
                say = _log.info if verdict.kind == "alive" else _log.warning
                say(verdict.line, of=name, verdict=verdict.kind, silent_ms=verdict.silent_ns // 1_000_000)
            self._kinds[name] = verdict.kind
        if now_ns >= self._sample_ns:
            self._sample_ns = now_ns + int(self._leaks.rule.sample_s * 1e9)
            self._sample()
        self._alarm()

    def stopping(self) -> None:
        """The tree ends on purpose: told, and watched no more."""
        self.notifier.stopping(f"{self._tree.name} is stopping")

    def close(self) -> None:
        """Give back what was taken."""
        self.notifier.close()
        if self._vitals is not None:
            self._vitals.close()

    def _tell(self, now_ns: int, ready: bool) -> None:
        if not self.notifier.enabled:
            return
        life = self._tree.life
        if ready and not self._told_ready:
            self._told_ready = self.notifier.ready(f"{life.state}: {life.reason}")
        self.notifier.status(f"{life.state}: {life.reason}")
        interval_s = self.notifier.watchdog_interval_s()
        if interval_s is not None and now_ns >= self._feed_ns:
            self._feed_ns = now_ns + int(interval_s * 1e9)
            self.notifier.watchdog()

    def _follow(self) -> None:
        """Watch the processes that are there now."""
        for member in self._tree.members.values():
            name, now = member.spec.name, member.last if member.process is not None else None
            if now == self._watched.get(name):
                continue
            if now is None:
                self._watchdog.forget(name)
                self._watched.pop(name, None)
                self._kinds.pop(name, None)
                continue
            self._watched[name] = now
            beats, collections = process_beats(self._tree.runtime, name)
            self._watchdog.watch(name, *now, self._beats if name == "engine" else beats, collections)

    def _sample(self) -> None:
        for name, (pid, _) in [*self._watched.items(), (NAME, (os.getpid(), 0))]:
            with contextlib.suppress(ProcessGone):
                leak = self._leaks.add(name, read_process(pid))
                if leak is not None:
                    _log.error(leak.line, of=name, mb_per_hour=round(leak.mb_per_hour))

    def _alarm(self) -> None:
        stalls = [v.line for v in self.verdicts.values() if v.kind in ("stopped", "stalled")]
        alarms = [*stalls, *(leak.line for leak in self._leaks.alarms().values())]
        if [a.split(":")[0] for a in alarms] != [a.split(":")[0] for a in self._tree.alarms]:
            self._tree.alarms = alarms
            self._tree.save()


def rule_of(cfg: Config) -> LeakRule:
    """The leak rule of a configuration."""
    return LeakRule(limit_mb_per_hour=cfg.supervise.leak_mb_per_hour)
