"""Rings in one process: against a deque, at the wrap, when full, and what they refuse."""

import mmap
from collections import deque

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hotpath import rings
from hotpath.core.dtypes import EVENT_DTYPE


def events(first: int, n: int) -> np.ndarray:
    out = np.zeros(n, EVENT_DTYPE)
    out["seq"] = range(first, first + n)
    out["price_ticks"] = -out["seq"].astype(np.int64)
    return out


class SpscAgainstDeque(RuleBasedStateMachine):
    """Any order of operations on a ring (two handles) gives what a bounded deque gives."""

    @initialize(log=st.integers(0, 4))
    def make(self, log):
        self.memory = mmap.mmap(-1, rings.SpscRing.bytes_needed(64, 1 << log))
        self.producer = rings.SpscRing(self.memory, slot_bytes=64, slot_count=1 << log)
        self.consumer = rings.SpscRing(self.memory)
        self.model: deque[int] = deque()
        self.next = 0
        self.taken = 0
        self.refused = 0

    @property
    def room(self):
        return self.producer.capacity - len(self.model)

    def expect(self, array, at_most):
        assert list(array["seq"]) == list(self.model)[:len(array)]
        assert len(array) <= at_most
        assert (array["price_ticks"] == -array["seq"].astype(np.int64)).all()

    @rule()
    def push(self):
        pushed = self.producer.push(events(self.next, 1))
        assert pushed == (self.room > 0)
        if pushed:
            self.model.append(self.next)
            self.next += 1
        else:
            self.refused += 1

    @rule(n=st.integers(0, 20))
    def push_many(self, n):
        done = self.producer.push_many(events(self.next, n))
        assert done == min(n, self.room)
        self.refused += done < n
        self.model.extend(range(self.next, self.next + done))
        self.next += done

    @rule(n=st.integers(1, 20), keep=st.integers(0, 20))
    def reserve_and_commit(self, n, keep):
        array = self.producer.reserve_array(n, EVENT_DTYPE)
        to_wrap = self.producer.capacity - self.next % self.producer.capacity
        assert len(array) == min(n, self.room, to_wrap)
        self.refused += len(array) == 0
        keep = min(keep, len(array))
        array[:] = events(self.next, len(array))
        self.producer.commit(keep)
        self.model.extend(range(self.next, self.next + keep))
        self.next += keep

    @rule(n=st.integers(1, 20), take=st.integers(0, 20))
    def peek_and_consume(self, n, take):
        array = self.consumer.peek_array(n, EVENT_DTYPE)
        to_wrap = self.consumer.capacity - self.taken % self.consumer.capacity
        assert len(array) == min(n, len(self.model), to_wrap)
        self.expect(array, n)
        take = min(take, len(array))
        self.consumer.consume(take)
        self.taken += take
        for _ in range(take):
            self.model.popleft()

    @rule(n=st.integers(0, 20))
    def pop_array(self, n):
        expected = min(n, len(self.model))
        array = self.consumer.pop_array(n, EVENT_DTYPE)
        assert len(array) == expected
        self.expect(array, n)
        self.taken += expected
        for _ in range(expected):
            self.model.popleft()

    @rule()
    def hand_the_producer_over(self):
        # A handle that takes a side over attaches anew, and goes on where the other stopped.
        self.producer = rings.SpscRing(self.memory)

    @rule()
    def hand_the_consumer_over(self):
        self.consumer = rings.SpscRing(self.memory)

    @invariant()
    def counts_agree(self):
        if hasattr(self, "model"):
            assert len(self.producer) == len(self.consumer) == len(self.model)
            assert self.producer.written == self.next
            assert self.producer.consumed == self.taken
            assert self.producer.refused == self.refused


SpscAgainstDeque.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSpscAgainstDeque = SpscAgainstDeque.TestCase


