"""Structured logs: one JSON object a line, the same fields everywhere.

    {"ts": "2026-01-05T14:30:00.123456Z", "level": "info", "process": "supervisor", "event": "engine is trading", …}

`id` is the id of the command a line is about, `seq` its sequence number in a shard's journal: with the two one goes from a
command to the log to the journal. The fields are listed in docs/concepts/observability.md.

    engine.log ▶ engine.log.1 ▶ engine.log.2 ▶ engine.log.3 ▶ gone      a file that reaches MAX_BYTES is put away
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_level = logging.INFO


MAX_BYTES = 64 << 20
KEPT = 3  # older files: .1 is the youngest


class _Guarded:
    """A stream whose failures are counted, not raised: a full disk must not stop who logs. Of a file, the size is bounded."""

    def __init__(self, stream: TextIO, path: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        self._stream = stream
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = path.stat().st_size if path else 0
        self.lost = 0

    def write(self, text: str) -> int:
        with self._lock:
            try:
                if self._path is not None and self._bytes > 0 and self._bytes + len(text) > self._max_bytes:
                    self._rotate(self._path)
                written = self._stream.write(text)
                self._bytes += len(text)
                return written
            except (OSError, ValueError):
                self.lost += 1
                return len(text)

    def flush(self) -> None:
        with self._lock:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.lost += 1

    def _rotate(self, path: Path) -> None:
        """NAME becomes NAME.1, NAME.1 becomes NAME.2 … Where that fails the file goes on growing: better than no log."""
        self._bytes = 0  # not tried again with every line
        with contextlib.suppress(OSError):
            for n in range(KEPT, 0, -1):
                younger = path.with_name(f"{path.name}.{n - 1}") if n > 1 else path
                if younger.exists():
                    younger.replace(path.with_name(f"{path.name}.{n}"))
        with contextlib.suppress(OSError):
            self._stream.close()
        self._stream = _open(path)


def _open(path: Path) -> TextIO:
    return path.open("a", encoding="utf-8", buffering=1)


def configure(process: str, *, path: Path | None = None, level: str = "info", max_bytes: int = MAX_BYTES) -> _Guarded:
    """Log as `process` to the file (appended; a file of `max_bytes` is put away), or to stderr.

    The returned stream counts the lines it `lost`. Raises OSError when the file cannot be opened.
    """
    set_level(level)
    stream = _Guarded(_open(path), path, max_bytes) if path else _Guarded(sys.stderr)

    def keep(_: Any, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if LEVELS.get(name, logging.ERROR) < _level:
            raise structlog.DropEvent
        return event

    def named(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"ts": event.pop("timestamp"), "level": event.pop("level"), "process": process, **event}

    structlog.configure(
        processors=[keep, structlog.processors.add_log_level, structlog.processors.TimeStamper("iso", utc=True),
                    structlog.processors.format_exc_info, named, structlog.processors.JSONRenderer(default=str)],
        logger_factory=structlog.WriteLoggerFactory(file=stream),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    return stream


def set_level(level: str) -> None:
    """From now on. Raises ValueError for a level that does not exist."""
    global _level
    if level not in LEVELS:
        raise ValueError(f"no log level {level!r}: one of {', '.join(LEVELS)}")
    _level = LEVELS[level]


def logger(**fields: Any) -> Any:
    """A logger whose lines carry these fields."""
    return structlog.get_logger(**fields)
