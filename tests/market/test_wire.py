"""SoupBinTCP and OUCH 5.0 tables: real captures byte for byte, every message by length, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import recording

from hotpath._core import market as mk
from hotpath.execution import wire
from hotpath.market.pcap import TCP, read_capture

ITCH = {"AddOrderNoMpidAttributionMessage": {"A": 1}, "MarketParticipantPositionMessage": {"L": 1},
        "Multiple.Packets": {"D": 1, "A": 36, "F": 2}, "NetOrderImbalanceIndicatorMessage": {"I": 1},
        "OrderDeleteMessage": {"D": 1}, "StockTradingActionMessage": {"H": 1}}
OUCH = {"CancelOrderMessage": "cancel_order", "CanceledMessage": "order_canceled", "ClientHeartbeatPacket": None,
        "EnterOrderMessage": "enter_order", "OrderAcceptedMessage": "order_accepted", "ServerHeartbeatPacket": None}
JNX = {"EnterOrderMessage.O": "U", "LoginAcceptedPacket.A": "A", "LoginRequestPacket.L": "L",
       "OrderAcceptedMessage.A": "S", "ReplaceOrderMessage.U": "U"}

# Length of the short form, and whether the appendage length belongs to it (then it is counted in the length).
REQUEST_LENGTHS = {"O": 47, "U": 40, "X": 9, "M": 10, "Q": 1, "C": 17, "D": 9, "E": 9}
RESPONSE_LENGTHS = {"S": 10, "A": 64, "U": 68, "C": 18, "D": 31, "E": 36, "B": 36, "F": 49, "J": 29, "P": 13, "I": 13,
                    "T": 30, "M": 18, "R": 16, "Q": 13, "X": 25, "G": 17, "K": 17}


@pytest.mark.parametrize("name", sorted(ITCH))
def test_itch_captures_decode_and_encode_back_byte_for_byte(name: str) -> None:
    capture = read_capture(recording(f"wire/nasdaq_itch50_{name}.pcap"))
    assert capture.error == "" and capture.packets
    counts: dict[str, int] = {}
    for p in capture.packets:
        assert (p.dst, p.cut) == ("233.54.12.111:26477", False)
        session, seq, count, blocks = mk.mold_parse(p.payload)
        assert session == b"000010059B" and count == len(blocks)
        again = []
        for raw in blocks:
            d = mk.decode(raw)
            counts[d["type"]] = counts.get(d["type"], 0) + 1
            again.append(mk.encode(d))
        assert mk.mold_build(session, seq, again) == p.payload
    assert counts == ITCH[name]


@pytest.mark.parametrize(("name", "message"), sorted(OUCH.items(), key=str))
def test_ouch_captures_decode_and_encode_back_byte_for_byte(name: str, message: str | None) -> None:
    capture = read_capture(recording(f"wire/nasdaq_ouch50_{name}.pcap"))
    packets = [p for p in capture.packets if p.payload]
    assert packets and all(p.protocol == TCP for p in packets)
    for p in packets:
        framer = wire.SoupFramer()
        frames = list(framer.feed(p.payload))
        assert frames and framer.rest == b""
        assert b"".join(wire.encode_soup(wire.decode_soup(*f)) for f in frames) == p.payload
        for kind, payload in frames:
            if message is None:
                assert kind in "HR" and payload == b""
                continue
            decoded = wire.decode_ouch(payload, from_host=kind == "S")
            assert decoded["name"] == message
            assert wire.encode_ouch(decoded, from_host=kind == "S") == payload


def test_the_accepted_order_of_the_capture_says_what_it_said() -> None:
    capture = read_capture(recording("wire/nasdaq_ouch50_OrderAcceptedMessage.pcap"))
    (kind, payload), = wire.SoupFramer().feed(capture.packets[0].payload)
    d = wire.decode_ouch(payload, from_host=True)
    assert kind == "S" and d["symbol"] == "ADBE" and d["price_ticks"] == 4_777_800 and d["quantity"] == 40
    assert d["user_ref_num"] == 7_682_701 and d["state"] == "L" and d["cl_ord_id"] == "7682701"
    assert d["appendage"] == [{"tag": 2, "name": "firm", "value": "MLRO"}, {"tag": 18, "name": "bbo_weight", "value": "0"}]


@pytest.mark.parametrize(("name", "kind"), sorted(JNX.items()))
def test_another_dialect_keeps_its_session_layer_and_its_payload_stays_raw(name: str, kind: str) -> None:
    capture = read_capture(recording(f"wire/jnx_ouch1.11_{name}.pcap"))
    (got, payload), = wire.SoupFramer().feed(capture.packets[0].payload)
    packet = wire.decode_soup(got, payload)
    assert got == kind and wire.encode_soup(packet) == capture.packets[0].payload
    if kind in "SU":
        assert wire.decode_ouch(payload, from_host=kind == "S") is None and packet["hex"] == payload.hex()
    elif kind == "A":
        assert (packet["session"], packet["sequence"]) == ("1689192121", 135)
    else:
        assert packet["username"] == "user" and packet["sequence"] == 0


@pytest.mark.parametrize(("from_host", "lengths"), [(False, REQUEST_LENGTHS), (True, RESPONSE_LENGTHS)])
def test_every_ouch_message_has_its_published_length_in_both_forms(from_host: bool, lengths: dict[str, int]) -> None:
    table = wire.RESPONSES if from_host else wire.REQUESTS
    assert set(table) == set(lengths)
    for kind, layout in table.items():
        raw = kind.encode() + bytes(i * 7 % 64 + 33 for i in range(wire.layout_bytes(layout) - 1))
        if layout.required:
            raw += b"\0\0"
        assert len(raw) == lengths[kind], kind
        short = wire.decode_ouch(raw, from_host=from_host)
        assert wire.encode_ouch(short, from_host=from_host) == raw and ("appendage" in short) == layout.required
        tail = b"\x05\x02LIME\x02\x12\x30\x03\xc8ab\x05\x03\0\0\0\x09"
        fixed = raw[:-2] if layout.required else raw + b"Z" * sum(wire.width(k) for _, k in layout.longer)
        long = fixed + len(tail).to_bytes(2, "big") + tail
        d = wire.decode_ouch(long, from_host=from_host)
        assert [e.get("name", e["tag"]) for e in d["appendage"]] == ["firm", "bbo_weight", 200, "min_quantity"]
        assert wire.encode_ouch(d, from_host=from_host) == long
        for cut in range(1, len(long)):
            part = wire.decode_ouch(long[:cut], from_host=from_host)
            assert part is None or wire.encode_ouch(part, from_host=from_host) == long[:cut]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from("OUXMQCDESABFJPITRGK"), st.binary(max_size=90), st.booleans())
def test_any_bytes_are_an_ouch_message_that_encodes_back_or_none(kind: str, body: bytes, from_host: bool) -> None:
    raw = kind.encode() + body
    d = wire.decode_ouch(raw, from_host=from_host)
    assert d is None or wire.encode_ouch(d, from_host=from_host) == raw


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("+LAJSUHRZO?"), st.binary(max_size=60)), max_size=8), st.data())
def test_frames_cut_anywhere_come_out_whole(frames: list[tuple[str, bytes]], data: st.DataObject) -> None:
    stream = b"".join(wire.encode_soup(wire.decode_soup(*f)) for f in frames)
    framer, out = wire.SoupFramer(), []
    while stream:
        n = data.draw(st.integers(1, len(stream)))
        out += framer.feed(stream[:n])
        stream = stream[n:]
    assert out == frames and framer.rest == b""
