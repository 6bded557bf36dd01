"""CURVE key pairs in files: the secret one in a file that only its owner can read.

    # control key of a peregrine client or server: keep this file to yourself
    name: desk-anna
    public: rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7
    secret: JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import zmq

from orchestrator.control.allow_list import good_key
from orchestrator.control.messages import INCLUDES, Role

COMMENT = "# control key of a peregrine client or server: keep this file to yourself\n"


class KeyFileError(Exception):
    """The file is not there, open to others, or no key file; the text says which and what to do."""


@dataclass(frozen=True)
class KeyPair:
    """Both keys as Z85 text; the secret one never appears in a message."""

    name: str
    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair({self.name!r}, {self.public!r})"

    def line(self, role: Role) -> str:
        """The line for a server's file of clients."""
        return f"{self.name} {role} {self.public}"


def make(name: str) -> KeyPair:
    """A new pair. Raises KeyFileError for a name that could not stand in a file of clients."""
    if not name or name.split() != [name] or not name.isprintable() or name.startswith("#") or len(name) > 64:
        raise KeyFileError(f"{name[:64]!r} is no name: 1 to 64 printable characters without a space")
    public, secret = zmq.curve_keypair()
    return KeyPair(name, public.decode("ascii"), secret.decode("ascii"))


def write(pair: KeyPair, path: Path) -> None:
    """Write a new file that only its owner can read; one that is there is never replaced. Raises KeyFileError."""
    text = f"{COMMENT}name: {pair.name}\npublic: {pair.public}\nsecret: {pair.secret}\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii", errors="backslashreplace") as file:
            file.write(text)
    except FileExistsError:
        raise KeyFileError(f"{path} is there already: a key is never replaced; name another file") from None
    except OSError as err:
        raise KeyFileError(f"{path}: {err.strerror}") from err


def read(path: Path) -> KeyPair:
    """The pair in a file. Raises KeyFileError."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        raise KeyFileError(f"{path}: {err.strerror}: `peregrine keys new NAME` makes one") from err
    if mode & 0o077:
        raise KeyFileError(f"{path} is open to others: chmod 600 {path}")
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith("#"))
    pair = KeyPair(fields.get("name", ""), fields.get("public", ""), fields.get("secret", "").strip())
    if not (pair.name and good_key(pair.public) and good_key(pair.secret)):
        raise KeyFileError(f"{path} is no key file: expected name, public and secret, a line each")
    if zmq.curve_public(pair.secret.encode()).decode("ascii") != pair.public:
        raise KeyFileError(f"{path}: its public key does not belong to its secret key")
    return pair


def public_key(text: str) -> str:
    """A server's public key: the 40 characters themselves, or a file with a line `public: …`. Raises KeyFileError."""
    if good_key(text):
        return text
    try:
        lines = Path(text).read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        raise KeyFileError("--server-key is neither a public key of 40 characters nor a file with one") from None
    for line in lines:
        key = line.removeprefix("public:").strip()
        if good_key(key) and not line.startswith("secret"):
            return key
    raise KeyFileError(f"{text}: no public key in it")


def role(text: str) -> Role:
    """A role by name. Raises KeyFileError."""
    for known in INCLUDES:
        if text == known:
            return known
    raise KeyFileError(f"role {text[:32]!r}: expected one of {', '.join(INCLUDES)}")
