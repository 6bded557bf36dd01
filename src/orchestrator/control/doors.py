"""The sockets of the control API: a file of this user's, and where it is configured TCP with CURVE.

Both are ROUTERs. A message is `[request]` or `[empty, request]` (what DEALER and REQ clients send); replies go back in the
same form. What is larger than two requests ends the connection inside libzmq, before it takes memory.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import zmq
from zmq.utils.monitor import recv_monitor_message

from orchestrator.control.allow_list import AllowList
from orchestrator.control.errors import ControlError
from orchestrator.control.keys import KeyPair
from orchestrator.control.messages import MAX_REQUEST_BYTES, Caller

SOCKET = "control.sock"
MAX_PATH_BYTES = 107  # sun_path, with its ending zero
_FAILED = {zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "handshake", zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "handshake"}


@dataclass
class Arrival:
    """One message: who sent it (None: nobody that may), where the reply goes, its bytes (None: not even of the right form)."""

    caller: Caller | None
    route: tuple[bytes, ...]
    payload: bytes | None


class Door(ABC):
    """One ROUTER socket; used by one thread."""

    def __init__(self, context: zmq.Context[Any], via: Literal["ipc", "tcp"]) -> None:
        self.via = via
        self.address = ""
        self.undelivered = 0
        self.socket = context.socket(zmq.ROUTER)
        for option, value in ((zmq.LINGER, 0), (zmq.ROUTER_MANDATORY, 1), (zmq.RCVHWM, 64), (zmq.SNDHWM, 256),
                              (zmq.MAXMSGSIZE, 2 * MAX_REQUEST_BYTES), (zmq.IPV6, 0)):  # fmt: skip
            self.socket.setsockopt(option, value)

    def receive(self) -> Arrival | None:
        """The next message, None when there is none."""
        try:
            frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        route = tuple(f.bytes for f in frames[:-1])
        good = len(frames) == 2 or (len(frames) == 3 and route[1] == b"")
        return Arrival(self.caller(frames[-1]), route, frames[-1].bytes if good else None)

    @abstractmethod
    def caller(self, frame: zmq.Frame) -> Caller | None:
        """Who sent it."""

    def send(self, route: tuple[bytes, ...], reply: bytes) -> None:
        """Reply; a sender who is gone or does not read is counted."""
        try:
            self.socket.send_multipart([*route, reply], zmq.NOBLOCK)
        except zmq.ZMQError:
            self.undelivered += 1

    def close(self) -> None:
        """Shut it."""
        self.socket.close()


class FileDoor(Door):
    """A socket file: who may open it, by its permissions, is this user or root, and may do everything."""

    def __init__(self, context: zmq.Context[Any], folder: Path, user: str) -> None:
        super().__init__(context, "ipc")
        self._path = folder / SOCKET
        self._caller = Caller(user, "admin", "ipc")
        if len(os.fsencode(self._path)) > MAX_PATH_BYTES:
            raise ControlError("unavailable", f"{self._path} is too long for a socket: {MAX_PATH_BYTES} bytes at most",
                               "set PEREGRINE_RUNTIME_DIR to a shorter folder")  # fmt: skip
        try:
            self.socket.bind(f"ipc://{self._path}")
            self._path.chmod(0o600)
        except (zmq.ZMQError, OSError) as err:
            raise ControlError("unavailable", f"{self._path}: {err}", "is the folder writable?") from err
        self.address = f"ipc://{self._path}"

    def caller(self, frame: zmq.Frame) -> Caller | None:
        """This user."""
        return self._caller

    def close(self) -> None:
        """Shut it; the file goes."""
        super().close()
        with contextlib.suppress(OSError):
            self._path.unlink()


class NetworkDoor(Door):
    """TCP, CURVE only. A caller is looked up by key for each message, so a changed list acts on open connections too."""

    def __init__(self, context: zmq.Context[Any], where: str, key: KeyPair, allowed: AllowList) -> None:
        super().__init__(context, "tcp")
        self._allowed = allowed
        s = self.socket
        s.curve_server = True
        s.curve_secretkey = key.secret.encode()
        s.setsockopt(zmq.ZAP_DOMAIN, b"control")
        s.setsockopt(zmq.HANDSHAKE_IVL, 3000)
        s.setsockopt(zmq.HEARTBEAT_IVL, 10_000)
        s.setsockopt(zmq.BACKLOG, 256)
        self.monitor = s.get_monitor_socket(sum(_FAILED))
        try:
            s.bind(f"tcp://{where}")
        except zmq.ZMQError as err:
            raise ControlError("unavailable", f"control.tcp: {where}: {err}", "another port, or an address of this machine") from err
        self.address = s.getsockopt_string(zmq.LAST_ENDPOINT)

    def caller(self, frame: zmq.Frame) -> Caller | None:
        """Whose key the connection has, if it is in the list now."""
        try:
            return self._allowed.caller(str(frame.get("User-Id")))
        except zmq.ZMQError:
            return None

    def failed_handshakes(self) -> list[str]:
        """Connections that ended before they were any: a reason each."""
        found = []
        while self.monitor.poll(0):
            found.append(_FAILED.get(recv_monitor_message(self.monitor)["event"], "handshake"))
        return found

    def close(self) -> None:
        """Shut it, and its monitor."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        super().close()
