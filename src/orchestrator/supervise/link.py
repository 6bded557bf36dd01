"""The supervisor's hand on the engine: heartbeats and journaled commands through shared memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.control.messages import Request


def open_link(name: str) -> Any:
    """An EngineLink to the running engine of that name. Raises LinkError."""
    try:
        from orchestrator.control.engine_link import EngineLink
    except ModuleNotFoundError:
        return _Direct(name)
    return EngineLink(name)


def request(cmd: str, why: str) -> Request:
    """A command the supervisor gives on its own account."""
    return Request(cmd=cmd, who="supervisor", why=why)


class _Direct:
    KINDS = {"pause": 4, "resume": 5, "drain": 6}

    def __init__(self, name: str) -> None:
        from hotpath import _core

        self._segment = _core.Segment.attach(name, True)
        self._writer = _core.CommandWriter(self._segment)
        self.shards = 1

    def send(self, kind: str, *, shard: int, body: bytes = b"", request: Request, timeout_s: float = 2.0) -> None:
        import struct

        self._writer.push(struct.pack("<QHHI", request.key(), self.KINDS[kind], 0, len(body)) + body)

    def beat(self) -> None:
        """One sign of life."""

    def close(self) -> None:
        self._writer.release()
        self._segment.close()


__all__ = ["Path", "open_link", "request"]
