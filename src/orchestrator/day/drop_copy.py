"""The venue's drop copy: every execution and break of the firm, told on a login of its own that can send nothing."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field

from hotpath.execution.wire import SoupFramer, decode_ouch, encode_soup

SECONDARY_ORDER_REF = 1


class DropCopyError(Exception):
    """The drop copy could not be read; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class DropCopy:
    """What the venue told: (match, venue's order number) → (lots, price in ticks, liquidity). `broken` are not in `fills`."""

    fills: dict[tuple[int, int], tuple[int, int, str]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    messages: int = 0
    ended: bool = False  # the venue said that its day is over


def read_drop_copy(address: str, username: str, password: str, *, quiet_s: float = 1.0, timeout_s: float = 30.0) -> DropCopy:
    """Everything from the session's first message until the venue has been quiet for `quiet_s`, or ends the session.

    Raises DropCopyError for a refused login, a line that drops and a venue that never falls quiet.
    """
    host, _, port = address.rpartition(":")
    out, framer = DropCopy(), SoupFramer()
    end = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s) as line:
            line.sendall(encode_soup({"type": "L", "username": username, "password": password, "session": "", "sequence": 1}))
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
                    if kind == "S":
                        _take(out, payload)
                    out.ended = out.ended or kind == "Z"
    except OSError as err:
        raise DropCopyError(f"{address}: {err}", "is the venue up?") from err


def _take(out: DropCopy, payload: bytes) -> None:
    message = decode_ouch(payload, from_host=True)
    if message is None:
        return
    out.messages += 1
    if message["type"] == "E":
        ref = next((e["value"] for e in message.get("appendage", []) if e["tag"] == SECONDARY_ORDER_REF), 0)
        out.fills[message["match"], ref] = (message["quantity"], message["price_ticks"], message["liquidity"])
    elif message["type"] == "B":
        out.broken.add(message["match"])
        out.fills = {key: fill for key, fill in out.fills.items() if key[0] != message["match"]}
