"""From what differs between the running configuration and the wanted one to commands: what a running engine can take.

    setting                        becomes
    risk.…  (numbers)              limits.set of the account, which is the default of symbols without limits of their own
    risk.by_symbol[…]              limits.set of that symbol, whole
    risk.restricted_symbols        pause of a symbol that is added; resume of one that was added while it ran
    policies.members[…].weight     weights, all slots
    policies.members[…].file       policy.load and policy.swap of that slot
    engine.active_symbols          active_symbols
    observe.log_level              log_level
    observe.alerts.…               nothing of the engine: kept for the rules that are made from it

Everything else is made at the start and needs one. The order is the safe one: pauses, limits, weights and policies, then what
lets more through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.config.difference import ABSENT, Change, changes

#: settings of `risk` that are no numbers
_NOT_LIMITS = ("short_sales", "restricted_symbols", "authorised_strategies", "by_symbol")
SLOTS = 8


@dataclass(frozen=True)
class Step:
    """One command. `undo`: the commands that take it back, in order."""

    cmd: str
    args: dict[str, Any]
    says: str
    undo: tuple[tuple[str, dict[str, Any]], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The command and what it is for."""
        return {"cmd": self.cmd, "args": self.args, "says": self.says}


@dataclass
class Plan:
    """What would be done. `needs_restart`: changes no running engine can take; `kept`: changes that concern no engine."""

    steps: list[Step] = field(default_factory=list)
    needs_restart: list[Change] = field(default_factory=list)
    kept: list[Change] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def plan(before: Mapping[str, Any], after: Mapping[str, Any], *, own_limits: Iterable[str] = (),
         restricted_at_start: Iterable[str] = ()) -> Plan:
    """Commands that bring an engine that runs as `before` says to where `after` wants it; both are effective configurations.

    `own_limits`: symbols that have had limits of their own since the engine started, and so do not follow the account's;
    `restricted_at_start`: symbols the engine itself was started without.
    """
    found = Plan(changes=changes(before, after))
    symbols = [i["symbol"] for i in after["instruments"]]
    traded = {i["symbol"] for i in before["instruments"]}
    fixed = set(restricted_at_start)
    taken: set[str] = set()
    pauses, limits, weights, policies, opening = [], [], [], [], []
    if steps := _account_limits(before["risk"], after["risk"], taken):
        limits += steps
    limits += _symbol_limits(before["risk"], after["risk"], [s for s in symbols if s in traded], set(own_limits), bool(limits), taken, found.changes)
    for symbol in sorted(set(after["risk"]["restricted_symbols"]) - set(before["risk"]["restricted_symbols"])):
        undo = (("resume", {"symbol": symbol}),)
        pauses.append(Step("pause", {"symbol": symbol}, f"{symbol} is restricted: no new orders, working ones cancelled", undo))
        taken.add("risk.restricted_symbols")
    lifted = sorted(set(before["risk"]["restricted_symbols"]) - set(after["risk"]["restricted_symbols"]))
    if not set(lifted) & fixed:
        for symbol in lifted:
            undo = (("pause", {"symbol": symbol}),)
            opening.append(Step("resume", {"symbol": symbol}, f"{symbol} may be traded again", undo))
            taken.add("risk.restricted_symbols")
    else:
        pauses = []
        taken.discard("risk.restricted_symbols")
    members, old = _by_slot(after), _by_slot(before)
    if set(members) == set(old):
        weights += _weights(old, members, taken)
        policies += _files(old, members, taken)
    for name, cmd, arg in (("engine.active_symbols", "active_symbols", "count"), ("observe.log_level", "log_level", "level")):
        opening += _single(name, cmd, arg, found.changes, taken)
    for change in found.changes:
        if change.place.startswith("observe.alerts."):
            found.kept.append(change)
        elif change.place not in taken:
            found.needs_restart.append(change)
    found.steps = [*pauses, *limits, *weights, *policies, *opening]
    return found


