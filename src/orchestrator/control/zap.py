"""The answer to "may this key connect?", asked by libzmq for every CURVE handshake (ZAP, RFC 27).

    request   [version "1.0", request id, domain, address, identity, mechanism "CURVE", 32 bytes of public key]
    answer    [version, request id, "200" or "400", text, user id = the key as Z85, metadata]

One thread, one socket in the process. Without an answer a handshake does not end, so a dead thread lets nobody in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils import z85

from orchestrator.control.allow_list import AllowList
from orchestrator.observe import log

ADDRESS = "inproc://zeromq.zap.01"
REFRESH_MS = 500


def answer(frames: list[bytes], allowed: AllowList) -> tuple[list[bytes], str]:
    """The answer to one request of libzmq, and the reason it is refused for ("" = let in)."""
    if len(frames) < 6 or frames[0] != b"1.0":
        return [b"1.0", frames[1] if len(frames) > 1 else b"", b"500", b"not understood", b"", b""], "zap"
    request_id, mechanism = frames[1], frames[5]
    if mechanism != b"CURVE" or len(frames) != 7 or len(frames[6]) != 32:
        return [b"1.0", request_id, b"400", b"CURVE only", b"", b""], "mechanism"
    key = z85.encode(frames[6])
    if allowed.caller(key.decode("ascii")) is None:
        return [b"1.0", request_id, b"400", b"not in the list", b"", b""], "key"
    return [b"1.0", request_id, b"200", b"OK", key, b""], ""


class ZapThread:
    """Answers until stopped. `refused(reason, address)` is told of each one that is not let in."""

    def __init__(self, context: zmq.Context[Any], allowed: AllowList, refused: Callable[..., None]) -> None:
        self._allowed = allowed
        self._refused = refused
        self.accepted = 0
        self._over = threading.Event()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(ADDRESS)
        self._thread = threading.Thread(target=self._serve, name="control-zap", daemon=True)

    def start(self) -> None:
        """Begin; before any CURVE socket is bound."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._over.set()
        self._thread.join(timeout=5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                if self._socket.poll(REFRESH_MS):
                    self._one(self._socket.recv_multipart())
                self._refresh()
            except zmq.ContextTerminated:
                return
            except Exception:
                log.logger().error("a connection could not be judged, so it was not let in", exc_info=True)

    def _one(self, frames: list[bytes]) -> None:
        # libzmq's side is a REQ-like peer: identity, delimiter, then the request
        head, body = frames[:2], frames[2:]
        reply, reason = answer(body, self._allowed)
        self._socket.send_multipart([*head, *reply])
        if reason:
            address = body[3].decode("ascii", "replace") if len(body) > 3 else ""
            self._refused(reason, address=address)
        else:
            self.accepted += 1

    def _refresh(self) -> None:
        told = self._allowed.refresh()
        if told is None:
            return
        if told:
            log.logger().error("the list of clients was not taken, the one before it stays", reason=told)
        else:
            log.logger().info("the list of clients was read again")
