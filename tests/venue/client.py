"""A small OUCH/ITCH client written from the protocol texts alone: plain sockets and struct, none of the engine."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

Message = dict[str, Any]
#: longest wait for anything that must come: only what hangs waits so long
PATIENCE_S = float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "90"))
SO_RCVBUFFORCE = 33


def address(text: str) -> tuple[str, int]:
    host, port = text.rsplit(":", 1)
    return host, int(port)


# ---- OUCH 5.0

def enter(urn: int, side: str, qty: int, price: int, *, symbol: str = "PRGN", tif: str = "0", display: str = "Y",
          capacity: str = "P", iso: str = "N", cross: str = "N", cl: str = "", app: bytes = b"") -> bytes:
    return struct.pack(">cIcI8sQccccc14sH", b"O", urn, side.encode(), qty, symbol.ljust(8).encode(), price, tif.encode(),
                       display.encode(), capacity.encode(), iso.encode(), cross.encode(), cl.ljust(14).encode(), len(app)) + app


def replace(orig: int, urn: int, qty: int, price: int, *, tif: str = "0", display: str = "Y", iso: str = "N", cl: str = "",
            app: bytes = b"") -> bytes:
    return struct.pack(">cIIIQccc14sH", b"U", orig, urn, qty, price, tif.encode(), display.encode(), iso.encode(),
                       cl.ljust(14).encode(), len(app)) + app


def cancel(urn: int, qty: int = 0, long_form: bool = False) -> bytes:
    return struct.pack(">cII", b"X", urn, qty) + (b"\0\0" if long_form else b"")


def modify(urn: int, side: str, qty: int) -> bytes:
    return struct.pack(">cIcI", b"M", urn, side.encode(), qty)


def query() -> bytes:
    return b"Q"


def mass_cancel(urn: int, firm: str = "", symbol: str = "") -> bytes:
    return struct.pack(">cI4s8s", b"C", urn, firm.ljust(4).encode(), symbol.ljust(8).encode())


def disable(urn: int, firm: str = "") -> bytes:
    return struct.pack(">cI4s", b"D", urn, firm.ljust(4).encode())


def enable(urn: int, firm: str = "") -> bytes:
    return struct.pack(">cI4s", b"E", urn, firm.ljust(4).encode())


def tag(number: int, value: bytes) -> bytes:
    return struct.pack(">BB", len(value) + 1, number) + value


MIN_QTY, POST_ONLY, EXPIRE, FIRM = 3, 12, 15, 2


def min_qty(n: int) -> bytes:
    return tag(MIN_QTY, struct.pack(">I", n))


def post_only() -> bytes:
    return tag(POST_ONLY, b"P")


_OUT: dict[str, tuple[str, tuple[str, ...]]] = {
    "S": ("c", ("code",)),
    "A": ("IcI8sQccQcccc14s", ("urn", "side", "qty", "symbol", "price", "tif", "display", "ref", "capacity", "iso", "cross", "state", "cl")),
    "U": ("IIcI8sQccQcccc14s", ("orig", "urn", "side", "qty", "symbol", "price", "tif", "display", "ref", "capacity", "iso", "cross", "state", "cl")),
    "C": ("IIc", ("urn", "qty", "reason")),
    "D": ("IIcIQc", ("urn", "qty", "reason", "prevented", "price", "liquidity")),
    "E": ("IIQcQ", ("urn", "qty", "price", "liquidity", "match")),
    "B": ("IQc14s", ("urn", "match", "reason", "cl")),
    "J": ("IH14s", ("urn", "reason", "cl")),
    "M": ("IcI", ("urn", "side", "qty")),
    "Q": ("I", ("next",)),
    "X": ("I4s8s", ("urn", "firm", "symbol")),
    "G": ("I4s", ("urn", "firm")),
    "K": ("I4s", ("urn", "firm")),
    "p": ("4s8sqI", ("firm", "symbol", "lots", "left")),  # a position statement of the drop copy
}
_APPENDED = "AUE"


def decode_ouch(data: bytes) -> Message:
    """One OUCH response as a dict; raises when its length is not exactly that of its type."""
    kind = chr(data[0])
    layout, names = _OUT[kind]
    size = struct.calcsize(">cQ" + layout)
    values = struct.unpack(">cQ" + layout, data[:size])
    out: Message = {"type": kind, "ts": values[1]}
    for name, value in zip(names, values[2:], strict=True):
        out[name] = value.decode().rstrip() if isinstance(value, bytes) else value
    rest = data[size:]
    if kind in _APPENDED:
        (n,) = struct.unpack(">H", rest[:2])
        assert len(rest) == 2 + n, (kind, rest)
        out["tags"] = {}
        at = 2
        while at < len(rest):
            out["tags"][rest[at + 1]] = rest[at + 2 : at + 1 + rest[at]]
            at += 1 + rest[at]
    else:
        assert rest == b"", (kind, rest)
    return out


# ---- SoupBinTCP

class SoupClient:
    """A SoupBinTCP connection; `messages` collects sequenced payloads."""

    def __init__(self, where: str, user: str, password: str, session: str = "", sequence: int = 1) -> None:
        self.socket = socket.create_connection(address(where), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.packets: list[tuple[str, bytes]] = []
        self.messages: list[bytes] = []
        self.heartbeats = 0
        self.ended = False
        self.closed = False
        login = user.ljust(6) + password.ljust(10) + session.rjust(10) + str(sequence).rjust(20)
        self.send("L", login.encode())
        kind, payload = self._next_packet(PATIENCE_S)
        self.login = kind
        self.reject = payload.decode() if kind == "J" else ""
        if kind == "A":
            self.session = payload[:10].decode().strip()
            self.sequence = int(payload[10:30])

    def send(self, kind: str, payload: bytes = b"") -> None:
        self.socket.sendall(struct.pack(">H", len(payload) + 1) + kind.encode() + payload)

    def _next_packet(self, timeout: float) -> tuple[str, bytes]:
        deadline = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 2:
                (n,) = struct.unpack(">H", self.buffer[:2])
                if len(self.buffer) >= 2 + n:
                    packet, self.buffer = self.buffer[2 : 2 + n], self.buffer[2 + n :]
                    return chr(packet[0]), packet[1:]
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return "", b""
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.closed = True
                return "", b""
            self.buffer += data

    def poll(self, timeout: float) -> bool:
        """One packet more, if one comes in time."""
        kind, payload = self._next_packet(timeout)
        if kind == "S":
            self.messages.append(payload)
        elif kind == "H":
            self.heartbeats += 1
        elif kind == "Z":
            self.ended = True
        return kind != ""

    def wait(self, count: int, timeout: float = PATIENCE_S) -> list[bytes]:
        """Sequenced messages until there are `count` of them in all."""
        deadline = time.monotonic() + timeout
        while len(self.messages) < count and not self.closed and time.monotonic() < deadline:
            self.poll(max(0.0, deadline - time.monotonic()))
        return self.messages

    def wait_closed(self, timeout: float = PATIENCE_S) -> bool:
        deadline = time.monotonic() + timeout
        while not self.closed and time.monotonic() < deadline:
            self.poll(max(0.0, deadline - time.monotonic()))
        return self.closed

    def close(self) -> None:
        self.socket.close()


class OuchClient(SoupClient):
    """Order entry: requests out, decoded responses in."""

    def request(self, message: bytes) -> None:
        self.send("U", message)

    def until(self, kind: str, timeout: float = PATIENCE_S, **fields: Any) -> Message:
        """The first response of this type with these fields, among those received or to come."""
        deadline = time.monotonic() + timeout
        at = 0
        while True:
            for data in self.messages[at:]:
                m = decode_ouch(data)
                if m["type"] == kind and all(m[k] == v for k, v in fields.items()):
                    return m
            at = len(self.messages)
            if self.closed or time.monotonic() > deadline:
                raise AssertionError(f"no {kind} {fields}; got {[decode_ouch(m) for m in self.messages[-5:]]}")
            self.poll(max(0.0, deadline - time.monotonic()))

    def responses(self) -> list[Message]:
        return [decode_ouch(m) for m in self.messages]


# ---- MoldUDP64

class MoldClient:
    """A line's receiver; `seen` are (line, sequence, count). With a `session`, packets of another one are nobody's: a venue does
    not hold the ports it sends to, so that another one may send there too."""

    def __init__(self, *addresses: str, session: bytes = b"") -> None:
        self.sockets = []
        for where in addresses:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            with contextlib.suppress(OSError):  # what the machine allows is little: for those who may, more
                s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            host, port = address(where)
            first = int(host.split(".")[0])
            if 224 <= first < 240:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((host, port))
                s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(host) + socket.inet_aton("127.0.0.1"))
            else:
                s.bind((host, port))
            self.sockets.append(s)
        self.messages: dict[int, bytes] = {}
        self.heartbeats = 0
        self.malformed = 0
        self.ended_at = 0
        self.session = session
        self.seen: list[tuple[int, int, int]] = []  # line, sequence, count

    def take(self, line: int, data: bytes) -> None:
        if len(data) < 20:
            self.malformed += 1
            return
        session, seq, count = struct.unpack(">10sQH", data[:20])
        if self.session and session != self.session:
            return
        blocks = []
        at = 20
        while count != 0xFFFF and len(blocks) < count and at + 2 <= len(data):
            (n,) = struct.unpack(">H", data[at : at + 2])
            blocks.append(data[at + 2 : at + 2 + n])
            at += 2 + n
        if count != 0xFFFF and (len(blocks) != count or at != len(data)):
            self.malformed += 1
            return
        self.seen.append((line, seq, count))
        if count == 0xFFFF:
            self.ended_at = seq
        elif count == 0:
            self.heartbeats += 1
        for i, block in enumerate(blocks):
            self.messages.setdefault(seq + i, block)

    def poll(self, timeout: float) -> int:
        ready = select.select(self.sockets, [], [], timeout)[0]
        n = 0
        for s in ready:
            while True:
                try:
                    data = s.recv(65536, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                self.take(self.sockets.index(s), data)
                n += 1
        return n

    def poll_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.poll(left)

    def poll_until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE_S) -> None:
        """Read on until it holds, then whatever has come by then."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
            self.poll(0.02)
        self.drain()

    def drain(self) -> None:
        """What has come and was not read."""
        while self.poll(0):
            pass

    def missing(self, last: int) -> list[int]:
        return [seq for seq in range(1, last + 1) if seq not in self.messages]

    def recover(self, where: str, last: int, session: bytes, tries: int = 2000) -> None:
        """Ask again for everything up to `last` that is missing."""
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(0.2)
        for _ in range(tries):
            gaps = self.missing(last)
            if not gaps:
                break
            first = gaps[0]
            run = 1
            while run < len(gaps) and gaps[run] == first + run:
                run += 1
            s.sendto(struct.pack(">10sQH", session, first, min(run, 500)), address(where))
            try:
                self.take(2, s.recv(65536))
            except TimeoutError:
                continue
        s.close()

    def ordered(self, last: int) -> list[bytes]:
        return [self.messages[seq] for seq in range(1, last + 1)]

    def close(self) -> None:
        for s in self.sockets:
            s.close()


