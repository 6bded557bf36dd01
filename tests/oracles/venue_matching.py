"""Price-time matching, the slow and obvious way: one list of orders, searched from the start every time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MARKET_PRICE = 0x7FFFFFFF


@dataclass
class Order:
    ref: int
    symbol: int
    side: str
    price: int
    qty: int
    hidden: bool
    owner: int
    group: int
    tag: int


@dataclass
class Oracle:
    """Same calls as the engine, orders named by reference."""

    stp: str = "cancel_resting"
    orders: list[Order] = field(default_factory=list)  # in order of time
    events: list[dict[str, Any]] = field(default_factory=list)
    modes: dict[int, str] = field(default_factory=dict)
    next_ref: int = 1
    next_match: int = 1

    def queue(self, symbol: int, side: str) -> list[Order]:
        """Orders of a side in the order they trade: price, displayed first, time."""
        sign = -1 if side == "B" else 1
        mine = [o for o in self.orders if o.symbol == symbol and o.side == side]
        return sorted(mine, key=lambda o: (sign * o.price, o.hidden, self.orders.index(o)))

    def contra(self, symbol: int, side: str, price: int) -> list[Order]:
        """What an order of this side and price would meet, in order."""
        other = self.queue(symbol, "S" if side == "B" else "B")
        if price == MARKET_PRICE:
            return other
        return [o for o in other if (o.price <= price if side == "B" else o.price >= price)]

    def enter(self, *, symbol: int = 0, side: str, price_ticks: int, qty: int, tif: str = "day", hidden: bool = False,
              post_only: bool = False, min_qty: int = 0, owner: int = 0, stp_group: int = 0, tag: int = 0) -> dict[str, Any]:
        """Outcome, reference, filled and left."""
        mode = self.modes.get(symbol, "continuous")
        result = {"outcome": "rested", "ref": 0, "filled": 0, "left": 0, "prevented": 0}
        meets = self.contra(symbol, side, price_ticks)
        if mode == "halted":
            return {**result, "outcome": "halted"}
        if mode == "no_cross" and meets:
            return {**result, "outcome": "would_cross"}
        ref, self.next_ref = self.next_ref, self.next_ref + 1
        result.update(ref=ref, left=qty)
        if meets and mode == "continuous":
            if post_only:
                return {**result, "outcome": "post_only_takes"}
            if min_qty and self._available(meets, stp_group) < min_qty:
                return {**result, "outcome": "min_qty_missed"}
        elif min_qty:
            return {**result, "outcome": "min_qty_missed"}
        if mode == "continuous":
            for resting in meets:
                if qty == 0:
                    break
                n = min(qty, resting.qty)
                if stp_group and resting.group == stp_group and self.stp != "off":
                    cut_resting = {"cancel_resting": resting.qty, "cancel_incoming": 0, "decrement_both": n}[self.stp]
                    cut_incoming = {"cancel_resting": 0, "cancel_incoming": qty, "decrement_both": n}[self.stp]
                    self.events.append({"kind": "prevented", "price_ticks": resting.price, "qty": n, "resting_ref": resting.ref,
                                        "resting_decrement": cut_resting, "incoming_decrement": cut_incoming})
                    qty -= cut_incoming
                    result["prevented"] += cut_incoming
                    self._cut(resting, cut_resting)
                    if qty == 0:
                        return {**result, "outcome": "self_match", "left": 0}
                    continue
                self.events.append({"kind": "fill", "match": self.next_match, "price_ticks": resting.price, "qty": n,
                                    "maker_ref": resting.ref, "maker_left": resting.qty - n, "taker_ref": ref})
                self.next_match += 1
                qty -= n
                result["filled"] += n
                self._cut(resting, n)
        result["left"] = qty
        if qty == 0:
            return {**result, "outcome": "filled"}
        if tif == "ioc" or price_ticks == MARKET_PRICE:
            return {**result, "outcome": "ioc_remainder"}
        self.orders.append(Order(ref, symbol, side, price_ticks, qty, hidden, owner, stp_group, tag))
        return result

    def _available(self, meets: list[Order], group: int) -> int:
        total = 0
        for o in meets:
            if group and o.group == group and self.stp != "off":
                if self.stp != "cancel_resting":
                    break
                continue
            total += o.qty
        return total

    def _cut(self, order: Order, qty: int) -> None:
        order.qty -= qty
        if order.qty == 0:
            self.orders.remove(order)

    def find(self, ref: int) -> Order | None:
        """The live order of that reference."""
        return next((o for o in self.orders if o.ref == ref), None)

    def cancel(self, ref: int) -> bool:
        """Remove; False when not live."""
        order = self.find(ref)
        if order is not None:
            self.orders.remove(order)
        return order is not None

    def reduce(self, ref: int, qty: int) -> int:
        """Cut, keeping priority; what was removed."""
        order = self.find(ref)
        if order is None:
            return 0
        n = min(qty, order.qty)
        self._cut(order, n)
        return n

    def cross(self, symbol: int, reference: int) -> tuple[int, int]:
        """Uncross: most volume, least imbalance, nearest the reference, lowest."""
        bids, asks = self.queue(symbol, "B"), self.queue(symbol, "S")
        best: tuple[Any, ...] | None = None
        for price in {o.price for o in bids + asks}:
            buy = sum(o.qty for o in bids if o.price >= price)
            sell = sum(o.qty for o in asks if o.price <= price)
            volume = min(buy, sell)
            key = (-volume, max(buy, sell) - volume, abs(price - reference), price)
            if volume and (best is None or key < best):
                best = key
        if best is None:
            return 0, 0
        price, left = best[3], -best[0]
        while left:
            b, s = self.queue(symbol, "B")[0], self.queue(symbol, "S")[0]
            n = min(left, b.qty, s.qty)
            self.events.append({"kind": "fill", "match": self.next_match, "price_ticks": price, "qty": n, "maker_ref": b.ref,
                                "maker_left": b.qty - n, "taker_ref": s.ref})
            self.next_match += 1
            self._cut(b, n)
            self._cut(s, n)
            left -= n
        return price, -best[0]