def test_a_full_ring_refuses_counts_and_keeps_what_it_holds():
    ring = rings.SpscRing.anonymous(slot_bytes=64, slot_count=4)
    assert ring.push_many(events(0, 6)) == 4
    assert not ring.push(b"more")
    assert ring.reserve() is None
    assert ring.refused == 3
    assert list(ring.pop_array(10, EVENT_DTYPE)["seq"]) == [0, 1, 2, 3]


def test_an_array_from_peek_is_a_view_of_the_slots_themselves():
    ring = rings.SpscRing.anonymous(slot_bytes=64, slot_count=4)
    writable = ring.reserve_array(1, EVENT_DTYPE)
    ring.commit()
    view = ring.peek_array(1, EVENT_DTYPE)
    writable["seq"] = 77
    assert view["seq"][0] == 77
    assert not view.flags.writeable
    assert np.shares_memory(view, np.frombuffer(ring.slots, np.uint8))


def test_a_view_outlives_its_ring():
    ring = rings.SpscRing.anonymous(slot_bytes=64, slot_count=4)
    ring.push(events(5, 1))
    view = ring.peek_array(1, EVENT_DTYPE)
    del ring
    assert view["seq"][0] == 5


def test_a_short_message_leaves_no_stale_bytes_behind():
    ring = rings.SpscRing.anonymous(slot_bytes=64, slot_count=1)
    ring.push(b"\xff" * 64)
    ring.pop()
    ring.push(b"abc")
    assert ring.pop() == b"abc" + bytes(61)


def test_slots_may_be_longer_than_their_item():
    ring = rings.SpscRing.anonymous(slot_bytes=128, slot_count=8)
    for n in range(3):
        ring.push(events(n, 1))
    assert list(ring.peek_array(8, EVENT_DTYPE)["seq"]) == [0, 1, 2]
    with pytest.raises(ValueError, match="dtype has"):
        ring.peek_array(8, np.dtype("V129"))


def test_pop_into_fills_whole_slots_only():
    ring = rings.SpscRing.anonymous(slot_bytes=64, slot_count=4)
    ring.push_many(events(0, 3))
    out = bytearray(64 * 2 + 63)
    assert ring.pop_into(out) == 2
    assert list(np.frombuffer(out[:128], EVENT_DTYPE)["seq"]) == [0, 1]
    assert len(ring) == 1


def test_more_than_was_reserved_or_peeked_cannot_be_given_on():
    ring = rings.SpscRing.anonymous(slot_bytes=64, slot_count=4)
    with pytest.raises(ValueError, match="0 are reserved"):
        ring.commit()
    ring.reserve(2)
    ring.commit()
    with pytest.raises(ValueError, match="1 are reserved"):
        ring.commit(2)
    with pytest.raises(ValueError, match="0 are peeked"):
        ring.consume()


@pytest.mark.parametrize(("slot_bytes", "slot_count", "complaint"), [
    (0, 4, "multiple of 64"), (65, 4, "multiple of 64"), (64, 0, "power of two"), (64, 3, "power of two"),
    (64, 1 << 50, "power of two"), (64, 8, "needs"),
])
def test_a_senseless_shape_is_refused(slot_bytes, slot_count, complaint):
    memory = mmap.mmap(-1, rings.SpscRing.bytes_needed(64, 4))
    with pytest.raises(rings.RingError, match=complaint):
        rings.SpscRing(memory, slot_bytes=slot_bytes, slot_count=slot_count)


def test_memory_that_holds_no_ring_is_refused():
    with pytest.raises(rings.RingError, match="not an SPSC ring"):
        rings.SpscRing(mmap.mmap(-1, 4096))
    with pytest.raises(rings.RingError, match="cannot hold"):
        rings.SpscRing(bytearray(100))
    with pytest.raises((BufferError, TypeError)):
        rings.SpscRing(bytes(4096))


@pytest.mark.parametrize(("offset", "value", "complaint"), [
    (8, 2, "layout version 2"), (12, 100, "multiple of 64"), (16, 1 << 20, "needs"), (128, 9, "damaged"),
    (256, 1, "damaged"),
])
def test_a_damaged_header_is_refused(offset, value, complaint):
    memory = mmap.mmap(-1, rings.SpscRing.bytes_needed(64, 8))
    rings.SpscRing(memory, slot_bytes=64, slot_count=8)
    memory[offset:offset + 4] = value.to_bytes(4, "little")
    with pytest.raises(rings.RingError, match=complaint):
        rings.SpscRing(memory)


