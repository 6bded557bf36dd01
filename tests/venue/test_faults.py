"""Faults by option: each one is read, happens, is counted, and can be survived by a client that follows the protocol."""

from __future__ import annotations

import contextlib

import client as c
import pytest
from test_server import PORTS, SESSION, eventually, listen, login, own_book, start  # noqa: F401

from hotpath import _venue


@pytest.mark.parametrize("text", ["", "loss=1%", "a.loss=0.5%,b.dup=100%", "delay=2ms@10%", "delay=200us", "halt=PRGN@1s+2s", "reject=0.02",
                                  "disconnect=30s,lag=5ms,late=200ms,r.loss=50%,reorder=1%,corrupt=1%"])  # fmt: skip
def test_fault_options_that_can_be_read(text):
    _venue.check_faults(text)


@pytest.mark.parametrize(("text", "says"), [
    ("loss", "has no value"), ("los=1%", "unknown"), ("loss=two", "cannot be read"), ("loss=101%", "cannot be read"), ("loss=-1%", "cannot be read"),
    ("delay=5", "cannot be read"), ("halt=PRGN", "cannot be read"), ("a.reject=1%", "unknown"), ("disconnect=1h", "cannot be read"),
])  # fmt: skip
def test_fault_options_that_cannot_be_read_are_named_with_what_would_do(text, says):
    with pytest.raises(ValueError, match=says):
        _venue.check_faults(text)


@pytest.mark.parametrize("fault", ["loss=20%", "a.loss=100%", "dup=30%", "reorder=30%", "corrupt=30%", "delay=20ms@30%",
                                   "loss=10%,reorder=10%,dup=10%,corrupt=10%,delay=5ms@10%,r.loss=30%,r.corrupt=10%"])  # fmt: skip
def test_the_book_survives_a_faulty_feed(start, fault):  # noqa: F811
    v = start(rate=2000, faults=fault, heartbeat_ns=50_000_000)
    feed = listen(v.itch_a, v.itch_b)
    asked = fault.replace("r.loss", "").replace("r.corrupt", "")
    options = {"lost": "loss", "duplicated": "dup", "reordered": "reorder", "corrupted": "corrupt", "delayed": "delay"}

    def happened(key: str) -> int:
        stats = v.stats()
        return int(stats["line_a"][key] + stats["line_b"][key])

    feed.poll_until(lambda: len(feed.seen) > 200 and all(happened(key) > 0 for key, option in options.items() if option in asked)
                    and (feed.malformed > 0 or "corrupt" not in asked), f"{asked} to happen")  # fmt: skip
    v.pause_flow()
    feed.poll_for(0.2)
    stats = v.stats()
    for key, option in options.items():
        assert (happened(key) > 0) == (option in asked), (key, stats)
    assert (feed.malformed > 0) == ("corrupt" in fault)
    if fault == "a.loss=100%":
        assert {line for line, _, _ in feed.seen} == {1} and stats["line_b"]["lost"] == 0
    last = v.itch_count()
    feed.recover(v.retransmit, last, SESSION.encode())
    assert feed.ordered(last) == v.itch_messages()
    book = c.rebuild(feed.ordered(last))
    assert [book.side("B"), book.side("S")] == own_book(v)
    feed.close()


def test_reordered_packets_come_after_the_next_one(start):  # noqa: F811
    v = start(rate=2000, faults="a.reorder=30%")
    feed = listen(v.itch_a)

    def sequences() -> list[int]:
        return [s for _, s, n in feed.seen if n]

    feed.poll_until(lambda: sequences() != sorted(sequences()), "a packet out of order")
    assert len(set(sequences())) == len(sequences())
    feed.close()


def survivors(seed: int) -> list[int]:
    """Feed sequences that reach line A when every packet carries one message."""
    v = _venue.VenueServer({"ports": PORTS, "flow": {"seed": seed, "rate_per_s": 0}, "faults": "loss=50%", "heartbeat_ns": 1 << 60, "session": SESSION})
    v.start()
    feed = listen(v.itch_a)
    client = login(v)
    first = v.itch_count() + 1
    for urn in range(1, 41):
        client.request(c.enter(urn, "B", 100, 990_000))
        client.until("A", urn=urn)
    v.stop()  # everything has been sent by now
    feed.drain()
    client.close()
    feed.close()
    return [seq - first for _, seq, count in feed.seen if count == 1 and seq < first + 40]


