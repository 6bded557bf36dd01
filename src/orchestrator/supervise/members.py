"""Who looks after each process of the tree: notices its death, decides what then, and tells its life."""

from __future__ import annotations

import json
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.cli._errors import EXIT_CONFIG, EXIT_INTERNAL, EXIT_UNAVAILABLE
from orchestrator.config import effective
from orchestrator.control.engine_link import EngineLink, EngineLinkError
from orchestrator.observe import log
from orchestrator.supervise.engine_main import MADE, PLAN, PROBLEM, Ended, Made, Plan, read, write
from orchestrator.supervise.restart import StallWatch
from orchestrator.supervise.stopping import read_result
from orchestrator.supervise.tree import Member, Tree
from orchestrator.supervise.view import EngineView, read_view
from orchestrator.supervise.watching import engine_state, steps

_log = log.logger()


class Failure(Exception):
    """The tree cannot go on, or is asked not to: the reason in a line, an exit code, and the way out."""

    def __init__(self, why: str, code: int = EXIT_UNAVAILABLE, hint: str = "") -> None:
        super().__init__(why)
        self.code, self.hint = code, hint


def last_words(path: Path) -> str:
    """The last line of a log that says something."""
    with suppress(OSError):
        for line in reversed(path.read_text(errors="replace").splitlines()[-40:]):
            if line.strip() and not line.startswith(("hint:", " ")):
                return line.strip()
    return "its log is empty"


