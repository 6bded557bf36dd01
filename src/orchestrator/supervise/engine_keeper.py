"""Who looks after the engine: its plan, its death and recovery, its standstills, its life, and the hand on it."""

from __future__ import annotations

import signal
import time
from contextlib import suppress

import msgspec

from orchestrator.cli._errors import EXIT_CONFIG, EXIT_INTERNAL, EXIT_UNAVAILABLE
from orchestrator.config import effective
from orchestrator.control.engine_link import EngineLinkError
from orchestrator.control.kill_word import set_kill_word
from orchestrator.observe import log, traces
from orchestrator.observe.profile import ProcessGone, read_process
from orchestrator.observe.segment import KILL_LEVELS
from orchestrator.observe.watchdog import Limits, Sighting, judge
from orchestrator.supervise.engine_main import MADE, PLAN, PROBLEM, RESULT, Ended, Made, Plan, read, write
from orchestrator.supervise.holds import TreeLink
from orchestrator.supervise.members import Failure, Keeper, last_words
from orchestrator.supervise.restart import StallWatch
from orchestrator.supervise.stopping import read_result
from orchestrator.supervise.tree import Tree
from orchestrator.supervise.view import EngineView, read_view
from orchestrator.supervise.watching import engine_state, steps

SETTLE_NS = 1_000_000_000  # telemetry shows by then what a shard does
_log = log.logger()


