"""Who may connect over TCP: a text file of names, roles and public keys.

    # name      role      public key (Z85, 40 characters)
    desk-anna   operator  rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7

`peregrine keys new` prints such a line. The file is read again when it changes; one that is not good is not taken, the
list before it stays in force, and the log says why. Nobody but its owner may write it.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
from zmq.utils import z85

from orchestrator.control.messages import INCLUDES, MAX_WHO_CHARS, Caller, Role

KEY_CHARS = 40


class AllowListError(Exception):
    """The file is not there, open to others, or a line of it is wrong; the text names it."""


class Client(msgspec.Struct, frozen=True):
    """One line."""

    name: str
    role: Role
    key: str  # Z85


def parse(text: str) -> dict[str, Client]:
    """Clients by public key. Raises AllowListError with the number of the first bad line."""
    found: dict[str, Client] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3:
            raise AllowListError(f"line {number}: expected a name, a role and a public key, found {len(words)} words")
        name, role, key = words
        if len(name) > MAX_WHO_CHARS or not name.isprintable():
            raise AllowListError(f"line {number}: a name has 1 to {MAX_WHO_CHARS} printable characters")
        if role not in INCLUDES:
            raise AllowListError(f"line {number}: role {role[:32]!r}, expected one of {', '.join(INCLUDES)}")
        if not good_key(key):
            raise AllowListError(f"line {number}: no public key: expected {KEY_CHARS} characters of Z85")
        if key in found or name in {c.name for c in found.values()}:
            raise AllowListError(f"line {number}: {name}: this name or key stands in the file already")
        found[key] = Client(name, role, key)
    return found


def good_key(key: str) -> bool:
    """Is this the text of a CURVE key?"""
    if len(key) != KEY_CHARS or not key.isascii():
        return False
    try:
        decoded = z85.decode(key.encode())
    except Exception:
        return False
    return len(decoded) == 32 and z85.encode(decoded) == key.encode()


def read(path: Path) -> dict[str, Client]:
    """Clients of a file, by public key. Raises AllowListError."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise AllowListError(f"{path}: {err}") from err
    if mode & 0o022:
        raise AllowListError(f"{path} can be written by others: chmod go-w {path}")
    try:
        return parse(text)
    except AllowListError as err:
        raise AllowListError(f"{path}: {err}") from err


class AllowList:
    """The list in force. Looked up by any thread; read again by `refresh`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp = self._stamp_now()
        self._clients = read(path)
        self.reloads = 0
        self.bad_reloads = 0

    def caller(self, key: str) -> Caller | None:
        """Who has this public key; None = nobody who may connect."""
        with self._lock:
            client = self._clients.get(key)
        return None if client is None else Caller(client.name, client.role, "tcp")

    def refresh(self, *, force: bool = False) -> str | None:
        """Read the file again when it changed. None: nothing to do; "": taken; else why it was not taken."""
        stamp = self._stamp_now()
        if stamp == self._stamp and not force:
            return None
        self._stamp = stamp
        try:
            clients = read(self._path)
        except AllowListError as err:
            self.bad_reloads += 1
            return str(err)
        with self._lock:
            self._clients = clients
        self.reloads += 1
        return ""

    def _stamp_now(self) -> tuple[int, int, int, int]:
        try:
            s = self._path.stat()
        except OSError:
            return (0, 0, 0, 0)
        return (s.st_mtime_ns, s.st_size, s.st_ino, s.st_mode)
