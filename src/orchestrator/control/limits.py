"""Limits in force, by the names of the configuration, and what changes them.

In force is what the journal says: the header's limits, and every limits command since. A limit of the account that shards
divide is shown whole and set whole; each shard gets its part by run/shards.part, as at the start.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from orchestrator.control import bodies
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Effect
from orchestrator.control.told import MAX_LINES, Shard, Told
from orchestrator.run.shards import part

#: Limit of each instrument: name in the configuration → field of the engine.
OF_SYMBOLS = {
    name + ("_units" if name.endswith("_notional") else ""): name for name in bodies.INSTRUMENT_FIELDS if name
}
_UNITS = ("max_account_notional", "max_gross", "max_credit", "max_loss", "max_drawdown")
#: Limit of the account → field.
OF_ACCOUNT = {
    (name + "_units" if name in _UNITS else "cancel_reserve_messages" if name == "cancel_reserve" else name): name
    for name in bodies.ACCOUNT_FIELDS if name
}  # fmt: skip
ALL = {**OF_SYMBOLS, **OF_ACCOUNT}
#: Divided over the shards.
DIVIDED = {
    "max_account_orders", "max_account_notional_units", "max_credit_units", "max_loss_units", "max_drawdown_units",
    "max_messages", "cancel_reserve_messages", "max_positions", "soft_positions",
}  # fmt: skip
#: 0 is "no such limit" here: no shard's part may come to that by being divided.
ZERO_IS_NONE = ("max_positions", "soft_positions")
#: Least and most where it is not 0 to 2^62: as the configuration has them. Nothing falls into a window of length 0.
RANGES = {
    "soft_permille": (1, 1000), "max_messages": (0, 4095), "max_executions": (0, 63), "collar_bps": (0, 10_000),
    "message_window_ns": (1, 2**62), "execution_window_ns": (1, 2**62), "max_quote_age_ns": (1, 2**62),
}  # fmt: skip


class Limits:
    """Reads limits out of what the engine was told."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._expected: dict[int, int] = {}

    def commands(self) -> list[dict[str, Any]]:
        """Every command of the run that is still kept, oldest first. Raises ControlError."""
        listed: list[dict[str, Any]] = self._told.listed(0, MAX_LINES)["commands"]
        return listed

    def expect(self, effects: Iterable[Effect]) -> None:
        """These commands changed limits: what is read from now on must hold them."""
        for effect in effects:
            self._expected[effect.shard] = max(self._expected.get(effect.shard, 0), effect.seq)

    def in_force(self, symbol: str | None = None) -> dict[str, Any]:
        """All of them, or those of one symbol. Raises ControlError."""
        shards = self._told.shards(self._expected)
        if symbol is not None:
            return _of_symbol(shards, symbol)
        return {
            "account": account_of(shards),
            "symbols_default": _named(shards[0].account, OF_SYMBOLS),
            "symbols": {name: _named(own, OF_SYMBOLS) for shard in shards for name, own in _own(shard)},
            "shards": [{"shard": s.number, "account": _named(s.account, OF_ACCOUNT), "as_of_seq": s.last_seq} for s in shards],
        }

    def bodies_for(self, n: int, where: tuple[int, int] | None, values: dict[str, int]) -> dict[int, bytes]:
        """The limits command of each shard that changes `values`; `where`: (shard, instrument) of one symbol, None = the
        account. Raises ControlError with every problem at once."""
        wrong = _problems(values, account=where is None)
        wrong += [f"{name}: found {values[name]}, expected 0 or at least {n}, one a shard" for name in ZERO_IS_NONE if 0 < values.get(name, 0) < n]
        if wrong:
            raise ControlError("usage", "; ".join(wrong), "peregrine limits get shows all names")
        shards = self._told.shards(self._expected)
        if len(shards) != n:
            raise ControlError("unavailable", f"the run has {len(shards)} journals, the engine {n} shards", "try again in a moment")
        if where is not None:
            shard, ix = where
            now = dict(shards[shard].own.get(ix) or {f: shards[shard].account[f] for f in bodies.INSTRUMENT_FIELDS if f})
            now.update({OF_SYMBOLS[name]: value for name, value in values.items()})
            return {shard: bodies.limits(now, ix)}
        out = {}
        for s in shards:
            now = dict(s.account)
            for name, value in values.items():
                now[ALL[name]] = part(value, n, s.number) if name in DIVIDED else value
            out[s.number] = bodies.limits(now)
        return out


def account_of(shards: list[Shard]) -> dict[str, int]:
    """The account's limits: divided ones summed up."""
    first = _named(shards[0].account, OF_ACCOUNT)
    return {
        name: sum(s.account[OF_ACCOUNT[name]] for s in shards) if name in DIVIDED else value for name, value in first.items()
    }


def _named(fields: dict[str, int], names: dict[str, str]) -> dict[str, int]:
    return {name: fields[field] for name, field in names.items() if field in fields}


def _own(shard: Shard) -> list[tuple[str, dict[str, int]]]:
    symbols = [i["symbol"] for i in shard.header["instruments"]]
    return [(symbols[ix], own) for ix, own in sorted(shard.own.items()) if ix < len(symbols)]


def _of_symbol(shards: list[Shard], symbol: str) -> dict[str, Any]:
    for shard in shards:
        for ix, instrument in enumerate(shard.header["instruments"]):
            if instrument["symbol"] == symbol:
                own = shard.own.get(ix)
                return {"symbol": symbol, "shard": shard.number, "own": own is not None,
                        "limits": _named(own or shard.account, OF_SYMBOLS)}  # fmt: skip
    raise ControlError("usage", f"no symbol {symbol}", "peregrine status lists them")


def _problems(values: dict[str, int], *, account: bool) -> list[str]:
    known = ALL if account else OF_SYMBOLS
    wrong = []
    for name, value in values.items():
        low, high = RANGES.get(name, (0, 2**62))
        if name in known:
            if not low <= value <= high:
                wrong.append(f"{name}: found {value}, expected {low} to {high}")
        elif name in ALL:
            wrong.append(f"{name} is the account's, not a symbol's")
        else:
            near = difflib.get_close_matches(name, known, n=1)
            wrong.append(f"no limit {name}" + (f": did you mean {near[0]}?" if near else ""))
    return wrong
