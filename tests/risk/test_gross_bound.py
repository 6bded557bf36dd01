"""What gross exposure can come to above its limit: exactly the orders that reduced when they were entered, and what prices did since.

The gate never refuses an order that reduces, so such orders count in gross and may carry it above the lease. The rule, for one
shard or for several whose leases come to the account's limit, while no price moves:

    gross        <= leases + reducing orders that work and were entered after the shard's last order that added
    worst case   <= leases       per symbol, the position with all orders of one side executed on top, the worse side

and when prices do move, the second one still, with each lot counted at the lowest price there was. The oracle is a list of
orders and a position, in plain sums.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core
from tests.risk.gate_setup import limits, market, order

PRICE = 100
SYMBOLS = 2


@dataclass
class Standing:
    """An order as the oracle has it."""

    symbol: int
    side: int  # 0 buy, 1 sell
    lots: int
    price: int
    reducing: bool  # when it was entered
    late: bool = True  # entered after the last one that added


class Shard:
    """The engine's own gate and exposure, and beside them the oracle."""

    def __init__(self, lease: int) -> None:
        self.lease = lease
        self.gate, self.exposure = _core.Gate(max_instruments=SYMBOLS), _core.Exposure(SYMBOLS)
        assert self.gate.set_limits(limits(max_gross=10**12, max_executions=60, max_messages=4000))
        self.gate.set_authorised(1, True)
        self.gate.set_session_ready(True)
        self.gate.set_journal_healthy(True)
        assert self.gate.grant(1, lease, 10**9)
        self.orders: list[Standing] = []
        self.position = [0] * SYMBOLS
        self.mark = [PRICE] * SYMBOLS
        self.lowest = [PRICE] * SYMBOLS
        self.now = 10**12
        for symbol in range(SYMBOLS):
            self.exposure.mark(symbol, PRICE, PRICE)

    # ---- what happens

    def enter(self, symbol: int, side: int, lots: int, price: int) -> bool:
        """Whether the gate let it pass; the oracle says the same, with its own sums."""
        self.now += 10**10  # no two orders in one window
        reducing = self.worst_of(symbol, side) + lots <= 0
        expected = reducing or self.gross() + lots * price <= self.lease
        self.exposure.set_own_best(symbol, 1 - side, 10**9 if side == 0 else 0)  # no trade with oneself here
        view = market(bid_ticks=PRICE, ask_ticks=PRICE, reference_ticks=PRICE, quote_ts_ns=self.now)
        said = self.gate.check(order(instrument=symbol, side=side, mark=2 * side, price_ticks=price, qty_lots=lots), view, self.exposure, self.now)
        assert said["reason"] == ("pass" if expected else "lease_notional"), (said, self.gross(), reducing)
        if not expected:
            return False
        self.exposure.move_claim(symbol, side, (0, 0, 0), (lots, 0, lots * price))
        if not reducing:
            for one in self.orders:
                one.late = False
        self.lowest[symbol] = min(self.lowest[symbol], price)
        self.orders.append(Standing(symbol, side, lots, price, reducing))
        return True

    def fill(self, n: int, lots: int) -> None:
        """Some or all of an order is executed at its own price."""
        if not self.orders:
            return
        o = self.orders[n % len(self.orders)]
        lots = min(lots, o.lots)
        self._claim(o, o.lots - lots)
        self.position[o.symbol] += lots if o.side == 0 else -lots
        self.exposure.apply_fill(o.symbol, o.side, lots, o.price, 0)

    def cancel(self, n: int) -> None:
        """An order is gone."""
        if self.orders:
            self._claim(self.orders[n % len(self.orders)], 0)

    def move(self, symbol: int, price: int) -> None:
        """The market is there now."""
        self.mark[symbol] = price
        self.lowest[symbol] = min(self.lowest[symbol], price)
        self.exposure.mark(symbol, price, price)

    def _claim(self, o: Standing, lots: int) -> None:
        self.exposure.move_claim(o.symbol, o.side, (o.lots, 0, o.lots * o.price), (lots, 0, lots * o.price) if lots else (0, 0, 0))
        o.lots = lots
        if not lots:
            self.orders.remove(o)

    # ---- the oracle's sums

    def open_lots(self, symbol: int, side: int) -> int:
        return sum(o.lots for o in self.orders if (o.symbol, o.side) == (symbol, side))

    def worst_of(self, symbol: int, side: int) -> int:
        return (self.position[symbol] if side == 0 else -self.position[symbol]) + self.open_lots(symbol, side)

    def gross(self) -> int:
        return sum(abs(p) * m for p, m in zip(self.position, self.mark, strict=True)) + sum(o.lots * o.price for o in self.orders)

    def reducing(self) -> int:
        """Of the orders that reduced when they were entered, those since the last that added."""
        return sum(o.lots * o.price for o in self.orders if o.reducing and o.late)

    def worst(self) -> int:
        """Each lot at the lowest price there was."""
        return sum(max(self.worst_of(s, 0), self.worst_of(s, 1), 0) * self.lowest[s] for s in range(SYMBOLS))


STEP = st.tuples(st.sampled_from(["enter", "enter", "enter", "fill", "fill", "cancel", "move"]), st.integers(0, 1), st.integers(0, SYMBOLS - 1),
                 st.integers(0, 1), st.integers(1, 40), st.integers(0, 5))  # fmt: skip


def step(shard: Shard, what: str, symbol: int, side: int, lots: int, n: int, price: int) -> None:
    if what == "enter":
        shard.enter(symbol, side, lots, price)
    elif what == "fill":
        shard.fill(n, lots)
    elif what == "cancel":
        shard.cancel(n)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=80))
def test_gross_is_above_the_leases_by_no_more_than_the_reducing_orders_that_work(steps) -> None:
    shards = [Shard(4000), Shard(6000)]
    for what, which, symbol, side, lots, n in steps:
        shard = shards[which]
        step(shard, what, symbol, side, lots, n, PRICE)
        assert shard.exposure.account()["gross"] == shard.gross()
        assert shard.gross() <= shard.lease + shard.reducing()
    assert sum(s.gross() for s in shards) <= 10_000 + sum(s.reducing() for s in shards)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=80))
def test_the_worst_case_never_passes_the_leases_wherever_prices_go(steps) -> None:
    shards = [Shard(4000), Shard(6000)]
    for what, which, symbol, side, lots, n in steps:
        shard = shards[which]
        if what == "move":
            shard.move(symbol, PRICE - 5 + (lots + n) % 11)
        step(shard, what, symbol, side, lots, n, PRICE - 2 + n % 5)
        assert shard.worst() <= shard.lease, "at the lowest price"
    assert sum(s.worst() for s in shards) <= 10_000


def test_the_bound_is_met_an_order_that_flattens_a_full_lease_doubles_what_is_counted() -> None:
    shard = Shard(4000)
    assert shard.enter(0, 0, 40, PRICE)
    shard.fill(0, 40)
    assert not shard.enter(1, 0, 1, PRICE), "full"
    assert shard.enter(0, 1, 40, PRICE), "what reduces passes"
    assert shard.gross() == 8000 == shard.lease + shard.reducing() and shard.worst() == 4000
    assert not shard.enter(0, 1, 1, PRICE), "one lot more would go short: that adds"
    shard.fill(0, 40)
    assert shard.gross() == 0
