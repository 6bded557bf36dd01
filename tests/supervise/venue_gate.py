"""A door between an engine and a service of a venue: it can be shut (connections are taken and dropped at once then), held (they
stand, and nothing comes through), and lead to another venue."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Gate:
    """Open at first. `address` stays the same for its whole life."""

    def __init__(self, venue: str) -> None:
        host, port = venue.split(":")
        self._venue = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._others: dict[socket.socket, socket.socket] = {}
        self._open, self._over, self._held, self._drop_all = True, False, False, False
        self._is_held = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def shut(self) -> None:
        """From here on nobody gets through."""
        self._open = False
        self._wake.send(b"x")

    def open(self) -> None:
        """From here on everybody does."""
        self._open = True

    def hold(self) -> None:
        """From here on nothing comes through, neither way, and nobody is told."""
        self._held = True
        self._wake.send(b"x")
        self._is_held.wait()

    def lead_to(self, venue: str) -> None:
        """Drop whoever is there, and let who comes next through to another venue."""
        host, port = venue.split(":")
        self._venue = (host, int(port))
        self._drop_all, self._held = True, False
        self._wake.send(b"x")

    def close(self) -> None:
        """The end."""
        self._over = True
        self._wake.send(b"x")
        self._thread.join()
        for one in [*self._others, self._listener, self._wake, self._woken]:
            one.close()

    def _serve(self) -> None:
        while not self._over:
            for key, _ in self._selector.select():
                if self._held and key.fileobj is not self._woken:
                    self._selector.unregister(key.fileobj)
                elif key.fileobj is self._woken:
                    self._woken.recv(64)
                elif key.fileobj is self._listener:
                    self._take()
                elif key.fileobj in self._others:
                    self._hand_on(key.fileobj)
            if self._held:
                self._is_held.set()
            if not self._open or self._drop_all:
                for one in list(self._others):
                    self._drop(one)
            if self._drop_all:
                self._drop_all = False
                with contextlib.suppress(KeyError):
                    self._selector.register(self._listener, selectors.EVENT_READ)

    def _take(self) -> None:
        client, _ = self._listener.accept()
        try:
            if not self._open:
                raise ConnectionError
            venue = socket.create_connection(self._venue)
        except OSError:
            client.close()
            return
        for one, other in ((client, venue), (venue, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._others[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _hand_on(self, one: socket.socket) -> None:
        try:
            if not (data := one.recv(65536)):
                raise ConnectionError
            self._others[one].sendall(data)
        except OSError:
            self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        for gone in (one, self._others.get(one)):
            if gone is not None and self._others.pop(gone, None) is not None:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(gone)
                gone.close()
