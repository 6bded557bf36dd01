"""Our journals against the venue's drop copy: execution by execution, so that positions agree because every fill does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.day.drop_copy import DropCopy
from orchestrator.day.fills import DayRecord


@dataclass
class Reconciliation:
    """What does not agree, a line each. `unknown`: fills of the firm on orders this run never had (another port's)."""

    fills: int
    problems: list[str] = field(default_factory=list)
    unknown: int = 0

    @property
    def agreed(self) -> bool:
        """Does every execution of ours stand in the venue's record, the same, and none of the venue's lack in ours?"""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"agreed": self.agreed, "fills": self.fills, "problems": self.problems, "of_other_ports": self.unknown}


def reconcile(day: DayRecord, venue: DropCopy, *, whole_firm: bool = True) -> Reconciliation:
    """Compare. `whole_firm`: the run is all the firm trades, so a fill it does not know is a problem, not another's."""
    out = Reconciliation(len(day.fills))
    ours = {fill.key: fill for fill in day.fills}
    for key, fill in ours.items():
        told = venue.fills.get(key)
        if told is None:
            why = "broken at the venue" if fill.match in venue.broken else "not in the venue's record"
            out.problems.append(f"{fill.symbol} {fill.signed_lots:+} at {fill.price_ticks}, match {fill.match}: {why}")
        elif told != (abs(fill.signed_lots), fill.price_ticks, fill.liquidity):
            out.problems.append(f"{fill.symbol} match {fill.match}: ours {abs(fill.signed_lots)} at {fill.price_ticks} ({fill.liquidity}), "
                                f"the venue's {told[0]} at {told[1]} ({told[2]})")  # fmt: skip
        elif (order := venue.orders.get(fill.order_ref)) is not None and order != (fill.symbol, 1 if fill.signed_lots > 0 else -1):
            side = "bought" if order[1] > 0 else "sold"
            out.problems.append(f"{fill.symbol} match {fill.match}: ours {fill.signed_lots:+}, by the venue we {side} {order[0]}")
    for key, (lots, price_ticks, _) in venue.fills.items():
        if key not in ours:
            out.unknown += 1
            if whole_firm:
                out.problems.append(f"match {key[0]}: the venue has {lots} at {price_ticks} on order {key[1]}, our journals have not")
    for fill in day.broken:
        if fill.match not in venue.broken:
            out.problems.append(f"{fill.symbol} match {fill.match}: broken in our journals, not at the venue")
    return out