def _account_limits(before: Mapping[str, Any], after: Mapping[str, Any], taken: set[str]) -> list[Step]:
    changed = [name for name, value in after.items() if name not in _NOT_LIMITS and before[name] != value]
    taken.update(f"risk.{name}" for name in changed)
    if not changed:
        return []
    says = "account limits: " + ", ".join(f"{name} {before[name]} → {after[name]}" for name in changed)
    undo = (("limits.set", {"limits": {name: before[name] for name in changed}}),)
    return [Step("limits.set", {"limits": {name: after[name] for name in changed}}, says, undo)]


def _symbol_limits(before: Mapping[str, Any], after: Mapping[str, Any], symbols: list[str], own: set[str], account: bool,
                   taken: set[str], found: list[Change]) -> list[Step]:
    steps = []
    for symbol in symbols:
        old, new = before["by_symbol"].get(symbol), after["by_symbol"].get(symbol)
        names = list(new or old or dict.fromkeys(_instrument_limits(after), 0))
        was = old or {name: before[name] for name in names}
        wanted = new or {name: after[name] for name in names}
        follows = symbol in own and new is None  # has limits of its own by now: the account's pass it by
        fresh = old is None and new is not None and symbol not in own  # must not follow the account any more, even where equal
        if old is None and new is None and not (follows and account):
            continue
        if was == wanted and not fresh:
            _take(symbol, taken, found)  # the same numbers, said elsewhere: nothing to tell the engine
            continue
        changed = {name: wanted[name] for name in names if was[name] != wanted[name] or (old is None) != (new is None)}
        differing = ", ".join(f"{n} {was[n]} → {wanted[n]}" for n in changed if was[n] != wanted[n])
        says = f"limits of {symbol}: {differing or 'its own from now on'}"
        undo = (("limits.set", {"symbol": symbol, "limits": {name: was[name] for name in changed}}),)
        steps.append(Step("limits.set", {"symbol": symbol, "limits": changed}, says, undo))
        _take(symbol, taken, found)
    return steps


def _instrument_limits(risk: Mapping[str, Any]) -> list[str]:
    from orchestrator.config.models import InstrumentLimits

    return [name for name in InstrumentLimits.model_fields if name in risk]


def _take(symbol: str, taken: set[str], found: list[Change]) -> None:
    taken.update(c.place for c in found if c.path[:3] == ("risk", "by_symbol", symbol) or c.place == "risk.by_symbol")


def _by_slot(view: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    return {m["slot"]: m for m in view["policies"]["members"]}


def _weights(old: Mapping[int, Mapping[str, Any]], new: Mapping[int, Mapping[str, Any]], taken: set[str]) -> list[Step]:
    changed = [slot for slot in new if new[slot]["weight"] != old[slot]["weight"]]
    if not changed:
        return []
    taken.update(f"policies.members[slot {slot}].weight" for slot in changed)
    listed = [[members[s]["weight"] if s in members else 0 for s in range(SLOTS)] for members in (old, new)]
    says = "weights: " + ", ".join(f"slot {s} {old[s]['weight']} → {new[s]['weight']}" for s in changed)
    return [Step("weights", {"weights": listed[1]}, says, (("weights", {"weights": listed[0]}),))]


def _files(old: Mapping[int, Mapping[str, Any]], new: Mapping[int, Mapping[str, Any]], taken: set[str]) -> list[Step]:
    steps = []
    for slot, member in new.items():
        before, after = old[slot]["file"], member["file"]
        if before == after:
            continue
        taken.add(f"policies.members[slot {slot}].file")
        steps.append(Step("policy.load", {"slot": slot, "path": after}, f"policy of slot {slot}: {after} checked and kept ready"))
        undo = (("policy.load", {"slot": slot, "path": before}), ("policy.swap", {"slot": slot}))
        steps.append(Step("policy.swap", {"slot": slot}, f"policy of slot {slot}: {before} → {after}", undo))
    return steps


def _single(place: str, cmd: str, arg: str, found: list[Change], taken: set[str]) -> list[Step]:
    for change in found:
        if change.place == place and change.before not in (ABSENT, None) and change.after not in (ABSENT, None):
            taken.add(place)
            undo = ((cmd, {arg: change.before}),)
            return [Step(cmd, {arg: change.after}, f"{place} {change.before} → {change.after}", undo)]
    return []
