"""The venue's drop copy: what the firm's ports do, told on a login of its own that can send nothing.

Messages are OUCH 5.0's (A, U, E, B; sim/venue/drop_copy.h lists them), and one of the simulated venue's own, which says what
the firm held when the session began; a venue that has none tells nothing of it.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field

from hotpath.execution.wire import SoupFramer, decode_ouch, encode_soup
from orchestrator.day.agreement import Execution

SECONDARY_ORDER_REF = 1
STATEMENT_BYTES = 33


class DropCopyError(Exception):
    """The drop copy could not be read; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class DropCopy:
    """What the venue told: (match, venue's order number) → (lots, price in ticks, liquidity). `broken` are not in `fills`.

    `orders`: the venue's order number → (symbol, +1 for a buy, −1 for a sale). `start_lots` is None as long as the venue has
    not said, to the end, what the firm held.
    """

    fills: dict[tuple[int, int], tuple[int, int, str]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    messages: int = 0
    ended: bool = False  # the venue said that its day is over
    session: str = ""
    orders: dict[int, tuple[str, int]] = field(default_factory=dict)
    start_lots: dict[str, int] | None = None
    last_ts_ns: int = 0  # venue's time of the last message, since midnight
    _stated: dict[str, int] = field(default_factory=dict)

    def take(self, payload: bytes) -> tuple[str, Execution | int] | None:
        """One sequenced message. Returns ("fill", the execution), ("broken", its match), ("start", 0) once the positions of
        the start are all told, or None for what moves nothing."""
        if payload[:1] == b"p" and len(payload) == STATEMENT_BYTES:
            return self._statement(payload)
        message = decode_ouch(payload, from_host=True)
        if message is None:
            return None
        self.messages += 1
        self.last_ts_ns = max(self.last_ts_ns, message["ts_ns"])
        kind = message["type"]
        if kind in ("A", "U"):
            self.orders[message["order_ref"]] = (message["symbol"], 1 if message["side"] == "B" else -1)
        elif kind == "E":
            ref = next((e["value"] for e in message.get("appendage", []) if e["tag"] == SECONDARY_ORDER_REF), 0)
            symbol, sign = self.orders.get(ref, ("", 1))
            self.fills[message["match"], ref] = (message["quantity"], message["price_ticks"], message["liquidity"])
            return "fill", Execution(message["match"], ref, symbol, sign * message["quantity"], message["price_ticks"],
                                     message["liquidity"], message["ts_ns"])  # fmt: skip
        elif kind == "B":
            self.broken.add(message["match"])
            self.fills = {key: fill for key, fill in self.fills.items() if key[0] != message["match"]}
            return "broken", message["match"]
        return None

    def traded_lots(self) -> dict[str, int]:
        """What the fills of this session add up to, by symbol."""
        out: dict[str, int] = {}
        for (_, ref), (lots, _, _) in self.fills.items():
            symbol, sign = self.orders.get(ref, ("?", 1))
            out[symbol] = out.get(symbol, 0) + sign * lots
        return out

    def _statement(self, payload: bytes) -> tuple[str, int] | None:
        self.messages += 1
        symbol = payload[13:21].decode("latin-1").rstrip()
        self._stated[symbol] = int.from_bytes(payload[21:29], "big", signed=True)
        if int.from_bytes(payload[29:33], "big") == 0:
            self.start_lots = dict(self._stated)
            return "start", 0
        return None


def login_packet(username: str, password: str, *, session: str = "", sequence: int = 1) -> bytes:
    """The login, from a sequence number of a session on; "" is the current one."""
    return encode_soup({"type": "L", "username": username, "password": password, "session": session, "sequence": sequence})


def accepted(payload: bytes) -> tuple[str, int]:
    """Session and first sequence number out of a login's acceptance."""
    return payload[:10].decode("latin-1").strip(), int(payload[10:30].decode("latin-1").strip() or 0)


def read_drop_copy(address: str, username: str, password: str, *, quiet_s: float = 1.0, timeout_s: float = 30.0) -> DropCopy:
    """Everything from the session's first message until the venue has been quiet for `quiet_s`, or ends the session.

    Raises DropCopyError for a refused login, a line that drops and a venue that never falls quiet.
    """
    host, _, port = address.rpartition(":")
    out, framer = DropCopy(), SoupFramer()
    end = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s) as line:
            line.sendall(login_packet(username, password))
            quiet_at = time.monotonic() + timeout_s
            while True:
                now = time.monotonic()
                if now >= quiet_at or out.ended:
                    return out
                if now >= end:
                    raise DropCopyError(f"{address} told executions for {timeout_s:g} s without a pause", "read it after the close, or allow more time")
                line.settimeout(min(quiet_at, end) - now)
                try:
                    data = line.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    raise DropCopyError(f"{address} closed the connection", "is the account a drop copy, and free?")
                for kind, payload in framer.feed(data):
                    if kind == "J":
                        raise DropCopyError(f"{address} refused the login of {username}", "check account and password")
                    if kind in ("A", "S"):
                        quiet_at = time.monotonic() + quiet_s
                    if kind == "A":
                        out.session = accepted(payload)[0]
                    if kind == "S":
                        out.take(payload)
                    out.ended = out.ended or kind == "Z"
    except OSError as err:
        raise DropCopyError(f"{address}: {err}", "is the venue up?") from err
