"""Slow, obvious reader of a journal at rest: every rule of the format written out once more, in Python only."""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path

TABLE = []
for _i in range(256):
    _c = _i
    for _ in range(8):
        _c = (_c >> 1) ^ (0x82F63B78 if _c & 1 else 0)
    TABLE.append(_c)

HEADER = struct.Struct("<IHHQqII")  # length type pad seq ts generation crc
SEGMENT = struct.Struct("<8sIIIIQ32sQ52sI")
TRAILER = struct.Struct("<QQQ32s")
RING = struct.Struct("<QIIQIIQQQQ")
KNOWN = {0, 1, 2, *range(16, 29), 64, 65, 66}
TRAILER_TYPE = 2
RING_DATA = 65536
MAX_RECORD = 64 << 20


class Corrupt(Exception):
    """Refused: args are file name, offset, reason."""


@dataclass(frozen=True)
class Record:
    """One numbered record."""

    type: int
    seq: int
    ts_ns: int
    generation: int
    payload: bytes


@dataclass
class Journal:
    """All of a journal at rest."""

    records: list[Record]
    torn_bytes: int = 0
    ring_records: int = 0


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C by the book."""
    crc ^= 0xFFFFFFFF
    for b in data:
        crc = TABLE[(crc ^ b) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def parse_record(data: bytes, at: int) -> tuple[tuple, bytes] | None:
    """(header fields, payload) of the whole record at `at`, or None when there is none."""
    if at + 32 > len(data):
        return None
    fields = HEADER.unpack_from(data, at)
    length, kind, pad, *_rest, crc = fields
    if length < 32 or length % 8 or length > MAX_RECORD or pad > 7 or pad > length - 32 or at + length > len(data):
        return None
    whole = data[at:at + length]
    if crc32c(whole[:28] + bytes(4) + whole[32:]) != crc:
        return None
    return fields, whole[32:length - pad]


def read_journal(directory: Path) -> Journal:
    """Read segments, then the ring that ring.path names. Raises Corrupt."""
    numbers = sorted(int(m[1]) for p in directory.iterdir() if (m := re.fullmatch(r"journal-(\d{6})\.pgj", p.name)))
    journal = Journal([])
    previous, generation, next_seq, closed = bytes(32), 0, 1, True
    for place, number in enumerate(numbers):
        name = f"journal-{number:06d}.pgj"
        data = (directory / name).read_bytes()
        if number != place + 1:
            raise Corrupt(name, 0, "missing segment")
        magic, fmt, _sem, own, gen, first, prev, _id, _zero, crc = SEGMENT.unpack_from(data)
        if magic != b"PGJSEG01" or crc32c(data[:124]) != crc or fmt != 1 or own != number:
            raise Corrupt(name, 0, "segment header")
        if prev != previous or first != next_seq or gen < generation:
            raise Corrupt(name, 0, "link to the segment before")
        at, count, closed, generation = 128, 0, False, gen
        while (found := parse_record(data, at)) is not None:
            (length, kind, _pad, seq, ts, gen, _crc), payload = found
            if kind not in KNOWN:
                raise Corrupt(name, at, "type")
            if gen < generation:
                raise Corrupt(name, at, "generation")
            generation = gen
            if kind == TRAILER_TYPE:
                records, t_first, t_last, sha = TRAILER.unpack(payload)
                if (seq, records, t_first, t_last) != (0, count, first, next_seq - 1):
                    raise Corrupt(name, at, "trailer")
                if hashlib.sha256(data[:at]).digest() != sha:
                    raise Corrupt(name, at, "chain")
                if any(data[at + length:]):
                    raise Corrupt(name, at, "bytes after the trailer")
                previous, closed = sha, True
                at += length
                break
            if seq != next_seq:
                raise Corrupt(name, at, "seq")
            journal.records.append(Record(kind, seq, ts, gen, payload))
            next_seq += 1
            count += 1
            at += length
        if closed:
            continue
        if place != len(numbers) - 1:
            raise Corrupt(name, at, "no trailer")
        rest = data[at:].rstrip(b"\0")
        journal.torn_bytes = len(rest)
        for later in range(at, at + len(rest), 8):
            found = parse_record(data, later)
            if found and (found[0][3] >= next_seq or found[0][1] == TRAILER_TYPE):
                raise Corrupt(name, at, "damage before a valid record")
    _read_ring(directory, journal, next_seq, generation)
    return journal


def _read_ring(directory: Path, journal: Journal, next_seq: int, generation: int) -> None:
    pointer = directory / "ring.path"
    if not pointer.exists() or not Path(pointer.read_text()).exists():
        return
    data = Path(pointer.read_text()).read_bytes()
    size = RING.unpack_from(data)[3]
    head, promised = struct.unpack_from("<QQ", data, 64)
    (tail,) = struct.unpack_from("<Q", data, 128)
    ring = data[RING_DATA:RING_DATA + size]
    stream = b"".join(ring[p % size:p % size + 8] for p in range(tail, head, 8))
    at = 0
    while at < len(stream):
        found = parse_record(stream, at)
        if found is None:
            raise Corrupt("ring", tail + at, "record")
        (length, kind, _pad, seq, ts, gen, _crc), payload = found
        at += length
        if seq < next_seq:
            continue
        if seq > next_seq or gen < generation:
            raise Corrupt("ring", tail + at, "seq")
        journal.records.append(Record(kind, seq, ts, gen, payload))
        journal.ring_records += 1
        next_seq += 1
    if promised > next_seq:
        raise Corrupt("ring", 0, "the disk lost records")
