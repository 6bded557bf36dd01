"""The processes of one engine and their lives, as they stand in supervisor.json."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.config import config_hash
from orchestrator.config.models import Config, EmbeddedVenue
from orchestrator.observe import log, traces
from orchestrator.observe.segment import process_start_ticks
from orchestrator.observe.topology import read_topology
from orchestrator.supervise import state_file
from orchestrator.supervise.holds import Holds
from orchestrator.supervise.lifecycle import Life
from orchestrator.supervise.once import Lifelines, Once
from orchestrator.supervise.placement import Placement, plan_placement
from orchestrator.supervise.process import Process, ProcessSpec
from orchestrator.supervise.restart import RestartPolicy
from orchestrator.supervise.run_copy import RunCopy
from orchestrator.supervise.state_file import LifeState, ProcessState, Role, TreeState

LOGS = "logs"
_log = log.logger()


class Member:
    """One place in the tree: who it is, its life, and the process that fills it now, if one does."""

    def __init__(self, spec: ProcessSpec, restart: RestartPolicy, on_move: Callable[[Life, LifeState], None]) -> None:
        self.spec = spec
        self.life = Life(spec.name, trades=spec.role == "engine", on_move=on_move)
        self.restart = restart
        self.process: Process | None = None
        self.last: tuple[int, int] = (0, 0)  # pid and start ticks of the last process
        self.restarts = 0
        self.died_ns = 0  # monotonic, of the death being recovered from; 0 = none is
        self.due_ns = 0  # monotonic, when it is started again; 0 = it is not waiting
        self.recovery_ns = 0
        self.stalled_ns = 0

    def start(self, folder: Path) -> None:
        """Start its process in runtime folder `folder`. Raises OSError."""
        self.take(Process.start(self.spec, folder))

    def take(self, process: Process) -> None:
        """This process fills the place from now on."""
        self.process = process
        self.last = (process.pid, process.start_ticks)

    def alive(self) -> bool:
        """Has it a living process?"""
        return self.process is not None and self.process.alive()

    def state(self) -> ProcessState:
        """For the state file."""
        here = self.process is not None
        return ProcessState(
            name=self.spec.name, role=self.spec.role, pid=self.last[0] if here else 0, start_ticks=self.last[1] if here else 0,
            state=self.life.state, since_ns=self.life.since_ns, restarts=self.restarts, reason=self.life.reason,
            cpus=list(self.spec.placement.cpus), log=str(self.spec.log), recovery_ns=self.recovery_ns, stalled_ns=self.stalled_ns,
        )  # fmt: skip

    def restore(self, found: ProcessState) -> None:
        """Go on where an earlier supervisor was."""
        self.life.state, self.life.since_ns, self.life.reason = found.state, found.since_ns, found.reason
        self.restarts, self.recovery_ns = found.restarts, found.recovery_ns


class Tree:
    """All members, in the order they are started; writes the state file at each change."""

    def __init__(self, cfg: Config, runtime: Path, run: Path, *, config: str = "", generation: int = 1, once: Once | None = None) -> None:
        self.cfg, self.runtime, self.run, self.once = cfg, runtime, run, once
        self.name = cfg.engine.name
        self.config, self.generation = config, generation
        self.trading_enabled = False
        self.has_traded = False  # since the run began: orders may have gone out
        self.started_ns = time.time_ns()
        self.addresses: dict[str, str] = {}
        self.alarms: list[str] = []  # stalls and leaks that stand now
        self.unsettled = False  # ended, and what is open at an external venue is not known
        self.settling = False  # recovered to be ended: unsettled until nothing of it is open
        self.both_died_ns = 0  # wall clock: last recovered without engine and supervisor
        self.holds = Holds()
        self._copy = RunCopy(run)
        self.kill_owed = 0  # level of a kill that found no living engine: the next one gets it before it may trade
        self._writing = threading.Lock()
        self.on_change: Callable[[TreeState], None] | None = None
        self.life = Life(self.name, on_move=self._moved)
        self.members: dict[Role, Member] = {}
        self.placements = plan_placement(cfg, read_topology())
        self._lifelines = Lifelines() if once is not None else None
        for spec in specs(cfg, self.placements, run, self._lifelines):
            self.members[spec.role] = Member(spec, RestartPolicy(cfg.supervise.restart), self._moved)
        self._me = (os.getpid(), process_start_ticks(os.getpid()))

    def _moved(self, life: Life, before: LifeState) -> None:
        say = _log.warning if life.state == "failed" else _log.info
        say(f"{life.name} is {life.state}", of=life.name, before=before, reason=life.reason)
        with traces.span(f"supervise.{life.state}", process=life.name, before=before, reason=life.reason or None):
            self.save()

    def leave_out(self, *roles: Role) -> None:
        """Do without them; before the first process is started."""
        for role in roles:
            self.members.pop(role, None)

    def get(self, role: Role) -> Member | None:
        """The member of that role, None when this tree has none."""
        return self.members.get(role)

    @property
    def engine(self) -> Member:
        """The one every tree has."""
        return self.members["engine"]

    def state(self) -> TreeState:
        """The tree as it is."""
        return TreeState(
            name=self.name, supervisor_pid=self._me[0], supervisor_start_ticks=self._me[1], generation=self.generation,
            run=str(self.run), config=self.config, config_sha256=config_hash(self.cfg), trading_enabled=self.trading_enabled,
            has_traded=self.has_traded, unsettled=self.unsettled, both_died_ns=self.both_died_ns, foreground=self.once is not None,
            state=self.life.state, reason=self.life.reason, started_ns=self.started_ns, written_ns=time.time_ns(),
            processes=[m.state() for m in self.members.values()], holds=self.holds.listed(), kill_owed=self.kill_owed, alarms=list(self.alarms), addresses=dict(self.addresses),
        )  # fmt: skip

    def save(self) -> None:
        """Write it where others find it; a disk that does not take it is said, and does not stop the supervisor."""
        with self._writing:  # the control API's threads write too: what was read last is written last
            state = self.state()
            try:
                state_file.write(self.runtime, state)
            except OSError as err:
                _log.error("the state file could not be written", error=str(err))
            self._copy.take(state)
        if self.on_change:
            self.on_change(state)

    def close(self) -> None:
        """Let every process go, alive or dead."""
        self._copy.close()
        for member in self.members.values():
            if member.process is not None:
                member.process.close()
        if self._lifelines is not None:
            self._lifelines.close()
            self._lifelines = None


def specs(cfg: Config, placements: dict[str, Placement], run: Path, lifelines: Lifelines | None = None) -> list[ProcessSpec]:
    """What the processes of a configuration are, in the order they are started. With `lifelines` they end with their
    supervisor, and nothing is started that only shows the engine to others."""
    from orchestrator.run.venue_process import arguments_of
    from orchestrator.supervise.engine_main import PLAN

    logs = run / LOGS
    out = []

    def tied(role: Role) -> dict[str, Any]:
        if lifelines is None:
            return {}
        stdin, inherits = lifelines.of(role)
        return {"stdin": stdin, "inherits": inherits}

    if isinstance(cfg.venue, EmbeddedVenue):
        arguments = (*arguments_of(cfg), *(["--until-input-ends"] if lifelines else []))
        out.append(ProcessSpec("venue", "venue", arguments, logs / "venue.log", placements["venue"], out=logs / "venue.ready", **tied("venue")))
    engine = ("-m", "orchestrator.supervise.engine_main", str(run / PLAN))
    out.append(ProcessSpec("engine", "engine", engine, logs / "engine.log", placements["engine"], **tied("engine")))
    if cfg.day.reconcile.enabled:
        reconciler = ("-m", "orchestrator.day.reconcile_main", str(run / PLAN))
        out.append(ProcessSpec("reconciler", "reconciler", reconciler, logs / "reconciler.log", placements["supervisor"],
                               out=logs / "reconciler.ready", **tied("reconciler")))  # fmt: skip
    if cfg.observe.metrics is not None and lifelines is None:
        out.append(ProcessSpec("telemetry", "telemetry", exporter_arguments(cfg), logs / "telemetry.log", placements["telemetry"],
                               out=logs / "telemetry.ready"))  # fmt: skip
    return out


def exporter_arguments(cfg: Config) -> tuple[str, ...]:
    """What this interpreter is called with for the telemetry process."""
    observe = cfg.observe
    return ("-m", "orchestrator.observe.exporter", "--name", cfg.engine.name, "--listen", str(observe.metrics), "--publish-ms",
            str(observe.publish_ms), "--heartbeat-after-s", str(observe.alerts.heartbeat_after_s), "--log-level", observe.log_level)  # fmt: skip
