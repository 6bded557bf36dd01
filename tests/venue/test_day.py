"""The venue's day on file: rebuilt, it is where it was, whatever moment it was killed at."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import client as c
import pytest

from hotpath import _venue

ROOT = Path(__file__).resolve().parents[2]
PORTS = [
    {"user": "DEMO01", "password": "PEREGRINE1", "firm": "DEM1"},
    {"user": "DEMO02", "password": "PEREGRINE2", "firm": "DEM2", "cancel_on_disconnect": True},
    {"user": "DROP01", "password": "PEREGRINE1", "firm": "DEM1", "drop_copy_of": "DEM1"},
]
HEAD_BYTES = 32


def config(path: Path, **more: Any) -> dict[str, Any]:
    """A venue with a day on file."""
    return {"symbols": [{"symbol": "PRGN"}, {"symbol": "FLCN"}], "ports": PORTS, "session": "PRG0000001",
            "flow": {"seed": 11, "rate_per_s": 3000}, "faults": "reject=2%,halt=FLCN@150ms+100ms", "state": str(path), **more}  # fmt: skip


def a_busy_day(path: Path, steps: int) -> tuple[Any, list[tuple[int, int]]]:
    """Everything a venue can be asked for, at random; the venue (stopped) and marks taken on the way."""
    rng = random.Random(3)
    venue = _venue.VenueServer(config(path))
    venue.start()
    marks = [venue.state_mark()]
    clients = {n: c.OuchClient(venue.ouch, f"DEMO0{n}", f"PEREGRINE{n}") for n in (1, 2)}
    urn = {1: 0, 2: 0}
    for _ in range(steps):
        n = rng.choice((1, 2))
        urn[n] += 1
        price = 1_000_000 + 100 * rng.randrange(-40, 40)
        what = rng.randrange(40)
        if what < 20:
            clients[n].request(c.enter(urn[n], rng.choice("BS"), rng.randrange(1, 300), price, symbol=rng.choice(("PRGN", "FLCN")),
                                       tif=rng.choice("0036"), app=c.tag(c.EXPIRE, b"\0\0\0\1")))  # fmt: skip
        elif what < 26:
            clients[n].request(c.replace(max(1, urn[n] - rng.randrange(1, 6)), urn[n], 100, price))
        elif what < 30:
            clients[n].request(c.cancel(max(1, urn[n] - rng.randrange(1, 6))))
        elif what < 32:
            clients[n].request(c.mass_cancel(urn[n]))
        elif what < 34:
            clients[n].close()
            clients[n] = c.OuchClient(venue.ouch, f"DEMO0{n}", f"PEREGRINE{n}")
        elif what == 34:
            ours = [e["match"] for e in venue.record() if e["kind"] == "executed"]
            venue.bust(rng.choice(ours) if ours else 1)
        elif what == 35:
            c.snapshot(venue.glimpse, "DEMO01", "PEREGRINE1")
        elif what == 36:
            venue.pause_flow(True)
            venue.pause_flow(False)
        elif what == 37:
            venue.halt("PRGN", "H", "T1")
            venue.resume("PRGN")
        clients[n].poll(0.002)
        if rng.random() < 0.2:
            marks.append(venue.state_mark())
    for one in clients.values():
        one.close()
    venue.stop()
    marks.append(venue.state_mark())
    return venue, marks


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> tuple[Path, Any, list[tuple[int, int]]]:
    path = tmp_path_factory.mktemp("day") / "venue.day"
    return (path, *a_busy_day(path, 700))


def stores(venue: Any) -> tuple[Any, ...]:
    """All a client could ever be told, and the venue's own record."""
    return (venue.itch_messages(), *(venue.ouch_messages(p["user"]) for p in PORTS), venue.record(), venue.summary("DEMO01"))


