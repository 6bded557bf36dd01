"""The venue over real sockets, with a client that knows only the protocols."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import client as c
import pytest

from hotpath import _venue

PORTS = [
    {"user": "DEMO01", "password": "PEREGRINE1", "firm": "DEM1"},
    {"user": "DEMO02", "password": "PEREGRINE2", "firm": "DEM2", "cancel_on_disconnect": True},
    {"user": "DROP01", "password": "PEREGRINE1", "firm": "DEM1", "drop_copy_of": "DEM1"},
]
SESSION = f"T{uuid.uuid4().hex[:9].upper()}"  # other tests' venues have others
Start = Callable[..., Any]


@pytest.fixture
def start() -> Iterator[Start]:
    running = []

    def go(rate: int = 0, **config: Any) -> Any:
        venue = _venue.VenueServer({"ports": PORTS, "flow": {"seed": 7, "rate_per_s": rate}, "session": SESSION, **config})
        running.append(venue)
        venue.start()
        return venue

    yield go
    for venue in running:
        venue.stop()


def login(venue: Any, number: int = 1, **kwargs: Any) -> c.OuchClient:
    client = c.OuchClient(venue.ouch, f"DEMO0{number}", f"PEREGRINE{number}", **kwargs)
    assert client.login == "A", client.reject
    return client


def eventually(check: Callable[[], Any], seconds: float = c.PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def listen(*addresses: str) -> c.MoldClient:
    """A receiver of this test's venue alone."""
    return c.MoldClient(*addresses, session=SESSION.encode())


def own_book(venue: Any) -> list[list[tuple[int, int, int]]]:
    return [[(o["price_ticks"], o["qty"], o["ref"]) for o in venue.orders(0, side) if not o["hidden"]] for side in "BS"]


def test_two_clients_trade_with_each_other_and_the_feed_tells_it(start):
    v = start()
    feed = listen(v.itch_a, v.itch_b)
    one, two = login(v, 1), login(v, 2)
    one.request(c.enter(1, "S", 100, 1_000_000))
    one.until("A", urn=1)
    two.request(c.enter(1, "B", 40, 1_000_000, tif="3"))
    match = two.until("E")["match"]
    assert one.until("E", match=match)["qty"] == 40
    feed.poll_for(0.2)
    feed.recover(v.retransmit, v.itch_count(), SESSION.encode())
    book = c.rebuild(feed.ordered(v.itch_count()))
    assert [row[:2] for row in book.side("S")] == [(1_000_000, 60)] and book.volume == 40
    feed.close()


def test_no_other_venue_finds_the_ports_of_a_living_ones_feed_free_before_anybody_listens(start):
    v = start()
    for line in (v.itch_a, v.itch_b):
        host, port = line.split(":")
        with pytest.raises(OSError), contextlib.closing(socket.socket()) as probe:
            probe.bind((host, int(port)))
    v.stop()
    for line in (v.itch_a, v.itch_b):
        host, port = line.split(":")
        with contextlib.closing(socket.socket()) as probe:
            probe.bind((host, int(port)))


def test_name_and_password_are_read_without_regard_to_case(start):
    v = start()
    assert c.OuchClient(v.ouch, "demo01", "peregrine1").login == "A"


@pytest.mark.parametrize(("user", "password", "session", "sequence", "reason"), [
    ("DEMO01", "WRONG", "", 1, "A"), ("NOBODY", "PEREGRINE1", "", 1, "A"), ("DEMO01", "PEREGRINE1", "OTHER", 1, "S"),
    ("DEMO01", "PEREGRINE1", "", 999, "S"),
])  # fmt: skip
def test_a_wrong_login_is_refused_with_its_reason_and_the_connection_closed(start, user, password, session, sequence, reason):
    v = start()
    client = c.OuchClient(v.ouch, user, password, session=session, sequence=sequence)
    assert (client.login, client.reject) == ("J", reason)
    assert client.wait_closed()
    assert v.stats()["logins_refused"] == 1


def test_anything_before_the_login_closes_the_connection(start):
    v = start()
    import socket

    s = socket.create_connection(c.address(v.ouch), timeout=c.PATIENCE_S)
    s.sendall(b"\0\x02U" + b"Q")
    s.settimeout(c.PATIENCE_S)
    assert s.recv(100) == b""


def test_resuming_replays_from_the_asked_number_and_zero_starts_with_what_is_new(start):
    v = start()
    first = login(v)
    assert first.sequence == 1
    for urn in (1, 2, 3):
        first.request(c.enter(urn, "B", 100, 990_000))
    everything = list(first.wait(4))
    assert c.kinds(everything) == "SAAA"
    first.close()
    again = login(v, sequence=3, session=SESSION)
    assert again.sequence == 3 and again.wait(2) == everything[2:]
    again.close()
    fresh = login(v, sequence=0)
    assert fresh.sequence == 5
    fresh.request(c.query())
    assert c.decode_ouch(fresh.wait(1)[0])["next"] == 4


