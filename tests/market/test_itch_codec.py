"""Layouts of the 23 ITCH messages, against the published offsets and any bytes at all."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.market_book import LENGTHS
from oracles.market_streams import stream

from hotpath._core import market as mk
from hotpath.market.event import EVENT_DTYPE, KINDS

# Offset and width of every body field, typed in from the specification and nowhere else used.
SPEC = {
    "S": "code@11:1", "R": "stock@11:8 market_category@19:1 financial_status@20:1 round_lot_size@21:4 "
    "round_lots_only@25:1 issue_classification@26:1 issue_sub_type@27:2 authenticity@29:1 short_sale_threshold@30:1 "
    "ipo_flag@31:1 luld_tier@32:1 etp_flag@33:1 etp_leverage@34:4 inverse@38:1",
    "H": "stock@11:8 state@19:1 reserved@20:1 reason@21:4", "Y": "stock@11:8 action@19:1",
    "L": "mpid@11:4 stock@15:8 primary@23:1 mode@24:1 state@25:1", "V": "level1@11:8 level2@19:8 level3@27:8",
    "W": "breached_level@11:1", "K": "stock@11:8 release_time_s@19:4 qualifier@23:1 price_ticks@24:4",
    "J": "stock@11:8 reference_ticks@19:4 upper_ticks@23:4 lower_ticks@27:4 extension@31:4",
    "h": "stock@11:8 market@19:1 action@20:1", "A": "ref@11:8 side@19:1 shares@20:4 stock@24:8 price_ticks@32:4",
    "F": "ref@11:8 side@19:1 shares@20:4 stock@24:8 price_ticks@32:4 mpid@36:4", "E": "ref@11:8 shares@19:4 match@23:8",
    "C": "ref@11:8 shares@19:4 match@23:8 printable@31:1 price_ticks@32:4", "X": "ref@11:8 shares@19:4", "D": "ref@11:8",
    "U": "ref@11:8 new_ref@19:8 shares@27:4 price_ticks@31:4",
    "P": "ref@11:8 side@19:1 shares@20:4 stock@24:8 price_ticks@32:4 match@36:8",
    "Q": "shares@11:8 stock@19:8 price_ticks@27:4 match@31:8 cross_type@39:1", "B": "match@11:8",
    "I": "paired_shares@11:8 imbalance_shares@19:8 direction@27:1 stock@28:8 far_ticks@36:4 near_ticks@40:4 "
    "reference_ticks@44:4 cross_type@48:1 variation@49:1", "N": "stock@11:8 flag@19:1",
    "O": "stock@11:8 eligible@19:1 min_ticks@20:4 max_ticks@24:4 near_execution_ticks@28:4 near_execution_time_ns@32:8 "
    "lower_collar_ticks@40:4 upper_collar_ticks@44:4",
}


def test_there_are_23_types_and_their_lengths_are_the_published_ones() -> None:
    assert {t: n for t, (_, n) in mk.message_types().items()} == LENGTHS
    assert len(LENGTHS) == 23 and set(SPEC) == set(LENGTHS)


@pytest.mark.parametrize("kind", sorted(SPEC))
def test_every_field_lies_where_the_specification_says(kind: str) -> None:
    raw = bytearray(range(100, 100 + LENGTHS[kind]))
    raw[0] = ord(kind)
    fields = [(f.split("@")[0], *map(int, f.split("@")[1].split(":"))) for f in SPEC[kind].split()]
    assert 11 + sum(w for _, _, w in fields) == LENGTHS[kind]
    if ("side", 19, 1) in fields:
        raw[19] = ord("S")
    d = mk.decode(bytes(raw))
    assert d["type"] == kind and len(d) == 5 + len(fields)
    assert (d["locate"], d["tracking"]) == struct.unpack_from(">HH", raw, 1)
    assert d["ts_ns"] == int.from_bytes(raw[5:11], "big")
    for name, at, width in fields:
        want = raw[at:at + width]
        got = d[name]
        assert got == (want.decode("latin-1") if isinstance(got, str) else int.from_bytes(want, "big")), name
    assert mk.encode(d) == bytes(raw)


@pytest.mark.parametrize("kind", sorted(SPEC))
def test_a_longer_message_is_read_and_a_shorter_one_is_malformed(kind: str) -> None:
    raw = mk.encode({"type": kind, "locate": 3, "ts_ns": 77})
    assert len(raw) == LENGTHS[kind]
    assert mk.decode(raw[:-1]) is None
    longer = mk.decode(raw + b"\x01\xff")
    assert longer["extra"] == "01ff" and mk.encode(longer) == raw + b"\x01\xff"


def test_an_order_on_neither_side_is_malformed() -> None:
    raw = bytearray(mk.encode({"type": "A", "locate": 1, "ref": 1, "shares": 5, "stock": "AAA"}))
    raw[19] = ord("X")
    assert mk.decode(bytes(raw)) is None
    assert mk.Market().on_message(bytes(raw)) == "malformed"


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([*map(ord, LENGTHS), 0, 71, 255]))
def test_any_bytes_decode_to_what_encodes_to_them_or_to_nothing(body: bytes, kind: int) -> None:
    raw = bytes([kind]) + body
    d = mk.decode(raw)
    if d is not None:
        assert mk.encode(d) == raw
        assert len(raw) >= LENGTHS[chr(kind)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("AFECXDUPQBIRHYhJSLVWKNOz"), st.binary(max_size=60)), max_size=40))
def test_a_market_takes_any_bytes_and_keeps_its_books_whole(messages: list[tuple[str, bytes]]) -> None:
    m = mk.Market(max_instruments=3, max_orders=8, max_levels=8, max_own_orders=2, max_prints=4)
    for kind, body in messages:
        m.on_message(kind.encode() + body)
    m.check()
    stats = m.stats()
    assert stats["messages"] == len(messages) == sum(stats["outcomes"].values())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_mold_packet_that_builds_again_or_malformed(raw: bytes) -> None:
    for packet in (raw, raw[:20].ljust(20, b"\0")[:18] + b"\x00\x02" + raw[20:]):
        parsed = mk.mold_parse(packet)
        if parsed is not None:
            session, seq, count, blocks = parsed
            assert mk.mold_build(session, seq, blocks, count == 0xFFFF) == packet


def test_mold_blocks_of_no_length_are_messages_too() -> None:
    packet = mk.mold_build(b"S", 5, [b"", b"x"])
    assert mk.mold_parse(packet) == (b"S         ", 5, 2, [b"", b"x"])


def test_a_request_is_twenty_bytes() -> None:
    raw = mk.mold_request(b"PRG0000001", 12345, 77)
    assert len(raw) == 20 and mk.mold_parse_request(raw) == (b"PRG0000001", 12345, 77)
    assert mk.mold_parse_request(raw + b"x") is None


def test_an_encoder_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="stock"):
        mk.encode({"type": "N", "stock": "TOOLONGNAME"})
    with pytest.raises(ValueError, match="not an ITCH"):
        mk.encode({"type": "z"})
    with pytest.raises(ValueError, match="side"):
        mk.encode({"type": "A", "side": "X"})
    with pytest.raises(ValueError, match="48 bits"):
        mk.encode({"type": "S", "ts_ns": 1 << 48})


def test_the_numpy_event_is_the_compiled_one() -> None:
    e = mk.Event()
    assert len(bytes(e)) == EVENT_DTYPE.itemsize == 64
    values = {"seq": 1 << 60, "ts_event_ns": -5, "ts_rx_ns": 7, "instrument": 9, "kind": 6, "side": 1, "flags": 4,
              "order_id": 1 << 63, "price_ticks": -3, "qty_lots": 1 << 40, "aux": 17}
    for name, value in values.items():
        setattr(e, name, value)
    row = np.frombuffer(bytes(e), EVENT_DTYPE)[0]
    assert {n: int(row[n]) for n in EVENT_DTYPE.names} == values


def test_events_of_a_stream_carry_what_the_messages_leave_out() -> None:
    messages = [m for m in stream(5, 2000, nasty=0.0) if m]
    buffer = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    events = np.frombuffer(mk.Market().apply_events(buffer), EVENT_DTYPE)
    assert len(events) == len(messages)
    live: dict[int, tuple[int, int, int, int]] = {}
    for msg, e in zip(messages, events, strict=True):
        d = mk.decode(msg)
        kind = KINDS[e["kind"]]
        if d["type"] in "AF":
            live[d["ref"]] = (e["instrument"], "BS".index(d["side"]), d["price_ticks"], d["shares"])
            assert kind == "add"
        elif d["type"] in "ECX":
            ix, side, price, left = live[d["ref"]]
            assert (e["instrument"], e["side"]) == (ix, side) and e["qty_lots"] == d["shares"]
            assert e["price_ticks"] == (d["price_ticks"] if d["type"] == "C" else price)
            assert bool(e["flags"] & 1) == (d.get("printable") == "N")
            live[d["ref"]] = (ix, side, price, left - d["shares"])
        elif d["type"] == "D":
            assert (e["instrument"], e["side"], e["price_ticks"], e["qty_lots"]) == live.pop(d["ref"])
        elif d["type"] == "U":
            ix, side, _, _ = live.pop(d["ref"])
            live[d["new_ref"]] = (ix, side, d["price_ticks"], d["shares"])
            assert (kind, e["instrument"], e["side"]) == ("replace", ix, side)
            assert (e["order_id"], e["aux"], e["price_ticks"], e["qty_lots"]) == (
                d["new_ref"], d["ref"], d["price_ticks"], d["shares"])
