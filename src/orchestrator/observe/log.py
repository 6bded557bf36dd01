"""Structured logs: one JSON object a line, the same fields everywhere.

    {"ts": "2026-01-05T14:30:00.123456Z", "level": "info", "process": "supervisor", "event": "engine is trading", …}

`id` is the id of the command a line is about, `seq` its sequence number in a shard's journal: with the two one goes from a
command to the log to the journal.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, TextIO

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_level = logging.INFO


class _Guarded:
    """A stream whose failures are counted, not raised: a full disk must not stop who logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = 0

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            self.lost += 1
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1


def configure(process: str, *, path: Path | None = None, level: str = "info") -> _Guarded:
    """Log as `process` to the file (appended), or to stderr. The returned stream counts the lines it lost."""
    set_level(level)
    stream = _Guarded(path.open("a", encoding="utf-8", buffering=1) if path else sys.stderr)

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