def test_the_day_can_be_rebuilt_from_message_one_by_another_connection(start):
    v = start(rate=500)
    client = login(v)
    for urn in range(1, 20):
        client.request(c.enter(urn, "B", 100, 1_100_000 if urn % 3 else 900_000, tif="3" if urn % 3 else "0"))
    client.request(c.mass_cancel(20))
    client.until("X")
    assert v.ouch_messages("DEMO01") == client.messages
    client.close()
    second = login(v, sequence=1)
    assert second.wait(len(client.messages)) == client.messages


def test_a_newer_login_of_an_account_takes_over_from_its_older_connection(start):
    v = start()
    old = login(v)
    new = login(v)
    assert old.wait_closed()
    new.request(c.query())
    assert new.until("Q")["next"] == 1


def test_logout_closes_at_once_and_the_session_lives_on(start):
    v = start()
    client = login(v)
    client.send("O")
    assert client.wait_closed()
    assert login(v).login == "A"


def test_orders_outlive_a_dropped_connection_unless_the_account_asks_otherwise(start):
    v = start()
    for number in (1, 2):
        client = login(v, number)
        client.request(c.enter(1, "B", 100, 990_000))
        client.until("A")
        client.close()
    eventually(lambda: v.summary("DEMO02")["open_orders"] == 0)
    assert v.summary("DEMO01")["open_orders"] == 1
    back = login(v, 2)
    assert c.kinds(back.wait(3)) == "SAC" and c.decode_ouch(back.messages[2])["reason"] == "Z"


def test_both_sides_heartbeat_and_silence_ends_a_connection(start):
    v = start(heartbeat_ns=50_000_000, silence_ns=2_000_000_000)
    quiet = login(v)
    assert quiet.wait_closed()
    assert quiet.heartbeats >= 2 and v.stats()["silent_closed"] == 1
    alive = login(v)
    first = last = time.monotonic()
    longest = 0.0
    while last - first < 2.5 and not alive.closed:
        with contextlib.suppress(OSError):
            alive.send("R")
        alive.poll(0.1)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert not alive.closed or longest > 1, "one that speaks is left alone; who was kept from speaking shows nothing"


def test_a_connection_that_never_logs_in_is_closed(start):
    v = start(login_timeout_ns=100_000_000)
    import socket

    s = socket.create_connection(c.address(v.ouch), timeout=c.PATIENCE_S)
    assert s.recv(10) == b""


def test_packets_cut_and_joined_by_tcp_are_read_whole(start):
    v = start()
    client = login(v)
    stream = b"".join(struct.pack(">H", len(m) + 1) + b"U" + m for m in [c.enter(n, "B", 10, 990_000) for n in range(1, 30)])
    for i in range(0, len(stream), 7):
        client.socket.sendall(stream[i : i + 7])
    client.until("A", urn=29)
    assert c.kinds(client.messages) == "S" + "A" * 29


def test_the_quiet_feed_heartbeats_with_the_next_sequence(start):
    v = start(heartbeat_ns=50_000_000)
    feed = listen(v.itch_a)
    feed.poll_until(lambda: feed.heartbeats >= 3, "three heartbeats")
    assert {seq for _, seq, count in feed.seen if count == 0} == {v.itch_count() + 1}
    v.silence(True)
    feed.poll_for(0.1)
    before = len(feed.seen)
    feed.poll_for(0.3)
    assert len(feed.seen) == before
    feed.close()


def test_lines_a_and_b_carry_the_same_and_a_re_request_fills_what_was_missed(start):
    v = start(rate=400)  # few enough that what comes while this process waits for a core has room in the sockets
    feed = listen(v.itch_a, v.itch_b)

    def by_line(line: int) -> set[tuple[int, int]]:
        return {(s, n) for at, s, n in feed.seen if at == line and n}

    feed.poll_until(lambda: len(by_line(0)) > 100, "a hundred packets")
    v.pause_flow()
    last = v.itch_count()
    feed.poll_until(lambda: all(any(s + n > last for s, n in by_line(line)) for line in (0, 1)), "the last packet on both lines")
    assert by_line(0) == by_line(1)
    assert feed.missing(last)  # the day began before this client listened
    feed.recover(v.retransmit, last, SESSION.encode())
    assert feed.ordered(last) == v.itch_messages()
    book = c.rebuild(feed.ordered(last))
    assert [book.side("B"), book.side("S")] == own_book(v) and book.unknown == 0
    feed.close()