def test_a_reader_gets_every_message_while_it_keeps_up():
    writer = rings.BroadcastWriter.anonymous(slot_bytes=64, slot_count=8)
    reader = rings.BroadcastReader(writer.source)
    for n in range(100):
        writer.publish(n.to_bytes(8, "little"))
        assert reader.poll() == n.to_bytes(8, "little") + bytes(48)
        assert reader.poll() is None
    assert (reader.position, reader.lost) == (100, 0)


@pytest.mark.parametrize("behind", [0, 1, 7, 8, 9, 15, 16, 1000])
def test_a_slow_reader_counts_exactly_what_it_lost(behind):
    writer = rings.BroadcastWriter.anonymous(slot_bytes=64, slot_count=8)
    reader = rings.BroadcastReader(writer.source)
    writer.publish_many(np.arange(behind, dtype="<u8"), 8)
    got = reader.poll_array(2000, "<u8")
    assert list(got) == list(range(reader.lost, behind))
    assert len(got) + reader.lost == behind == reader.position
    assert (reader.lost == 0) == (behind <= 8)


def test_a_reader_that_joins_late_begins_with_the_oldest_or_with_the_next():
    writer = rings.BroadcastWriter.anonymous(slot_bytes=64, slot_count=8)
    writer.publish_many(np.arange(20, dtype="<u8"), 8)
    oldest = rings.BroadcastReader(writer.source)
    now = rings.BroadcastReader(writer.source, from_now=True)
    writer.publish_many(np.arange(20, 21, dtype="<u8"), 8)
    assert list(now.poll_array(99, "<u8")) == [20]
    assert list(oldest.poll_array(99, "<u8"))[-1] == 20
    assert now.lost == 0


def test_readers_do_not_disturb_each_other():
    writer = rings.BroadcastWriter.anonymous(slot_bytes=128, slot_count=4)
    first, second = (rings.BroadcastReader(writer.source) for _ in range(2))
    writer.publish(b"x" * 120)
    assert first.poll() == second.poll() == b"x" * 120


def test_a_message_being_written_is_not_handed_out():
    writer = rings.BroadcastWriter.anonymous(slot_bytes=64, slot_count=2)
    reader = rings.BroadcastReader(writer.source)
    writer.publish(b"whole")
    stamp = slice(192, 200)
    whole = writer.source[stamp]
    writer.source[stamp] = (1).to_bytes(8, "little")  # message 0 in the making
    assert reader.poll() is None
    writer.source[stamp] = whole
    assert reader.poll() == b"whole" + bytes(51)


def test_a_broadcast_writer_takes_up_where_it_stopped():
    writer = rings.BroadcastWriter.anonymous(slot_bytes=64, slot_count=4)
    reader = rings.BroadcastReader(writer.source)
    writer.publish(b"1")
    again = rings.BroadcastWriter(writer.source)
    again.publish(b"2")
    assert [m[:1] for m in (reader.poll(), reader.poll())] == [b"1", b"2"]
    assert again.published == 2


def test_broadcast_shapes_are_checked():
    memory = mmap.mmap(-1, 4096)
    with pytest.raises(rings.RingError, match="power of two from 2 on"):
        rings.BroadcastWriter(memory, slot_bytes=64, slot_count=1)
    with pytest.raises(rings.RingError, match="needs"):
        rings.BroadcastWriter(memory, slot_bytes=64, slot_count=64)
    with pytest.raises(rings.RingError, match="not a broadcast ring"):
        rings.BroadcastReader(bytes(4096))
    writer = rings.BroadcastWriter(memory, slot_bytes=64, slot_count=4)
    with pytest.raises(ValueError, match="do not fit"):
        writer.publish(bytes(57))
