"""A thread inside the engine process for what needs Python there: staging a policy, a snapshot, the log level.

It listens on engine.sock, a stream socket of this user's, for one client at a time: the supervisor.

    frame     u32 length, little-endian, at most MAX_FRAME_BYTES; then a MessagePack map
    request   {op, …}      bank_swap {slot, data, key, shard, origin} · snapshot {shard} · log_level {level} · ping
                           rearm_account {who, why}
    answer    {ok, data | code, message, hint}

A policy goes to the shard as `run` itself would stage it: checked here, then handed over with its command, which is
journaled with the artifact. Whether the shard took it, its table of answers says (engine_link.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from orchestrator.control import bodies
from orchestrator.control.errors import ControlError, problem_of
from orchestrator.observe import log
from orchestrator.run.watch import AccountBreaker

SOCKET = "engine.sock"
MAX_FRAME_BYTES = 16 << 20
CLIENT_TIMEOUT_S = 5.0
HANDOVER_S = 1.0


class EngineAgent:
    """Serves for `engine` (a LiveRun, or what behaves like it) until stopped. Raises OSError when it cannot listen."""

    def __init__(self, engine: Any, folder: Path, *, set_level: Callable[[str], None] = log.set_level,
                 account: AccountBreaker | None = None) -> None:
        self._engine, self._account = engine, account
        self._set_level = set_level
        self._path = folder / SOCKET
        self._over = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of an engine that died; two of one name cannot be
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)
        self._inode = self._path.stat().st_ino
        self._socket.listen(4)
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._serve, name="engine-agent", daemon=True)

    def __enter__(self) -> EngineAgent:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and leave no socket behind."""
        self._over.set()
        self._thread.join(timeout=5)
        self._socket.close()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # not that of the engine after us
                self._path.unlink()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with client:
                client.settimeout(CLIENT_TIMEOUT_S)
                with contextlib.suppress(OSError, EOFError):
                    while not self._over.is_set():
                        send(client, self._answer(receive(client)))

    def _answer(self, data: bytes) -> dict[str, Any]:
        try:
            asked = msgspec.msgpack.decode(data, type=dict[str, Any])
            return {"ok": True, "data": self._do(asked)}
        except Exception as err:
            problem = problem_of(err)
            if isinstance(err, (KeyError, TypeError, msgspec.MsgspecError)):
                problem = problem_of(ControlError("usage", f"not understood: {err}"))
            return {"ok": False, "code": problem.code, "message": problem.message, "hint": problem.hint}

    def _do(self, asked: dict[str, Any]) -> Any:
        op = asked["op"]
        if op == "ping":
            return os.getpid()
        if op == "log_level":
            self._set_level(asked["level"])
            return None
        if op == "snapshot":
            return {"shard": asked["shard"], "asked": bool(self._engine.snapshot_now(asked["shard"]))}
        if op == "bank_swap":
            return self._bank_swap(asked["slot"], asked["data"], asked["key"], asked["shard"], asked["origin"])
        if op == "rearm_account":
            return self._rearm_account(asked["who"], asked["why"])
        raise ControlError("usage", f"no operation {op!r}")

    def _rearm_account(self, who: str, why: str) -> str:
        """What became of the account's breaker, over all shards; refused while its loss is at the limit."""
        if self._account is None or not self._account.reason:
            return "not tripped"
        if not self._account.rearm(who, why, time.time_ns()):
            raise ControlError("refused", self._account.still() or "the account's loss was at its limit a moment ago", "raise the limit first: peregrine limits set max_loss_units=…")
        return "armed again"

    def _bank_swap(self, slot: int, data: bytes, key: int, shard: int, origin: bytes) -> None:
        from orchestrator.run.plan import bank_spec, bank_swap_body

        try:
            spec = bank_spec(slot, data)
        except ValueError as err:
            raise ControlError("refused", f"policy refused: {err}") from err
        deadline = time.monotonic() + HANDOVER_S
        try:
            while not self._engine.command(bodies.KINDS["bank_swap"], bank_swap_body(slot, data), key, spec, shard, origin):
                if time.monotonic() > deadline:
                    raise ControlError("busy", f"shard {shard} has not taken the command before this one", "try again")
                time.sleep(0.001)
        except (ValueError, IndexError) as err:  # the set refuses it: actions, shapes, slot
            raise ControlError("refused", f"policy refused: {err}", "peregrine policy verify FILE says more") from err


class AgentClient:
    """The other side: one call, one connection. Raises ControlError."""

    def __init__(self, folder: Path, timeout_s: float = 5.0) -> None:
        self._path = folder / SOCKET
        self._timeout_s = timeout_s

    def call(self, op: str, **args: Any) -> Any:
        """What the engine process answers."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.settimeout(self._timeout_s)
                s.connect(str(self._path))
                send(s, {"op": op, **args})
                answer = msgspec.msgpack.decode(receive(s), type=dict[str, Any])
        except TimeoutError as err:
            raise ControlError("timeout", f"the engine process did not answer {op} in {self._timeout_s:g} s", "is it stopped?") from err
        except (OSError, EOFError, msgspec.MsgspecError) as err:
            raise ControlError("unavailable", f"the engine process cannot be asked: {err} ({self._path})") from err
        if answer.get("ok") is not True:
            raise ControlError(str(answer.get("code")), str(answer.get("message")), str(answer.get("hint", "")))
        return answer.get("data")


def send(s: socket.socket, value: dict[str, Any]) -> None:
    """One frame. Raises OSError."""
    data = msgspec.msgpack.encode(value)
    s.sendall(struct.pack("<I", len(data)) + data)


def receive(s: socket.socket) -> bytes:
    """One frame. Raises EOFError at its end or for a length that is none, OSError."""
    (length,) = struct.unpack("<I", _exactly(s, 4))
    if length > MAX_FRAME_BYTES:
        raise EOFError(f"a frame of {length} bytes")
    return _exactly(s, length)


def _exactly(s: socket.socket, n: int) -> bytes:
    parts = bytearray()
    while len(parts) < n:
        got = s.recv(min(1 << 20, n - len(parts)))
        if not got:
            raise EOFError("the other side closed")
        parts += got
    return bytes(parts)
