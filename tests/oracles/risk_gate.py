"""The risk gate, slow and obvious: the same checks in the same order on plain Python integers.

Also the numpy views of the structs that cross the border: limits, request, market view and batch operation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

NO_INSTRUMENT = 0xFFFFFFFF
I64_MAX = 2**63 - 1

LIMITS_DTYPE = np.dtype(
    [("version", "<u4"), ("instrument", "<u4")]
    + [(n, "<i8") for n in ("collar_ticks", "collar_bps", "max_order_lots", "max_order_notional", "max_working_orders",
                            "max_working_notional", "max_long_lots", "max_short_lots", "max_executions",
                            "execution_window_ns", "duplicate_window_ns", "max_quote_age_ns")]
    + [("zero_instrument", "<i8", 3)]
    + [(n, "<i8") for n in ("max_account_orders", "max_account_notional", "max_gross", "max_credit", "max_loss",
                            "max_drawdown", "max_messages", "message_window_ns", "cancel_reserve", "soft_permille")]
    + [("zero_account", "<i8", 3)]
    + [(n, "<i8") for n in ("max_positions", "soft_positions", "soft_positions_interval_ns")])

REQUEST_DTYPE = np.dtype([("instrument", "<u4"), ("kind", "u1"), ("side", "u1"), ("mark", "u1"), ("zero", "u1"),
                          ("strategy", "<u4"), ("pad", "<u4"), ("price_ticks", "<i8"), ("qty_lots", "<i8"),
                          ("old_open_lots", "<i8"), ("old_notional", "<i8")])

VIEW_DTYPE = np.dtype([("bid_ticks", "<i8"), ("ask_ticks", "<i8"), ("bid_lots", "<i8"), ("ask_lots", "<i8"),
                       ("reference_ticks", "<i8"), ("quote_ts_ns", "<i8"), ("feed_live", "u1"), ("sound", "u1"),
                       ("trading", "u1"), ("market_open", "u1"), ("short_sale_restricted", "u1"), ("zero", "u1", 3)])

OP_DTYPE = np.dtype([("kind", "u1"), ("side", "u1"), ("zero", "u1", 2), ("instrument", "<u4"), ("now", "<i8"),
                     ("a", "<i8"), ("b", "<i8"), ("c", "<i8"), ("request", REQUEST_DTYPE), ("view", VIEW_DTYPE)])

REASONS = (
    "pass", "killed", "paused", "reduce_only", "session_not_ready", "journal_unhealthy", "unknown_instrument",
    "strategy_not_authorised", "restricted", "bad_price", "bad_quantity", "feed_not_live", "book_unsound",
    "quote_stale", "halted", "market_closed", "no_reference", "price_collar", "order_quantity", "money_overflow",
    "order_notional", "working_orders", "working_notional", "account_orders", "account_notional", "position_long",
    "position_short", "gross", "credit", "loss", "drawdown", "lease_notional", "lease_quantity", "self_trade",
    "short_mark", "short_sale_restricted", "duplicate_order", "execution_throttle", "message_rate", "breaker", "positions")
CODE = {name: i for i, name in enumerate(REASONS)}


def ceil_shift(value: int, shift: int) -> int:
    """value / 2**shift, rounded up."""
    return -((-value) >> shift)


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up; b > 0."""
    return -((-a) // b)


@dataclass
class Item:
    """One instrument."""

    position: int = 0
    buys: int = 0          # open and unknown lots
    sells: int = 0
    orders: int = 0
    side_orders: list[int] = field(default_factory=lambda: [0, 0])
    working_notional: int = 0
    best: list[int] = field(default_factory=lambda: [0, 0])
    cost: int = 0
    realized: int = 0
    fees: int = 0
    bid: int = 0
    ask: int = 0
    multiplier: int = 1
    shift: int = 0

    def worst(self, side: int) -> int:
        """Worst-case lots to one side: position and all orders of that side."""
        return self.position + self.buys if side == 0 else -self.position + self.sells

    def occupied(self) -> bool:
        """A position, or an order that works or is unknown."""
        return self.position != 0 or self.orders != 0

    def worst_lots(self) -> int:
        """The larger worst case, never negative."""
        return max(self.worst(0), self.worst(1), 0)

    def mark_value(self) -> int:
        """The position at the price it would be closed at, rounded down."""
        if self.position == 0:
            return 0
        close = (self.bid or self.ask) if self.position > 0 else (self.ask or self.bid)
        if close == 0:
            return self.cost
        return (close * self.position * self.multiplier) >> self.shift

    def fill(self, side: int, lots: int, price: int, fee: int) -> None:
        """Average cost; everything rounded against us."""
        signed = lots if side == 0 else -lots

        def cash(q: int) -> int:
            return (-price * q * self.multiplier) >> self.shift

        closing = 0
        if self.position * signed < 0:
            closing = max(-abs(self.position), min(abs(self.position), signed))
            released = ceil_div(self.cost * abs(closing), abs(self.position))
            self.realized += cash(closing) - released
            self.cost -= released
        if signed != closing:
            self.cost -= cash(signed - closing)
        self.position += signed
        if self.position == 0:
            self.realized -= self.cost
            self.cost = 0
        self.fees += fee


class OracleGate:
    """check() and the events that move its state; one object is gate and exposure together."""

    def __init__(self, instruments: int, duplicate_capacity: int = 64) -> None:
        self.items = [Item() for _ in range(instruments)]
        self.limits: list[dict[str, int]] = [{} for _ in range(instruments)]
        self.account: dict[str, int] = {}
        self.duplicate_capacity = duplicate_capacity
        self.killed = self.paused = self.reduce_only = self.breaker = False
        self.session_ready = self.journal_healthy = True
        self.loss_tripped = self.drawdown_tripped = False
        self.restricted: set[int] = set()
        self.authorised: set[int] = set()
        self.lease = (0, 0)  # notional, lots
        self.messages: list[int] = []
        self.executions: list[tuple[int, int, int]] = []       # instrument, side, time
        self.sent: list[list[tuple[int, int, int, int]]] = [[] for _ in range(instruments)]
        self.peak = 0
        self.active = instruments                               # the first so many may open
        self.opened: int | None = None                          # when one beyond the soft level was last opened
        self.beyond = False                                     # the request just checked would be such a one

    # ---- sums
    def gross(self) -> int:
        """Positions at the mark and all working orders."""
        return sum(abs(i.mark_value()) + i.working_notional for i in self.items)

    def net(self) -> int:
        """Realized less fees."""
        return sum(i.realized - i.fees for i in self.items)

    def pnl(self) -> int:
        """Realized, unrealized, fees."""
        return sum(i.realized - i.fees + i.mark_value() - i.cost for i in self.items)

    def credit(self) -> int:
        """Cost of positions, working orders, net loss."""
        return sum(abs(i.cost) + i.working_notional for i in self.items) + max(0, -self.net())

    def after_change(self) -> None:
        """Peak, then breakers, as after a fill or a mark."""
        self.peak = max(self.peak, self.pnl())

    def breakers(self) -> None:
        """Trips stay."""
        self.loss_tripped |= max(0, -self.pnl()) > self.account["max_loss"]
        self.drawdown_tripped |= self.peak - self.pnl() > self.account["max_drawdown"]

    # ---- the gate
    def check(self, r: Any, m: Any, now: int) -> tuple[str, int]:
        """(reason name, soft mask) of a request; r and m have the fields of REQUEST_DTYPE and VIEW_DTYPE."""
        soft = 0
        acc = self.account
        self.beyond = False

        def over(name: str, seen: int, allowed: int) -> bool:
            nonlocal soft
            if seen * 1000 >= allowed * acc["soft_permille"]:
                soft |= 1 << CODE[name]
            return seen > allowed

        if r["kind"] == 2:
            return "pass", 0
        if self.killed and not self.reduce_only:
            return "killed", soft
        if self.paused:
            return "paused", soft
        if self.breaker:
            return "breaker", soft
        if not self.session_ready:
            return "session_not_ready", soft
        if not self.journal_healthy:
            return "journal_unhealthy", soft
        ix = r["instrument"]
        if ix >= len(self.items):
            return "unknown_instrument", soft
        if r["strategy"] not in self.authorised:
            return "strategy_not_authorised", soft
        if ix in self.restricted:
            return "restricted", soft
        side, price, qty, mark = r["side"], r["price_ticks"], r["qty_lots"], r["mark"]
        if price <= 0:
            return "bad_price", soft
        if qty <= 0 or r["old_open_lots"] < 0 or r["old_notional"] < 0:
            return "bad_quantity", soft
        item, lim = self.items[ix], self.limits[ix]
        replace = r["kind"] == 1
        more = max(0, qty - r["old_open_lots"]) if replace else qty
        worst = item.worst(side) + more
        reducing = worst <= 0
        if (self.reduce_only or ix >= self.active) and not reducing:
            return "reduce_only", soft
        if not m["feed_live"]:
            return "feed_not_live", soft
        if not m["sound"]:
            return "book_unsound", soft
        if now - m["quote_ts_ns"] > lim["max_quote_age_ns"]:
            return "quote_stale", soft
        if not m["trading"]:
            return "halted", soft
        if not m["market_open"]:
            return "market_closed", soft
        touch, there = (m["ask_ticks"], m["ask_lots"]) if side == 0 else (m["bid_ticks"], m["bid_lots"])
        ref = touch if there > 0 else m["reference_ticks"]
        if ref <= 0:
            return "no_reference", soft
        past = price - ref if side == 0 else ref - price
        if past > min(lim["collar_ticks"], ref * lim["collar_bps"] // 10_000):
            return "price_collar", soft
        if qty > lim["max_order_lots"]:
            return "order_quantity", soft
        notional = ceil_shift(price * qty * item.multiplier, item.shift)
        if notional > I64_MAX:
            return "money_overflow", soft
        if notional > lim["max_order_notional"]:
            return "order_notional", soft
        more_money = max(0, notional - r["old_notional"]) if replace else notional
        one = 0 if replace else 1
        if over("working_orders", item.orders + one, lim["max_working_orders"]):
            return "working_orders", soft
        if over("working_notional", item.working_notional + more_money, lim["max_working_notional"]):
            return "working_notional", soft
        if over("account_orders", sum(i.orders for i in self.items) + one, acc["max_account_orders"]):
            return "account_orders", soft
        if over("account_notional", sum(i.working_notional for i in self.items) + more_money, acc["max_account_notional"]):
            return "account_notional", soft
        if not reducing:
            if side == 0 and over("position_long", worst, lim["max_long_lots"]):
                return "position_long", soft
            if side == 1 and over("position_short", worst, lim["max_short_lots"]):
                return "position_short", soft
            if over("gross", self.gross() + more_money, acc["max_gross"]):
                return "gross", soft
            if over("credit", self.credit() + more_money, acc["max_credit"]):
                return "credit", soft
            if over("loss", max(0, -self.pnl()), acc["max_loss"]) or self.loss_tripped:
                return "loss", soft
            if over("drawdown", self.peak - self.pnl(), acc["max_drawdown"]) or self.drawdown_tripped:
                return "drawdown", soft
            if over("lease_notional", self.gross() + more_money, self.lease[0]):
                return "lease_notional", soft
            lots = sum(i.worst_lots() for i in self.items) + max(0, worst - item.worst_lots())
            if over("lease_quantity", lots, self.lease[1]):
                return "lease_quantity", soft
        if not item.occupied():
            symbols = sum(i.occupied() for i in self.items) + 1
            self.beyond = 0 < acc.get("soft_positions", 0) < symbols
            soft |= self.beyond << CODE["positions"]
            if 0 < acc.get("max_positions", 0) < symbols:
                return "positions", soft
            if self.beyond and self.opened is not None and now - self.opened < acc["soft_positions_interval_ns"]:
                return "positions", soft
        if item.side_orders[1 - side]:
            best = item.best[1 - side]
            if price >= best if side == 0 else price <= best:
                return "self_trade", soft
        if side == 0:
            if mark != 0:
                return "short_mark", soft
        elif mark == 0 or (mark == 1 and worst > 0):
            return "short_mark", soft
        if m["short_sale_restricted"] and mark == 2 and m["bid_lots"] != 0 and price <= m["bid_ticks"]:
            return "short_sale_restricted", soft
        inside = [s for s in self.sent[ix][-self.duplicate_capacity:] if s[0] >= now - lim["duplicate_window_ns"]]
        if any(s[1:] == (side, price, qty) for s in inside) or len(inside) == self.duplicate_capacity:
            return "duplicate_order", soft
        fills = sum(1 for i, s, t in self.executions if i == ix and s == side and t > now - lim["execution_window_ns"])
        if over("execution_throttle", fills, lim["max_executions"]):
            return "execution_throttle", soft
        used = sum(1 for t in self.messages if t > now - acc["message_window_ns"])
        if over("message_rate", used + 1, max(0, acc["max_messages"] - acc["cancel_reserve"])):
            return "message_rate", soft
        return "pass", soft

    # ---- what moves the state (the same steps as run_batch's operations)
    def sent_order(self, r: Any, now: int) -> None:
        """A passed request was sent: counted, remembered, claimed."""
        self.messages.append(now)
        self.messages = self.messages[-4096:]
        if r["kind"] == 2:
            return
        if self.beyond:
            self.opened = now
        ix, side = r["instrument"], r["side"]
        self.sent[ix].append((now, side, r["price_ticks"], r["qty_lots"]))
        self.sent[ix] = self.sent[ix][-self.duplicate_capacity:]
        item = self.items[ix]
        notional = ceil_shift(r["price_ticks"] * r["qty_lots"] * item.multiplier, item.shift)
        if r["kind"] == 1:
            more, money = max(0, r["qty_lots"] - r["old_open_lots"]), max(0, notional - r["old_notional"])
        else:
            more, money = r["qty_lots"], notional
            item.orders += 1
            item.side_orders[side] += 1
        if side == 0:
            item.buys += more
        else:
            item.sells += more
        item.working_notional += money
        best = item.best[side]
        if best == 0 or (r["price_ticks"] > best if side == 0 else r["price_ticks"] < best):
            item.best[side] = r["price_ticks"]

    def released(self, ix: int, side: int, lots: int, money: int, best_after: int) -> None:
        """An order is done: its claim goes."""
        item = self.items[ix]
        item.orders -= 1
        item.side_orders[side] -= 1
        item.working_notional -= money
        if side == 0:
            item.buys -= lots
        else:
            item.sells -= lots
        item.best[side] = best_after

    def filled(self, ix: int, side: int, lots: int, price: int, fee: int, now: int) -> None:
        """A fill, as booked by execution."""
        self.items[ix].fill(side, lots, price, fee)
        self.after_change()
        self.executions.append((ix, side, now))
        self.executions = self.executions[-600:]
        self.breakers()

    def marked(self, ix: int, bid: int, ask: int) -> None:
        """A new top of book; 0 keeps the last good side."""
        item = self.items[ix]
        item.bid, item.ask = bid or item.bid, ask or item.ask
        self.after_change()
        self.breakers()
