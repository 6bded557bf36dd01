"""What `limits.set` refuses as the configuration would: relations everywhere, and in production what production refuses."""

from __future__ import annotations

import pytest
from control_rig import FakeLink, FakeTree

from orchestrator.config import load_profile, load_view, parse_name
from orchestrator.config.origin import write_template
from orchestrator.control.dispatch import Dispatcher
from orchestrator.control.lanes import answer
from orchestrator.control.limits import ALL, OF_SYMBOLS
from orchestrator.control.messages import Caller, Request
from orchestrator.control.told import Shard

RITA = Caller("rita", "risk", "tcp")


class World:
    """A dispatcher of one shard whose limits in force are those of a configuration."""

    def __init__(self, cfg, own=()):
        self.link = FakeLink(shards=1)
        self.link.instruments = {"PRGN": (0, 0), "FLCN": (0, 1)}
        tree = FakeTree(link=self.link)
        tree.cfg = cfg
        self.dispatcher = Dispatcher(tree.link, tree)
        shard = Shard(None, 0)
        shard.header = {"instruments": [{"symbol": "PRGN"}, {"symbol": "FLCN"}]}
        risk = cfg.risk.model_dump()
        shard.account = {field: risk[name] for name, field in ALL.items()}
        shard.own = {0: {**{OF_SYMBOLS[n]: risk[n] for n in OF_SYMBOLS}, **own}} if own else {}
        self.dispatcher.told.shards = lambda wanted=None: [shard]

    def set(self, symbol=None, **limits):
        args = {"limits": limits} | ({"symbol": symbol} if symbol else {})
        return answer(self.dispatcher, Request(cmd="limits.set", args=args, why="test"), RITA)


@pytest.fixture
def production(tmp_path):
    """The shipped template as its production environment sees it."""
    write_template(tmp_path / "conf")
    return load_view(parse_name(tmp_path / "conf", "production", "rates")).config


BREACHES = [{"duplicate_window_ns": 0}, {"max_positions": 0}, {"soft_permille": 1000}, {"collar_bps": 9_000}, {"max_order_lots": 1_000_000}]


@pytest.mark.parametrize("limits", BREACHES, ids=lambda v: next(iter(v)))
def test_production_refuses_by_hand_what_it_refuses_in_a_file_and_the_laptop_takes_it(production, limits):
    world = World(production)
    reply = world.set(**limits)
    assert not reply.ok and reply.error.code == "refused" and world.link.sent == []
    assert next(iter(limits)) in reply.error.message and "production" in reply.error.hint
    assert World(load_profile("laptop")).set(**limits).ok


def test_production_takes_what_lowers_and_what_is_within_its_bounds(production):
    world = World(production)
    assert world.set(max_order_lots=0, max_loss_units=0).ok, "nothing stands in the way of less"
    assert world.set(soft_permille=700, duplicate_window_ns=1).ok


def test_production_looks_at_the_limits_of_one_symbol_too_and_only_at_those_that_are_set(production):
    world = World(production, own={"duplicate_window": 0} if "duplicate_window" in ALL.values() else {"duplicate_window_ns": 0})
    assert not world.set("FLCN", duplicate_window_ns=0).ok
    assert "risk.by_symbol.FLCN" in world.set("FLCN", duplicate_window_ns=0).error.message
    assert world.set("PRGN", max_order_lots=1).ok, "what is wrong already is not this command's"
    assert world.set(max_order_lots=1).ok


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"cancel_reserve_messages": 4000}, "cancel_reserve_messages"),
        ({"max_messages": 1}, "cancel_reserve_messages"),
    ],
)
def test_limits_that_contradict_each_other_are_refused_in_every_environment(limits, named):
    world = World(load_profile("laptop"))
    reply = world.set(**limits)
    assert not reply.ok and reply.error.code == "usage" and named in reply.error.message and world.link.sent == []


def test_both_limits_of_a_pair_can_be_set_at_once_and_a_limit_goes_below_its_soft_level():
    world = World(load_profile("laptop"))
    assert world.set(max_positions=5).ok and world.set(max_positions=0).ok and world.set(soft_positions=0).ok
    assert world.set(max_messages=100, cancel_reserve_messages=99).ok
