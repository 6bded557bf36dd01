"""The supervisor of one engine: starts its processes in order, watches them, restarts what died, ends them in reverse.

One thread, one loop; each round looks for deaths, reads the engine's state and takes the next step, while a thread of its
own beats into the engine's shared memory (heartbeat.py). What comes from elsewhere (signals, the control API's threads) is handed to the loop.
"""

from __future__ import annotations

import os
import queue
import select
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_UNAVAILABLE
from orchestrator.config.models import Config
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Request
from orchestrator.day.keeper import ReconcilerKeeper
from orchestrator.observe import log
from orchestrator.supervise import away, hosting
from orchestrator.supervise.deploying import take
from orchestrator.supervise.engine_keeper import EngineKeeper
from orchestrator.supervise.files import replace_whole
from orchestrator.supervise.heartbeat import Heartbeat
from orchestrator.supervise.holds import TreeLink
from orchestrator.supervise.leasing import Leasing
from orchestrator.supervise.leftovers import put_away
from orchestrator.supervise.lock import SupervisorLock
from orchestrator.supervise.members import Failure, TelemetryKeeper, VenueKeeper
from orchestrator.supervise.startup import Startup
from orchestrator.supervise.state_file import TreeState
from orchestrator.supervise.stopping import ENDED, EndReport, left_unsettled, stop
from orchestrator.supervise.takeover import Takeover, end_all
from orchestrator.supervise.tree import Tree
from orchestrator.supervise.upkeep import Upkeep
from orchestrator.supervise.watching import steps

BUSY_S = 0.02  # between rounds while something is on its way
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIME_IS_OVER = "its time is over"
_log = log.logger()


