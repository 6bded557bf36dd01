"""Orders as the journal tells them: from the intent, over the venue's answers, to their end.

One tracker a shard. It keeps what is still open and hands out a row when an order has come to its end, so that a day of
orders does not have to fit into memory. Prices are ticks, quantities lots, times nanoseconds, money units: integers.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hotpath.execution.wire import decode_ouch

INTENT = struct.Struct("<4B3I2q2Q")  # journal::IntentHead
ENTER, REPLACE, CANCEL = 1, 2, 3
KINDS = {1: "enter", 2: "replace", 3: "cancel", 4: "mass cancel", 5: "account query"}
NO_ACTION = 0xFF

Row = dict[str, Any]


@dataclass(slots=True)
class Order:
    """One order at the venue; a replace is an order of its own."""

    number: int
    kind: str
    symbol: str
    side: str
    price_ticks: int
    qty_lots: int
    tif: str
    sent_seq: int
    sent_ns: int
    decision: int
    action: int
    policy: int
    of: int = 0  # replace: the order it took the place of
    acked_ns: int = 0
    filled_lots: int = 0
    cost_ticks_lots: int = 0  # sum of price × quantity of its fills
    gone_lots: int = 0  # cancelled or prevented
    before_lots: int = 0  # replace: what was filled under the numbers before it
    fills: int = 0
    state: str = "unknown"
    reason: str = ""
    done_ns: int = 0


class OrderTracker:
    """Follows one shard's orders. `on_order(row)` at an order's end, `on_fill(row)` at each execution."""

    def __init__(self, shard: int, symbols: list[str], fees: tuple[int, int], positions: dict[str, int], *,
                 on_order: Callable[[Row], None], on_fill: Callable[[Row], None],
                 on_latency: Callable[[str, int, int], None]) -> None:
        self.shard = shard
        self.symbols = symbols
        self.maker_fee, self.taker_fee = fees
        self.position = dict(positions)
        self.open: dict[int, Order] = {}
        self._gone: dict[int, Order] = {}  # lately ended: an execution may cross a cancel
        self._replacing: dict[int, int] = {}  # order number → the one asked to take its place
        self._cancels: dict[int, int] = {}  # order number → when its cancel was asked for
        self._matches: dict[int, tuple[str, int]] = {}  # lately filled: a broken trade names one
        self._unsent: deque[tuple[int, int]] = deque()
        self._on_order, self._on_fill, self._on_latency = on_order, on_fill, on_latency

    def intent(self, seq: int, ts_ns: int, payload: bytes) -> None:
        """An order, replace or cancel was committed to the journal, to be sent."""
        kind, side, action, tif, urn, orig, ix, price, qty, decision, version = INTENT.unpack_from(payload)
        self._unsent.append((seq, ts_ns))
        if kind == CANCEL:
            self._cancels.setdefault(orig or urn, ts_ns)
        if kind not in (ENTER, REPLACE):
            return
        symbol = self.symbols[ix] if ix < len(self.symbols) else str(ix)
        if kind == REPLACE:
            self._replacing[orig] = urn
        self.open[urn] = Order(
            number=urn, kind=KINDS[kind], symbol=symbol, side="sell" if side else "buy", price_ticks=price, qty_lots=qty,
            tif=chr(tif), sent_seq=seq, sent_ns=ts_ns, decision=decision, action=action, policy=version, of=orig,
        )  # fmt: skip

    def sent(self, ts_ns: int, last_intent_seq: int, result: int) -> None:
        """The socket took the bytes up to this intent (`result` < 0: it did not)."""
        while self._unsent and self._unsent[0][0] <= last_intent_seq:
            _, at = self._unsent.popleft()
            if result >= 0:
                self._on_latency("input_to_sent", ts_ns, ts_ns - at)

    def answer(self, seq: int, ts_ns: int, payload: bytes) -> Row | None:
        """A message of the venue; a broken or corrected trade comes back as a row for the incidents."""
        message = decode_ouch(payload, from_host=True)
        if message is None:
            return None
        name, urn = message["name"], message.get("user_ref_num", 0)
        order = self.open.get(urn) or self._gone.get(urn)
        if name == "broken_trade":
            self._broken(message["match"])
        if name in ("broken_trade", "trade_correction"):
            return {"order": urn, "what": name.replace("_", " "), "match": message["match"]}
        if name == "mass_cancel_response":  # what the venue has not answered for by now never came to work there
            for o in [o for o in self.open.values() if o.number < urn and not o.acked_ns]:
                o.reason = "not at the venue when all was cancelled"
                self._end(o, ts_ns, "never worked")
        if order is None:
            return None
        if name in ("order_accepted", "order_replaced") and not order.acked_ns:
            order.acked_ns = ts_ns
            order.state = "open"
            self._on_latency("order_to_answer", ts_ns, ts_ns - order.sent_ns)
            if name == "order_replaced":
                self._replaced(order, message, ts_ns)
            if message.get("state") == "D":
                self._end(order, ts_ns, "cancelled")
        elif name == "rejected":
            self._on_latency("order_to_answer", ts_ns, ts_ns - order.sent_ns)
            order.acked_ns = ts_ns
            order.reason = f"venue code {message['reason']}"
            self._end(order, ts_ns, "rejected")
        elif name == "order_executed":
            self._executed(order, seq, ts_ns, message)
        elif name == "order_canceled":
            self._less(order, ts_ns, message["quantity"], message["reason"])
        elif name == "aiq_canceled":
            self._less(order, ts_ns, message["decrement"], message["reason"])
        return None

    def finish(self) -> None:
        """The journal has ended: what is open stays so."""
        for order in sorted(self.open.values(), key=lambda o: o.number):
            self._on_order(self.row(order))
        self.open.clear()

    def _replaced(self, order: Order, message: dict[str, Any], ts_ns: int) -> None:
        old = self.open.get(message["orig_user_ref_num"]) or self._gone.get(message["orig_user_ref_num"])
        if old is not None:
            order.before_lots = old.before_lots + old.filled_lots
            self._end(old, ts_ns, "replaced")
        # The venue says what is open, our request said the total with what was filled before.
        order.qty_lots = min(max(0, order.qty_lots - order.before_lots), message["quantity"])

    def _broken(self, match: int) -> None:
        if (fill := self._matches.pop(match, None)) is not None:
            symbol, signed = fill
            self.position[symbol] -= signed

    def _executed(self, order: Order, seq: int, ts_ns: int, message: dict[str, Any]) -> None:
        lots, price = message["quantity"], message["price_ticks"]
        order.filled_lots += lots
        order.cost_ticks_lots += lots * price
        order.fills += 1
        signed = lots if order.side == "buy" else -lots
        self.position[order.symbol] = self.position.get(order.symbol, 0) + signed
        self._matches[message["match"]] = (order.symbol, signed)
        if len(self._matches) > 4096:
            self._matches.pop(next(iter(self._matches)))
        liquidity = role_of(message["liquidity"])
        fee = {"maker": self.maker_fee, "taker": self.taker_fee}.get(liquidity, 0) * lots
        self._on_fill({
            "shard": self.shard, "seq": seq, "ts_ns": ts_ns, "order": order.number, "symbol": order.symbol,
            "side": order.side, "price_ticks": price, "qty_lots": lots, "liquidity": liquidity, "fee_units": fee,
            "match": message["match"], "position_lots": self.position[order.symbol],
        })  # fmt: skip
        if order.filled_lots + order.gone_lots >= order.qty_lots:
            self._end(order, ts_ns, "filled")

    def _less(self, order: Order, ts_ns: int, lots: int, reason: str) -> None:
        order.gone_lots += lots
        order.reason = CANCEL_REASONS.get(reason, f"venue code {reason}")
        asked_ns = self._cancels.pop(order.number, 0)
        if asked_ns:
            order.reason = "our cancel"
            self._on_latency("cancel_to_answer", ts_ns, ts_ns - asked_ns)
        if order.filled_lots + order.gone_lots >= order.qty_lots:
            self._end(order, ts_ns, "part filled" if order.filled_lots else "cancelled")

    def _end(self, order: Order | None, ts_ns: int, state: str) -> None:
        if order is None or self.open.pop(order.number, None) is None:
            return
        order.state, order.done_ns = state, ts_ns
        self._cancels.pop(order.number, None)
        heir = self.open.get(self._replacing.pop(order.number, 0))
        if heir is not None and state != "replaced" and not heir.acked_ns:  # the venue says nothing to such a replace
            heir.reason = "the order it was to replace had ended"
            self._end(heir, ts_ns, "never worked")
        self._gone[order.number] = order
        if len(self._gone) > 4096:
            self._gone.pop(next(iter(self._gone)))
        self._on_order(self.row(order))

    def row(self, o: Order) -> Row:
        """The order as a row of the table."""
        return {
            "shard": self.shard, "order": o.number, "seq": o.sent_seq, "ts_ns": o.sent_ns, "symbol": o.symbol, "side": o.side,
            "kind": o.kind, "replaces": o.of, "tif": TIFS.get(o.tif, o.tif), "price_ticks": o.price_ticks,
            "qty_lots": o.qty_lots, "filled_lots": o.filled_lots, "filled_ticks_lots": o.cost_ticks_lots, "fills": o.fills,
            "state": o.state, "reason": o.reason, "answer_ns": o.acked_ns - o.sent_ns if o.acked_ns else None,
            "done_ns": o.done_ns or None, "decision": o.decision, "action": None if o.action == NO_ACTION else o.action,
            "policy_version": f"{o.policy:016x}",
        }  # fmt: skip


#: OUCH's letter for why an order is gone
CANCEL_REASONS = {"U": "asked for", "I": "immediate or cancel", "T": "its time was over", "E": "market closed", "H": "halted",
                  "Q": "self-trade prevention", "S": "supervisory", "D": "regulatory", "K": "market collar", "G": "would have taken",
                  "Z": "by the venue"}  # fmt: skip
TIFS = {"0": "day", "3": "ioc", "5": "extended", "6": "until", "E": "after hours"}

#: OUCH liquidity flags: who was there first (execution/ouch.h, is_added and is_removed)
_ADDED, _REMOVED = frozenset("AJkej78"), frozenset("Rmpqrt")


def role_of(flag: str) -> str:
    """maker, taker, or the venue's own letter for everything else."""
    return "maker" if flag in _ADDED else "taker" if flag in _REMOVED else f"flag {flag}"
