"""A request that waits inside the device: how the push window and the ring offer theirs to the intake."""

from __future__ import annotations

from amaranth.hdl import Mux, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.registers import (
    FIRST_BODY_BYTES,
    KINDS,
    LINE_BYTES,
    MAX_INPUTS,
    MAX_LINES,
    NEXT_BODY_BYTES,
)

WORDS = MAX_LINES * LINE_BYTES // 8  # 64-bit words of the longest request
WORD_BITS = 6

#: word 1 of line 0, behind the tag
HEAD = data.StructLayout({"slot": 8, "kind": 8, "count": 8, "reserved": 40})


class Waiting(wiring.Signature):
    """The oldest request of a source: `tag` and `head` while `valid`, its 64-bit words by `address`; `done` lets it go.

    A source that knows already that it cannot be answered says why in `status`.
    """

    def __init__(self) -> None:
        super().__init__({
            "valid": Out(1), "tag": Out(64), "head": Out(HEAD), "status": Out(8), "where": Out(4),
            "address": In(WORD_BITS), "data": Out(64), "done": In(1),
        })  # fmt: skip


def body_words(head: data.View) -> Value:
    """32-bit words of the body."""
    count: Value = head.count
    words: Value = Mux(head.kind == KINDS["features"], count, (count + 3) >> 2)
    return words


def last_line(head: data.View) -> Value:
    """Index of the last line; 0 for a request whose kind or count is none, as `registers.lines_of` for those it knows."""
    words, found = body_words(head), Value.cast(0)
    for line in range(MAX_LINES - 1):
        found = found + (words > (FIRST_BODY_BYTES + line * NEXT_BODY_BYTES) // 4)
    last: Value = Mux(kind_known(head) & count_known(head), found, 0)[:3]
    return last


def kind_known(head: data.View) -> Value:
    """Whether the kind is one of KINDS."""
    known: Value = head.kind < len(KINDS)
    return known


def count_known(head: data.View) -> Value:
    """Whether the count is 1 to MAX_INPUTS."""
    known: Value = (head.count != 0) & (head.count <= MAX_INPUTS)
    return known

