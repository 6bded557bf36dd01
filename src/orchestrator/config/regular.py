"""Reads files whose path somebody else chose: regular ones only, so that no pipe or device is waited for, and not without end."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotRegular(OSError):
    """A pipe, a device, a folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(0, "no regular file", str(path))


def read(path: Path, most: int, *, regular: bool = True) -> bytes:
    """The first `most` + 1 bytes at most: one more than `most` says that there are too many. `regular=False` takes a pipe too
    and waits for it: a person's own command line may name one. Raises OSError, of which NotRegular is one."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if regular else 0)), "rb") as file:
        if regular and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotRegular(path)
        return file.read(most + 1)
