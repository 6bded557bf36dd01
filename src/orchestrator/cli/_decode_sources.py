"""What `peregrine decode` reads: ITCH files and captures as one dict a message. See _decode_journal.py for journals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Warnings(list[str]):
    """Things to say on stderr when the listing is over."""


def itch_line(raw: bytes) -> Line:
    """An ITCH message as its fields, or {type, malformed | unknown, hex} when it cannot be read."""
    from hotpath._core import market

    decoded = market.decode(raw)
    if decoded is not None:
        return decoded
    kind = chr(raw[0]) if raw else ""
    known = kind in market.message_types()
    return {"type": kind, "error": "malformed" if known or not raw else "unknown_type", "hex": raw.hex()}


def itch_lines(path: Path, warnings: Warnings) -> Iterator[Line]:
    """Messages of a length-prefixed ITCH file, numbered from 1, with the byte where each starts."""
    from hotpath.market.files import ItchFile

    source = ItchFile(path)
    n = at = 0
    for msg in source.messages():
        n += 1
        yield {"n": n, "offset": at, **itch_line(msg)}
        at += 2 + len(msg)
    if source.end == "truncated":
        warnings.append(f"{path}: truncated at byte {source.offset} after {n} messages ({source.note})")


def pcap_lines(path: Path, warnings: Warnings) -> Iterator[Line]:
    """Messages of a capture: MoldUDP64 over UDP, SoupBinTCP with OUCH over TCP; other payloads as hex."""
    from hotpath.execution.wire import SoupFramer
    from hotpath.market.pcap import TCP, TcpStream, read_capture
    from orchestrator.cli._errors import CliError

    capture = read_capture(path)
    if capture.error and capture.error != "truncated":
        raise CliError(f"{path}: {capture.error}", hint="decode reads classic pcap captures of Ethernet")
    streams: dict[tuple[str, str], tuple[TcpStream, list[SoupFramer]]] = {}
    n = 0
    for number, p in enumerate(capture.packets, 1):
        head: Line = {"packet": number, "rx_ns": p.ts_ns, "src": p.src, "dst": p.dst}
        if p.protocol != TCP:
            lines = mold_lines(p.payload)
        else:
            stream, framers = streams.setdefault((p.src, p.dst), (TcpStream(), [SoupFramer()]))
            lines = []
            for data, fresh in stream.feed(p):
                if fresh:
                    framers[0] = SoupFramer()
                lines += [soup_line(t, payload) for t, payload in framers[0].feed(data)]
        for line in lines:
            n += 1
            yield {"n": n, **head, **line}
    for (src, dst), (stream, framers) in streams.items():
        if stream.gaps:
            warnings.append(f"{path}: {stream.gaps} holes in the stream {src} -> {dst}")
        if framers[0].rest:
            warnings.append(f"{path}: {len(framers[0].rest)} bytes of an unfinished packet at the end of {src} -> {dst}")
        if framers[0].malformed:
            warnings.append(f"{path}: {framers[0].malformed} malformed frames in {src} -> {dst}")
    if capture.skipped:
        warnings.append(f"{path}: {capture.skipped} frames skipped (not UDP or TCP over IPv4)")
    if any(p.cut for p in capture.packets):
        warnings.append(f"{path}: some packets were captured shorter than they were sent")
    if capture.error == "truncated":
        warnings.append(f"{path}: truncated at byte {capture.stopped_at} after {len(capture.packets)} packets")


def mold_lines(payload: bytes) -> list[Line]:
    """The message blocks of one MoldUDP64 packet, or one line for a heartbeat, an end of session, a request, or junk."""
    from hotpath._core import market

    parsed = market.mold_parse(payload)
    if parsed is None:
        request = market.mold_parse_request(payload)
        if request is not None:
            session, seq, count = request
            return [{"layer": "moldudp64", "session": _text(session), "seq": seq, "name": "request", "count": count}]
        return [{"layer": "udp", "error": "malformed", "hex": payload.hex()}]
    session, seq, count, blocks = parsed
    head: Line = {"layer": "moldudp64", "session": _text(session)}
    if not blocks:
        name = "end_of_session" if count == 0xFFFF else "heartbeat"
        return [head | {"seq": seq, "name": name}]
    return [head | {"seq": seq + i} | itch_line(b) for i, b in enumerate(blocks)]


def soup_line(packet_type: str, payload: bytes) -> Line:
    """One SoupBinTCP packet; the OUCH message in it decoded when it is OUCH 5.0, else as hex."""
    from hotpath.execution.wire import decode_ouch, decode_soup

    packet = decode_soup(packet_type, payload)
    line: Line = {"layer": "soupbintcp", "packet_type": packet_type, "packet_name": packet["name"]}
    if packet_type in "SU" and payload:
        message = decode_ouch(payload, from_host=packet_type == "S")
        return line | (message if message is not None else {"name": "payload", "hex": payload.hex()})
    if packet_type == "L" and "password" in packet:
        packet["password"] = "***"  # a listing ends up in tickets and logs
    return line | {k: v for k, v in packet.items() if k not in ("type", "name")}


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").rstrip(" ")
