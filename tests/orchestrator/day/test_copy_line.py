"""A drop copy's connection, against a venue played by the test: logins, losses, sequence numbers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

pytest.importorskip("hotpath._core")
from hotpath.execution.wire import SoupFramer, encode_soup  # noqa: E402
from orchestrator.day.copy_line import CopyLine  # noqa: E402

MS = 1_000_000
Script = Callable[[socket.socket, str, int], None]


def venue(*scripts: Script) -> str:
    """Serves one connection a script, after its login: script(line, session asked for, sequence asked for)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listener:
            for script in scripts:
                with listener.accept()[0] as line:
                    login = next(iter(SoupFramer().feed(line.recv(100))))[1]
                    script(line, login[16:26].decode().strip(), int(login[26:46]))

    threading.Thread(target=run, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def accept(line: socket.socket, session: str, sequence: int) -> None:
    """A login's answer."""
    line.sendall(encode_soup({"type": "A", "session": session, "sequence": sequence}))


def send(line: socket.socket, *messages: bytes) -> None:
    """Sequenced messages."""
    line.sendall(b"".join(encode_soup({"type": "S", "hex": m.hex()}) for m in messages))


def reading(line: CopyLine, until: Callable[[list], bool], timeout_s: float = 90) -> list:
    """Poll until what came is enough."""
    out: list = []
    end = time.monotonic() + timeout_s
    while not until(out) and time.monotonic() < end:
        out += line.poll(time.monotonic_ns(), 0.005)
    assert until(out), (out, line.stats)
    return out


def connected(address: str, **settings) -> CopyLine:
    """A line to it."""
    return CopyLine(address, "DROP01", "PW", **{"reconnect_ns": 10 * MS, "silence_ns": 60_000 * MS, **settings})


def test_after_a_loss_it_asks_for_what_comes_next_of_the_same_session():
    asked = []

    def first(line: socket.socket, session: str, sequence: int) -> None:
        asked.append((session, sequence))
        accept(line, "DAY1", 1)
        send(line, b"one", b"two")

    def second(line: socket.socket, session: str, sequence: int) -> None:
        asked.append((session, sequence))
        accept(line, "DAY1", sequence)
        send(line, b"three")
        line.sendall(encode_soup({"type": "Z"}))

    found = reading(line := connected(venue(first, second)), lambda out: ("Z", b"") in out)
    assert [m for kind, m in found if kind == "S"] == [b"one", b"two", b"three"] and asked == [("", 1), ("DAY1", 3)]
    assert line.ended and line.stats.gaps == 0 and line.stats.connections == 2 and line.poll(time.monotonic_ns(), 0) == []


def test_a_venue_that_cannot_give_the_next_message_or_is_in_another_session_leaves_a_gap():
    def first(line: socket.socket, session: str, sequence: int) -> None:
        accept(line, "DAY1", 1)
        send(line, b"one")

    def skips(line: socket.socket, session: str, sequence: int) -> None:
        accept(line, "DAY1", 5)

    def gone(line: socket.socket, session: str, sequence: int) -> None:
        line.sendall(encode_soup({"type": "J", "reason": "S"}))

    def another(line: socket.socket, session: str, sequence: int) -> None:
        assert (session, sequence) == ("", 1)
        accept(line, "DAY2", 1)
        line.recv(1)

    found = reading(line := connected(venue(first, skips, gone, another)), lambda out: [k for k, _ in out].count("A") == 3)
    gaps = [m.decode() for kind, m in found if kind == "gap"]
    assert gaps == ["the drop copy goes on with 5 where 2 was to come", "the venue no longer has session DAY1"] and line.stats.gaps == 2
    line.close()


def test_silence_a_refusal_and_nobody_there_are_told_apart():
    def silent(line: socket.socket, session: str, sequence: int) -> None:
        accept(line, "DAY1", 1)
        line.recv(1000)
        line.recv(1000)

    line = connected(venue(*[silent] * 100), silence_ns=30 * MS)  # one that is slow to answer the login is silent too, and not yet lost
    reading(line, lambda _: line.stats.lost == 1)
    assert line.stats.problem in ("silent for 30 ms", "no connection: Connection refused") and line.up_since_ns == 0
    line = connected(venue(lambda line, *_: line.sendall(encode_soup({"type": "J", "reason": "A"}))))
    reading(line, lambda _: line.stats.problem.startswith("refused"))
    assert line.stats.problem == "refused: account and password" and line.stats.lost == 0
    with socket.socket() as taken:  # bound and not listening: it is nobody's while we ask
        taken.bind(("127.0.0.1", 0))
        line = connected(f"127.0.0.1:{taken.getsockname()[1]}")
        reading(line, lambda _: line.stats.problem.startswith("no connection"))


def test_a_heartbeat_says_that_everything_before_it_was_told():
    def idle(line: socket.socket, session: str, sequence: int) -> None:
        accept(line, "DAY1", 1)
        line.sendall(encode_soup({"type": "H"}))
        line.recv(1000)

    line = connected(venue(idle))
    reading(line, lambda _: line.idle_ns > 0)
    assert line.up_since_ns and line.next_seq == 1
    line.close()
