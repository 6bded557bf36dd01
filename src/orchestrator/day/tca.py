"""What trading cost: fees by liquidity flag, and where the price stood at each fill and went afterwards.

    mid2      bid + ask of the book, ticks: twice the mid, so that it stays an integer
    markout   what a fill was worth a horizon later:   lots · (mid2 then − 2·price), buys positive; a gain is positive
              at horizon 0 the mid is the one that stood when we heard of the fill: less than 0 is spread paid

Sums are exact in half ticks times multiplier, and made money units by one division at the end of each row, rounded down. The
book at a moment is the one after every record received up to it; where it was not live, had an empty side, or the journal
ends before, the fill is counted as `without_mid` and in no sum. Markouts look at our own receive times.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.day.fills import Fill, read_day
from orchestrator.day.marks import LIVE, apply, books_of

HORIZONS_NS = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
_FEED, _SNAPSHOT, _FEED_STATE, _SESSION = 16, 17, 18, 19


@dataclass
class Priced:
    """A fill with twice the mid at it and at each horizon; None where there was none."""

    fill: Fill
    role: str  # maker, taker, or the venue's own letter
    at_mid2: int | None = None
    later_mid2: dict[int, int | None] = field(default_factory=dict)


def price_fills(run: Path, horizons_ns: Sequence[int] = HORIZONS_NS) -> tuple[list[Priced], dict[str, Any]]:
    """Every fill of a run priced, and the effective configuration. Raises JournalUnreadable."""
    from orchestrator.observe.report_html.orders import role_of
    from orchestrator.run.journals import read_header
    from orchestrator.run.shards import folders

    day = read_day(run)
    out: list[Priced] = []
    for shard, folder in enumerate(folders(run)):
        spec = read_header(folder)[0].config["shard"]
        mine = {f.seq: Priced(f, role_of(f.liquidity)) for f in day.fills if f.shard == shard}
        _price_shard(folder, spec, mine, horizons_ns)
        out += mine.values()
    return sorted(out, key=lambda p: (p.fill.ts_ns, p.fill.shard, p.fill.seq)), day.effective


def _price_shard(folder: Path, spec: dict[str, Any], mine: dict[int, Priced], horizons_ns: Sequence[int]) -> None:
    from hotpath import _core

    market, index = books_of(spec)
    live, last_ns = False, 0
    due: list[tuple[int, int, int]] = []  # moment, fill, horizon
    reader = _core.journal.Reader(str(folder))
    while (record := reader.find([_FEED, _SNAPSHOT, _FEED_STATE, _SESSION])) is not None:
        kind, seq, ts_ns, _, payload = record
        while due and due[0][0] < ts_ns:
            _, at, horizon_ns = heapq.heappop(due)
            mine[at].later_mid2[horizon_ns] = _mid2(market, index[mine[at].fill.symbol], live)
        last_ns = ts_ns
        if kind in (_FEED, _SNAPSHOT):
            apply(market, kind, ts_ns, payload)
        elif kind == _FEED_STATE:
            live = payload[0] == LIVE
        elif seq in mine:
            mine[seq].at_mid2 = _mid2(market, index[mine[seq].fill.symbol], live)
            for horizon_ns in horizons_ns:
                heapq.heappush(due, (ts_ns + horizon_ns, seq, horizon_ns))
    for moment_ns, at, horizon_ns in due:
        mine[at].later_mid2[horizon_ns] = _mid2(market, index[mine[at].fill.symbol], live) if moment_ns <= last_ns else None


def _mid2(market: Any, ix: int, live: bool) -> int | None:
    bid, bid_lots, _, ask, ask_lots, _ = market.top(ix)
    return bid + ask if live and bid_lots and ask_lots else None


def report(run: Path, horizons_ns: Sequence[int] = HORIZONS_NS) -> dict[str, Any]:
    """The cost report, all integers. Raises JournalUnreadable."""
    priced, effective = price_fills(run, horizons_ns)
    money = {i["symbol"]: (i["multiplier"], i["shift"]) for i in effective["instruments"]}
    fees = {"maker": effective["account"]["maker_fee_units_per_lot"], "taker": effective["account"]["taker_fee_units_per_lot"]}
    flags, marks = [], []
    for (symbol, flag, role), group in _grouped(priced, lambda p: (p.fill.symbol, p.fill.liquidity, p.role)):
        lots = sum(abs(p.fill.signed_lots) for p in group)
        value = sum(2 * abs(p.fill.signed_lots) * p.fill.price_ticks for p in group)
        flags.append({"symbol": symbol, "flag": flag, "role": role, "fills": len(group), "lots": lots,
                      "value_units": _units(value, *money[symbol]), "fee_units": fees.get(role, 0) * lots})  # fmt: skip
    for (symbol, role), group in _grouped(priced, lambda p: (p.fill.symbol, p.role)):
        mids = [(0, [(p.fill, p.at_mid2) for p in group])] + [(h, [(p.fill, p.later_mid2.get(h)) for p in group]) for h in horizons_ns]
        for horizon_ns, pairs in mids:
            known = [(f, m) for f, m in pairs if m is not None]
            total = sum(f.signed_lots * (m - 2 * f.price_ticks) for f, m in known)
            marks.append({"symbol": symbol, "role": role, "horizon_ns": horizon_ns, "fills": len(known), "without_mid": len(pairs) - len(known),
                          "lots": sum(abs(f.signed_lots) for f, _ in known), "markout_units": _units(total, *money[symbol])})  # fmt: skip
    return {"run": str(run), "currency": effective["account"]["currency"], "units_per_currency": effective["account"]["units_per_currency"],
            "fills": len(priced), "fees_units": sum(row["fee_units"] for row in flags), "by_flag": flags, "markouts": marks}  # fmt: skip


def _units(half_ticks_lots: int, multiplier: int, shift: int) -> int:
    return half_ticks_lots * multiplier // (2 << shift)


def _grouped(priced: list[Priced], key: Any) -> Iterator[tuple[Any, list[Priced]]]:
    groups: dict[Any, list[Priced]] = {}
    for one in priced:
        groups.setdefault(key(one), []).append(one)
    yield from sorted(groups.items())
