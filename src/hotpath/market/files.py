"""Files of market data: plain, .gz and .zst; which format they hold; ITCH messages out of them in bounded pieces."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PCAP_MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
JOURNAL_MAGIC = b"PGJSEG01"
CHUNK_BYTES = 1 << 20


class TruncatedError(Exception):
    """A compressed file ends in the middle of its stream."""


def open_raw(path: Path) -> BinaryIO:
    """Open for reading, decompressing by content (gzip, zstd), whatever the name says."""
    with path.open("rb") as f:
        head = f.read(4)
    if head[:2] == GZIP_MAGIC:
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if head == ZSTD_MAGIC:
        import zstandard

        return zstandard.open(path, "rb")
    return path.open("rb")


def read_chunks(path: Path, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The decompressed contents in pieces.

    Raises TruncatedError when the compressed stream is cut or damaged, after yielding what could be read.
    """
    import zstandard

    with open_raw(path) as f:
        while True:
            try:
                piece = f.read(chunk_bytes)
            except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as err:
                raise TruncatedError(str(err)) from err
            if not piece:
                return
            yield piece


def read_bytes(path: Path) -> bytes:
    """All of it, decompressed."""
    return b"".join(read_chunks(path))


def sniff(path: Path) -> str:
    """'pcap', 'pcapng', 'journal' or 'itch' (anything else: length-prefixed messages have no magic)."""
    try:
        head = next(read_chunks(path, 16), b"")
    except TruncatedError:
        head = b""
    if head[:4] in PCAP_MAGICS:
        return "pcap"
    if head[:4] == PCAPNG_MAGIC:
        return "pcapng"
    if head[:8] == JOURNAL_MAGIC:
        return "journal"
    return "itch"


class ItchFile:
    """Messages of a length-prefixed ITCH file, plain or compressed.

    `blocks()` yields buffers that end at a message boundary, so that a whole buffer can go to the engine at once.
    After it ends, `end` is 'end' or 'truncated' and `offset` the (decompressed) byte where reading stopped.
    """

    def __init__(self, path: Path, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.path = path
        self.chunk_bytes = chunk_bytes
        self.offset = 0
        self.end = "end"
        self.note = ""

    def blocks(self) -> Iterator[list[bytes]]:
        """Lists of whole messages, in file order."""
        from hotpath._core import market

        rest = b""
        try:
            for piece in read_chunks(self.path, self.chunk_bytes):
                buffer = rest + piece
                messages, consumed, end = market.split_blocks(buffer)
                self.offset += consumed
                yield messages
                rest = buffer[consumed:]
                if end == "end" and rest:  # a zero length: the end of the file by its own word
                    return
        except TruncatedError as err:
            self.end, self.note = "truncated", str(err)
            return
        if rest:
            self.end = "truncated"
            self.note = f"{len(rest)} bytes of an unfinished message"

    def messages(self) -> Iterator[bytes]:
        """One message after the other."""
        for block in self.blocks():
            yield from block
