"""Packets of a pcap capture, and what they carry: MoldUDP64 over UDP, SoupBinTCP over TCP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hotpath.market.files import TruncatedError, read_chunks

UDP, TCP = 17, 6
TCP_SYN = 0x02


@dataclass(frozen=True)
class Packet:
    """One UDP or TCP packet; `payload` is cut by the IP length, `offset` is where it lies in the file."""

    ts_ns: int
    protocol: int
    src_ip: int
    src_port: int
    dst_ip: int
    dst_port: int
    tcp_seq: int
    tcp_flags: int
    cut: bool
    offset: int
    payload: bytes

    @property
    def src(self) -> str:
        """Sender as address:port."""
        return f"{dotted(self.src_ip)}:{self.src_port}"

    @property
    def dst(self) -> str:
        """Receiver as address:port."""
        return f"{dotted(self.dst_ip)}:{self.dst_port}"


@dataclass
class Capture:
    """All packets of a capture file.

    `error` is '' or why reading stopped ('not a pcap file', 'link type is not Ethernet', 'truncated') at byte
    `stopped_at`; `skipped` counts frames that are neither UDP nor TCP over IPv4.
    """

    packets: list[Packet]
    error: str
    stopped_at: int
    skipped: int


def dotted(ip: int) -> str:
    """An IPv4 address as people write it."""
    return ".".join(str(ip >> s & 255) for s in (24, 16, 8, 0))


def read_capture(path: Path) -> Capture:
    """Read a classic pcap file (micro- or nanoseconds, either byte order), plain or compressed."""
    from hotpath._core import market

    pieces: list[bytes] = []
    cut = False
    try:
        pieces.extend(read_chunks(path))
    except TruncatedError:
        cut = True
    rows, error, at, skipped = market.read_pcap(b"".join(pieces))
    return Capture([Packet(*row) for row in rows], error or ("truncated" if cut else ""), at, skipped)


@dataclass
class TcpStream:
    """One direction of one connection, put in order by sequence number; what is missing is skipped and counted."""

    expected: int | None = None
    held: dict[int, bytes] = field(default_factory=dict)
    gaps: int = 0
    max_held: int = 64

    def feed(self, packet: Packet) -> Iterator[tuple[bytes, bool]]:
        """(bytes, fresh) in stream order; `fresh` means bytes before these are missing: start framing anew."""
        if packet.tcp_flags & TCP_SYN:
            self.expected = (packet.tcp_seq + 1) & 0xFFFFFFFF
            self.held.clear()
            return
        if not packet.payload:
            return
        fresh = False
        if self.expected is None:
            self.expected, fresh = packet.tcp_seq, True
        self.held[packet.tcp_seq] = packet.payload
        while self.held:
            ready = [s for s in self.held if (s - self.expected) & 0xFFFFFFFF == 0 or self._behind(s)]
            if not ready:
                if len(self.held) <= self.max_held:
                    return
                self.gaps += 1
                fresh = True
                base = self.expected
                self.expected = min(self.held, key=lambda s: (s - base) & 0xFFFFFFFF)
                continue
            seq = ready[0]
            data = self.held.pop(seq)
            old = (self.expected - seq) & 0xFFFFFFFF
            if old < len(data):
                self.expected = (seq + len(data)) & 0xFFFFFFFF
                yield data[old:], fresh
                fresh = False

    def _behind(self, seq: int) -> bool:
        assert self.expected is not None
        return (self.expected - seq) & 0xFFFFFFFF < 1 << 31
