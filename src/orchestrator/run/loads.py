"""How much each symbol of an earlier run had to do: feed messages about it, counted from the run's journals."""

from __future__ import annotations

import struct
from pathlib import Path

from orchestrator.run.shards import folders

FEED, SNAPSHOT = 16, 17  # journal/record.h
_HEAD_BYTES = 16
_DIRECTORY = ord("R")


def measured(run: Path) -> dict[str, int]:
    """Feed messages of each symbol in the journals of `run`, 0 for one that only stood in the directory.

    ITCH names a stock in its directory message and by its locate code afterwards. Raises what the journal's reader raises.
    """
    from hotpath import _core

    counts: dict[str, int] = {}
    for folder in folders(run):
        by_locate: dict[int, int] = {}
        symbols: dict[int, str] = {}
        for record in _core.journal.Reader(str(folder)):
            kind, payload = record[0], record[4]
            if kind not in (FEED, SNAPSHOT) or len(payload) < _HEAD_BYTES + 11:
                continue
            (locate,) = struct.unpack_from(">H", payload, _HEAD_BYTES + 1)
            if payload[_HEAD_BYTES] == _DIRECTORY:
                symbols[locate] = bytes(payload[_HEAD_BYTES + 11 : _HEAD_BYTES + 19]).decode("ascii", "replace").strip()
            elif kind == FEED and locate != 0:
                by_locate[locate] = by_locate.get(locate, 0) + 1
        for locate, symbol in symbols.items():
            counts[symbol] = counts.get(symbol, 0) + by_locate.get(locate, 0)
    return counts