class Supervisor:
    """Supervises `tree` until asked to stop or until it cannot go on; `run` returns what it came to.

    It fulfils control.dispatch.TreeControl: those methods may be called from any thread.
    """

    def __init__(self, tree: Tree, lock: SupervisorLock, *, takeover: Takeover | None = None,
                 on_round: Callable[[Supervisor], None] | None = None) -> None:
        self.tree, self.lock = tree, lock
        self.engine = EngineKeeper(tree)
        self.venue = VenueKeeper(tree) if tree.get("venue") else None
        self.telemetry = TelemetryKeeper(tree) if tree.get("telemetry") else None
        self.reconciler = ReconcilerKeeper(tree) if tree.get("reconciler") else None
        self.startup = Startup(tree, self.engine, self.venue, self.telemetry, self.reconciler)
        self.ready_s = 0.0  # of the last start or takeover: begin to trading
        self._takeover, self._on_round = takeover, on_round
        self._began = time.monotonic()
        self._ending: Failure | None = None
        self._until_s = float("inf")  # monotonic; of a run for a time, once it trades
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._hosted: hosting.Hosted | None = None
        self.leasing = Leasing()
        settings = tree.cfg.supervise
        self._heartbeat = Heartbeat(self.engine.beat, settings.heartbeat_ms / 1000, settings.hung_after_ms / 1000)
        self._upkeep = Upkeep(tree.cfg, tree.runtime, lambda: self.engine.view.heartbeat_count if self.engine.view else None)

    # ---- the loop

    def run(self) -> EndReport:
        """Until the end; nothing of the tree is left then, whatever happened. Call it on the main thread."""
        with self._signals():
            try:
                self._keep_off()
                if self._takeover is not None:
                    self._take_over(self._takeover)
                else:
                    self._heartbeat.start()
                self._hosted = hosting.Hosted(self)
                self.tree.save()
                while self._ending is None:
                    self._round()
                    if self._ending is None:
                        self._sleep()
            except Failure as failure:
                self._ending = failure
            except Exception as err:  # a defect here must not leave processes behind
                _log.exception("the supervisor failed")
                self._ending = Failure(f"the supervisor failed: {type(err).__name__}: {err}", EXIT_INTERNAL, "its log has the lines")
            return self._end(self._ending or Failure("asked to stop", 0))

    def _round(self) -> None:
        now = time.monotonic_ns()
        self._heartbeat.progress()
        for keeper in (self.venue, self.engine, self.reconciler, self.telemetry):
            if keeper is not None:
                keeper.look(now, started=self.startup.done)
        self.startup.advance(now)
        self._follow()
        self._look_at_the_clock(now / 1e9)
        self.leasing.round(self.engine.link)
        living = {m.spec.name: m.last for m in self.tree.members.values() if m.process is not None}
        if self._upkeep.look(now, living):
            self.tree.alarms = list(self._upkeep.alarms)
            self.tree.save()
        while not self._calls.empty():
            call, future = self._calls.get()
            try:
                future.set_result(call())
            except Exception as err:
                future.set_exception(err)
        if self._hosted:
            self._hosted.round(now / 1e9, f"{self.tree.life.state}: {self.tree.life.reason}", ready=self.startup.done)
        if self._on_round:
            try:
                self._on_round(self)
            except Exception:  # what is shown must not decide over what trades
                _log.exception("the display failed and is left out from here on")
                self._on_round = None

    def _keep_off(self) -> None:
        """Leave the engine's cores to the engine; threads started from here on inherit it."""
        with suppress(OSError):
            os.sched_setaffinity(0, self.tree.placements["supervisor"].cpus)

    def _follow(self) -> None:
        """The tree's life is its engine's; while that is away, it syncs."""
        life, tree = self.tree.engine.life, self.tree.life
        wanted = life.state
        if wanted in ("starting", "failed"):
            wanted = "syncing" if self.startup.done or tree.state != "starting" else "starting"
        if tree.state == life.state in ("ready", "trading") and tree.reason != life.reason:
            tree.reason = life.reason
            self.tree.save()
        for state in steps(tree.state, wanted):
            tree.move(state, life.reason if life.state == wanted else f"the engine is {life.state}: {life.reason}")
        if self.startup.done and not self.ready_s and self.engine.settled(time.monotonic_ns()):
            self.ready_s = time.monotonic() - self._began
            _log.info("ready", seconds=round(self.ready_s, 3), generation=self.tree.generation)
            self.tree.save()

    def _look_at_the_clock(self, now_s: float) -> None:
        """A run for a time ends when so long has gone by since it first traded; an engine on its way back is waited for."""
        once = self.tree.once
        if once is None or once.for_ns is None or not self.startup.done:
            return
        self._until_s = min(self._until_s, now_s + once.for_ns / 1e9)
        late_s = now_s - self._until_s
        if late_s >= 0 and (not self.engine.member.died_ns or late_s > self.tree.cfg.supervise.ready_timeout_s):
            self.ask_stop(TIME_IS_OVER)

    def _sleep(self) -> None:
        settled = self.startup.done and self.tree.life.state == "trading"
        poller = select.poll()
        poller.register(self._wake_out, select.POLLIN)
        for member in self.tree.members.values():
            if member.alive() and member.process is not None:
                poller.register(member.process.fileno(), select.POLLIN)
        wait_s = min(self.tree.cfg.supervise.heartbeat_ms / 1000, max(0.001, self._until_s - time.monotonic()))
        for fd, _ in poller.poll(int(1000 * (wait_s if settled else min(wait_s, BUSY_S)))):
            if fd == self._wake_out:
                os.read(fd, 4096)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def taken(number: int, frame: object) -> None:
            self.ask_stop(f"asked to stop by {signal.Signals(number).name}")

        def killed(number: int, frame: object) -> None:
            self.tree.holds.killed()
            if (process := self.tree.engine.process) is not None:
                process.send(signal.SIGUSR1)  # meant for the engine: it stops trading at once, and goes on
            if not self.tree.engine.alive():
                self.tree.kill_owed = max(1, self.tree.kill_owed)  # or for the one to come

        before = {number: signal.signal(number, taken) for number in STOP_SIGNALS}
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, killed)
        fd = signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take_over(self, takeover: Takeover) -> None:
        for name, process in takeover.adopt().items():
            member = next((m for m in self.tree.members.values() if m.spec.name == name), None)
            if member is not None:
                member.take(process)
        if self.venue is not None and not self.venue.member.alive():
            raise Failure("the embedded exchange died without a supervisor: its trading day ended with it", EXIT_UNAVAILABLE,
                          "peregrine up begins a new day")  # fmt: skip
        takeover.move("leasing")
        self.engine.taken_over()
        if self.tree.has_traded:  # a start that was cut short is gone through again, a running engine is let run
            self.startup.done = True
            for keeper in (self.reconciler, self.telemetry):
                if keeper is not None and not keeper.member.alive():
                    keeper.died(time.monotonic_ns(), "gone when the supervisor came", started=True)
        takeover.move("beating")
        self.engine.beat()
        self._heartbeat.start()
        takeover.move("writing")
        self.tree.save()
        takeover.move("done")
        _log.info("taken over", generation=self.tree.generation, adopted=sorted(takeover.adopted))

    def overdue(self) -> str:
        """What a tree that was taken over still waits for after `supervise.ready_timeout_s`; empty where it is ready, and before.
        It is supervised all the while."""
        seconds, life = self.tree.cfg.supervise.ready_timeout_s, self.tree.engine.life
        if self.ready_s or not self.startup.done or time.monotonic() - self._began < seconds:
            return ""
        return f"taken over, and not ready after {seconds} s: the engine is {life.state}: {life.reason}"

    # ---- the end

    def ask_stop(self, why: str, code: int = 0, hint: str = "") -> None:
        """End the tree at the next round; the first reason counts. From any thread, and from a signal handler."""
        if self._ending is None:
            self._ending = Failure(why, code, hint)

    def _end(self, ending: Failure) -> EndReport:
        say = _log.error if ending.code else _log.info
        say("the tree ends", reason=str(ending), code=ending.code)
        if self._hosted:
            self._hosted.stopping(str(ending))
        tree = self.tree
        try:
            report = stop(tree, self.engine.link, timeout_s=tree.cfg.supervise.stop_timeout_s, why=str(ending), beat=self._heartbeat.progress)
        except Exception as err:  # a defect here must not leave processes behind either
            _log.exception("the tree could not be ended in order")
            notes = [f"not ended in order: {err}", *(f"{name} was ended by a signal" for name in end_all(tree.runtime))]
            report = EndReport(name=tree.name, run=str(tree.run), reason=str(ending), code=EXIT_INTERNAL, open_orders=None, notes=notes)
        report.code, report.hint = report.code or ending.code, ending.hint
        if tree.settling:
            left_unsettled(report)
        self._heartbeat.stop()
        self.engine.close_link()
        if self._hosted:
            self._hosted.close()
        report.notes += put_away(tree.name, tree.runtime, tree.run)
        if self.tree.once is None and (report.open_orders != 0 or any(m.life.state == "failed" for m in tree.members.values())):
            report.code = report.code or EXIT_UNAVAILABLE
        tree.trading_enabled = False
        tree.unsettled = tree.settling or (tree.has_traded and report.open_orders is None and self.venue is None and tree.once is None)
        tree.addresses.clear()
        for member in tree.members.values():
            if member.process is not None and not member.alive():
                member.process.close()
                member.process = None
        tree.life.settle("draining")
        tree.life.move("failed" if report.code else "stopped", str(ending))
        tree.close()
        try:
            replace_whole(tree.run / ENDED, hosting.encode(report))
        except OSError as err:
            report.notes.append(f"the report could not be written: {err}")
        self.lock.close()
        for fd in (self._wake_out, self._wake_in):
            os.close(fd)
        return report

    # ---- control.dispatch.TreeControl

    def state(self) -> TreeState:
        """The tree as it is."""
        return self.tree.state()

    def config(self) -> Config:
        """The configuration in force."""
        return self.tree.cfg

    def link(self) -> TreeLink | None:
        """The hand on the engine; None while it is away."""
        return self.engine.link

    def enable_trading(self, request: Request) -> dict[str, Any]:
        """Lift the hold of a tree that is ready. Raises ControlError when it is not."""
        effects = self._in_loop(lambda: self.startup.enable(request))
        return {"trading_enabled": True, "effects": msgspec.to_builtins(effects)}

    def stop_tree(self, request: Request) -> dict[str, Any]:
        """Begin to end the tree, as `peregrine down` does."""
        why = f"asked to stop by {request.who or 'a command'}" + (f": {request.why}" if request.why else "")
        self._in_loop(lambda: self.ask_stop(why))
        return {"stopping": True}

    def restart_engine(self, request: Request) -> dict[str, Any]:
        """End the engine cleanly and start it again on the same run. Raises ControlError."""
        self._in_loop(lambda: self.engine.ask_restart(f"restart asked for by {request.who or 'a command'}"))
        return {"restarting": True}

    def keep(self, request: Request) -> dict[str, Any]:
        """A stop for the engine that comes next. Raises ControlError."""
        return away.keep(self.tree, self.engine, request)

    def take_back(self, request: Request) -> dict[str, Any] | None:
        """A resume, or `reduce_only` off, of what was kept; None where it is an engine's to do. Raises ControlError."""
        found: dict[str, Any] | None = self._in_loop(lambda: away.take_back(self.tree, self.engine, request))
        return found

    def set_log_level(self, level: str) -> dict[str, str]:
        """Of the supervisor's log; the dispatcher tells the engine. Raises ControlError."""
        return hosting.set_level(level)

    def deploy(self, request: Request) -> Any:
        """Begin to take a changed configuration. Raises ControlError."""
        return hosting.deploys(self._hosted).begin(request)

    def deployed(self, request_id: str, after: int) -> Any:
        """How far that deploy is. Raises ControlError."""
        return hosting.deploys(self._hosted).status(request_id, after)

    def take_config(self, cfg: Config) -> None:
        """Go on with this configuration, which the engine runs with by now. Raises ControlError."""
        self._in_loop(lambda: take(self.tree, cfg))

    def _in_loop(self, call: Callable[[], Any], timeout_s: float = 5.0) -> Any:
        future: Future[Any] = Future()
        self._calls.put((call, future))
        os.write(self._wake_in, b"c")
        try:
            return future.result(timeout_s)
        except Failure as failure:
            raise ControlError("unavailable", str(failure), failure.hint) from failure
        except TimeoutError:
            raise ControlError("timeout", f"the supervisor has not come to it within {timeout_s:.0f} s", "ask again with the same id") from None
