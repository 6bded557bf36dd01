"""The feed receiver under loss, duplicates, reordering, silence and the end of the day."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from hotpath._core import market as mk

SESSION = b"PRG0000001"
MS = 1_000_000
SECOND = 1000 * MS


def payload(seq: int) -> bytes:
    """The message that carries sequence number `seq`."""
    return b"Z%010d" % seq


def packet(seq: int, n: int = 1, session: bytes = SESSION) -> bytes:
    return mk.mold_build(session, seq, [payload(s) for s in range(seq, seq + n)])


def heartbeat(seq: int) -> bytes:
    return mk.mold_build(SESSION, seq, [])


def end(seq: int) -> bytes:
    return mk.mold_build(SESSION, seq, [], True)


def receiver(**options: object) -> mk.FeedReceiver:
    r = mk.FeedReceiver(**options)
    r.start(0)
    return r


def blocks(calls: list[tuple]) -> list[int]:
    """Sequence numbers delivered; checks that each came with its own bytes."""
    for c in calls:
        if c[0] == "block":
            assert c[3] == payload(c[1])
    return [c[1] for c in calls if c[0] == "block"]


def states(calls: list[tuple]) -> list[tuple]:
    return [c[1:] for c in calls if c[0] == "state"]


def test_each_sequence_is_delivered_once_whichever_line_brings_it_first() -> None:
    r = receiver()
    r.on_packet(0, packet(1, 2), 0)
    r.on_packet(1, packet(1, 2), 1)
    r.on_packet(1, packet(3), 2)
    r.on_packet(0, packet(3), 3)
    calls = r.take()
    assert blocks(calls) == [1, 2, 3]
    assert states(calls) == [("live", "start", 3, 0)]
    assert r.stats()["duplicates"] == 3


@pytest.mark.parametrize("line", [0, 1])
def test_one_line_alone_is_enough(line: int) -> None:
    r = receiver()
    for seq in range(1, 20):
        r.on_packet(line, packet(seq), seq)
    assert blocks(r.take()) == list(range(1, 20))
    assert r.state == "live"
    assert r.line_silent(1 - line, 4 * SECOND) and not r.line_silent(line, 1 * SECOND)


def test_a_packet_that_overlaps_delivers_only_its_new_part() -> None:
    r = receiver()
    r.on_packet(0, packet(1, 5), 0)
    r.on_packet(0, packet(3, 5), 1)
    assert blocks(r.take()) == [1, 2, 3, 4, 5, 6, 7]


def test_a_hole_on_line_a_is_filled_by_line_b_without_a_request() -> None:
    r = receiver()
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, packet(3), 1)
    r.on_timer(1 * MS)
    r.on_packet(1, packet(1), 2)
    r.on_packet(1, packet(2), 3)
    calls = r.take()
    assert blocks(calls) == [1, 2, 3]
    assert not [c for c in calls if c[0] == "request"]
    assert r.state == "live"


def test_a_hole_both_lines_are_past_is_asked_for_at_once() -> None:
    r = receiver()
    r.on_packet(0, packet(1), 0)
    r.on_packet(1, packet(1), 0)
    r.on_packet(0, packet(4), 1)
    assert not [c for c in r.take() if c[0] == "request"]
    r.on_packet(1, packet(4), 1)
    calls = r.take()
    assert ("request", 2, 2) in calls
    assert states(calls) == [("gapped", "gap", 2, 4)]
    r.on_packet(2, packet(2, 2), 2)
    calls = r.take()
    assert blocks(calls) == [2, 3, 4]
    assert states(calls) == [("live", "recovered", 5, 0)]


def test_a_hole_is_asked_for_when_the_slower_line_takes_too_long() -> None:
    r = receiver(arbitration_wait_ns=2 * MS)
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, packet(3), 0)
    assert r.next_timer_ns == 2 * MS
    r.on_timer(2 * MS - 1)
    assert r.state == "live" and not [c for c in r.take() if c[0] == "request"]
    r.on_timer(2 * MS)
    assert ("request", 2, 1) in r.take() and r.state == "gapped"


def test_a_short_answer_is_followed_by_a_request_for_the_rest() -> None:
    r = receiver(lines=1)
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, packet(11), 0)
    r.on_timer(5 * MS)
    assert ("request", 2, 9) in r.take()
    r.on_packet(2, packet(2, 4), 6 * MS)
    assert ("request", 6, 5) in r.take()
    r.on_packet(2, packet(6, 5), 7 * MS)
    assert blocks(r.take()) == [6, 7, 8, 9, 10, 11]


def test_a_request_is_never_for_more_than_the_limit() -> None:
    r = receiver(lines=1, max_request_messages=10, join="first")
    r.on_packet(0, packet(1000), 0)
    assert ("request", 1, 10) in r.take()
    r.on_packet(2, packet(1, 10), 1)
    assert ("request", 11, 10) in r.take()


def test_no_answer_means_retries_then_stale_then_a_snapshot_then_live() -> None:
    r = receiver(lines=1, request_retries=3, request_timeout_ns=100 * MS)
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, packet(5), 0)
    for t in (5, 105, 205):
        r.on_timer(t * MS)
    calls = r.take()
    assert [c for c in calls if c[0] == "request"] == [("request", 2, 3)] * 3
    r.on_timer(305 * MS)
    calls = r.take()
    assert states(calls) == [("stale", "gap", 2, 5)] and calls[-1] == ("open",)
    r.on_packet(0, packet(6), 306 * MS)  # live goes on meanwhile: kept
    r.on_snapshot_packet("A", b"PRG0000001                   1", 307 * MS)
    r.on_snapshot_packet("S", b"Rsomething", 308 * MS)
    r.on_snapshot_packet("H", b"", 308 * MS)
    r.on_packet(0, packet(7), 309 * MS)
    assert blocks(calls := r.take()) == [] and ("snapshot", 1, b"Rsomething") in calls
    r.on_snapshot_packet("S", b"G" + b"%20d" % 6, 310 * MS)
    calls = r.take()
    assert calls == [("snapshot", 2, b"G" + b"%20d" % 6), ("close",), ("block", 6, 0, payload(6)),
                     ("block", 7, 0, payload(7)), ("state", "live", "recovered", 8, 0)]
    assert r.stats()["lost"] == 4


def test_without_a_snapshot_service_the_hole_is_named_and_skipped_and_the_feed_stays_stale() -> None:
    r = receiver(lines=1, request_retries=1, snapshot_service=False)
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, packet(5), 0)
    r.on_timer(5 * MS)
    r.take()
    r.on_timer(SECOND)
    calls = r.take()
    assert states(calls) == [("stale", "gap", 2, 5)] and blocks(calls) == [5]
    r.on_packet(0, packet(6), SECOND)
    assert blocks(r.take()) == [6] and r.state == "stale"


@pytest.mark.parametrize("fail", ["closed", "rejected", "ended", "timeout", "no number", "zero"])
def test_a_failed_snapshot_is_tried_again(fail: str) -> None:
    r = receiver(lines=1, snapshot_retry_ns=SECOND, snapshot_timeout_ns=5 * SECOND, silence_timeout_ns=60 * SECOND)
    r.on_packet(0, packet(100), 0)
    calls = r.take()
    assert states(calls) == [("recovering", "start", 1, 100)] and ("open",) in calls
    now = SECOND
    if fail == "closed":
        r.on_snapshot_closed(now)
    elif fail == "rejected":
        r.on_snapshot_packet("J", b"A", now)
    elif fail == "ended":
        r.on_snapshot_packet("Z", b"", now)
    elif fail == "no number":
        r.on_snapshot_packet("S", b"G" + b"x" * 20, now)
    elif fail == "zero":
        r.on_snapshot_packet("S", b"G" + b"0" * 20, now)
    else:
        now = 5 * SECOND
        r.on_timer(now)
    calls = r.take()
    assert calls == [("close",), ("state", "stale", "snapshot_failed", 100, 0)]
    r.on_timer(now + SECOND - 1)
    assert r.take() == []
    r.on_timer(now + SECOND)
    assert r.take() == [("open",)]
    r.on_snapshot_packet("S", b"G" + b"%020d" % 100, now + 2 * SECOND)
    calls = r.take()
    assert blocks(calls) == [100] and r.state == "live"


def test_a_snapshot_that_lags_behind_is_completed_by_request() -> None:
    r = receiver(lines=1)
    r.on_packet(0, packet(100), 0)
    r.on_snapshot_packet("S", b"G" + b"%20d" % 98, MS)
    assert blocks(r.take()) == []
    r.on_timer(10 * MS)
    assert ("request", 98, 2) in r.take()
    r.on_packet(2, packet(98, 2), 11 * MS)
    assert blocks(r.take()) == [98, 99, 100] and r.state == "live"


def test_a_late_join_from_the_first_message_asks_for_the_whole_day() -> None:
    r = receiver(join="first")
    r.on_packet(0, packet(4), 0)
    calls = r.take()
    assert states(calls) == [("recovering", "start", 1, 4)] and ("request", 1, 3) in calls
    r.on_packet(2, packet(1, 3), 1)
    assert blocks(calls := r.take()) == [1, 2, 3, 4] and states(calls) == [("live", "recovered", 5, 0)]


def test_joining_here_never_claims_to_be_live() -> None:
    r = receiver(join="here")
    r.on_packet(0, packet(50, 3), 0)
    calls = r.take()
    assert states(calls) == [("stale", "start", 1, 50)] and blocks(calls) == [50, 51, 52] and r.state == "stale"


def test_silence_on_every_line_is_a_fault_and_the_first_packet_ends_it() -> None:
    r = receiver(silence_timeout_ns=3 * SECOND)
    r.on_packet(0, packet(1), 0)
    r.take()
    r.on_timer(3 * SECOND - 1)
    assert r.state == "live"
    r.on_timer(3 * SECOND)
    assert states(r.take()) == [("down", "silence", 2, 0)] and r.state == "down"
    r.on_packet(1, heartbeat(2), 4 * SECOND)
    assert states(r.take()) == [("live", "recovered", 2, 0)]


def test_silence_before_the_first_packet_is_reported() -> None:
    r = receiver(silence_timeout_ns=SECOND)
    r.on_timer(SECOND)
    assert states(r.take()) == [("down", "silence", 0, 0)]


def test_heartbeats_keep_the_feed_alive_and_show_a_loss_at_the_tail() -> None:
    r = receiver()
    r.on_packet(0, packet(1), 0)
    r.take()
    r.on_packet(0, heartbeat(2), SECOND)
    r.on_packet(1, heartbeat(2), SECOND)
    assert r.take() == []
    r.on_packet(0, heartbeat(4), 2 * SECOND)
    r.on_packet(1, heartbeat(4), 2 * SECOND)
    assert ("request", 2, 2) in r.take()


def test_the_end_of_the_session_is_reported_once_and_only_when_everything_is_delivered() -> None:
    r = receiver()
    r.on_packet(0, packet(1), 0)
    for line in (0, 1):
        r.on_packet(line, end(4), 1)
    calls = r.take()
    assert ("request", 2, 2) in calls and r.state == "gapped"
    r.on_packet(2, packet(2, 2), 2)
    assert states(calls := r.take()) == [("ended", "end", 4, 0)] and blocks(calls) == [2, 3]
    r.on_packet(0, end(4), 3)
    r.on_timer(100 * SECOND)
    assert r.take() == [] and r.state == "ended"


def test_packets_of_another_session_are_counted_and_dropped() -> None:
    r = receiver()
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, packet(2, session=b"PRG0000002"), 1)
    assert blocks(r.take()) == [1] and r.stats()["foreign"] == 1


OTHER = b"PRG0000002"


def test_a_first_packet_of_a_session_that_nobody_else_is_of_does_not_keep_the_feed_away() -> None:
    r = receiver()
    r.on_packet(0, packet(1, session=OTHER), 0)  # a stray, or a flipped bit
    for seq in range(1, 6):
        r.on_packet(0, packet(seq), seq)
    calls = r.take()
    # what the stray said is in the books: they are made anew
    assert blocks(calls) == [1] and states(calls)[-2:] == [("stale", "start", 0, 0), ("recovering", "start", 1, 2)]
    assert ("open",) in calls and r.stats()["foreign"] == 1
    r.on_snapshot_packet("S", b"G" + b"%020d" % 6, 7)
    r.on_packet(0, packet(6), 8)
    assert blocks(r.take()) == [6] and r.state == "live"
    r.on_packet(0, packet(7, session=OTHER), 9)
    r.on_packet(0, packet(7, session=OTHER), 9)
    r.on_packet(0, packet(7), 9)
    assert blocks(r.take()) == [7] and r.stats()["foreign"] == 3  # proven by now


def test_a_first_heartbeat_of_another_session_costs_nothing_but_the_packet_that_is_not_believed_alone() -> None:
    r = receiver()
    r.on_packet(0, mk.mold_build(OTHER, 90, []), 0)
    r.take()
    r.on_packet(0, packet(1), 1)
    r.on_packet(1, packet(1), 1)
    r.on_snapshot_packet("S", b"G" + b"%020d" % 1, 2)
    r.on_packet(0, packet(2), 2)
    assert blocks(r.take())[-1] == 2 and r.state == "live" and r.stats()["foreign"] == 1


def test_one_or_more_strangers_that_do_not_agree_or_come_too_late_change_no_session() -> None:
    r = receiver()
    r.on_packet(0, packet(1), 0)
    for n in range(5):
        r.on_packet(0, packet(50 + n, session=b"X%09d" % n), 1)
    r.on_packet(0, packet(2), 2)
    assert blocks(r.take()) == [1, 2] and r.state == "live" and r.stats()["foreign"] == 5


def test_the_end_of_yesterdays_session_as_first_packet_does_not_end_todays() -> None:
    r = receiver(join="first")
    r.on_packet(0, mk.mold_build(OTHER, 1, [], True), 0)
    for seq in range(1, 4):
        r.on_packet(0, packet(seq), seq)
    r.on_packet(2, packet(1), 5)  # the one that was not believed alone
    calls = r.take()
    assert blocks(calls) == [1, 2, 3] and "ended" not in [s[0] for s in states(calls)] and r.state == "live"


@pytest.mark.parametrize("damage", [lambda p: p[:-1], lambda p: p + b"x", lambda p: p[:19], lambda p: b"",
                                    lambda p: p[:10] + b"\xff" * 8 + p[18:], lambda p: p[:10] + bytes(8) + p[18:]])
def test_a_malformed_packet_is_dropped_whole(damage: Callable[[bytes], bytes]) -> None:
    r = receiver()
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, damage(packet(2, 3)), 1)
    assert blocks(r.take()) == [1] and r.stats()["malformed"] == 1
    r.on_packet(0, packet(2, 3), 2)
    assert blocks(r.take()) == [2, 3, 4]


def test_one_packet_from_far_ahead_is_not_believed_but_three_that_agree_are() -> None:
    r = receiver(max_jump_messages=1000)
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, packet(1 << 60), 1)
    r.on_packet(0, packet(2), 2)
    assert blocks(r.take()) == [1, 2] and r.state == "live" and r.stats()["implausible"] == 1
    for i in range(3):
        r.on_packet(0, packet(5000 + i), 3 + i)
    r.on_timer(SECOND)
    assert r.state == "gapped"


def test_a_window_that_overflows_asks_for_what_it_could_not_keep() -> None:
    r = receiver(lines=1, window_messages=16)
    r.on_packet(0, packet(1), 0)
    for seq in range(3, 40):
        r.on_packet(0, packet(seq), 1)
    r.on_timer(5 * MS)
    r.on_packet(2, packet(2), 6 * MS)
    assert r.stats()["not_buffered"] > 0
    calls = r.take()
    got = blocks(calls)
    asked = [c for c in calls if c[0] == "request"][-1]
    assert got == list(range(1, asked[1]))
    r.on_packet(2, packet(asked[1], 40 - asked[1]), 7 * MS)
    assert got + blocks(r.take()) == list(range(1, 40)) and r.state == "live"


def test_a_message_too_long_to_keep_is_asked_for_again() -> None:
    r = receiver(lines=1, slot_bytes=16)
    long = mk.mold_build(SESSION, 3, [b"L" * 100])
    r.on_packet(0, packet(1), 0)
    r.on_packet(0, long, 0)
    r.on_timer(5 * MS)
    assert ("request", 2, 2) in r.take()
    r.on_packet(2, mk.mold_build(SESSION, 2, [payload(2), b"L" * 100]), 6 * MS)
    assert [c[1] for c in r.take() if c[0] == "block"] == [2, 3]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_lost_the_sequence_has_no_hole_and_no_double_unless_a_snapshot_came_between(seed: int) -> None:
    rng = random.Random(seed)
    total = rng.randint(50, 400)
    loss = rng.choice((0.0, 0.05, 0.3, 0.8))
    served = rng.choice((0.0, 0.5, 1.0))  # share of the requests that are answered
    r = receiver(lines=rng.choice((1, 2)), join=rng.choice(("first", "snapshot")), window_messages=rng.choice((16, 64, 1024)),
                 request_retries=rng.choice((1, 3)), max_request_messages=rng.choice((3, 50)),
                 silence_timeout_ns=10 * SECOND, snapshot_retry_ns=20 * MS, snapshot_timeout_ns=50 * MS)
    wire: list[tuple[int, int, bytes]] = []  # (time, line, bytes)
    t, seq, published = 0, 1, {}
    while seq <= total:
        n = min(rng.randint(1, 5), total + 1 - seq)
        for line in (0, 1):
            for _ in range(rng.choice((1, 1, 1, 2))):
                if rng.random() >= loss:
                    wire.append((t + rng.randrange(0, 3 * MS), line, packet(seq, n)))
        t += rng.randrange(0, 4 * MS)
        seq += n
        published[t] = seq
    for i in range(1500):  # the end is repeated, and heard in the end
        if i % 10 == 0 or rng.random() >= loss:
            wire.append((t + (i + 1) * 20 * MS, rng.choice((0, 1)), end(total + 1)))
    wire.sort(key=lambda w: w[0])
    calls: list[tuple] = []
    pending = list(wire)
    now = 0

    def next_at(when: int) -> int:
        """What the venue's next sequence number is at a time: what a snapshot then says."""
        return max([s for p, s in published.items() if p <= when], default=1)

    snapshot_open = False
    while pending and r.state != "ended":
        now, line, data = pending.pop(0)
        r.on_timer(now)
        if line < 3:
            r.on_packet(line, data, now)
        elif line == 3:
            r.on_snapshot_packet("S", data, now)
        new = r.take()
        calls += new
        for c in new:
            later = now + rng.randrange(1, 8 * MS)
            if c[0] == "request" and rng.random() < served:
                first, count = c[1], min(c[2], rng.randint(1, 20), total + 1 - c[1])
                if count > 0:
                    pending.append((later, 2, packet(first, count)))
            elif c[0] == "open":
                snapshot_open = True
            elif c[0] == "close":
                snapshot_open = False
        if snapshot_open and not any(p[1] == 3 for p in pending) and rng.random() < 0.5:
            pending.append((now + rng.randrange(1, 9 * MS), 3, b"G" + b"%20d" % max(1, next_at(now) - rng.randrange(3))))
        pending.sort(key=lambda w: w[0])
    expected, stale_seen = 1, False
    for c in calls:
        if c[0] == "block":
            assert c[3] == payload(c[1])
            assert c[1] == expected, f"seed {seed}: {c[1]} after {expected - 1}"
            expected += 1
        elif c[0] == "snapshot":
            assert stale_seen, f"seed {seed}: a snapshot without a word of it"
            expected = int(c[2][1:])
        elif c[0] == "state":
            stale_seen |= c[1] in ("stale", "recovering")
    assert r.state == "ended", f"seed {seed}: ends {r.state}"
    assert expected == total + 1, f"seed {seed}"