class EngineKeeper(Keeper):
    """The engine: recovered from its journal when it dies, killed when it stands still."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, tree.engine)
        settings = tree.cfg.supervise
        self.link: TreeLink | None = None
        self._link_error = ""
        self.view: EngineView | None = None
        self.lifted_pid = 0  # the engine whose hold has been lifted
        self.lifted_ns = 0  # monotonic, when; of an adopted one when it was seen to be well
        self._adopted_beat: int | None = None  # heartbeat of an adopted engine that has not moved since
        self._stall = StallWatch(settings.stall_ms, settings.stall_kill_ms)
        self._ready_ns = settings.ready_timeout_s * 1_000_000_000
        self._restart_asked = ""
        self._stalled = ""  # what holds it, while it stands still

    # ---- its process

    def start(self, now_ns: int) -> None:
        """Start it with a plan written for now."""
        if not self.member.alive():
            self._stall.reset()
            try:
                write(self.tree.run / PLAN, self._plan())
                for name in (RESULT, PROBLEM):  # of a life before: not this one's words
                    (self.tree.run / name).unlink(missing_ok=True)
            except OSError as err:  # a disk that is full now was not when the first plan was written, which differs in little
                if not (self.tree.run / PLAN).exists():
                    raise Failure(f"the run's folder cannot be written: {err}") from err
                _log.error("the engine's plan could not be written anew", error=str(err))
        super().start(now_ns)

    def _plan(self) -> Plan:
        venue = self.tree.get("venue")
        ready = str(venue.spec.out) if venue and venue.spec.out else ""
        plan = Plan(config=effective(self.tree.cfg), folder=str(self.tree.run), runtime=str(self.tree.runtime), venue_ready=ready,
                    drained=[h for h in self.tree.holds.listed() if h.kind == "drain" and not h.owed],
                    held_before=self._held_before(), placement=self.member.spec.placement)  # fmt: skip
        if (once := self.tree.once) is not None:
            plan.ends_with_supervisor = True
            if self.member.restarts == 0:  # what was asked for counts for the start it was asked of
                plan.resume = once.resume is not None
                plan.use_snapshots, plan.cut_damaged_tail = once.use_snapshots, once.cut_damaged_tail
        return plan

    def _held_before(self) -> list[int]:
        if self.tree.trading_enabled or 0 < self.lifted_pid == self.member.last[0]:
            return []
        if (made := read(self.tree.run / MADE, Made)) is not None:
            return list(made.held)
        earlier = read(self.tree.run / PLAN, Plan)
        return list(earlier.held_before) if earlier is not None else []

    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        """Recover it, unless it said why that would be of no use."""
        self._owe_its_kill()
        self.close_link()
        problem: Ended | None = read(self.tree.run / PROBLEM, Ended)
        said = problem.message if problem else f"{words}: {last_words(self.member.spec.log)}" if not started else words
        result = read_result(self.tree.run)
        if self._restart_asked:
            said, self._restart_asked = self._restart_asked, ""
        elif result is not None:
            self.member.life.settle("failed", f"it ended by itself: {result.stopped_by}")
            if self.tree.once is not None:  # a recorded feed that is over, a full disk: the report says what it came to
                raise Failure(f"the engine ended by itself ({result.stopped_by})", 0)
            raise Failure(f"the engine ended by itself ({result.stopped_by})", EXIT_UNAVAILABLE, f"its log: {self.member.spec.log}")
        elif not started or (problem is not None and problem.code == EXIT_CONFIG):
            self.member.life.move("failed", said)
            code, hint = (problem.code, problem.hint) if problem else (EXIT_INTERNAL, f"its log: {self.member.spec.log}")
            raise Failure(f"the engine did not start: {said}", code, hint)
        self.lost_trading()
        if not self.again(now_ns, said):
            used = self.member.restart.words(now_ns)
            raise Failure(f"the engine is given up: {said} ({used})", EXIT_INTERNAL, f"its log: {self.member.spec.log}")

    def _owe_its_kill(self) -> None:
        """It may have died before it looked at the word."""
        if (dead := read_view(self.tree.name)) is not None:
            self.tree.kill_owed = max(self.tree.kill_owed, dead.kill_level)

    def lost_trading(self) -> None:
        """The next engine comes up held, whatever the last one was; which pauses were ours is in its plan."""
        self.tree.trading_enabled = False

    def write_lifted(self, made: Made) -> None:
        """The hold is lifted: a pause that the journal tells of from here on is a person's, in whichever life it is read."""
        try:
            write(self.tree.run / MADE, msgspec.structs.replace(made, held=[]))
        except OSError as err:  # this supervisor knows it all the same
            _log.error("that the hold is lifted could not be written down", error=str(err))

    def ask_restart(self, why: str) -> None:
        """End it cleanly; it is started again on the same run."""
        if not self.member.alive() or self.member.process is None:
            raise Failure("the engine is not running just now", EXIT_UNAVAILABLE, "peregrine status says what it does")
        self._restart_asked = why
        self.member.process.send(signal.SIGTERM)

    # ---- its life

    def look(self, now_ns: int, *, started: bool) -> None:
        """One round: its death, its state, its heartbeat."""
        super().look(now_ns, started=started)
        member = self.member
        if member.process is None:
            return
        self.view = read_view(self.tree.name)
        if self._adopted_beat is not None and (v := self.view) and v.pid == member.process.pid and v.heartbeat_count != self._adopted_beat:
            self._adopted_beat, self.lifted_ns = None, now_ns
        self.hand_on_kill()
        still_ns = self._still_ns(now_ns)
        if still_ns:
            self._name_stall(still_ns)
        after, why = engine_state(member.life.state, self.view, member.process.pid, stalled=self._stalled if still_ns else "", enabled=self.lifted,
                                  holds=self.tree.holds.listed())  # fmt: skip
        for state in steps(member.life.state, after):
            member.life.move(state, why)
        if after in ("ready", "trading"):
            member.life.reason = why  # who holds it may change while it is held
        if member.life.state != "starting" and self.link is None:
            self.open_link()
        if member.died_ns and started and self.settled(now_ns):
            member.recovery_ns, member.died_ns = time.monotonic_ns() - member.died_ns, 0
            _log.info("the engine is back", recovery_ms=member.recovery_ns // 1_000_000)
            traces.record("supervise.recovery", member.recovery_ns, process=member.spec.name)
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
        if not member.stalled_ns:
            self._stalled = ""
        if self._stall.to_be_killed(still_ns):
            _log.error("the engine stands still: killed", still_ms=still_ns // 1_000_000)
            member.process.send(signal.SIGKILL)
            self._stall.reset()
        return member.stalled_ns

    def _name_stall(self, still_ns: int) -> None:
        """Say what holds it, once for each standstill: a stop signal is another thing than a loop."""
        process, view = self.member.process, self.view
        if self._stalled or process is None or view is None:
            return
        profile = None
        with suppress(ProcessGone):
            profile = read_process(process.pid)
        seen = Sighting(view.heartbeat_count, profile)
        self._stalled = judge("engine", seen, seen, still_ns, Limits.of(self.tree.cfg.supervise.stall_ms)).line

    @property
    def lifted(self) -> bool:
        """Has the present engine been let trade?"""
        return self.member.process is not None and self.lifted_pid == self.member.process.pid

    def settled(self, now_ns: int) -> bool:
        """Has it come as far as it is let: trading, or let trade and held by a person or a kill all the same?"""
        state = self.member.life.state
        return self.lifted and self._adopted_beat is None and (state == "trading" or (state == "ready" and now_ns - self.lifted_ns > SETTLE_NS))

    # ---- the hand on it

    def kill(self, level: str) -> str:
        """Set the kill word, or owe it to the engine to come where none lives; always "", as it acts either way. From any thread."""
        self.tree.holds.killed()
        if set_kill_word(self.tree.name, level):
            self.tree.kill_owed = max(self.tree.kill_owed, KILL_LEVELS[level])
            self.tree.save()
        return ""

    def killed(self) -> bool:
        """Does a kill stand, for the present engine or the one to come?"""
        view, process = read_view(self.tree.name), self.member.process
        return self.tree.kill_owed > 0 or (view is not None and process is not None and view.pid == process.pid and view.kill_level > 0)

    def hand_on_kill(self) -> bool:
        """Give the present engine the kill that is owed; True when none is owed any more. Before its hold is lifted."""
        owed, process = self.tree.kill_owed, self.member.process
        if owed and process is not None and self.view is not None and self.view.pid == process.pid:
            level = next(name for name, number in KILL_LEVELS.items() if number == owed)
            if not (problem := set_kill_word(self.tree.name, level)):
                self.tree.kill_owed = 0
                _log.warning("the engine got the kill it was owed", level=level)
                self.tree.save()
            else:
                _log.error("the kill that is owed could not be handed on", error=problem)
        return not self.tree.kill_owed

    def taken_over(self) -> None:
        """After a takeover: what the supervisor before had done for this engine is done; one that is gone is recovered."""
        if self.member.process is None:
            if self.tree.has_traded:
                self._gone(time.monotonic_ns(), "gone when the supervisor came")
            return
        if self.tree.trading_enabled:
            self.lifted_pid = self.member.process.pid
        # What it shows is of a time without a supervisor, in which it may have stopped by its policy.
        view = read_view(self.tree.name)
        self._adopted_beat = view.heartbeat_count if view is not None and view.pid == self.member.process.pid else -1
        self.open_link()

    def _gone(self, now_ns: int, words: str) -> None:
        """It died while nobody watched: recovered at once, and that is no restart of this supervisor's."""
        if read_result(self.tree.run) is not None:
            self.died(now_ns, words, started=True)
            return
        self._owe_its_kill()
        self.lost_trading()
        member = self.member
        if member.life.state != "failed":
            member.life.move("failed", words)
        member.died_ns = member.died_ns or now_ns
        member.due_ns = now_ns

    def open_link(self) -> None:
        """Attach; tried again at the next round when it does not work now. What lies under the name until a new engine has
        made its own memory is a dead one's: nobody there would take a command or a heartbeat."""
        view, process = read_view(self.tree.name), self.member.process
        if view is None or process is None or view.pid != process.pid:
            return
        try:
            self.link = TreeLink(self.tree.name, self.tree.holds, self.tree.save)
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
        """One sign of life for the engine. From any thread."""
        if (link := self.link) is not None:
            link.beat()