def test_a_rebuilt_venue_is_where_the_venue_was_at_every_moment_looked_at(day):
    path, venue, marks = day
    assert len(marks) > 20
    follower = _venue.VenueDay(config(path))
    for offset, state in marks:
        while follower.offset < offset:
            assert follower.catch_up(1) == 1
        assert (follower.offset, follower.state_hash()) == (offset, state)
    assert follower.catch_up() == 0 and follower.torn_bytes == 0
    assert stores(follower) == stores(venue)
    kinds = {e["kind"] for e in venue.record()}
    assert kinds >= {"accepted", "replaced", "canceled", "executed", "rejected", "mass_cancel", "broken"}, kinds


def test_a_day_cut_off_anywhere_goes_on_from_its_last_whole_input(day, tmp_path):
    path, _, _ = day
    data = path.read_bytes()
    follower = _venue.VenueDay(config(path))
    boundaries = {follower.offset: follower.state_hash()}
    while follower.catch_up(1):
        boundaries[follower.offset] = follower.state_hash()
    rng = random.Random(9)
    first = min(boundaries)
    cuts = [first, first + 1, len(data) - 1, len(data), *(rng.randrange(first, len(data)) for _ in range(8))]
    for cut in cuts:
        torn = tmp_path / f"cut-{cut}"
        torn.write_bytes(data[:cut])
        whole = max(b for b in boundaries if b <= cut)
        again = _venue.VenueServer(config(torn))
        assert again.state_mark() == (whole, boundaries[whole])
        again.start()  # and lives
        again.stop()
        assert _venue.VenueDay(config(torn)).catch_up() > 0
        follower = _venue.VenueDay(config(torn))
        follower.catch_up()
        assert follower.state_hash() == again.state_mark()[1]
    for cut in (0, HEAD_BYTES - 1, first - 1):  # killed before the day had a name: it begins
        torn = tmp_path / f"cut-{cut}"
        torn.write_bytes(data[:cut])
        fresh = _venue.VenueServer(config(torn))
        fresh.start()
        fresh.stop()
        assert fresh.session == "PRG0000001" and len(fresh.itch_messages()) > 10


def test_a_flipped_bit_anywhere_but_in_a_torn_tail_is_refused_with_its_place(day, tmp_path):
    path, _, _ = day
    data = path.read_bytes()
    rng = random.Random(4)
    lengths = [0, 1, 2, 3]  # of the first record: larger than the file
    follower = _venue.VenueDay(config(path))
    while follower.offset < len(data):
        last = follower.offset
        assert follower.catch_up(1) == 1
    for at in [*lengths, *(rng.randrange(last) for _ in range(30))]:  # the last record might as well have been cut off
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        file = tmp_path / "damaged"
        file.write_bytes(damaged)
        with pytest.raises(RuntimeError, match="damaged at byte|not the file of a venue's day|configured otherwise") as caught:
            _venue.VenueServer(config(file))
        if "damaged at byte" in str(caught.value):
            place = int(str(caught.value).split("at byte ")[1].split(":")[0])
            assert place <= at


def test_another_venues_day_is_refused(day, tmp_path):
    path, _, _ = day
    for other in ({"flow": {"seed": 12, "rate_per_s": 3000}}, {"faults": "reject=3%"}, {"ports": PORTS[:2]}):
        with pytest.raises(RuntimeError, match="configured otherwise"):
            _venue.VenueServer(config(path, **other))
    text = tmp_path / "text"
    text.write_text("this is no day of a venue, but long enough to look like one\n" * 10)
    with pytest.raises(RuntimeError, match="damaged at byte 0"):
        _venue.VenueServer(config(text))


def test_a_day_belongs_to_one_venue_at_a_time(tmp_path):
    path = tmp_path / "venue.day"
    one = _venue.VenueServer(config(path))
    one.start()
    two = _venue.VenueServer(config(path))
    with pytest.raises(RuntimeError, match="another venue"):
        two.start()
    one.halt("PRGN", "H")  # an input that the other has not read
    one.stop()
    with pytest.raises(RuntimeError, match="since it was read"):
        two.start()