class Keeper:
    """What all of them share: deaths, waits, starts again."""

    def __init__(self, tree: Tree, member: Member) -> None:
        self.tree, self.member = tree, member
        self.started_ns = 0  # monotonic

    def start(self, now_ns: int) -> None:
        """Start the process, unless one lives there already (taken over)."""
        self.started_ns = now_ns
        if self.member.alive():
            return
        if self.member.life.state in ("failed", "stopped"):
            self.member.life.move("starting")
        elif self.member.life.state != "starting":  # it died while nobody watched
            self.member.life.move("failed", "it was gone when the supervisor came")
            self.member.life.move("starting")
        try:
            self.member.start(self.tree.runtime)
        except OSError as err:
            raise Failure(f"{self.member.spec.name} could not be started: {err}", EXIT_INTERNAL) from err
        self.tree.save()

    def look(self, now_ns: int, *, started: bool) -> None:
        """One round. Raises Failure when the tree cannot go on. `started`: has the tree been ready once."""
        member = self.member
        if member.due_ns and now_ns >= member.due_ns:
            member.due_ns = 0
            member.restarts += 1
            self.start(now_ns)
        elif member.process is not None and not member.alive():
            words = member.process.end_words()
            member.process.close()
            member.process = None
            self.died(now_ns, words, started=started)

    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        """It is gone and was not asked to go."""
        raise NotImplementedError

    def again(self, now_ns: int, why: str) -> bool:
        """Have it started again after the policy's wait; False when the policy gives it up."""
        member = self.member
        member.died_ns = member.died_ns or now_ns
        wait_ns = member.restart.next_wait_ns(now_ns)
        if member.life.state != "failed":
            member.life.move("failed", why)
        if wait_ns is None:
            return False
        member.due_ns = now_ns + wait_ns
        _log.warning(f"{member.spec.name} is started again", wait_ms=wait_ns // 1_000_000, reason=why)
        return True


class VenueKeeper(Keeper):
    """The embedded exchange. Its day ends with its process: a new one would know neither orders nor executions of the
    old, so the tree ends with it and says so."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, tree.members["venue"])
        self.ready_file = self.member.spec.out or Path()

    def look(self, now_ns: int, *, started: bool) -> None:
        super().look(now_ns, started=started)
        if self.member.life.state == "starting" and self.ready() is not None:
            self.member.life.move("syncing", "its sockets are open")
            self.member.life.move("ready", "it takes orders")

    def ready(self) -> dict[str, Any] | None:
        """Its ready line, None before it is whole."""
        try:
            line, newline, _ = self.ready_file.read_text().partition("\n")
        except OSError:
            return None
        found = json.loads(line) if newline else None
        return found if isinstance(found, dict) else None

    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        said = last_words(self.member.spec.log)
        self.member.life.move("failed", f"{words}: {said}")
        if started:
            raise Failure(f"the embedded exchange {words}: its trading day, and what was open in it, ended with it",
                          EXIT_UNAVAILABLE, "peregrine up begins a new day")  # fmt: skip
        raise Failure(f"the embedded exchange did not start: {said}", EXIT_UNAVAILABLE, f"its log: {self.member.spec.log}")


class TelemetryKeeper(Keeper):
    """The process that shows the engine to others. Nothing waits for it but the start, and orders do not know of it."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, tree.members["telemetry"])

    def look(self, now_ns: int, *, started: bool) -> None:
        super().look(now_ns, started=started)
        if self.member.life.state == "starting" and self.member.alive() and self.answers():
            self.member.life.move("syncing", "it is up")
            self.member.life.move("ready", "it answers")
            self.member.died_ns = 0

    def answers(self) -> bool:
        """Does it publish?"""
        return (self.tree.runtime / "telemetry.sock").exists()

    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        said = f"telemetry {words}: {last_words(self.member.spec.log)}"
        if not started:
            self.member.life.move("failed", said)
            raise Failure(f"telemetry did not start: {said}", EXIT_UNAVAILABLE, f"its log: {self.member.spec.log}")
        if not self.again(now_ns, said):
            _log.error("telemetry is given up; the engine goes on without it", reason=said)


class EngineKeeper(Keeper):
    """The engine: recovered from its journal when it dies, killed when it stands still."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, tree.engine)
        settings = tree.cfg.supervise
        self.link: EngineLink | None = None
        self._link_error = ""
        self.view: EngineView | None = None
        self.lifted_pid = 0  # the engine whose hold has been lifted
        self._stall = StallWatch(settings.stall_ms, settings.stall_kill_ms)
        self._ready_ns = settings.ready_timeout_s * 1_000_000_000
        self._restart_asked = ""

    # ---- its process

    def start(self, now_ns: int) -> None:
        if not self.member.alive():
            self._stall.reset()
            write(self.tree.run / PLAN, self._plan())
        super().start(now_ns)

    def _plan(self) -> Plan:
        venue = self.tree.get("venue")
        ready = json.loads(venue.spec.out.read_text().partition("\n")[0]) if venue and venue.spec.out else None
        return Plan(config=effective(self.tree.cfg), folder=str(self.tree.run), runtime=str(self.tree.runtime), venue=ready,
                    held_before=self._held_before())  # fmt: skip

    def _held_before(self) -> list[int]:
        if self.tree.trading_enabled:
            return []
        if (made := read(self.tree.run / MADE, Made)) is not None:
            return list(made.held)
        earlier = read(self.tree.run / PLAN, Plan)
        return list(earlier.held_before) if earlier is not None else []

    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        self.close_link()
        problem: Ended | None = read(self.tree.run / PROBLEM, Ended)
        said = problem.message if problem else f"{words}: {last_words(self.member.spec.log)}" if not started else words
        result = read_result(self.tree.run)
        if self._restart_asked:
            said, self._restart_asked = self._restart_asked, ""
        elif result is not None:
            self.member.life.move("failed", f"it ended by itself: {result.stopped_by}")
            raise Failure(f"the engine ended by itself ({result.stopped_by})", EXIT_UNAVAILABLE, f"its log: {self.member.spec.log}")
        elif not started or (problem is not None and problem.code == EXIT_CONFIG):
            self.member.life.move("failed", said)
            code, hint = (problem.code, problem.hint) if problem else (EXIT_INTERNAL, f"its log: {self.member.spec.log}")
            raise Failure(f"the engine did not start: {said}", code, hint)
        self.lost_trading()
        if not self.again(now_ns, said):
            used = self.member.restart.words(now_ns)
            raise Failure(f"the engine is given up: {said} ({used})", EXIT_INTERNAL, f"its log: {self.member.spec.log}")

    def lost_trading(self) -> None:
        """The next engine comes up held, whatever the last one was; which pauses were ours is in its plan."""
        self._write_lifted()
        self.tree.trading_enabled = False

    def _write_lifted(self) -> None:
        if self.tree.trading_enabled and (made := read(self.tree.run / MADE, Made)) is not None:
            made.held = []  # lifted: a pause that the journal tells of is a person's
            write(self.tree.run / MADE, made)

    def ask_restart(self, why: str) -> None:
        """End it cleanly; it is started again on the same run."""
        if not self.member.alive() or self.member.process is None:
            raise Failure("the engine is not running just now", EXIT_UNAVAILABLE, "peregrine status says what it does")
        self._restart_asked = why
        self.member.process.send(signal.SIGTERM)

    # ---- its life

    def look(self, now_ns: int, *, started: bool) -> None:
        super().look(now_ns, started=started)
        member = self.member
        if member.process is None:
            return
        self.view = read_view(self.tree.name)
        still_ns = self._still_ns(now_ns)
        after, why = engine_state(member.life.state, self.view, member.process.pid, still_ns=still_ns, enabled=self.lifted)
        for state in steps(member.life.state, after):
            member.life.move(state, why)
        if member.life.state != "starting" and self.link is None:
            self.open_link()
        if member.died_ns and started and self.lifted and self.trades_or_may_not():
            member.recovery_ns, member.died_ns = time.monotonic_ns() - member.died_ns, 0
            _log.info("the engine is back", recovery_ms=member.recovery_ns // 1_000_000)
            self.tree.save()
        if member.life.state == "starting" and started and self.started_ns and now_ns - self.started_ns > self._ready_ns:
            _log.error("the engine did not come up in time: killed")
            member.process.send(signal.SIGKILL)

    def _still_ns(self, now_ns: int) -> int:
        """How long its heartbeat has stood still, 0 below the threshold; kills it at the second one."""
        member, view = self.member, self.view
        if view is None or member.process is None or view.pid != member.process.pid or not view.up:
            return 0
        still_ns = self._stall.take(view.heartbeat_count, now_ns)
        member.stalled_ns = still_ns if self._stall.stalled(still_ns) else 0
        if self._stall.to_be_killed(still_ns):
            _log.error("the engine stands still: killed", still_ms=still_ns // 1_000_000)
            member.process.send(signal.SIGKILL)
            self._stall.reset()
        return member.stalled_ns

    @property
    def lifted(self) -> bool:
        """Has the present engine been let trade?"""
        return self.member.process is not None and self.lifted_pid == self.member.process.pid

    def trades_or_may_not(self) -> bool:
        """Has it come as far as it is let: trading, or held by a person in every shard?"""
        made: Made | None = read(self.tree.run / MADE, Made)
        return self.member.life.state == "trading" or (self.member.life.state == "ready" and made is not None and not made.held)

    # ---- the hand on it

    def taken_over(self) -> None:
        """After a takeover: what the supervisor before had done for this engine is done."""
        if self.member.process is None:
            self.lost_trading()
            return
        if self.tree.trading_enabled:
            self.lifted_pid = self.member.process.pid
        self.open_link()

    def open_link(self) -> None:
        """Attach; tried again at the next round when it does not work now."""
        try:
            self.link = EngineLink(self.tree.name)
            self._link_error = ""
        except EngineLinkError as err:
            if str(err) != self._link_error:
                _log.warning("the engine's command ring is not ours yet", error=str(err))
            self._link_error = str(err)

    def close_link(self) -> None:
        """Let go of the engine's memory."""
        if self.link is not None:
            self.link.close()
            self.link = None

    def beat(self) -> None:
        """One sign of life for the engine."""
        if self.link is not None:
            self.link.beat()
