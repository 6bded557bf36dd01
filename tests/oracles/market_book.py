"""The slow, obvious market: ITCH 5.0 decoded with struct, orders in plain lists, nothing shared with the C++."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

LENGTHS = {"S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
           "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48}
ORDER_TYPES = "AFECXDU"


@dataclass
class Order:
    """A live displayed order."""

    ref: int
    stock: str
    side: str
    price: int
    shares: int


@dataclass
class Stock:
    """Everything known of one symbol; `bids` and `asks` map a price to its orders, first in priority first."""

    bids: dict[int, list[Order]] = field(default_factory=dict)
    asks: dict[int, list[Order]] = field(default_factory=dict)
    state: str = "H"
    halted_by_venue: bool = False
    reg_sho: str = "0"
    sound: bool = True
    volume: int = 0
    last_trade: int = 0
    last_execution: int = 0

    def side(self, side: str) -> dict[int, list[Order]]:
        """The levels of 'B' or 'S'."""
        return self.bids if side == "B" else self.asks


class OracleMarket:
    """Applies messages one at a time; symbols are taken as they come (`auto_instruments`)."""

    def __init__(self) -> None:
        self.stocks: dict[str, Stock] = {}
        self.locates: dict[int, str] = {}
        self.stock_locate: dict[str, int] = {}
        self.orders: dict[int, Order] = {}
        self.prints: list[list] = []  # [match, stock, shares, price]; shares 0 = broken
        self.market_open = False

    # -- helpers

    def levels(self, symbol: str, side: str, n: int = 10) -> list[tuple[int, int, int]]:
        """[(price, shares, orders)], best first."""
        book = self.stocks[symbol].side(side)
        prices = sorted(book, reverse=side == "B")[:n]
        return [(p, sum(o.shares for o in book[p]), len(book[p])) for p in prices]

    def ahead(self, ref: int) -> int:
        """Shares in front of an order at its price; -1 when it is not in the book."""
        order = self.orders.get(ref)
        if order is None:
            return -1
        queue = self.stocks[order.stock].side(order.side)[order.price]
        return sum(o.shares for o in queue[: queue.index(order)])

    def _name(self, locate: int, stock: str | None = None) -> str | None:
        if locate in self.locates:
            return self.locates[locate]
        if stock is None:
            return None
        self.stocks.setdefault(stock, Stock())
        if locate:
            self._bind(locate, stock)
        return stock

    def _bind(self, locate: int, stock: str) -> None:
        old = self.stock_locate.get(stock)
        if old is not None and old != locate and self.locates.get(old) == stock:
            del self.locates[old]
        self.stock_locate[stock] = locate
        self.locates[locate] = stock

    def _bad(self, symbol: str, outcome: str) -> str:
        self.stocks[symbol].sound = False
        return outcome

    def _insert(self, order: Order) -> None:
        self.orders[order.ref] = order
        self.stocks[order.stock].side(order.side).setdefault(order.price, []).append(order)

    def _remove(self, order: Order) -> None:
        del self.orders[order.ref]
        book = self.stocks[order.stock].side(order.side)
        book[order.price] = [o for o in book[order.price] if o is not order]
        if not book[order.price]:
            del book[order.price]

    def _print(self, symbol: str, match: int, shares: int, price: int) -> None:
        if shares == 0:
            return
        self.stocks[symbol].volume += shares
        self.stocks[symbol].last_trade = price
        self.prints.append([match, symbol, shares, price])

    # -- one message

    def on_message(self, msg: bytes) -> str:
        """Apply `msg`; the outcome's name is the same as the C++ gives."""
        if len(msg) < 11:
            return "malformed"
        kind = chr(msg[0])
        locate = struct.unpack_from(">H", msg, 1)[0]
        if kind not in LENGTHS:
            return "unknown_type"
        if len(msg) < LENGTHS[kind] or (kind in "AFP" and chr(msg[19]) not in "BS"):
            if kind in ORDER_TYPES and locate in self.locates:
                self.stocks[self.locates[locate]].sound = False
            return "malformed"
        return getattr(self, f"_on_{kind}", self._ignore)(msg, locate)

    def _ignore(self, msg: bytes, locate: int) -> str:
        return "ignored"

    def _on_W(self, msg: bytes, locate: int) -> str:
        return "applied"

    def _on_S(self, msg: bytes, locate: int) -> str:
        self.market_open = msg[11:12] == b"Q"
        return "applied"

    def _on_R(self, msg: bytes, locate: int) -> str:
        if locate == 0:
            return "malformed"
        stock = _text(msg[11:19])
        self.stocks.setdefault(stock, Stock())
        self._bind(locate, stock)
        return "applied"

    def _on_H(self, msg: bytes, locate: int) -> str:
        if chr(msg[19]) not in "HPQT":
            return "malformed"
        self.stocks[self._name(locate, _text(msg[11:19]))].state = chr(msg[19])
        return "applied"

    def _on_h(self, msg: bytes, locate: int) -> str:
        if chr(msg[20]) not in "HT":
            return "malformed"
        symbol = self._name(locate, _text(msg[11:19]))
        if msg[19:20] != b"Q":
            return "ignored"
        self.stocks[symbol].halted_by_venue = msg[20:21] == b"H"
        return "applied"

    def _on_Y(self, msg: bytes, locate: int) -> str:
        self.stocks[self._name(locate, _text(msg[11:19]))].reg_sho = chr(msg[19])
        return "applied"

    def _on_J(self, msg: bytes, locate: int) -> str:
        self._name(locate, _text(msg[11:19]))
        return "applied"

    def _on_I(self, msg: bytes, locate: int) -> str:
        if struct.unpack_from(">Q", msg, 19)[0] >= 1 << 63:
            return "malformed"
        self._name(locate, _text(msg[28:36]))
        return "applied"

    def _on_A(self, msg: bytes, locate: int) -> str:
        ref, side, shares, stock, price = struct.unpack_from(">QcI8sI", msg, 11)
        if locate == 0:
            return "malformed"
        symbol = self._name(locate, _text(stock))
        if shares == 0:
            return self._bad(symbol, "malformed")
        if ref in self.orders:
            return self._bad(symbol, "duplicate_ref")
        self._insert(Order(ref, symbol, side.decode(), price, shares))
        return "applied"

    _on_F = _on_A

    def _find(self, ref: int, locate: int) -> tuple[str | None, Order | None]:
        symbol = self._name(locate)
        order = self.orders.get(ref)
        return symbol, order if order is not None and order.stock == symbol else None

    def _reduce(self, ref: int, locate: int, shares: int) -> tuple[str, Order | None]:
        symbol, order = self._find(ref, locate)
        if symbol is None:
            return "unknown_instrument", None
        if order is None:
            return self._bad(symbol, "unknown_ref"), None
        if shares > order.shares:
            return self._bad(symbol, "over_executed"), None
        order.shares -= shares
        if order.shares == 0:
            self._remove(order)
        return "applied", order

    def _on_E(self, msg: bytes, locate: int) -> str:
        ref, shares, match = struct.unpack_from(">QIQ", msg, 11)
        outcome, order = self._reduce(ref, locate, shares)
        if order is not None:
            self.stocks[order.stock].last_execution = order.price
            self._print(order.stock, match, shares, order.price)
        return outcome

    def _on_C(self, msg: bytes, locate: int) -> str:
        ref, shares, match, printable, price = struct.unpack_from(">QIQcI", msg, 11)
        outcome, order = self._reduce(ref, locate, shares)
        if order is not None:
            self.stocks[order.stock].last_execution = price
            if printable != b"N":
                self._print(order.stock, match, shares, price)
        return outcome

    def _on_X(self, msg: bytes, locate: int) -> str:
        ref, shares = struct.unpack_from(">QI", msg, 11)
        return self._reduce(ref, locate, shares)[0]

    def _on_D(self, msg: bytes, locate: int) -> str:
        symbol, order = self._find(struct.unpack_from(">Q", msg, 11)[0], locate)
        if symbol is None:
            return "unknown_instrument"
        if order is None:
            return self._bad(symbol, "unknown_ref")
        self._remove(order)
        return "applied"

    def _on_U(self, msg: bytes, locate: int) -> str:
        ref, new_ref, shares, price = struct.unpack_from(">QQII", msg, 11)
        symbol, order = self._find(ref, locate)
        if symbol is None:
            return "unknown_instrument"
        if shares == 0:
            return self._bad(symbol, "malformed")
        if order is None:
            return self._bad(symbol, "unknown_ref")
        if new_ref in self.orders:
            return self._bad(symbol, "duplicate_ref")
        self._remove(order)
        self._insert(Order(new_ref, symbol, order.side, price, shares))
        return "applied"

    def _on_P(self, msg: bytes, locate: int) -> str:
        _, _, shares, stock, price, match = struct.unpack_from(">QcI8sIQ", msg, 11)
        self._print(self._name(locate, _text(stock)), match, shares, price)
        return "applied"

    def _on_Q(self, msg: bytes, locate: int) -> str:
        shares, stock, price, match = struct.unpack_from(">Q8sIQ", msg, 11)
        if shares >= 1 << 63:
            return "malformed"
        self._print(self._name(locate, _text(stock)), match, shares, price)
        return "applied"

    def _on_B(self, msg: bytes, locate: int) -> str:
        match = struct.unpack_from(">Q", msg, 11)[0]
        for entry in reversed(self.prints):
            if entry[0] == match and entry[2] > 0:
                stock = self.stocks[entry[1]]
                stock.volume -= entry[2]
                entry[2] = 0
                good = [e for e in self.prints if e[1] == entry[1] and e[2] > 0]
                stock.last_trade = good[-1][3] if good else 0
                return "applied"
        return "ignored"


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").rstrip(" ")
