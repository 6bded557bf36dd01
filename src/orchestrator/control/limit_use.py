"""What is used of the limits in force, and how much is left: the engine's own numbers, those its gates judge with.

Used is the worst case, as the gate counts it: the position, and every order that works or whose fate is unknown, and for a
symbol's longs its buys, for its shorts its sells. What is judged order by order (a price, a size, an age) has no use.

Of a limit that the shards divide, each shard judges its own part, so one can be out of room while the account is not: what
is left says in which shard there is least. Gross exposure is not divided but leased; a shard's part is its lease.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from orchestrator.control.limits import OF_ACCOUNT
from orchestrator.observe.segment import Segment
from orchestrator.observe.shards import read_engine, shards_of
from orchestrator.observe.telemetry import Snapshot

#: Limit of the account → counter of what is used of it in one shard.
COUNTERS = {
    "max_account_orders": "account_orders", "max_account_notional_units": "account_units", "max_gross_units": "gross_units",
    "max_credit_units": "credit_units", "max_loss_units": "loss_units", "max_drawdown_units": "drawdown_units",
    "max_messages": "window_messages", "max_positions": "positions",
}  # fmt: skip
#: Limit of a symbol → field of its row in shared memory.
FIELDS = {
    "max_long_lots": "worst_long_lots", "max_short_lots": "worst_short_lots", "max_working_orders": "working_orders",
    "max_working_notional_units": "working_units",
}  # fmt: skip
FRESH_S = 0.1
LEASED = "max_gross_units"
NONE_AT_ZERO = ("max_positions",)  # 0 is no such limit


class LimitUse:
    """Reads an engine's shared memory, at most once in FRESH_S however many ask. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made_s, self._name = float("-inf"), ""
        self._shards: list[Snapshot] = []

    def of(self, name: str, found: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Of what Limits.in_force gave: each limit of the account, and each of symbols by the symbol that has least left; or
        the limits of one symbol. Raises SegmentError, TelemetryError."""
        shards = self._reading(name)
        if "symbol" in found:
            return use_of_symbol(found, shards[found["shard"]])
        return use_of_account(found, shards) | tightest_symbols(shards)

    def _reading(self, name: str) -> list[Snapshot]:
        with self._lock:
            if name != self._name or time.monotonic() - self._made_s > FRESH_S:
                with Segment(name) as segment:
                    self._shards = shards_of(read_engine(segment))
                self._made_s, self._name = time.monotonic(), name
            return self._shards


def use_of_account(found: dict[str, Any], shards: list[Snapshot]) -> dict[str, dict[str, Any]]:
    """Of readings of all shards: {limit: {value, used, left, soft, shards: [{value, used, left}], tightest}}; of the leased one
    `out` and `above` too.

    `left` is what the account has, `tightest` the shard that has least. Loss and drawdown of the account are the sums of its
    shards', which each shard is judged by; a shard in profit does not make up for another there.
    """
    out: dict[str, dict[str, Any]] = {}
    parts = [{name: s["account"].get(name, 0) for name in OF_ACCOUNT} for s in found["shards"]]
    if len(parts) != len(shards):  # the engine is not the one of this run any more, or not yet
        return out
    soft_permille = found["account"].get("soft_permille", 1000)
    for limit, counter in COUNTERS.items():
        value = found["account"].get(limit, 0)
        if value == 0 and limit in NONE_AT_ZERO:
            continue
        own = []
        for part, shard in zip(parts, shards, strict=True):
            most = shard["lease_units"] if limit == LEASED else part[limit]
            own.append({"value": most, "used": shard[counter], "left": most - shard[counter]})
        used = sum(s["used"] for s in own)
        out[limit] = {"value": value, "used": used, "left": value - used, "soft": used * 1000 >= value * soft_permille, "shards": own,
                      "tightest": min(range(len(own)), key=lambda i: own[i]["left"])}  # fmt: skip
        if limit == LEASED:
            out[limit] |= {"out": sum(s["value"] for s in own), "above": max(0, used - value)}
    return out


def tightest_symbols(shards: list[Snapshot]) -> dict[str, dict[str, Any]]:
    """{limit of a symbol: {symbol, value, used, left}} of the symbol that has least left of it."""
    out: dict[str, dict[str, Any]] = {}
    for limit, field in FIELDS.items():
        most = "limit_" + field.removeprefix("worst_")
        for shard in shards:
            left = shard.limits[most] - shard.limits[field]
            if len(left) and (limit not in out or int(left.min()) < out[limit]["left"]):
                ix = int(left.argmin())
                out[limit] = {"symbol": shard.instruments["symbol"][ix].decode("ascii", "replace").strip(),
                              "value": int(shard.limits[most][ix]), "used": int(shard.limits[field][ix]), "left": int(left[ix])}  # fmt: skip
    return out


def use_of_symbol(found: dict[str, Any], shard: Snapshot) -> dict[str, dict[str, int]]:
    """Of a reading of its shard: {limit: {value, used, left}}."""
    for row, limits in zip(shard.instruments, shard.limits, strict=True):
        if row["symbol"].decode("ascii", "replace").strip() == found["symbol"]:
            return {limit: {"value": found["limits"][limit], "used": int(limits[field]), "left": found["limits"][limit] - int(limits[field])}
                    for limit, field in FIELDS.items() if limit in found["limits"]}  # fmt: skip
    return {}
