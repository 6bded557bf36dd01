"""A tiny venue for one port: it takes OUCH requests and answers them by the rules of the protocol, nothing else.

It has no book: fills are handed to it (`fill`). It is the truth a client's order manager has to arrive at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hotpath import _core


@dataclass
class VenueOrder:
    """One live or dead order at the venue."""

    number: int
    side: str
    symbol: str
    price: int
    total: int
    executed: int = 0
    removed: int = 0
    live: bool = True

    def leaves(self) -> int:
        """What can still trade."""
        return self.total - self.executed - self.removed if self.live else 0


@dataclass
class TinyVenue:
    """Answers go to `out` in sequence order, as encoded OUCH messages."""

    out: list[bytes] = field(default_factory=list)
    orders: dict[int, VenueOrder] = field(default_factory=dict)
    last: int = 0
    position: int = 0
    match: int = 0
    frozen: set[int] = field(default_factory=set)  # orders that may not be canceled now
    refuse_next: bool = False
    mass_cancel: bool = True
    executions: dict[int, tuple[int, int]] = field(default_factory=dict)  # match -> (signed lots, number)

    def say(self, kind: str, **fields: Any) -> None:
        """One sequenced message."""
        self.out.append(_core.ouch_encode({"type": kind, **fields}))

    def on_request(self, data: bytes) -> None:
        """A client's message."""
        m = _core.ouch_decode_request(data)
        assert m is not None, data
        getattr(self, "on_" + m["type"])(m)

    def on_EnterOrder(self, m: dict[str, Any]) -> None:
        """Accepted, refused, or ignored when the number is not new."""
        if m["user_ref_num"] <= self.last:
            return
        self.last = m["user_ref_num"]
        if self.refuse_next:
            self.refuse_next = False
            self.say("Rejected", user_ref_num=self.last, reason=15)
            return
        o = VenueOrder(self.last, m["side"], m["symbol"], m["price"], m["quantity"])
        self.orders[o.number] = o
        dead = m["tif"] == "3"
        o.live = not dead
        self.say("Accepted", user_ref_num=o.number, side=o.side, quantity=o.total, symbol=o.symbol, price=o.price,
                 tif=m["tif"], order_ref=9000 + o.number, state="D" if dead else "L", cl_ord_id=m["cl_ord_id"])

    def on_ReplaceOrder(self, m: dict[str, Any]) -> None:
        """The four outcomes."""
        old, number = self.orders.get(m["orig_ref_num"]), m["user_ref_num"]
        if number <= self.last or old is None or not old.live:
            return
        if old.number in self.frozen:
            self.last = number
            self.say("Rejected", user_ref_num=number, reason=16)
            return
        if self.refuse_next:
            self.refuse_next = False
            self.remove(old, old.leaves(), "U")
            return
        self.last = number
        open_lots = m["quantity"] - old.executed
        old.live = False
        new = VenueOrder(number, old.side, old.symbol, m["price"], m["quantity"], old.executed, 0, open_lots > 0)
        self.orders[number] = new
        self.say("Replaced", orig_ref_num=old.number, user_ref_num=number, side=new.side, quantity=max(open_lots, 0),
                 symbol=new.symbol, price=new.price, order_ref=9000 + number, state="L" if new.live else "D")

    def remove(self, o: VenueOrder, lots: int, reason: str) -> None:
        """Canceled: all or part."""
        o.removed += lots
        if o.total - o.executed - o.removed == 0:
            o.live = False
        self.say("Canceled", user_ref_num=o.number, quantity=lots, reason=reason)

    def on_CancelOrder(self, m: dict[str, Any]) -> None:
        """Removes down to the intended total; superfluous ones are not answered."""
        o = self.orders.get(m["user_ref_num"])
        if o is None or not o.live:
            return
        if o.number in self.frozen:
            self.say("CancelReject", user_ref_num=o.number)
            return
        cut = min(o.leaves(), o.total - o.removed - m["quantity"])
        if cut > 0:
            self.remove(o, cut, "U")

    def on_AccountQuery(self, m: dict[str, Any]) -> None:
        """The next free number."""
        self.say("AccountQueryResponse", next_ref_num=self.last + 1)

    def on_MassCancel(self, m: dict[str, Any]) -> None:
        """Everything live goes; then the answer."""
        if m["user_ref_num"] <= self.last or not self.mass_cancel:
            return
        self.last = m["user_ref_num"]
        for o in list(self.orders.values()):
            if o.live and o.number not in self.frozen:
                self.remove(o, o.leaves(), "U")
        self.say("MassCancelResponse", user_ref_num=self.last, firm=m["firm"], symbol=m["symbol"])

    def fill(self, number: int, lots: int, price: int) -> None:
        """A trade against one of the orders."""
        o = self.orders[number]
        lots = min(lots, o.leaves())
        assert lots > 0
        o.executed += lots
        if o.leaves() == 0:
            o.live = False
        self.match += 1
        signed = lots if o.side == "B" else -lots
        self.position += signed
        self.executions[self.match] = (signed, number)
        self.say("Executed", user_ref_num=number, quantity=lots, price=price, liquidity="A", match_number=self.match)

    def bust(self, match: int) -> None:
        """A broken trade; the order does not come back."""
        signed, number = self.executions.pop(match)
        self.position -= signed
        self.say("BrokenTrade", user_ref_num=number, match_number=match, reason="E")

    def live_lots(self, side: str) -> int:
        """Lots that can still trade on one side."""
        return sum(o.leaves() for o in self.orders.values() if (o.side == "B") == (side == "B"))