def test_a_late_joiner_goes_on_from_the_snapshot_with_the_venues_book(start):
    v = start(rate=1000)
    feed = listen(v.itch_a)
    feed.poll_until(lambda: len(feed.messages) > 100, "a hundred messages")
    messages, next_seq = c.snapshot(v.glimpse, "DEMO02", "PEREGRINE2")
    feed.poll_until(lambda: max(feed.messages) > next_seq + 100, "a hundred messages after the snapshot")
    v.pause_flow()
    last = v.itch_count()
    feed.poll_until(lambda: max(feed.messages) >= last, "the last message")
    feed.recover(v.retransmit, last, SESSION.encode())  # what a socket had no room for while this process waited for a core
    book = c.rebuild(messages)
    for seq in range(next_seq, last + 1):
        book.apply(feed.messages[seq])
    assert [book.side("B"), book.side("S")] == own_book(v) and book.unknown == 0
    assert book.system == "Q" and v.stats()["snapshots"] == 1
    feed.close()


@pytest.mark.parametrize("request_bytes", [
    b"", b"short", struct.pack(">10sQH", b"OTHER", 1, 5), struct.pack(">10sQH", b"OURSESSION", 0, 5),
    struct.pack(">10sQH", b"OURSESSION", 1, 0), struct.pack(">10sQH", b"OURSESSION", 1 << 60, 5), bytes(21),
])  # fmt: skip
def test_a_re_request_that_makes_no_sense_is_left_unanswered(start, request_bytes):
    import socket

    v = start()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(request_bytes.replace(b"OURSESSION", SESSION.encode()), c.address(v.retransmit))
    eventually(lambda: v.stats()["retransmit_refused"] >= 1)  # its port may have been a dead venue's, whose clients still ask
    v.stop()  # whatever it would have answered has been sent by now
    with pytest.raises(BlockingIOError):
        s.recv(2048, socket.MSG_DONTWAIT)


def test_a_re_request_is_answered_with_as_much_as_one_packet_holds(start):
    import socket

    v = start(rate=2000)
    eventually(lambda: v.itch_count() > 400)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(c.PATIENCE_S)
    s.sendto(struct.pack(">10sQH", SESSION.encode(), 5, 60_000), c.address(v.retransmit))
    data = s.recv(65536)
    _, seq, count = struct.unpack(">10sQH", data[:20])
    assert seq == 5 and 20 < count < 100 and len(data) <= 1400


def test_stopping_ends_the_session_on_every_door(start):
    v = start()
    feed = listen(v.itch_a, v.itch_b)
    client = login(v)
    last = v.itch_count()
    v.stop()
    v.stop()
    feed.drain()
    assert feed.ended_at == last + 1
    client.wait_closed()
    assert client.ended
    feed.close()
    with pytest.raises(RuntimeError, match="make a new one"):
        v.start()


def test_the_feed_goes_to_multicast_groups_when_asked(start):
    probe = listen("127.0.0.1:0")
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    v = start(itch_a=f"239.77.5.1:{port}", heartbeat_ns=50_000_000)
    feed = listen(v.itch_a)
    feed.poll_until(lambda: feed.heartbeats > 0, "a heartbeat")
    feed.close()


def test_the_drop_copy_port_follows_its_firms_executions(start):
    v = start()
    drop = c.OuchClient(v.ouch, "DROP01", "PEREGRINE1")
    one, two = login(v, 1), login(v, 2)
    one.request(c.enter(1, "S", 100, 1_000_000))
    one.until("A")
    two.request(c.enter(1, "B", 100, 1_000_000))
    assert drop.until("E")["match"] == one.until("E")["match"]


def test_halts_breaks_and_the_record_are_at_hand_from_python(start):
    v = start()
    one, two = login(v, 1), login(v, 2)
    v.halt("PRGN")
    one.request(c.enter(1, "S", 100, 1_000_000))
    assert one.until("J")["reason"] == 7
    v.resume("PRGN")
    one.request(c.enter(2, "S", 100, 1_000_000))
    one.until("A")
    two.request(c.enter(1, "B", 100, 1_000_000))
    match = two.until("E")["match"]
    assert v.bust(match) and not v.bust(match)
    assert one.until("B")["match"] == match
    kinds = [e["kind"] for e in v.record()]
    assert kinds == ["rejected", "accepted", "accepted", "executed", "executed", "broken", "broken"]
    executed = [e for e in v.record() if e["kind"] == "executed"]
    assert {(e["port"], e["contra_port"]) for e in executed} == {(0, 1), (1, 0)}


def test_a_port_in_use_and_a_bad_configuration_are_said_in_words(start):
    v = start()
    with pytest.raises((OSError, RuntimeError), match="binding"):
        start(ouch_port=int(v.ouch.split(":")[1]))
    with pytest.raises(KeyError, match="colour"):
        _venue.VenueServer({"colour": "red"})
    with pytest.raises(ValueError, match="no symbol"):
        _venue.VenueServer({"faults": "halt=NOPE@1s"})
