"""A shard as far as leases go: the engine's own gate and exposure, and what it has working."""

from __future__ import annotations

from hotpath import _core
from orchestrator.control.leases import GRANT, Message, Reading
from tests.risk.gate_setup import limits, market, order

BUDGET = 10_000
PRICE = 100


class Shard:
    """A shard as far as leases go: the engine's own gate and exposure, what it has working, and a network that misbehaves."""

    def __init__(self, level: int) -> None:
        self.gate = _core.Gate(max_instruments=1)
        self.exposure = _core.Exposure(1)
        assert self.gate.set_limits(limits(max_gross=BUDGET))
        self.gate.set_authorised(1, True)
        self.gate.set_session_ready(True)
        self.gate.set_journal_healthy(True)
        assert self.gate.grant(1, level, 10**9)
        self.orders: list[tuple[int, int]] = []  # lots, notional
        self.said: list[Reading] = []
        self.now = 10**12

    @property
    def level(self) -> int:
        return self.gate.lease()[1]

    @property
    def used(self) -> int:
        return self.exposure.account()["gross"]

    def buy(self, lots: int) -> None:
        """Sends an order if the gate lets it pass."""
        self.now += 10**10
        view = market(bid_ticks=PRICE - 1, ask_ticks=PRICE, reference_ticks=PRICE, quote_ts_ns=self.now)
        if self.gate.check(order(price_ticks=PRICE, qty_lots=lots), view, self.exposure, self.now)["reason"] == "pass":
            self.exposure.move_claim(0, 0, (0, 0, 0), (0, lots, lots * PRICE))
            self.orders.append((lots, lots * PRICE))

    def done(self) -> None:
        """The oldest order is over."""
        if self.orders:
            lots, notional = self.orders.pop(0)
            self.exposure.move_claim(0, 0, (0, lots, notional), (0, 0, 0))

    def take(self, m: Message) -> None:
        if m.kind == GRANT:
            self.gate.grant(m.epoch, m.units, m.qty_lots)
        else:
            self.gate.give_back(m.epoch, m.units, 0, self.exposure)

    def say(self, *, torn: bool = False) -> Reading:
        """A reading; a torn one has what is used from the reading before where the epoch is a new one."""
        epoch, level, lots = self.gate.lease()
        older = torn and self.said and self.said[-1].epoch != epoch
        self.said.append(Reading(epoch, level, self.said[-1].used_units if older else self.used, lots))
        return self.said[-1]
