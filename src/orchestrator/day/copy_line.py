"""The drop copy kept open: connected, logged in where it stopped, watched for silence, and connected again.

What comes in is handed on in order, each message once: a new connection asks for the sequence number after the last one of
the same session. A venue that cannot give it, or that is in another session, has told us less than there is: a `gap`.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from hotpath.execution.wire import SoupFramer, encode_soup
from orchestrator.day.drop_copy import accepted, login_packet

CONNECT_S = 1.0
HEARTBEAT_NS = 1_000_000_000


@dataclass
class LineStats:
    """For the status."""

    connections: int = 0
    lost: int = 0
    gaps: int = 0
    problem: str = ""  # why it is not up; "" while it is


class CopyLine:
    """One login, kept. `poll` waits a little for what there is, and never longer than a connection takes."""

    def __init__(self, address: str, username: str, password: str, *, reconnect_ns: int, silence_ns: int) -> None:
        host, _, port = address.rpartition(":")
        self.address, self._to = address, (host, int(port))
        self._login, self._reconnect_ns, self._silence_ns = (username, password), reconnect_ns, silence_ns
        self._socket: socket.socket | None = None
        self._framer = SoupFramer()
        self._in = False  # logged in
        self._sent_ns = self._due_ns = 0
        self.session, self.next_seq = "", 1
        self.heard_ns = 0  # monotonic, of the last packet
        self.idle_ns = 0  # of the last heartbeat: what was told before it is all there was
        self.up_since_ns = 0  # 0 = it is down
        self.down_since_ns = time.monotonic_ns()
        self.ended = False
        self.stats = LineStats(problem="not connected yet")

    def poll(self, now_ns: int, wait_s: float) -> list[tuple[str, bytes]]:
        """What came: ("S", message), ("A", b"") for a login, ("gap", its words), ("Z", b"") for the end of the session."""
        if self._socket is None:
            if now_ns < self._due_ns or self.ended:
                time.sleep(wait_s)
                return []
            if not self._connect(now_ns):
                return []
        assert self._socket is not None
        if now_ns - self._sent_ns > HEARTBEAT_NS and self._in:
            self._send(encode_soup({"type": "R"}), now_ns)
        if self._socket is None:
            return []
        if not select.select([self._socket], [], [], wait_s)[0]:
            if now_ns - self.heard_ns > self._silence_ns:
                self._lose(now_ns, f"silent for {self._silence_ns // 1_000_000} ms")
            return []
        try:
            data = self._socket.recv(262144)
        except OSError as err:
            self._lose(now_ns, err.strerror or str(err))
            return []
        if not data:
            self._lose(now_ns, "closed by the venue" if self._in else "closed before the login was answered")
            return []
        self.heard_ns = now_ns
        return [event for kind, payload in self._framer.feed(data) for event in self._packet(kind, payload, now_ns)]

    def close(self) -> None:
        """Let go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _packet(self, kind: str, payload: bytes, now_ns: int) -> Iterator[tuple[str, bytes]]:
        if self._socket is None:
            return
        if kind == "S":
            self.next_seq += 1
            yield "S", payload
        elif kind == "H":
            self.idle_ns = now_ns
        elif kind == "A":
            session, sequence = accepted(payload)
            if self.session and session != self.session:
                self.stats.gaps += 1
                yield "gap", f"the venue began session {session}: {self.session} is over".encode()
            elif sequence != self.next_seq:
                self.stats.gaps += 1
                yield "gap", f"the drop copy goes on with {sequence} where {self.next_seq} was to come".encode()
            self.session, self.next_seq = session, sequence
            self._in, self.up_since_ns, self.stats.problem = True, now_ns, ""
            yield "A", b""
        elif kind == "J":
            reason = payload[:1].decode("latin-1")
            self._lose(now_ns, "refused: account and password" if reason == "A" else f"refused: session {self.session or 'current'} not available")
            if reason == "S" and self.session:  # it is in another session: the next login asks for whatever there is
                self.stats.gaps += 1
                words = f"the venue no longer has session {self.session}"
                self.session, self.next_seq = "", 1
                yield "gap", words.encode()
        elif kind == "Z":
            self.ended = True
            self._lose(now_ns, "the venue ended its session")
            yield "Z", b""

    def _connect(self, now_ns: int) -> bool:
        self._due_ns = now_ns + self._reconnect_ns
        try:
            self._socket = socket.create_connection(self._to, timeout=CONNECT_S)
            self._socket.settimeout(CONNECT_S)
        except OSError as err:
            self.stats.problem = f"no connection: {err.strerror or err}"
            time.sleep(0.01)
            return False
        self._framer, self._in = SoupFramer(), False
        self.heard_ns = now_ns
        self.stats.connections += 1
        self._send(login_packet(*self._login, session=self.session, sequence=self.next_seq), now_ns)
        return self._socket is not None

    def _send(self, data: bytes, now_ns: int) -> None:
        assert self._socket is not None
        self._sent_ns = now_ns
        try:
            self._socket.sendall(data)
        except OSError as err:
            self._lose(now_ns, err.strerror or str(err))

    def _lose(self, now_ns: int, why: str) -> None:
        self.close()
        if self._in:
            self.stats.lost += 1
            self.down_since_ns = now_ns
        self._in, self.up_since_ns, self.stats.problem = False, 0, why
        self._due_ns = now_ns + self._reconnect_ns
