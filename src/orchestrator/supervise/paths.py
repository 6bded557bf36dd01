"""Where one engine's control plane keeps its sockets and its state: a folder of the user's own, by the engine's name.

    $XDG_RUNTIME_DIR/peregrine/NAME/     or peregrine-UID/NAME/ in the folder for temporary files; mode 0700
        supervisor.json    the tree as it is (state_file.py), replaced whole at each change
        supervisor.lock    held by the supervisor for its life: two of one name cannot be
        control.sock       requests and replies (zmq ipc)
        telemetry.sock     readings, published (zmq ipc)
        engine.sock        supervisor to engine process: what needs Python there, such as a policy to be staged

`PEREGRINE_RUNTIME_DIR` names another place for all of them: tests have one each.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

VARIABLE = "PEREGRINE_RUNTIME_DIR"
SOCKET_PATH_BYTES = 107  # sun_path less its end
LONGEST_SOCKET = "telemetry.sock"


class RuntimeFolderError(Exception):
    """The folder cannot be used; the text says why and what to do."""


def base_dir() -> Path:
    """The folder over all engines of this user; it need not exist yet."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "peregrine"
    return Path(tempfile.gettempdir()) / f"peregrine-{os.getuid()}"


def runtime_dir(name: str, *, make: bool = False) -> Path:
    """The folder of the engine called `name`; with `make` it is there afterwards, ours and closed to others.

    Raises RuntimeFolderError when it belongs to another user or others may write into it (a socket in it could be
    somebody else's), and when its path leaves no room for the name of a socket.
    """
    folder = base_dir() / name
    if make:
        if (room := SOCKET_PATH_BYTES - len(os.fsencode(folder / LONGEST_SOCKET))) < 0:
            raise RuntimeFolderError(f"{folder}: {-room} characters too long for a socket's path: set {VARIABLE} to a shorter folder")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (folder.parent, folder):
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise RuntimeFolderError(f"{path} is not a folder of this user: remove it, or set {VARIABLE}")
            if found.st_mode & 0o022:
                path.chmod(0o700)
    return folder


def names() -> list[str]:
    """Engines that have, or had, a supervisor of this user, sorted."""
    base = base_dir()
    return sorted(p.name for p in base.iterdir() if (p / "supervisor.json").exists()) if base.is_dir() else []