# ---- a book of dicts

class Book:
    """Displayed orders by reference, as ITCH tells them: ref -> [side, price, shares, position in time]."""

    def __init__(self) -> None:
        self.orders: dict[int, list[Any]] = {}
        self.clock = 0
        self.volume = 0
        self.states: dict[int, str] = {}
        self.system = ""
        self.unknown = 0

    def apply(self, m: bytes) -> None:
        kind = chr(m[0])
        self.clock += 1
        locate = struct.unpack(">H", m[1:3])[0]
        if kind in "AF":
            ref, side, shares = struct.unpack(">QcI", m[11:24])
            assert ref not in self.orders, f"reference {ref} added twice"
            self.orders[ref] = [side.decode(), struct.unpack(">I", m[32:36])[0], shares, self.clock, locate]
        elif kind in "EC":
            ref, shares = struct.unpack(">QI", m[11:23])
            self._cut(ref, shares)
            if kind == "E" or m[31:32] == b"Y":
                self.volume += shares
        elif kind == "X":
            ref, shares = struct.unpack(">QI", m[11:23])
            self._cut(ref, shares)
        elif kind == "D":
            self._cut(struct.unpack(">Q", m[11:19])[0], None)
        elif kind == "U":
            old, new, shares, price = struct.unpack(">QQII", m[11:35])
            was = self.orders.pop(old, None)
            if was is None:
                self.unknown += 1
            else:
                self.orders[new] = [was[0], price, shares, self.clock, was[4]]
        elif kind == "P":
            self.volume += struct.unpack(">I", m[20:24])[0]
        elif kind == "Q":
            self.volume += struct.unpack(">Q", m[11:19])[0]
        elif kind == "H":
            self.states[locate] = chr(m[19])
        elif kind == "S":
            self.system = chr(m[11])

    def _cut(self, ref: int, shares: int | None) -> None:
        order = self.orders.get(ref)
        if order is None:
            self.unknown += 1
            return
        if shares is None or shares == order[2]:
            del self.orders[ref]
        else:
            assert shares < order[2], f"order {ref} cut by more than it has"
            order[2] -= shares

    def side(self, side: str, locate: int = 1) -> list[tuple[int, int, int]]:
        """(price, shares, ref) best first, then first come."""
        sign = -1 if side == "B" else 1
        rows = [(sign * o[1], o[3], o[1], o[2], ref) for ref, o in self.orders.items() if o[0] == side and o[4] == locate]
        return [(price, shares, ref) for _, _, price, shares, ref in sorted(rows)]


def rebuild(messages: list[bytes]) -> Book:
    book = Book()
    for m in messages:
        book.apply(m)
    return book


def snapshot(where: str, user: str, password: str) -> tuple[list[bytes], int]:
    """GLIMPSE: the snapshot's messages and the feed sequence to go on from."""
    client = SoupClient(where, user, password)
    assert client.login == "A", client.reject
    while not (client.messages and client.messages[-1][:1] == b"G"):
        assert client.poll(PATIENCE_S), "the snapshot has no end"
    client.send("O")
    client.close()
    end = client.messages[-1]
    return client.messages[:-1], int(end[1:21])


def kinds(messages: list[bytes]) -> str:
    return "".join(chr(m[0]) for m in messages)


def decode_all(messages: list[bytes]) -> Iterator[Message]:
    return (decode_ouch(m) for m in messages)
