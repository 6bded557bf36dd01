"""A gate with wide limits on two instruments, and the records the tests change one field of."""

from __future__ import annotations

from typing import Any

import numpy as np

from hotpath import _core
from tests.oracles.risk_gate import LIMITS_DTYPE, NO_INSTRUMENT, REQUEST_DTYPE, VIEW_DTYPE

NOW = 1_000_000_000_000
WIDE = {
    "version": 1, "instrument": NO_INSTRUMENT, "collar_ticks": 10**6, "collar_bps": 10_000, "max_order_lots": 10**6,
    "max_order_notional": 10**13, "max_working_orders": 1000, "max_working_notional": 10**14, "max_long_lots": 10**7,
    "max_short_lots": 10**7, "max_executions": 60, "execution_window_ns": 10**9, "duplicate_window_ns": 0,
    "max_quote_age_ns": 10**9, "max_account_orders": 10_000, "max_account_notional": 10**15, "max_gross": 10**15,
    "max_credit": 10**15, "max_loss": 10**12, "max_drawdown": 10**12, "max_messages": 4000,
    "message_window_ns": 10**9, "cancel_reserve": 0, "soft_permille": 800,
}


def record(dtype: np.dtype, values: dict[str, Any]) -> bytes:
    """The bytes of one struct; unset fields are zero."""
    row = np.zeros(1, dtype)
    for key, value in values.items():
        row[0][key] = value
    return row.tobytes()


def limits(**changes: int) -> bytes:
    """Wide limits but for what is changed."""
    return record(LIMITS_DTYPE, {**WIDE, **changes})


def order(**changes: int) -> bytes:
    """A buy of 100 at 100.0000 on instrument 0 by strategy 1."""
    base = {"instrument": 0, "kind": 0, "side": 0, "mark": 0, "strategy": 1, "price_ticks": 1_000_000, "qty_lots": 100}
    return record(REQUEST_DTYPE, {**base, **changes})


def market(**changes: int) -> bytes:
    """99.99 x 100.01, live and open."""
    base = {"bid_ticks": 999_900, "ask_ticks": 1_000_100, "bid_lots": 500, "ask_lots": 500, "reference_ticks": 1_000_000,
            "quote_ts_ns": NOW, "feed_live": 1, "sound": 1, "trading": 1, "market_open": 1}
    return record(VIEW_DTYPE, {**base, **changes})


class Setup:
    """A gate, an exposure, and check() in short."""

    def __init__(self, **changes: int) -> None:
        self.gate = _core.Gate(max_instruments=2)
        self.exposure = _core.Exposure(2)
        assert self.gate.set_limits(limits(**changes))
        self.gate.set_authorised(1, True)
        self.gate.set_session_ready(True)
        self.gate.set_journal_healthy(True)
        assert self.gate.grant(1, 10**15, 10**9)

    def verdict(self, request: bytes | None = None, view: bytes | None = None, now: int = NOW) -> dict[str, Any]:
        """The gate's answer."""
        return self.gate.check(request or order(), view or market(), self.exposure, now)

    def reason(self, request: bytes | None = None, view: bytes | None = None, now: int = NOW) -> str:
        """The reason's name."""
        return self.verdict(request, view, now)["reason"]
