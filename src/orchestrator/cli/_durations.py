"""`500ms`, `15s`, `2m`: times as people type them."""

from __future__ import annotations

import re

from orchestrator.cli._errors import CliError

_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def duration_ns(text: str) -> int:
    """Nanoseconds of `1.5s`, `500ms`, `2m`, `1h`, `1m30s`. Raises CliError (64) for anything else, and for 0."""
    parts = re.findall(r"(\d+)(?:\.(\d+))?(ns|us|ms|s|m|h)", text)
    if not parts or "".join(f"{a}{'.' + b if b else ''}{u}" for a, b, u in parts) != text:
        raise CliError(f"{text!r} is no duration", hint="write 500ms, 15s, 2m or 1h")
    total = sum((int(a + b) * _UNITS[u]) // 10 ** len(b) for a, b, u in parts)
    if not 0 < total <= 2**62:
        raise CliError(f"{text!r} is no time to run for", hint="write 500ms, 15s, 2m or 1h")
    return total
