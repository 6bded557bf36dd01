"""What may not be made of limits by hand: what the configuration would refuse too, asked of its own rules.

The configuration is looked at as it would stand with the limits in force and those that are to be set. In production its
production rules speak about every value that is set; in every environment the relations between limits do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.config.checks import between_limits
from orchestrator.config.models import Config, Risk
from orchestrator.config.production import refusals
from orchestrator.config.yaml_tree import Tree, dotted
from orchestrator.control.errors import ControlError


def judge(cfg: Config, in_force: Mapping[str, Any], values: Mapping[str, int], symbol: str | None) -> None:
    """Of `values` (limit → new value; of the account, or of one symbol), over what `Limits.in_force` tells of all of them.
    Raises ControlError: `usage` for a relation, `refused` for what production does not take, every problem at once."""
    risk = _risk(cfg, in_force, values, symbol)
    if symbol is None:
        found = [finding for names, finding in between_limits(risk, cfg.engine) if not values.keys().isdisjoint(names)]
        if found:
            raise ControlError("usage", "; ".join(f"{path[-1]}: found {value}, expected {expected}" for path, value, expected, _ in found),
                               f"{found[0][3]}; to stop trading: peregrine pause")  # fmt: skip
    if cfg.environment == "production":
        under = ("risk",) if symbol is None else ("risk", "by_symbol", symbol)
        touched = {dotted((*under, name)) for name in values}
        refused = [p for p in refusals(cfg.model_copy(update={"risk": risk}), Tree()) if p.path in touched]
        if refused:
            raise ControlError("refused", "; ".join(f"{p.path}: {p.found}, {p.expected}" for p in refused),
                               f"this engine was started for production; {refused[0].hint}")  # fmt: skip


def _risk(cfg: Config, in_force: Mapping[str, Any], values: Mapping[str, int], symbol: str | None) -> Risk:
    known = Risk.model_fields
    now = {**in_force["symbols_default"], **in_force["account"]}
    risk = {**cfg.risk.model_dump(), **{name: value for name, value in now.items() if name in known}}
    by_symbol = {name: dict(own) for name, own in in_force["symbols"].items()}
    if symbol is None:
        risk.update(values)
    else:
        by_symbol[symbol] = {**(by_symbol.get(symbol) or in_force["symbols_default"]), **values}
    return Risk.model_validate({**risk, "by_symbol": by_symbol})
