"""Stops one thread of a child process with ptrace: the rest of it goes on. Linux only; parent and tracer are one thread.

A stopped thread stays stopped until `resume`, or until its process is killed; then `reap` must be called before the
process can be waited for, because a tracer owes the kernel a wait for every thread it traces.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PTRACE_CONT, PTRACE_DETACH = 7, 17
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000  # __WALL: threads, too

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class NotPermitted(Exception):
    """The kernel does not let this process trace its child; the text says what it said."""


def thread_of(pid: int, name: str) -> int | None:
    """The thread of `pid` whose comm is `name`."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().strip() == name:
                return int(task.name)
    return None


def _ptrace(request: int, tid: int, data: int = 0) -> None:
    if _libc.ptrace(request, tid, None, data) != 0:
        error = ctypes.get_errno()
        raise NotPermitted(f"ptrace({request:#x}, {tid}): {os.strerror(error)}")


class StoppedThread:
    """One thread, stopped from the constructor on. Raises NotPermitted where that is not allowed."""

    def __init__(self, tid: int) -> None:
        self.tid = tid
        _ptrace(PTRACE_SEIZE, tid)
        _ptrace(PTRACE_INTERRUPT, tid)
        os.waitpid(tid, WALL)

    def resume(self) -> None:
        """Lets it run, and lets go of it."""
        _ptrace(PTRACE_DETACH, self.tid)

    def reap(self) -> None:
        """After its process was killed."""
        with contextlib.suppress(ChildProcessError):
            while True:
                _, status = os.waitpid(self.tid, WALL)
                if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                    return
                with contextlib.suppress(NotPermitted):
                    _ptrace(PTRACE_CONT, self.tid)


def permitted() -> str:
    """Empty, or why one thread of a child cannot be stopped here."""
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    try:
        StoppedThread(child).resume()
        return ""
    except (NotPermitted, OSError) as err:
        return str(err)
    finally:
        os.kill(child, 9)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, WALL)
