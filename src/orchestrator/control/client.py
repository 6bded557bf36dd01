"""Asking a supervisor: the library behind the command line, for programs too.

    with ControlClient.local("laptop") as control:
        reply = control.call("pause", {"symbol": "PRGN"}, why="news")

A request that is not answered in time is sent again with the same id, so that nothing is done twice.
"""

from __future__ import annotations

import os
import socket as sockets
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import zmq

from orchestrator.control.doors import SOCKET
from orchestrator.control.errors import ControlError
from orchestrator.control.keys import KeyPair
from orchestrator.control.messages import Reply, Request
from orchestrator.supervise import paths, state_file

ATTEMPTS = 2
MAX_REPLY_BYTES = 64 << 20


class ControlClient:
    """Not for several threads at once. `where` names the other side in messages."""

    def __init__(self, endpoint: str, where: str, *, key: KeyPair | None = None, server_key: str = "",
                 timeout_s: float = 5.0) -> None:
        self._endpoint, self._where, self._key, self._server_key = endpoint, where, key, server_key
        self.timeout_s = timeout_s
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    @classmethod
    def local(cls, name: str, timeout_s: float = 5.0) -> ControlClient:
        """To the supervisor of the engine called `name` on this machine. Raises ControlError when none is there."""
        folder = paths.runtime_dir(name)
        if not (folder / SOCKET).exists():
            raise _not_there(name, folder)
        if _refuses(folder / SOCKET):
            raise _not_there(name, folder)
        if os.getuid() not in (0, folder.stat().st_uid):
            raise ControlError("denied", f"{folder} belongs to another user: what listens there may be anybody's",
                               f"as the user that runs it, or set {paths.VARIABLE}")  # fmt: skip
        return cls(f"ipc://{folder / SOCKET}", f"the supervisor of {name}", timeout_s=timeout_s)

    @classmethod
    def remote(cls, host_port: str, key: KeyPair, server_key: str, timeout_s: float = 5.0) -> ControlClient:
        """Over the network, encrypted: only the server that holds the secret of `server_key` can answer."""
        return cls(f"tcp://{host_port}", host_port, key=key, server_key=server_key, timeout_s=timeout_s)

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go."""
        if self._socket is not None:
            self._socket.close(0)
        self._context.term()

    def call(self, cmd: str, args: dict[str, Any] | None = None, *, why: str = "", who: str = "", request_id: str = "",
             timeout_s: float | None = None) -> Reply:
        """Ask and wait. Raises ControlError for what was not done, with the problem's own code, words and effects."""
        request = Request(cmd=cmd, args=args or {}, why=why, who=who)
        if request_id:
            request.id = request_id
        reply = self.send(request, timeout_s)
        if not reply.ok:
            problem = reply.error
            if problem is None:
                raise ControlError("internal", f"{self._where} said no, and not why")
            raise ControlError(problem.code, problem.message, problem.hint, reply.effects)
        return reply

    def send(self, request: Request, timeout_s: float | None = None) -> Reply:
        """The reply to this very request. Raises ControlError when there is none."""
        data = _encoded(request)
        each_s = (timeout_s or self.timeout_s) / ATTEMPTS
        for _ in range(ATTEMPTS):
            socket = self._connected()
            try:
                socket.send(data, zmq.NOBLOCK)
                if reply := self._await(socket, request.id, each_s):
                    return reply
            except zmq.Again:
                time.sleep(min(each_s, 0.2))
            socket.close(0)  # what may still come belongs to a request that is over
            self._socket = None
        raise self._silent()

    def _connected(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            s = self._context.socket(zmq.DEALER)
            s.linger = 0
            s.setsockopt(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)
            if self._key is not None:
                s.curve_publickey, s.curve_secretkey = self._key.public.encode(), self._key.secret.encode()
                s.curve_serverkey = self._server_key.encode()
            s.connect(self._endpoint)
            self._socket = s
        return self._socket

    def _await(self, socket: zmq.Socket[bytes], request_id: str, timeout_s: float) -> Reply | None:
        deadline = time.monotonic() + timeout_s
        while (left_ms := int((deadline - time.monotonic()) * 1000)) > 0:
            if not socket.poll(left_ms):
                return None
            try:
                reply = msgspec.msgpack.decode(socket.recv(), type=Reply)
            except msgspec.MsgspecError as err:
                raise ControlError("internal", f"{self._where} answered something else: {err}", "is it of this release?") from err
            if reply.id in (request_id, ""):
                return reply
        return None

    def _silent(self) -> ControlError:
        if self._endpoint.startswith("tcp:"):
            hint = "is the address right, does its file of clients hold this key, and is --server-key the server's?"
        else:
            hint = "is the supervisor stopped? `peregrine kill` works without it"
        return ControlError("timeout", f"{self._where} did not answer", hint)


def _refuses(path: Path) -> bool:
    """Is nobody behind this socket file any more? One that is only slow has its place in the queue, or has it full."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_NONBLOCK) as s:
        try:
            s.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _encoded(request: Request) -> bytes:
    """Its bytes. Raises ControlError for what has none, but never for a kill: that goes without what cannot be written."""
    try:
        return msgspec.msgpack.encode(request)
    except (UnicodeEncodeError, OverflowError, RecursionError, TypeError) as err:
        if request.cmd != "kill":
            raise ControlError("usage", f"the request cannot be written: {err}", "text is UTF-8, an integer has 64 bits") from err
    request.who, request.why = (text.encode("utf-8", "replace").decode() for text in (request.who, request.why))
    return msgspec.msgpack.encode(request)


def _not_there(name: str, folder: Path) -> ControlError:
    others = [n for n in paths.names() if (paths.runtime_dir(n) / SOCKET).exists()]
    hint = f"start it with `peregrine up`; here: {', '.join(others)}" if others else "start one with `peregrine up`"
    try:
        state = state_file.read(folder)
        if not state.supervisor_alive():
            hint = f"its supervisor (pid {state.supervisor_pid}) has ended: `peregrine up` takes its engine over or starts it again"
            if state.over():
                hint = f"its last run is over ({state.reason or state.state}); `peregrine up` begins a new one"
    except state_file.StateFileError:
        pass
    return ControlError("unavailable", f"no supervisor of {name} is here ({folder})", hint)
