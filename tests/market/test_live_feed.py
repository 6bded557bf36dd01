"""The feed on real sockets: loopback unicast, multicast, re-request over UDP, snapshot over TCP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from hotpath._core import market as mk

SESSION = b"PRG0000001"
MS = 1_000_000


def now() -> int:
    return time.monotonic_ns()


def payload(seq: int) -> bytes:
    return b"Z%010d" % seq


def packet(seq: int, n: int = 1) -> bytes:
    return mk.mold_build(SESSION, seq, [payload(s) for s in range(seq, seq + n)])


def until(feed: mk.LiveFeed, done: Callable[[list], bool], serve: Callable[[], None] = lambda: None) -> list:
    """Poll until `done(calls)`; fails after a minute."""
    calls: list = []
    stop = time.monotonic() + 60
    while not done(calls):
        assert time.monotonic() < stop, calls[-10:]
        feed.poll(now())
        calls += feed.take()
        serve()
        time.sleep(0.0005)
    return calls


def blocks(calls: list) -> list[int]:
    return [c[1] for c in calls if c[0] == "block"]


@pytest.fixture
def out() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        yield s


def test_datagrams_of_both_lines_arrive_over_loopback(out: socket.socket) -> None:
    feed = mk.LiveFeed(("127.0.0.1", 0), ("127.0.0.1", 0))
    feed.open(now())
    a, b = feed.ports()
    out.sendto(packet(1, 3), ("127.0.0.1", a))
    out.sendto(packet(1, 4), ("127.0.0.1", b))
    assert blocks(until(feed, lambda c: len(blocks(c)) >= 4)) == [1, 2, 3, 4]
    assert feed.line_stats(0)["datagrams"] == feed.line_stats(1)["datagrams"] == 1
    assert feed.line_stats(0)["receive_buffer_bytes"] > 0
    feed.close()


def test_a_group_is_joined_on_the_interface_asked_for(out: socket.socket) -> None:
    feed = mk.LiveFeed(("239.255.77.1", 0, "127.0.0.1"))
    try:
        feed.open(now())
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        out.sendto(packet(1), ("239.255.77.1", feed.ports()[0]))
    except OSError as err:
        pytest.skip(f"no multicast here: {err}")
    assert blocks(until(feed, lambda c: len(blocks(c)) >= 1)) == [1]
    feed.close()


def test_a_hole_is_filled_by_the_request_server(out: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        feed = mk.LiveFeed(("127.0.0.1", 0), request_server=server.getsockname(), request_timeout_ns=20 * MS,
                           request_retries=50)
        feed.open(now())
        out.sendto(packet(1), ("127.0.0.1", feed.ports()[0]))
        out.sendto(packet(6), ("127.0.0.1", feed.ports()[0]))
        asked: list[tuple[int, int]] = []

        def serve() -> None:
            try:
                raw, peer = server.recvfrom(100)
            except BlockingIOError:
                return
            session, seq, count = mk.mold_parse_request(raw)
            assert session == SESSION
            asked.append((seq, count))
            if len(asked) > 1:  # the first request is lost
                server.sendto(packet(seq, min(count, 2)), peer)

        assert blocks(until(feed, lambda c: len(blocks(c)) >= 6, serve)) == [1, 2, 3, 4, 5, 6]
        assert asked[:2] == [(2, 4), (2, 4)]
        feed.close()


def test_a_late_join_reads_the_snapshot_and_goes_on_from_its_number(out: socket.socket) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        feed = mk.LiveFeed(("127.0.0.1", 0), snapshot_server=server.getsockname(), username="me", password="secret",
                           snapshot_retry_ns=10 * MS)
        feed.open(now())
        out.sendto(packet(50, 3), ("127.0.0.1", feed.ports()[0]))
        peers: list[socket.socket] = []
        logins: list[bytes] = []

        def serve() -> None:
            try:
                peer, _ = server.accept()
            except BlockingIOError:
                pass
            else:
                peer.setblocking(False)
                peers.append(peer)
            if not peers:
                return
            try:
                got = peers[-1].recv(100)
            except (BlockingIOError, OSError):
                return
            if not got:
                return
            logins.append(got)
            if len(logins) == 1:
                peers[-1].close()  # the first attempt fails
                return
            body = [b"A" + b"PRG0000001" + b"%20d" % 1, b"S" + b"Rone", b"H", b"S" + b"Atwo", b"S" + b"G%20d" % 51]
            stream = b"".join(len(p).to_bytes(2, "big") + p for p in body)
            peers[-1].sendall(stream[:40])
            time.sleep(0.002)
            peers[-1].sendall(stream[40:])

        calls = until(feed, lambda c: blocks(c)[-1:] == [52], serve)
        assert logins[-1] == b"\x00\x2fL" + b"me".ljust(6) + b"secret".ljust(10) + b" " * 10 + b"%20d" % 1
        kinds = [c[:3] for c in calls if c[0] != "block"]
        assert ("state", "stale", "snapshot_failed") in kinds
        assert [c[1:] for c in calls if c[0] == "snapshot"] == [(1, b"Rone"), (2, b"Atwo"), (3, b"G%20d" % 51)]
        assert blocks(calls) == [51, 52] and calls[-1][:2] == ("state", "live")
        feed.close()
        for peer in peers:
            peer.close()


def test_a_datagram_longer_than_the_buffer_is_counted_and_dropped(out: socket.socket) -> None:
    feed = mk.LiveFeed(("127.0.0.1", 0))
    feed.open(now())
    out.sendto(mk.mold_build(SESSION, 1, [bytes(1000)] * 3), ("127.0.0.1", feed.ports()[0]))
    out.sendto(packet(1), ("127.0.0.1", feed.ports()[0]))
    assert blocks(until(feed, lambda c: len(blocks(c)) >= 1)) == [1]
    assert feed.line_stats(0)["truncated"] == 1
    feed.close()


def test_an_address_that_cannot_be_bound_is_an_error_that_names_it() -> None:
    with pytest.raises(OSError, match="192.0.2.1"):
        mk.LiveFeed(("192.0.2.1", 9)).open(now())
    with pytest.raises(OSError, match="not an IPv4 address"):
        mk.LiveFeed(("localhost", 9)).open(now())
