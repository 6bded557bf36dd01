"""The one supervisor of a name: a file lock held for its life, let go by the kernel when it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

FILE = "supervisor.lock"


class Locked(Exception):
    """Another supervisor lives."""

    def __init__(self, folder: Path, pid: int) -> None:
        super().__init__(f"{folder.name} is supervised already" + (f" by process {pid}" if pid else ""))
        self.pid = pid


class SupervisorLock:
    """Takes the lock of a runtime folder; raises Locked while another process has it. `close` lets it go.

    Children do not inherit it: it stands for this process alone.
    """

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise Locked(folder, int(holder) if holder.isdigit() else 0) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let it go; the file stays, empty, so that nobody locks one that has just lost its name."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def held(folder: Path) -> bool:
    """Does some process hold the lock just now?"""
    try:
        SupervisorLock(folder).close()
    except Locked:
        return True
    except FileNotFoundError:
        return False
    return False
