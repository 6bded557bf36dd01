"""What the supervisor's process hosts for others: the control API, its own vital signs, the words to a service manager."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orchestrator.cli._errors import EXIT_UNAVAILABLE
from orchestrator.control import reply_file
from orchestrator.control.audit import FILE
from orchestrator.control.dispatch import Dispatcher
from orchestrator.control.engine_agent import AgentClient
from orchestrator.control.errors import ControlError
from orchestrator.control.server import ControlServer
from orchestrator.deploy.hosted import Deploys
from orchestrator.observe import log
from orchestrator.observe.vitals import Vitals
from orchestrator.supervise.deploying import deploys_of
from orchestrator.supervise.members import Failure
from orchestrator.supervise.notify import Notifier

if TYPE_CHECKING:
    from orchestrator.supervise.supervisor import Supervisor

BEAT_S = 1.0  # to a service manager that has set no watchdog


class Hosted:
    """Opened before the first process is started, closed after the last has ended. Raises Failure."""

    def __init__(self, supervisor: Supervisor) -> None:
        tree = supervisor.tree
        self._server: ControlServer | None = None
        self.notify = Notifier()
        self._watchdog_s = self.notify.watchdog_interval_s() or BEAT_S
        self._next_s = 0.0
        self._ready = False
        try:
            self._vitals = Vitals(tree.runtime, "supervisor")
            self._server = self._serve(supervisor)
        except (ControlError, OSError) as err:
            hint = err.hint if isinstance(err, ControlError) else f"the runtime folder: {tree.runtime}"
            raise Failure(f"the control API cannot be served: {err}", EXIT_UNAVAILABLE, hint) from err
        tree.addresses.update(self._server.addresses())
        self.deploys = deploys_of(supervisor, self._server.audit.write)
        self.deploys.recover()

    def _serve(self, supervisor: Supervisor) -> ControlServer:
        tree = supervisor.tree
        found: list[ControlServer] = []
        handler = Dispatcher(supervisor.link, supervisor, agent=lambda: AgentClient(tree.runtime), server_stats=lambda: found[0].stats(),
                             limits_changed=supervisor.leasing.hurry)  # fmt: skip
        found.append(ControlServer(tree.cfg.control, handler, tree.runtime, audit_path=tree.run / FILE,
                                   replies_path=tree.run / reply_file.FILE, kill=supervisor.engine.kill))  # fmt: skip
        _point(tree.runtime / FILE, tree.run / FILE)
        found[0].start()
        return found[0]

    def round(self, now_s: float, line: str, *, ready: bool) -> None:
        """The tree has been looked at."""
        self._vitals.beat()
        if now_s < self._next_s and ready == self._ready:
            return
        self._next_s = now_s + self._watchdog_s
        self.notify.watchdog()
        if ready and not self._ready:  # said until it is taken: a manager that is slow to read has a short queue
            self._ready = self.notify.ready(line) or not self.notify.enabled
        else:
            self.notify.status(line)
            self._ready = ready

    def stopping(self, why: str) -> None:
        """The end begins."""
        self.notify.stopping(why)
        self.deploys.stop(f"the tree ends: {why}")

    def close(self) -> None:
        """Serve no more; nothing of it is left."""
        self.deploys.close()
        if self._server is not None:
            self._server.stop()
        self._vitals.close()
        self.notify.close()


def _point(link: Path, to: Path) -> None:
    """The run keeps its audit log; the runtime folder leads to that of the run that goes on."""
    with contextlib.suppress(OSError):
        link.unlink(missing_ok=True)
        link.symlink_to(to)


def deploys(hosted: Hosted | None) -> Deploys:
    """Of a supervisor that serves. Raises ControlError."""
    if hosted is None:
        raise ControlError("unavailable", "the supervisor is not up yet", "try again in a moment")
    return hosted.deploys


def set_level(level: str) -> dict[str, str]:
    """Of this process's log. Raises ControlError for a level that does not exist."""
    try:
        log.set_level(level)
    except ValueError as err:
        raise ControlError("usage", str(err)) from err
    return {"supervisor": level}


def encode(report: msgspec.Struct) -> bytes:
    """For a person to read too."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


