"""The line between an engine and its venue's order port: passes everything on until it is told to fail.

    engine ──TCP──▶ Line ──TCP──▶ venue          drop    both sides end at once, by FIN or RST; what was on the way is lost
                                                 stall   nothing passes in either direction until the time is over

One thread of the tool's own; the engine sees an ordinary address that stays the same when the venue dies and comes back.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time

CHUNK = 65_536


class Line:
    """Listens at `address`; use `close` at the end."""

    def __init__(self, venue: str) -> None:
        host, _, port = venue.rpartition(":")
        self._venue = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.drops = 0
        self._stalled_until = 0.0
        self._drop_asked = ""
        self._ended = False
        self._peers: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)
        self._thread.start()

    def drop(self, how: str = "fin") -> None:
        """End every connection: `fin` politely, `rst` at once."""
        self._drop_asked = how
        while self._drop_asked and self._thread.is_alive():
            time.sleep(0.001)

    def stall(self, seconds: float) -> None:
        """Nothing passes for so long from now on, whatever was said before; the connections stand."""
        self._stalled_until = time.monotonic() + seconds

    def close(self) -> None:
        """End it all."""
        self._ended = True
        self._thread.join(timeout=5)
        self._listener.close()

    # ---- its thread

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        while not self._ended:
            if self._drop_asked:
                for one in list(self._peers):
                    self._end(selector, one, abrupt=self._drop_asked == "rst")
                self.drops += 1
                self._drop_asked = ""
            if time.monotonic() < self._stalled_until:
                time.sleep(0.005)
                continue
            for key, _ in selector.select(0.02):
                one = key.fileobj
                if time.monotonic() < self._stalled_until:  # asked for while this thread waited
                    break
                if one is self._listener:
                    self._accept(selector)
                elif isinstance(one, socket.socket) and one in self._peers:
                    self._pass_on(selector, one)
        for one in list(self._peers):
            self._end(selector, one)
        selector.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        engine, _ = self._listener.accept()
        try:
            venue = socket.create_connection(self._venue, timeout=0.5)
        except OSError:  # it is away: the engine sees a connection that ends
            return engine.close()
        for a, b in ((engine, venue), (venue, engine)):
            a.settimeout(2.0)  # of a send to somebody who does not read
            a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[a] = b
            selector.register(a, selectors.EVENT_READ)
        return None

    def _pass_on(self, selector: selectors.BaseSelector, one: socket.socket) -> None:
        try:
            data = one.recv(CHUNK)
            if data:
                return self._peers[one].sendall(data)
        except OSError:
            pass
        return self._end(selector, one)

    def _end(self, selector: selectors.BaseSelector, one: socket.socket, *, abrupt: bool = False) -> None:
        other = self._peers.pop(one, None)
        if other is None:
            return
        self._peers.pop(other, None)
        for side in (one, other):
            with contextlib.suppress(OSError, KeyError, ValueError):
                selector.unregister(side)
            if abrupt:
                with contextlib.suppress(OSError):
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.close()