def test_the_same_seed_loses_the_same_packets():
    assert survivors(3) == survivors(3) != survivors(4)
    assert 8 < len(survivors(3)) < 32


def test_rejects_by_fault_refuse_good_orders(start):  # noqa: F811
    v = start(faults="reject=50%")
    client = login(v)
    for urn in range(1, 41):
        client.request(c.enter(urn, "B", 100, 990_000))
    client.wait(41)
    refused = [m for m in client.responses() if m["type"] == "J"]
    assert 8 < len(refused) < 32 and {m["reason"] for m in refused} == {15}


def test_halts_by_fault_come_and_go(start):  # noqa: F811
    v = start(faults="halt=PRGN@100ms+200ms")
    feed = listen(v.itch_a)

    def told(messages: list[bytes]) -> list[bytes]:
        return [m[19:20] for m in messages if m[:1] == b"H"][-2:]

    eventually(lambda: told(v.itch_messages()) == [b"H", b"T"])
    last = v.itch_count()
    feed.drain()
    feed.recover(v.retransmit, last, SESSION.encode())  # the halt may have come before this client listened
    assert told(feed.ordered(last)) == [b"H", b"T"]
    feed.close()


def test_disconnects_by_fault_cut_order_entry_and_nothing_is_lost(start):  # noqa: F811
    v = start(faults="disconnect=150ms")
    seen: list[bytes] = []
    urn = 0
    for _ in range(3):
        client = c.OuchClient(v.ouch, "DEMO01", "PEREGRINE1", sequence=len(seen) + 1)
        try:
            while not client.closed:
                urn += 1
                client.request(c.enter(urn, "B", 100, 990_000))
                client.poll(0.02)
        except OSError:
            pass
        seen += client.messages
        client.close()
    eventually(lambda: v.stats()["disconnects_forced"] >= 3)
    while "Q" not in c.kinds(seen):  # each of these connections is cut too, some before the answer
        last = c.OuchClient(v.ouch, "DEMO01", "PEREGRINE1", sequence=len(seen) + 1)
        with contextlib.suppress(OSError, AssertionError):
            last.request(c.query())
            last.until("Q")
        seen += last.messages
        last.close()
    assert seen == v.ouch_messages("DEMO01")[: len(seen)]
    assert [m["urn"] for m in c.decode_all(seen) if m["type"] == "A"] == sorted({m["urn"] for m in c.decode_all(seen) if m["type"] == "A"})


def test_bytes_of_a_dead_connection_arrive_late_and_a_mass_cancel_shuts_them_out(start):  # noqa: F811
    v = start(faults="lag=1s,late=4s")  # far apart: a busy machine must not close the connection after the lag, or come back after it all
    client = login(v)
    for urn in (1, 2, 3):
        client.request(c.enter(urn, "B", 100, 990_000))
    eventually(lambda: v.stats()["ouch_in"] == 3)
    client.close()  # the three orders are still under way
    back = login(v)
    back.request(c.mass_cancel(10))
    back.until("X", urn=10)
    eventually(lambda: v.stats()["late_in"] == 3)
    record = v.record()
    assert [e["kind"] for e in record] == ["mass_cancel", "ignored", "ignored", "ignored"]
    assert v.summary("DEMO01")["open_orders"] == 0


def test_late_bytes_of_a_dead_connection_are_real_orders_when_nothing_shuts_them_out(start):  # noqa: F811
    v = start(faults="lag=50ms,late=150ms")
    client = login(v)
    client.request(c.enter(1, "B", 100, 990_000))
    eventually(lambda: v.stats()["ouch_in"] == 1)
    client.close()
    back = login(v)
    assert back.until("A", urn=1)["qty"] == 100
