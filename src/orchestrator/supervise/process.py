"""One process of the tree, started here or found running: watched and signalled by a pidfd, which never means another.

Each writes into files of its own and belongs to a session of its own, so that neither a Ctrl-C on the terminal nor the
death of its supervisor reaches it. Its environment carries `PEREGRINE_TREE=FOLDER:NAME`, by which a later supervisor
finds even what the dead one had started and not yet written down.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.observe.segment import process_start_ticks
from orchestrator.supervise.notify import forget
from orchestrator.supervise.placement import Placement
from orchestrator.supervise.state_file import Role

MARK = "PEREGRINE_TREE"


@dataclass(frozen=True)
class ProcessSpec:
    """What to run and how."""

    name: str
    role: Role
    arguments: tuple[str, ...]  # of this interpreter
    log: Path  # stderr, appended
    placement: Placement
    out: Path | None = None  # stdout, replaced; none: into the log too
    stdin: int = subprocess.DEVNULL  # a file descriptor, or nothing to read
    inherits: tuple[int, ...] = ()  # file descriptors besides


class Process:
    """A living process of the tree, or one that has just died. `close` lets its pidfd go; it ends nothing."""

    def __init__(self, pid: int, start_ticks: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid, self.start_ticks = pid, start_ticks
        self._child = child
        self._pidfd = os.pidfd_open(pid)
        # Opened after the start time was read: had the number changed hands between, the times would differ now.
        if child is None and process_start_ticks(pid) != start_ticks:
            self.close()
            raise ProcessLookupError(f"process {pid} has ended")

    @classmethod
    def start(cls, spec: ProcessSpec, folder: Path) -> Process:
        """Start it as a process of the tree in runtime folder `folder`. Raises OSError."""
        environment = {**forget(dict(os.environ)), MARK: f"{folder}:{spec.name}"}
        with spec.log.open("ab") as log, spec.out.open("wb") if spec.out else contextlib.nullcontext(log) as out:
            child = subprocess.Popen(
                [sys.executable, *spec.arguments], stdin=spec.stdin, stdout=out, stderr=log,
                env=environment, start_new_session=True, pass_fds=spec.inherits,
            )  # fmt: skip
        process = cls(child.pid, process_start_ticks(child.pid), child)
        settle(child.pid, spec.placement)
        return process

    @classmethod
    def adopt(cls, pid: int, start_ticks: int) -> Process:
        """One that runs already, whoever started it. Raises ProcessLookupError when it has ended."""
        if start_ticks == 0 or process_start_ticks(pid) != start_ticks:
            raise ProcessLookupError(f"process {pid} has ended")
        return cls(pid, start_ticks)

    def fileno(self) -> int:
        """The pidfd: readable once the process has ended."""
        return self._pidfd

    def alive(self) -> bool:
        """Has it not ended? Reaps it where it is our child."""
        if self._child is not None:
            return self._child.poll() is None
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return not poller.poll(0)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False when it still lives then."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        ended = bool(poller.poll(max(0, int(timeout_s * 1000))))
        return ended and not self.alive()

    def send(self, number: signal.Signals) -> None:
        """Signal it; one that has ended gets nothing, and nobody else does."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def end_words(self) -> str:
        """How it ended, as far as can be known."""
        code = self._child.poll() if self._child else None
        if code is None:
            return "ended"
        return f"ended with code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives and for one that is not our child."""
        return self._child.poll() if self._child else None

    def close(self) -> None:
        """Let go of it, alive or dead."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._child is not None:
            self._child.returncode = self._child.poll() if self._child.poll() is not None else 0  # no complaint of Popen's


def settle(pid: int, placement: Placement) -> None:
    """Put a process just started where it belongs, from outside; what is not allowed here is left as it is, and what only
    the process itself can do (its memory's node, its limits) the engine does (engine_main.py)."""
    for act in (
        lambda: os.sched_setaffinity(pid, placement.cpus),
        lambda: os.setpriority(os.PRIO_PROCESS, pid, placement.nice),
        lambda: os.sched_setscheduler(pid, os.SCHED_BATCH if placement.scheduling == "batch" else os.SCHED_OTHER, os.sched_param(0)),
    ):
        with contextlib.suppress(OSError):
            act()


def marked(folder: Path) -> list[tuple[str, int, int]]:
    """Living processes of this user that were started for the tree of `folder`: (name, pid, start ticks)."""
    found = []
    sign = f"{MARK}={folder}:".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            fields = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        name = next((f[len(sign):].decode() for f in fields if f.startswith(sign)), None)
        ticks = process_start_ticks(int(entry.name))
        if name and ticks:
            found.append((name, int(entry.name), ticks))
    return sorted(found, key=lambda f: f[2])
