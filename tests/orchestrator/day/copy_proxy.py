"""A drop copy that does not tell the truth: between a reader and the real one, with faults planted in what passes.

Every connection asks the venue from message 1 and counts anew, so that a fault that was planted once is there each time.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable

from hotpath.execution.wire import SoupFramer, decode_ouch, encode_ouch, encode_soup

FAULTS = ("more", "less", "price", "quantity")


def altered(fault: str, payload: bytes) -> list[bytes]:
    """What is told instead of one execution."""
    message = decode_ouch(payload, from_host=True)
    assert message is not None
    if fault == "less":
        return []
    if fault == "price":
        return [encode_ouch({**message, "price_ticks": message["price_ticks"] + 100}, from_host=True)]
    if fault == "quantity":
        return [encode_ouch({**message, "quantity": message["quantity"] + 1}, from_host=True)]
    assert fault == "more"
    return [payload, encode_ouch({**message, "match": message["match"] + 900_000_000}, from_host=True)]


class CopyProxy:
    """`plant(fault)` alters the next execution that passes for the first time; `down` refuses everybody."""

    def __init__(self, upstream: str | Callable[[], str]) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.down = False
        self.plan: dict[int, str] = {}  # number of an execution, as the venue told them → fault
        self._wanted: list[str] = []
        self._passed = 0  # executions, over all connections
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def plant(self, fault: str) -> None:
        """In the next execution."""
        self._wanted.append(fault)

    def cut(self) -> None:
        """The connections that there are."""
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """No more."""
        self.down = True
        self.cut()
        self._listener.close()

    def _venue(self) -> tuple[str, int]:
        upstream = self._upstream if isinstance(self._upstream, str) else self._upstream()
        host, _, port = upstream.rpartition(":")
        return host, int(port)

    def _accept(self) -> None:
        while True:
            try:
                line = self._listener.accept()[0]
            except OSError:
                return
            if self.down:
                line.close()
                continue
            self._lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError), socket.create_connection(self._venue()) as venue:
            framer = SoupFramer()
            packets: list[tuple[str, bytes]] = []
            while not packets:
                packets = list(framer.feed(line.recv(4096)))
            login = packets[0][1]
            wanted = max(1, int(login[26:46]))
            venue.sendall(encode_soup({"type": "L", "hex": (login[:26] + b"%20d" % 1).hex()}))
            told, seq, number = SoupFramer(), 0, 0
            while True:
                for readable in select.select([line, venue], [], [])[0]:
                    data = readable.recv(65536)
                    if not data:
                        return
                    if readable is line:
                        venue.sendall(data)
                        continue
                    out = b""
                    for kind, payload in told.feed(data):
                        if kind == "A":
                            payload = payload[:10] + b"%20d" % wanted
                        if kind != "S":
                            out += encode_soup({"type": kind, "hex": payload.hex()})
                            continue
                        messages = [payload]
                        if payload[:1] == b"E":
                            number += 1
                            if number > self._passed:
                                self._passed = number
                                if self._wanted:
                                    self.plan[number] = self._wanted.pop(0)
                            if fault := self.plan.get(number):
                                messages = altered(fault, payload)
                        for message in messages:
                            seq += 1
                            if seq >= wanted:
                                out += encode_soup({"type": "S", "hex": message.hex()})
                    line.sendall(out)