# ---- over sockets, in a process of its own

class Process:
    """`peregrine venue --state`."""

    def __init__(self, folder: Path, *args: str, **popen: Any) -> None:
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'sim'}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "venue", "--state", str(folder / "venue.day"), "--seed", "5", *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **popen,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.ready = json.loads(line) if line else {}

    def end(self, number: int) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=c.PATIENCE_S)[1]


def login(venue: Process, sequence: int, user: str = "DEMO01", password: str = "PEREGRINE1") -> c.OuchClient:
    client = c.OuchClient(venue.ready["ouch"], user, password, session=venue.ready["session"], sequence=sequence)
    assert client.login == "A", client.reject
    return client


def test_clients_of_a_killed_venue_find_their_orders_and_its_feed_again(tmp_path):
    venue = Process(tmp_path, "--rate", "2000", "--cancel-on-disconnect")
    before = venue.ready
    feed = c.MoldClient(before["itch_a"], before["itch_b"], session=before["session"].encode().ljust(10))
    heard: list[bytes] = []
    urn = 0
    try:
        for life in range(3):
            client = login(venue, len(heard) + 1)
            urn += 1
            client.request(c.enter(urn, "B", 100, 500_000))
            client.until("A", urn=urn)
            urn += 1
            client.request(c.enter(urn, "B", 100, 0x7FFFFFFF, tif="3"))
            client.until("E", urn=urn)
            heard += client.messages
            feed.poll_for(0.1 + 0.1 * life)
            venue.end(signal.SIGKILL)
            client.close()
            venue = Process(tmp_path, "--rate", "2000", "--cancel-on-disconnect")
            assert venue.ready == before
        client = login(venue, 1)
        client.request(c.query())
        client.until("Q", next=urn + 1)
        assert client.messages[: len(heard)] == heard, "what was said before is said again, to the byte"
        cancels = [m for m in client.responses() if m["type"] == "C" and m["reason"] == "Z"]
        assert [m["urn"] for m in cancels] == [1, 3, 5], "the connections had died with the venue"
        feed.poll_for(0.3)
        book, at = c.snapshot(venue.ready["glimpse"], "DEMO01", "PEREGRINE1")
        feed.recover(venue.ready["retransmit"], at - 1, before["session"].encode())
        mirrored, shown = c.rebuild(feed.ordered(at - 1)), c.rebuild(book)
        assert mirrored.unknown == 0
        for side in "BS":
            assert mirrored.side(side) == shown.side(side) and len(shown.side(side)) > 10
    finally:
        assert "feed messages" in venue.end(signal.SIGTERM)


def test_a_venue_that_cannot_write_its_day_stops_rather_than_act(tmp_path):
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    venue = Process(tmp_path, "--rate", "5000", preexec_fn=small_files)
    try:
        out, err = venue.process.communicate(timeout=c.PATIENCE_S)
    finally:
        venue.process.kill()
    assert (venue.process.returncode, out) == (70, "") and "the venue stopped" in err and "hint:" in err
    again = Process(tmp_path, "--rate", "5000")
    assert again.ready == venue.ready
    again.end(signal.SIGTERM)


def test_a_day_of_another_name_and_a_day_in_use_are_refused_with_words(tmp_path):
    venue = Process(tmp_path, "--session", "TODAY")
    busy = Process(tmp_path)
    assert busy.process.communicate(timeout=c.PATIENCE_S)[1].count("another venue") and busy.process.returncode == 69
    venue.end(signal.SIGTERM)
    other = Process(tmp_path, "--session", "TOMORROW")
    assert "holds the day" in other.process.communicate(timeout=c.PATIENCE_S)[1] and other.process.returncode == 64
    other = Process(tmp_path, "--symbols", "FLCN")
    assert "configured otherwise" in other.process.communicate(timeout=c.PATIENCE_S)[1] and other.process.returncode == 69
    shutil.rmtree(tmp_path, ignore_errors=True)
