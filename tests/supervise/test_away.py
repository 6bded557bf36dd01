"""What is taken while no engine runs, and what is not: against a tree that is only its holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.config import load_profile
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Request
from orchestrator.supervise import away
from orchestrator.supervise.holds import Holds
from orchestrator.supervise.state_file import Hold


@pytest.fixture
def tree():
    tree: Any = SimpleNamespace(cfg=load_profile("laptop"), name="desk", holds=Holds(), life=SimpleNamespace(state="syncing"), saved=[])
    tree.save = lambda: tree.saved.append(len(tree.holds.listed()))
    return tree


def engine(*, lifted: bool = False, alive: bool = False, link: Any = None, killed: bool = False) -> Any:
    return SimpleNamespace(lifted=lifted, member=SimpleNamespace(alive=lambda: alive), link=link, killed=lambda: killed)


def asked(cmd: str, **args: Any) -> Request:
    return Request(cmd=cmd, args=args, who="anna", why="lunch")


def test_a_pause_is_written_down_with_who_and_why_and_taken_back(tree):
    assert "before it may trade" in away.keep(tree, engine(), asked("pause", all=True, keep=True))["kept"]
    (hold,) = tree.holds.listed()
    assert (hold.kind, hold.who, hold.why, hold.owed, hold.keep) == ("pause", "anna", "lunch", True, True) and tree.saved == [1]
    away.keep(tree, engine(), asked("pause", symbol="PRGN"))
    assert away.take_back(tree, engine(link=object()), asked("resume", all=True)) is None, "an engine is to do it"
    assert away.take_back(tree, engine(), asked("resume", all=True)) == {"taken_back": "paused by anna (lunch)"}
    assert [h.symbol for h in tree.holds.listed()] == ["PRGN"] and tree.saved[-1] == 1
    assert away.take_back(tree, engine(), asked("resume", symbol="PRGN")) == {"taken_back": "PRGN paused by anna (lunch)"}
    assert away.take_back(tree, engine(), asked("resume", all=True)) is None and tree.holds.listed() == []


def test_what_an_engine_had_taken_before_is_not_taken_back_without_one(tree):
    tree.holds.restore([Hold(shard=0, kind="drain", who="bob", seq=7)])
    away.keep(tree, engine(), asked("pause", shard=0))
    with pytest.raises(ControlError, match="drained by bob before"):
        away.take_back(tree, engine(), asked("resume", shard=0))
    assert len(tree.holds.listed()) == 2


@pytest.mark.parametrize(("state", "there"), [("draining", engine()), ("failed", engine()), ("trading", engine(lifted=True, alive=True))])
def test_nothing_is_kept_where_no_engine_is_to_come_or_one_trades_that_is_not_in_hand(tree, state, there):
    tree.life.state = state
    with pytest.raises(ControlError) as told:
        away.keep(tree, there, asked("drain", all=True))
    assert told.value.code == "unavailable" and tree.holds.listed() == [] and not tree.saved


@pytest.mark.parametrize("wrong", [{"symbol": "NONE"}, {"shard": 9}])
def test_a_slip_is_told_and_nothing_is_kept(tree, wrong):
    with pytest.raises(ControlError) as told:
        away.keep(tree, engine(), asked("pause", **wrong))
    assert told.value.code == "usage" and tree.holds.listed() == []


def test_a_flatten_and_a_reduce_only_are_kept_and_a_resume_takes_both_back(tree):
    said = away.keep(tree, engine(), asked("flatten"))["kept"]
    assert "before it may trade" in said and "positions are closed once" in said
    assert "positions" not in away.keep(tree, engine(killed=True), asked("reduce_only", on=True))["kept"]
    assert [(h.kind, h.owed, h.who, h.after_kill) for h in tree.holds.listed()] == [("flatten", True, "anna", False), ("reduce_only", True, "anna", True)]
    assert away.take_back(tree, engine(), asked("resume", all=True)) == {"taken_back": "to be flattened by anna (lunch), reduce-only by anna (lunch)"}
    assert tree.holds.listed() == [] and tree.saved == [1, 2, 0]


def test_reduce_only_off_takes_back_what_is_owed_of_it_and_says_what_ends_a_flatten(tree):
    off = asked("reduce_only", on=False)
    assert away.take_back(tree, engine(), off) is None
    away.keep(tree, engine(), asked("reduce_only", on=True))
    away.keep(tree, engine(), asked("flatten"))
    assert away.take_back(tree, engine(), off) == {"taken_back": "reduce-only by anna (lunch)"}
    with pytest.raises(ControlError, match="to be flattened by anna") as told:
        away.take_back(tree, engine(), off)
    assert "resume" in told.value.hint and [h.kind for h in tree.holds.listed()] == ["flatten"]
