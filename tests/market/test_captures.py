"""Capture files: byte orders, VLAN tags, trailers, damage; TCP put back in order."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath._core import market as mk
from hotpath.market.pcap import Packet, TcpStream, read_capture


def frame(payload: bytes, *, tcp_seq: int | None = None, vlans: int = 0, trailer: bytes = b"", flags: int = 0x18) -> bytes:
    """An Ethernet frame of one UDP (or TCP) packet 10.0.0.1:1000 > 239.1.2.3:2000."""
    if tcp_seq is None:
        l4 = struct.pack(">HHHH", 1000, 2000, 8 + len(payload), 0)
    else:
        l4 = struct.pack(">HHIIBBHHH", 1000, 2000, tcp_seq, 0, 8 << 4, flags, 0, 0, 0) + bytes(12)
    body = l4 + payload
    ip = struct.pack(">BBHHHBBHII", 0x46, 0, 24 + len(body), 1, 0x4000, 9, 17 if tcp_seq is None else 6, 0,
                     0x0A000001, 0xEF010203) + b"\x01\x01\x01\x00"
    return bytes(12) + b"\x81\x00\x00\x8d" * vlans + b"\x08\x00" + ip + body + trailer


def pcap(frames: list[bytes], *, order: str = "<", nanos: bool = True, link: int = 1) -> bytes:
    magic = 0xA1B23C4D if nanos else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for i, f in enumerate(frames):
        out += struct.pack(order + "IIII", 100 + i, 5, len(f), len(f)) + f
    return out


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanos", [True, False])
@pytest.mark.parametrize("vlans", [0, 1, 2])
def test_a_payload_is_cut_by_the_ip_length_whatever_surrounds_it(
        tmp_path: Path, order: str, nanos: bool, vlans: int) -> None:
    data = pcap([frame(b"hello", vlans=vlans, trailer=b"TRAILER!")], order=order, nanos=nanos)
    capture = read_capture(write(tmp_path, data))
    (p,) = capture.packets
    assert (p.payload, p.src, p.dst, capture.error) == (b"hello", "10.0.0.1:1000", "239.1.2.3:2000", "")
    assert p.ts_ns == 100 * 10**9 + (5 if nanos else 5000)
    assert data[p.offset:p.offset + 5] == b"hello"


def test_what_is_not_udp_or_tcp_is_skipped_and_counted(tmp_path: Path) -> None:
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    fragment = bytearray(frame(b"x"))
    fragment[14 + 6] = 0x20  # more fragments
    capture = read_capture(write(tmp_path, pcap([arp, bytes(fragment), b"", frame(b"ok")])))
    assert [p.payload for p in capture.packets] == [b"ok"] and capture.skipped == 3


def test_a_cut_file_gives_what_was_whole_and_says_where_it_ends(tmp_path: Path) -> None:
    data = pcap([frame(b"one"), frame(b"two")])
    first = 24 + 16 + len(frame(b"one"))
    capture = read_capture(write(tmp_path, data[:-1]))
    assert [p.payload for p in capture.packets] == [b"one"]
    assert (capture.error, capture.stopped_at) == ("truncated", first)


@pytest.mark.parametrize(("data", "error"), [(b"", "not a pcap file"), (b"x" * 100, "not a pcap file"),
                                             (pcap([], link=113), "link type is not Ethernet")])
def test_what_is_no_capture_is_refused(tmp_path: Path, data: bytes, error: str) -> None:
    assert read_capture(write(tmp_path, data)).error == error


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_to_a_capture_is_survived(data: st.DataObject) -> None:
    raw = bytearray(pcap([frame(b"A" * 30, vlans=1), frame(b"B" * 30, tcp_seq=7)]))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    packets, _, at, _ = mk.read_pcap(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    assert at <= len(raw) and all(len(p[10]) <= len(raw) for p in packets)


@pytest.mark.parametrize("seed", range(20))
def test_a_tcp_stream_comes_out_in_order_once_whatever_the_segments_do(seed: int) -> None:
    rng = random.Random(seed)
    stream = rng.randbytes(2000)
    start = rng.choice((0, 5, 0xFFFFFFFF - 900))  # wraps
    segments = []
    at = 0
    while at < len(stream):
        n = rng.randint(1, 80)
        segments.append((at, stream[at:at + n]))
        at += n
    segments += rng.sample(segments[1:], 10)  # retransmitted
    first, rest = segments[0], segments[1:]
    rest.sort(key=lambda s: s[0] + rng.randrange(300))
    out, tcp = b"", TcpStream()
    for offset, data in [first, *rest]:
        p = Packet(0, 6, 0, 0, 0, 0, (start + offset) & 0xFFFFFFFF, 0, False, 0, data)
        for piece, _ in tcp.feed(p):
            out += piece
    assert out == stream and tcp.gaps == 0


def test_a_hole_in_a_tcp_stream_is_skipped_in_the_end_and_counted() -> None:
    tcp = TcpStream(max_held=3)
    out = []
    for seq in (0, 20, 30, 40, 50):
        out += tcp.feed(Packet(0, 6, 0, 0, 0, 0, seq, 0, False, 0, b"%010d" % seq))
    assert out == [(b"%010d" % 0, True), (b"%010d" % 20, True), (b"%010d" % 30, False), (b"%010d" % 40, False),
                   (b"%010d" % 50, False)]
    assert tcp.gaps == 1
