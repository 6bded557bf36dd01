"""From two configurations to commands: everything that differs is done, needs a restart, or is kept; and can be taken back."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config import effective, load_profile
from orchestrator.config.models import InstrumentLimits
from orchestrator.config.plan_changes import plan

OWN = tuple(InstrumentLimits.model_fields)


def view(**changes: Any) -> dict[str, Any]:
    return effective(load_profile("laptop", {"instruments": [{"symbol": "A"}, {"symbol": "B"}], **{k.replace("__", "."): v for k, v in changes.items()}}))


def own(**changes: int) -> dict[str, int]:
    return {**{name: _START["risk"][name] for name in OWN}, **changes}


def test_equal_configurations_need_nothing():
    found = plan(view(), view())
    assert (found.steps, found.needs_restart, found.kept, found.changes) == ([], [], [], [])


def test_what_a_running_engine_cannot_take_is_listed():
    found = plan(view(), view(engine__idle="spin", account__taker_fee_units_per_lot=5, venue__seed=8, risk__short_sales="refuse"))
    assert {c.place for c in found.needs_restart} == {"engine.idle", "account.taker_fee_units_per_lot", "venue.seed", "risk.short_sales"}
    assert {c.place for c in plan(view(), effective(load_profile("laptop", {"instruments": [{"symbol": "A"}]}))).needs_restart} >= {"instruments[B].symbol"}


def test_pauses_come_first_and_what_opens_up_comes_last():
    before = view(risk__restricted_symbols=["B"])
    after = view(risk__restricted_symbols=["A"], risk__max_loss_units=5, observe__log_level="debug", policies__members=[{"file": "x", "slot": 0, "weight": 2}])
    found = plan(before, after)
    assert [s.cmd for s in found.steps] == ["pause", "limits.set", "weights", "policy.load", "policy.swap", "resume", "log_level"]
    assert not found.needs_restart
    assert [c.place for c in plan(before, after, restricted_at_start=["B"]).needs_restart] == ["risk.restricted_symbols"]


def test_alert_thresholds_concern_no_engine():
    found = plan(view(), view(observe__alerts__stale_after_s=9))
    assert found.steps == [] and [c.place for c in found.kept] == ["observe.alerts.stale_after_s"]


def test_a_symbol_whose_own_limits_are_taken_away_gets_the_accounts_and_follows_them_from_then_on():
    mine = view(risk__by_symbol={"A": own(max_order_lots=150)})
    (gone,) = plan(mine, view()).steps
    assert gone.cmd == "limits.set" and gone.args["symbol"] == "A" and gone.args["limits"]["max_order_lots"] == 200
    wider = view(risk__max_executions=9)
    assert [s.args.get("symbol") for s in plan(view(), wider).steps] == [None]
    assert [s.args.get("symbol") for s in plan(view(), wider, own_limits=["A"]).steps] == [None, "A"]


class Engine:
    """The oracle: applies commands to a configuration as an engine would hold it."""

    def __init__(self, start: dict[str, Any]) -> None:
        self.account = {n: v for n, v in start["risk"].items() if isinstance(v, int)}
        self.own = {s: dict(v) for s, v in start["risk"]["by_symbol"].items()}
        self.restricted = set(start["risk"]["restricted_symbols"])
        self.weights = [next((m["weight"] for m in start["policies"]["members"] if m["slot"] == s), 0) for s in range(8)]
        self.level = start["observe"]["log_level"]

    def take(self, cmd: str, args: dict[str, Any]) -> None:
        if cmd == "limits.set" and "symbol" in args:
            base = self.own.get(args["symbol"]) or {n: self.account[n] for n in OWN}
            self.own[args["symbol"]] = {**base, **args["limits"]}
        elif cmd == "limits.set":
            self.account.update(args["limits"])
        elif cmd in ("pause", "resume"):
            (self.restricted.add if cmd == "pause" else self.restricted.discard)(args["symbol"])
        elif cmd == "weights":
            self.weights = args["weights"]
        elif cmd == "log_level":
            self.level = args["level"]

    def in_force(self) -> tuple:
        each = {s: self.own.get(s) or {n: self.account[n] for n in OWN} for s in ("A", "B")}
        return self.account, each, self.restricted, self.weights, self.level


_START = view()


def _view(loss: int, age_ns: int, level: str, weight: int, mine: dict[str, int], restricted: list[str]) -> dict[str, Any]:
    out = copy.deepcopy(_START)
    out["risk"].update(max_loss_units=loss, max_quote_age_ns=age_ns, restricted_symbols=restricted)
    out["risk"]["by_symbol"] = {s: own(max_quote_age_ns=v) for s, v in mine.items()}
    out["observe"]["log_level"] = level
    out["policies"]["members"][0]["weight"] = weight
    return out


_VIEWS = st.builds(
    _view, st.sampled_from([1_000_000, 2_000_000]), st.sampled_from([10**6, 10**7, 10**8]), st.sampled_from(["info", "debug"]),
    st.integers(1, 3), st.dictionaries(st.sampled_from("AB"), st.sampled_from([10**6, 10**7])), st.sampled_from([[], ["A"], ["B"]]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(_VIEWS, min_size=2, max_size=4))
def test_any_chain_of_deploys_leaves_the_engine_as_the_last_configuration_says_and_each_can_be_taken_back(views):
    engine, touched = Engine(views[0]), set(views[0]["risk"]["by_symbol"])
    for before, after in zip(views, views[1:], strict=False):
        was = copy.deepcopy(engine.in_force())
        found = plan(before, after, own_limits=touched)
        assert not found.needs_restart
        for step in found.steps:
            engine.take(step.cmd, step.args)
        assert engine.in_force() == Engine(after).in_force()
        for step in reversed(found.steps):
            for cmd, args in step.undo:
                engine.take(cmd, args)
        assert engine.in_force() == was
        for step in found.steps:
            engine.take(step.cmd, step.args)
        touched |= {s.args["symbol"] for s in found.steps if s.cmd == "limits.set" and "symbol" in s.args}
