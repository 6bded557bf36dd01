"""The targets the project began with, held against the figures of one run: how many times under or over each is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Target:
    """`measured` gives nanoseconds (a time, at most `goal`) or a number a second (a rate, at least `goal`)."""

    name: str
    goal: float
    kind: str  # "ns" or "per_second"
    needs: tuple[str, ...]
    measured: Callable[[Rows], float]
    how: str


def _p99(*names: str) -> Callable[[Rows], float]:
    return lambda rows: sum(rows[n]["p99"] for n in names)


def _rate(*names: str) -> Callable[[Rows], float]:
    """Of stages one after the other: their mean times add up."""
    return lambda rows: 1.0 / sum(1.0 / rows[n]["rate"] for n in names)


def _target(name: str, goal: float, kind: str, needs: tuple[str, ...], how: str) -> Target:
    return Target(name, goal, kind, needs, (_p99 if kind == "ns" else _rate)(*needs), how)


TARGETS = (
    _target("signal", 100e6, "ns", ("features", "policy_inference"), "p99 of features and inference, added"),
    _target("order", 50e6, "ns", ("tick_to_order",), "p99, packet bytes in to order bytes out"),
    _target("risk", 10e6, "ns", ("risk_gate",), "p99, every check"),
    _target("market messages", 10_000, "per_second", ("book_update_wide",), "decoded and applied, 8,000 symbols"),
    _target("features", 1_000, "per_second", ("features",), "vectors of 22 features"),
    _target("signals", 100, "per_second", ("features", "policy_inference"), "features computed and a decision made"),
    _target("orders", 50, "per_second", ("orders_per_second",), "through gate, journal and encoder, answers included"),
    _target("trades", 100_000, "per_second", ("matching",), "orders entered or cancelled at the exchange"),
    _target("symbols", 5_000, "per_second", ("book_update_wide",), "books of 8,000 symbols changed, one a message"),
)


def rows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a target whose figures this run has: goal, measured, and `times`: how often it fits (below 1: missed)."""
    by_name = {row["name"]: row for row in results}
    out = []
    for t in TARGETS:
        if not all(n in by_name for n in t.needs):
            continue
        measured = t.measured(by_name)
        times = t.goal / measured if t.kind == "ns" else measured / t.goal
        out.append({"name": t.name, "unit": t.kind, "goal": t.goal, "measured": round(measured, 1),
                    "times": round(times, 1), "from": list(t.needs), "how": t.how})  # fmt: skip
    return out
