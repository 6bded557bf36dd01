"""OUCH 5.0 bytes: real captures, round trips of every message, any bytes."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import _core

LAYOUT = {name: (resp, letter, base, always, fields) for name, resp, letter, base, always, fields in _core.ouch_layout()}
ACCEPTED = bytes.fromhex(
    "410000289b4d64af87" "00753a8d" "42" "00000028" "4144424520202020" "000000000048e748" "35" "59" "000000000f56b4f5"
    "41" "4e" "4e" "4c" "3736383237303120202020202020" "0009" "05024d4c524f" "021230")
BASES = {"EnterOrder": 47, "ReplaceOrder": 40, "CancelOrder": 9, "ModifyOrder": 10, "AccountQuery": 1, "MassCancel": 17,
         "DisableEntry": 9, "EnableEntry": 9, "SystemEvent": 10, "Accepted": 64, "Replaced": 68, "Canceled": 18, "AiqCanceled": 31,
         "Executed": 36, "BrokenTrade": 36, "TradeCorrection": 49, "Rejected": 29, "CancelPending": 13, "CancelReject": 13,
         "PriorityUpdate": 30, "Modified": 18, "Restated": 16, "AccountQueryResponse": 13, "MassCancelResponse": 25,
         "DisableResponse": 17, "EnableResponse": 17}


def decode(data: bytes, response: bool):
    """The message as a dict, or None."""
    return _core.ouch_decode_response(data) if response else _core.ouch_decode_request(data)


def capture(name: str) -> bytes:
    """The TCP payload of a one-packet recording (pcap, Ethernet with or without a VLAN tag)."""
    here = Path(os.environ.get("PEREGRINE_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
    path = here / "wire" / name
    if not path.exists():
        pytest.skip(f"recording {path} is not here")
    frame = path.read_bytes()[40:]
    at = 18 if frame[12:14] == b"\x81\x00" else 14
    ip = frame[at:]
    ip = ip[:struct.unpack(">H", ip[2:4])[0]]
    tcp = ip[(ip[0] & 15) * 4:]
    return tcp[(tcp[12] >> 4) * 4:]


def packets(data: bytes) -> list[bytes]:
    """Whole SoupBinTCP packets in a byte string."""
    return _core.SoupFramer().push(data)


def test_base_lengths_are_those_of_the_protocol():
    assert {name: row[2] for name, row in LAYOUT.items()} == BASES


def test_the_accepted_example_decodes_field_by_field():
    m = decode(ACCEPTED, True)
    assert len(ACCEPTED) == 73
    assert (m["user_ref_num"], m["side"], m["quantity"], m["symbol"], m["price"]) == (0x753A8D, "B", 40, "ADBE", 4_777_800)
    assert (m["tif"], m["display"], m["order_ref"], m["capacity"], m["state"], m["cl_ord_id"]) == ("5", "Y", 0xF56B4F5, "A", "L", "7682701")
    assert m["timestamp_ns"] == 0x289B4D64AF87
    assert _core.ouch_find_tag(m["appendage"], 2) == b"MLRO"
    assert _core.ouch_find_tag(m["appendage"], 18) == b"0"
    assert _core.ouch_find_tag(m["appendage"], 3) is None
    assert _core.ouch_encode(m) == ACCEPTED


@pytest.mark.parametrize("name,kind,fields", [
    ("nasdaq_ouch50_EnterOrderMessage.pcap", "EnterOrder", {"user_ref_num": 0x71, "side": "T", "quantity": 225, "symbol": "CVLT", "price": 630_200, "cl_ord_id": "H8FUB8IV"}),
    ("nasdaq_ouch50_OrderAcceptedMessage.pcap", "Accepted", {"user_ref_num": 0x753A8D}),
    ("nasdaq_ouch50_CancelOrderMessage.pcap", "CancelOrder", {"user_ref_num": 0x752E71, "quantity": 0, "long_form": False}),
    ("nasdaq_ouch50_CanceledMessage.pcap", "Canceled", {"user_ref_num": 0x753A8D, "quantity": 40, "reason": "U"})])
def test_real_messages_decode_and_encode_back_to_the_same_bytes(name, kind, fields):
    (packet,) = packets(capture(name))
    response = packet[:1] == b"S"
    m = decode(packet[1:], response)
    assert m is not None and m["type"] == kind
    for key, value in fields.items():
        assert m[key] == value
    assert _core.ouch_encode(m) == packet[1:]


@pytest.mark.parametrize("name,packet", [("nasdaq_ouch50_ClientHeartbeatPacket.pcap", b"R"), ("nasdaq_ouch50_ServerHeartbeatPacket.pcap", b"H")])
def test_real_heartbeats_are_one_byte_packets(name, packet):
    assert packets(capture(name)) == [packet]


def test_real_login_packets_decode():
    (request,) = packets(capture("jnx_ouch1.11_LoginRequestPacket.L.pcap"))
    assert request[:1] == b"L"
    assert _core.soup_decode_login(request[1:]) == (b"user  ", b"password  ", b" " * 10, 0)
    assert _core.soup_login_request("user", "password", "", 0) == request[1:]
    (accepted,) = packets(capture("jnx_ouch1.11_LoginAcceptedPacket.A.pcap"))
    assert _core.soup_decode_accepted(accepted[1:]) == (b"1689192121", 135)
    assert _core.soup_login_accepted("1689192121", 135) == accepted[1:]


TEXT = st.characters(min_codepoint=33, max_codepoint=126)


@st.composite
def messages(draw):
    """(dict of any message with random fields, is it a response)."""
    name = draw(st.sampled_from(sorted(LAYOUT)))
    response, _, _, always, fields = LAYOUT[name]
    m = {"type": name}
    for field, size, integer in fields:
        if integer and size > 1:
            m[field] = draw(st.integers(0, 2 ** (8 * size) - 1))
        elif integer:
            m[field] = draw(TEXT)
        else:
            m[field] = draw(st.text(TEXT, max_size=size))
    if response:
        m["timestamp_ns"] = draw(st.integers(0, 2**64 - 1))
    m["long_form"] = not always and draw(st.booleans())
    if name == "AiqCanceled":
        m["strategy"] = draw(TEXT) if m["long_form"] else " "
    parts = draw(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=4))
    has = always or m["long_form"]
    m["appendage"] = b"".join(bytes([len(v) + 1, t]) + v for t, v in parts) if has else b""
    return m, response


@given(messages())
def test_every_message_survives_the_round_trip(drawn):
    m, response = drawn
    data = _core.ouch_encode(m)
    assert data[:1].decode() == LAYOUT[m["type"]][1]
    assert decode(data, response) == m


@given(messages(), st.integers(0, 200))
def test_a_message_cut_short_or_too_long_is_malformed(drawn, cut):
    m, response = drawn
    data = _core.ouch_encode(m)
    shorter = data[:cut]
    if cut < len(data):
        got = decode(shorter, response)
        assert got is None or (m["long_form"] and not got["long_form"])  # the short form is a prefix of the long one
    got = decode(data + b"\0", response)
    assert got is None or not m["long_form"]


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_decode_to_a_message_or_to_nothing(data, response):
    m = decode(data, response)
    if m is not None:
        assert m["type"] in LAYOUT


def test_an_appendage_whose_elements_overrun_is_malformed():
    assert decode(ACCEPTED[:-1] + b"", True) is None
    broken = bytearray(ACCEPTED)
    broken[64] = 0x30  # first element claims 48 bytes
    assert decode(bytes(broken), True) is None
    broken[64] = 0  # an element without even a tag
    assert decode(bytes(broken), True) is None


@given(st.lists(st.tuples(st.sampled_from("SUHRZ+"), st.binary(max_size=60)), max_size=6))
def test_a_stream_cut_at_every_byte_gives_the_same_packets(items):
    want = [t.encode() + p for t, p in items]
    stream = b"".join(_core.soup_frame(t, p) for t, p in items)
    for cut in range(len(stream) + 1):
        f = _core.SoupFramer()
        assert f.push(stream[:cut]) + f.push(stream[cut:]) == want
        assert f.held_bytes == 0
    f = _core.SoupFramer()
    assert [p for i in range(len(stream)) for p in f.push(stream[i:i + 1])] == want


def test_the_largest_packet_fits_and_an_empty_frame_is_counted():
    f = _core.SoupFramer()
    big = bytes(range(256)) * 255 + bytes(254)
    data = _core.soup_frame("S", big)
    assert f.push(data[:40_000]) == []
    assert f.push(data[40_000:] + b"\0\0" + b"\0\1H") == [b"S" + big, b"H"]
    assert f.malformed == 1


@pytest.mark.parametrize("text,expected", [
    (b" " * 17 + b"135", 135), (b"0" * 17 + b"135", 135), (b"135" + b" " * 17, 135), (b" " * 20, None), (b" " * 18 + b"1x", None),
    (b"18446744073709551615", 2**64 - 1), (b"18446744073709551616", None), (b"99999999999999999999", None)])
def test_sequence_numbers_are_read_leniently_and_never_wrap(text, expected):
    got = _core.soup_decode_accepted(b" " * 10 + text)
    assert (got[1] if got else None) == expected
