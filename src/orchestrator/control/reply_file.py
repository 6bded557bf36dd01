"""The replies of changes on disk, so that the next supervisor answers a request that comes again as this one did.

    record   u32 length, u32 CRC-32 of what follows; then a MessagePack list [id, content, reply]

Each is appended, whole, before its reply is sent; a record that is not whole ends the file, and is cut off when it is read.
When the file has grown past MAX_BYTES it is written anew with the newest half. A disk that takes nothing is counted in
`lost` and stops no command. It belongs to one run: another run begins with none.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from orchestrator.control.messages import Reply, Request
from orchestrator.supervise.files import replace_whole

FILE = "control.replies"
MAX_BYTES = 1 << 20
MAX_RECORD_BYTES = 64 << 10
_HEAD = struct.Struct("<II")


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One change that is done: its id, the digest of what was asked, what was answered."""

    id: str
    content: bytes
    reply: Reply


def worth_keeping(request: Request) -> bool:
    """Does its reply still say what is so under another supervisor? A token and a loaded policy die with theirs."""
    return request.cmd != "policy.load" and not (request.cmd == "revive" and "token" not in request.args)


class ReplyFile:
    """Appends replies to `path`, or to nothing. Threads may share it; a disk that fails raises nothing."""

    def __init__(self, path: Path | None, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._max_bytes = path, max_bytes
        self.lost = 0
        self._lock = threading.Lock()

    def read(self) -> list[Record]:
        """Every whole record, the oldest first; what follows the first one that is not whole is cut off."""
        if self.path is None:
            return []
        try:
            data = self.path.read_bytes()
        except OSError:
            return []
        found, end = [], 0
        for at, record in _records(data):
            found.append(record)
            end = at
        if end < len(data):
            try:
                os.truncate(self.path, end)
            except OSError:
                self.lost += 1
        return found

    def append(self, record: Record) -> None:
        """Keep one. Waits for the disk, so not on the receiving thread."""
        if self.path is None:
            return
        body = msgspec.msgpack.encode(record)
        if len(body) > MAX_RECORD_BYTES:  # where it took effect is what must not be lost
            slim = Reply(id=record.reply.id, ok=record.reply.ok, effects=record.reply.effects, error=record.reply.error)
            body = msgspec.msgpack.encode(Record(record.id, record.content, slim))
        data = _HEAD.pack(len(body), zlib.crc32(body)) + body
        with self._lock:
            try:
                self._append(self.path, data)
            except OSError:
                self.lost += 1

    def _append(self, path: Path, data: bytes) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(handle).st_size
            if before + len(data) <= self._max_bytes:
                if os.write(handle, data) < len(data):
                    os.ftruncate(handle, before)  # half of a record would hide those after it
                    raise OSError("the record did not fit")
                return
        finally:
            os.close(handle)
        whole = path.read_bytes()
        starts = [0, *(at for at, _ in _records(whole))]
        keep = next((at for at in starts if len(whole) - at <= self._max_bytes // 2), starts[-1])
        replace_whole(path, whole[keep : starts[-1]] + data)


def _records(data: bytes) -> Iterator[tuple[int, Record]]:
    """(where it ends, record) of each whole record from the beginning on."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(body) < length or zlib.crc32(body) != crc:
            return
        try:
            record = msgspec.msgpack.decode(body, type=Record)
        except msgspec.MsgspecError:
            return
        at += _HEAD.size + length
        yield at, record
