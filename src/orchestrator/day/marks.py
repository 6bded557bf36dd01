"""What a position was worth at the close: the price we would have closed it at, out of the last sound book of the run."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

_FEED, _SNAPSHOT, _FEED_STATE = 16, 17, 18
HEAD_BYTES, LIVE = 16, 2


def books_of(spec: dict[str, Any]) -> tuple[Any, dict[str, int]]:
    """An empty market of a shard's instruments, and the index of each symbol in it."""
    from hotpath import _core

    market = _core.market.Market(max_instruments=len(spec["instruments"]), max_orders=spec["max_book_orders"], auto_instruments=False,
                                 max_levels=spec["max_book_levels"], midnight_ns=spec["midnight_ns"])  # fmt: skip
    return market, {i["symbol"]: market.add_instrument(i["symbol"]) for i in spec["instruments"]}


def apply(market: Any, kind: int, ts_ns: int, payload: bytes) -> None:
    """One feed or snapshot record of a journal."""
    number = struct.unpack_from("<Q", payload)[0]
    take = market.on_message if kind == _FEED else market.on_snapshot_message
    take(bytes(payload[HEAD_BYTES:]), number, ts_ns)


def closing_marks(run: Path, lots: dict[str, int]) -> dict[str, int]:
    """Ticks for each open position: the bid for a long one, the ask for a short one; left out where there is none.

    Raises JournalUnreadable.
    """
    from hotpath import _core
    from orchestrator.run.journals import CORRUPT_HINT, JournalUnreadable, read_header
    from orchestrator.run.shards import folders

    marks: dict[str, int] = {}
    for folder in folders(run):
        market, index = books_of(read_header(folder)[0].config["shard"])
        try:
            reader = _core.journal.Reader(str(folder))
            while (record := reader.find([_FEED, _SNAPSHOT, _FEED_STATE])) is not None:
                kind, _, ts_ns, _, payload = record
                if kind == _FEED_STATE:
                    if payload[0] != LIVE:
                        marks |= _tops(market, index, lots)  # the last sound ones, if it never gets live again
                else:
                    apply(market, kind, ts_ns, payload)
        except (ValueError, RuntimeError, OSError) as err:
            raise JournalUnreadable(f"{folder}: {err}", hint=CORRUPT_HINT) from err
        marks |= _tops(market, index, lots)
    return marks


def _tops(market: Any, index: dict[str, int], lots: dict[str, int]) -> dict[str, int]:
    out = {}
    for symbol, ix in index.items():
        bid, bid_lots, _, ask, ask_lots, _ = market.top(ix)
        if lots.get(symbol, 0) > 0 and bid_lots:
            out[symbol] = bid
        elif lots.get(symbol, 0) < 0 and ask_lots:
            out[symbol] = ask
    return out
