"""The account's limits over all shards, judged from the venue's record alone: nothing of the engine is asked.

The record has every order and every execution of every order-entry port in the order in which the venue did them. Of the
account's ports together, after each entry:

    orders           orders that are open
    working units    their lots at their own prices
    worst units      per symbol the position with all orders of one side executed on top, the worse side; at the lowest price
                     of the symbol, which is that of its best bid and of the account's own orders, whichever was lower
    gross units      positions and all orders of both sides, at that price

What holds exactly, and why. A gate counts an order before it is sent and until the venue's answer has been read, so what is on
its way in either direction is counted by the engine and not here: the venue shows no more than the gates together count, at
any instant. When an order that adds passes, gross exposure with it is within the shard's lease, each lot of it counted at the
mark or at its own price, and neither is below the lowest price. From then on the worst case does not grow: an execution moves
lots from orders to the position, a cancel takes some away, and an order that reduces adds to the side that is not the worse
one. So worst units <= the sum of leases <= the account's limit, whatever prices do.

Gross units may be above that by the orders that reduced when they were entered, which pass whatever the lease is, and by
nothing else: gross units <= limit + working units of the side that is not the worse one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ENTRIES = ("accepted", "replaced", "executed", "canceled", "prevented", "modified")
MESSAGE_TIME = slice(5, 11)  # of an ITCH message, nanoseconds since midnight


@dataclass(frozen=True)
class AccountLimits:
    """What the account may come to; None is not judged. Money units are ticks times lots."""

    orders: int | None = None
    working_units: int | None = None
    gross_units: int | None = None

    @classmethod
    def of(cls, risk: Mapping[str, Any]) -> AccountLimits:
        """Those of an effective configuration's `risk` section."""
        return cls(risk["max_account_orders"], risk["max_account_notional_units"], risk["max_gross_units"])


@dataclass
class AccountDay:
    """What the venue's record says of an account: the most there was of each, and a sentence about each limit passed."""

    orders: int = 0
    working_units: int = 0
    worst_units: int = 0
    gross_units: int = 0
    reducing_units: int = 0  # the most that gross was above worst
    entries: int = 0
    passed: list[str] = field(default_factory=list)

    def peaks(self) -> dict[str, int]:
        """For a report."""
        return {name: getattr(self, name) for name in ("orders", "working_units", "worst_units", "gross_units", "reducing_units", "entries")}


def judge_account(record: Iterable[Mapping[str, Any]], ports: Iterable[int], limits: AccountLimits, lowest_ticks: Mapping[int, int] | None = None,
                  held: Mapping[int, int] | None = None, since_ns: int = 0) -> AccountDay:  # fmt: skip
    """Follow the record. `lowest_ticks`: of each symbol's number, see `lowest_bids`; without it what the account's orders show
    alone. `held`: lots at the start. Limits are judged from `since_ns` on, what was before is counted."""
    mine = set(ports)
    entries = [e for e in record if e["port"] in mine and e["kind"] in ENTRIES]
    lowest = dict(lowest_ticks or {})
    for e in entries:
        if e["price_ticks"] > 0:
            lowest[e["symbol"]] = min(lowest.get(e["symbol"], e["price_ticks"]), e["price_ticks"])
    day = AccountDay(entries=len(entries))
    position: dict[int, int] = defaultdict(int, held or {})
    opened: dict[tuple[int, int], tuple[int, bool, int, int]] = {}  # port, number → symbol, buy, lots, ticks
    sides: dict[int, list[int]] = defaultdict(lambda: [0, 0])  # symbol → open lots bought, sold
    worst: dict[int, int] = defaultdict(int)
    gross: dict[int, int] = defaultdict(int)
    working = 0

    def put(at: tuple[int, int], order: tuple[int, bool, int, int] | None) -> None:
        nonlocal working
        for sign, o in ((-1, opened.pop(at, None)), (1, order)):
            if o is not None:
                sides[o[0]][0 if o[1] else 1] += sign * o[2]
                working += sign * o[2] * o[3]
        if order is not None:
            opened[at] = order

    for e in entries:
        at, symbol, buy = (e["port"], e["user_ref_num"]), e["symbol"], e["side"] == "B"
        if e["kind"] == "replaced":
            put((e["port"], e["orig_ref_num"]), None)
        if e["kind"] == "executed":
            position[symbol] += e["qty"] if buy else -e["qty"]
        # An execution's price is the trade's; the order's own is what its acceptance said.
        ticks = e["price_ticks"] if e["kind"] in ("accepted", "replaced") or at not in opened else opened[at][3]
        put(at, (symbol, buy, e["open"], ticks) if e["open"] else None)
        buys, sells = sides[symbol]
        price = lowest.get(symbol, 0)
        worst[symbol] = max(position[symbol] + buys, sells - position[symbol], 0) * price
        gross[symbol] = (abs(position[symbol]) + buys + sells) * price
        now = {"orders": len(opened), "working_units": working, "worst_units": sum(worst.values()), "gross_units": sum(gross.values())}
        for name, value in now.items():
            setattr(day, name, max(getattr(day, name), value))
        day.reducing_units = max(day.reducing_units, now["gross_units"] - now["worst_units"])
        if e["ts_ns"] < since_ns:
            continue
        for name, limit, what in (("orders", limits.orders, "orders of the account"), ("working_units", limits.working_units, "units in orders of the account"),
                                  ("worst_units", limits.gross_units, "units the account could come to hold")):  # fmt: skip
            if limit is not None and now[name] > limit:
                day.passed.append(f"at {e['ts_ns']}: {now[name]} {what}, the limit is {limit}")
    return day


def lowest_bids(messages: Iterable[bytes], symbols: list[str], midnight_ns: int = 0, since_ns: int = 0) -> dict[int, int]:
    """The lowest price that the best bid of each symbol had at or after `since_ns`, by the symbol's number in `symbols`; from
    the venue's own feed. What holds at `since_ns` counts."""
    from hotpath._core import market as core

    market = core.Market(max_instruments=len(symbols) + 1, max_orders=1 << 18, max_levels=1 << 16)
    lowest: dict[int, int] = {}
    number = {name: n for n, name in enumerate(symbols)}
    began = False
    for seq, message in enumerate(messages, 1):
        early = midnight_ns + int.from_bytes(message[MESSAGE_TIME], "big") < since_ns
        if not early and not began:
            began = True
            for ix in range(market.instruments):
                _see(market, ix, number, lowest)
        market.on_message(bytes(message), seq, 0)
        if began and (ix := market.event.instrument) < market.instruments:
            _see(market, ix, number, lowest)
    return lowest


def _see(market: Any, ix: int, number: Mapping[str, int], lowest: dict[int, int]) -> None:
    bid_ticks, bid_lots, *_ = market.top(ix)
    at = number.get(market.symbol(ix).strip())
    if bid_lots and at is not None:
        lowest[at] = min(lowest.get(at, bid_ticks), bid_ticks)
