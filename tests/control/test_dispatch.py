"""The dispatcher: from arguments to commands of shards, and what becomes of failures."""

from __future__ import annotations

import os
import struct
import threading

import pytest
from control_rig import FakeLink, FakeTree

from orchestrator.control import arguments, bodies, limits
from orchestrator.control.dispatch import Dispatcher
from orchestrator.control.errors import ControlError
from orchestrator.control.lanes import answer
from orchestrator.control.messages import COMMANDS, Caller, Request
from orchestrator.control.revival import Revival
from orchestrator.supervise.state_file import Hold

ANNA = Caller("anna", "risk", "tcp")


class Agent:
    def __init__(self):
        self.calls = []

    def call(self, op, **args):
        self.calls.append((op, args))
        return {"asked": True}


@pytest.fixture
def world():
    link, agent = FakeLink(), Agent()
    tree = FakeTree(link=link)
    dispatcher = Dispatcher(tree.link, tree, agent=lambda: agent)
    dispatcher._revival = Revival(lambda: 60, kill_of=lambda name: (1, 7))

    def do(cmd, **args):
        assert arguments.problems(cmd, args) == []
        return answer(dispatcher, Request(cmd=cmd, args=args, why="test"), ANNA)

    do.link, do.tree, do.agent, do.dispatcher = link, tree, agent, dispatcher
    return do


def test_every_command_has_a_place_here_and_arguments_there(world):
    assert set(world.dispatcher._commands) == set(COMMANDS) == set(arguments.ARGUMENTS)


@pytest.mark.parametrize(("cmd", "kind"), [("pause", "pause"), ("resume", "resume"), ("drain", "drain")])
def test_a_target_is_every_shard_or_one_or_one_symbol(world, cmd, kind):
    assert [e.shard for e in world(cmd, all=True).effects] == [0, 1]
    assert world(cmd, shard=1).ok and world.link.kinds() == [(kind, 0), (kind, 1), (kind, 1)]
    if cmd != "drain":
        assert world(cmd, symbol="SYM3").ok
        sent = world.link.sent[-1]
        assert sent[:3] == (f"{kind}_symbol", 1, struct.pack("<I", 1))
    assert world(cmd, shard=2).error.code == "usage"


def test_a_symbol_nobody_trades_is_told_with_those_that_are(world):
    problem = world("pause", symbol="NONE").error
    assert problem.code == "usage" and "SYM0" in problem.hint


def test_a_shard_that_fails_does_not_keep_the_others_from_it_and_the_effects_are_told(world):
    world.link.broken[0] = ControlError("timeout", "shard 0 did not take it", "ask again")
    reply = world("pause", all=True)
    assert not reply.ok and reply.error.code == "timeout" and [e.shard for e in reply.effects] == [1]
    world.link.broken[1] = ControlError("refused", "nor 1")
    assert "and 1 more shards: 1" in world("pause", all=True).error.message


def test_bodies_are_those_the_engine_reads(world):
    world("weights", weights=[3, 1])
    assert world.link.sent[-1][2] == bodies.weights([3, 1, 0, 0, 0, 0, 0, 0])
    world("reduce_only", on=True, shard=0)
    assert world.link.sent[-1][:3] == ("reduce_only", 0, struct.pack("<I", 1))
    world("note", text="grüß")
    assert world.link.sent[-1][2] == "grüß".encode()
    world("move", shard=1, thread=3)
    assert world.link.sent[-1][:3] == ("move", 1, struct.pack("<I", 3))
    world("rearm", breaker="drawdown", shard=0)
    assert world.link.sent[-1][:3] == ("rearm", 0, struct.pack("<I", 8))
    assert world("rearm").ok and world.link.sent[-1][2] == struct.pack("<I", 15)
    world("active_symbols", count=25)
    assert world.link.sent[-1][:3] == ("active_symbols", 1, struct.pack("<I", 25))


def test_without_an_engine_a_command_is_unavailable_and_the_tree_can_still_be_asked():
    tree = FakeTree()
    dispatcher = Dispatcher(tree.link, tree)
    assert answer(dispatcher, Request(cmd="weights", args={"weights": [1]}), ANNA).error.code == "unavailable"
    assert answer(dispatcher, Request(cmd="stop"), ANNA).data == {"did": "stop_tree"}
    assert answer(dispatcher, Request(cmd="snapshot"), ANNA).error.code == "unavailable"


def test_start_lets_trade_or_starts_again_what_has_ended(world):
    assert world("start").data == {"did": "enable_trading"}
    assert world("start", restart=True).data == {"did": "restart_engine"}
    world.tree.engine_state = "failed"
    assert world("start").data == {"did": "restart_engine"}


def test_the_trees_own_commands_reach_it(world):
    assert world("deploy", path="x.yaml").data == {"did": "deploy"} and world("stop").ok
    assert world("deploy.status", id="5f", after=3).data == {"did": "deployed"} and world.tree.asked[-1] == ("deployed", ("5f", 3))
    assert world("log_level", level="debug").data["level"] == "debug"
    assert world.tree.asked[-1] == ("set_log_level", "debug") and world.agent.calls[-1] == ("log_level", {"level": "debug"})


def test_a_policy_is_checked_when_loaded_and_swapped_in_every_shard(world):
    assert "policy refused" in world("policy.load", slot=0, data=b"nonsense").error.message
    assert world("policy.swap", slot=0).error.code == "refused"
    loaded = world("policy.load", slot=0, path="builtin:default")
    assert loaded.ok and len(loaded.data["sha256"]) == 64
    swapped = world("policy.swap", slot=0)
    assert [e.shard for e in swapped.effects] == [0, 1] and swapped.data["sha256"] == loaded.data["sha256"]
    assert [(op, a["shard"]) for op, a in world.agent.calls] == [("bank_swap", 0), ("bank_swap", 1)]
    assert bodies.parse_origin(world.agent.calls[0][1]["origin"])["why"] == "test"
    back = world("policy.swap", slot=0, back=True, shard=1)
    assert back.ok and world.link.sent[-1][:3] == ("bank_swap", 1, struct.pack("<I", 0))


@pytest.mark.parametrize("kind", ["a device", "a pipe", "a folder"])
def test_an_artifact_that_is_no_regular_file_is_refused_and_not_waited_for(world, tmp_path, kind):
    path = {"a device": "/dev/null", "a pipe": str(tmp_path / "pipe"), "a folder": str(tmp_path)}[kind]
    if kind == "a pipe":  # whoever waits for it after all is let go
        os.mkfifo(path)
        late = threading.Timer(60, lambda: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)))
        late.daemon = True
        late.start()
    asked = Request(cmd="policy.load", args={"slot": 0, "path": path}, why="test")
    assert answer(world.dispatcher, asked, Caller("me", "admin", "ipc")).error.code == "usage"
    if kind == "a pipe":
        assert late.is_alive()
        late.cancel()


def test_the_network_is_told_the_same_of_every_path_that_holds_no_artifact_and_this_machine_what_is_wrong(world, tmp_path):
    (tmp_path / "there").write_text("no artifact")
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    os.mkfifo(tmp_path / "pipe")
    paths = [str(tmp_path / name) for name in ("absent", "there", "large", "pipe", "there/below", "n" * 300)] + [str(tmp_path), "/dev/null"]
    told = [world("policy.load", slot=0, path=path).error for path in paths]
    assert len(set(map(repr, told))) == 1 and "tmp" not in repr(told[0]) and "log" in told[0].hint
    here = [answer(world.dispatcher, Request(cmd="policy.load", args={"slot": 0, "path": path}, why="x"), Caller("me", "admin", "ipc")).error for path in paths]
    assert len({e.message for e in here}) == len(paths)
    assert "policy refused" in world("policy.load", slot=0, data=b"nonsense").error.message, "what was sent is the sender's own"


def test_a_revival_takes_two_steps_by_the_same_caller(world):
    first = world("revive")
    token = first.data["token"]
    assert world.link.word == [] and not world.link.sent
    other = answer(world.dispatcher, Request(cmd="revive", args={"token": token}, why="x"), Caller("bob", "risk", "tcp"))
    assert other.error.code == "refused"
    done = world("revive", token=token)
    assert done.ok and world.link.word == [0] and world.link.kinds() == [("revive", 0), ("revive", 1)]
    assert world("revive", token=token).error.message == "no such token"


def test_a_token_is_void_after_its_time_and_after_another_kill(world):
    now, killed = [0.0], [(1, 7)]
    world.dispatcher._revival = Revival(lambda: 60, clock=lambda: now[0], kill_of=lambda name: killed[0])
    token = world("revive").data["token"]
    now[0] = 61.0
    assert "too old" in world("revive", token=token).error.message
    token = world("revive").data["token"]
    killed[0] = (1, 8)
    assert "killed again" in world("revive", token=token).error.message
    token = world("revive").data["token"]
    world("kill")
    assert world("revive", token=token).error.message == "no such token"
    assert world.link.word == []


def test_a_kill_while_the_revival_is_under_way_stands(world):
    """Whether it comes while the account's breaker is asked or between two shards: nothing of it is lifted."""
    killed = [(1, 7)]
    world.dispatcher._revival = Revival(lambda: 60, kill_of=lambda name: killed[0])

    def slow(op, **args):
        killed[0] = (1, 8)

    world.agent.call, prompt = slow, world.agent.call
    assert "killed again" in world("revive", token=world("revive").data["token"]).error.message
    assert world.link.word == [] and not world.link.sent, "the word was stamped anew before it was lifted"

    world.agent.call, send = prompt, world.link.send

    def between(kind, **args):
        effect = send(kind, **args)
        if (kind, args["shard"]) == ("revive", 0):
            world("kill")
        return effect

    world.link.send = between
    answer = world("revive", token=world("revive").data["token"])
    assert "the kill stands" in answer.error.message and world.link.word == [0, 1]


def test_a_kill_by_word_alone_in_the_last_moment_before_the_lifting_stands(world):
    token = world("revive").data["token"]
    world.link.kill_word = 8  # after it was looked at for the last time
    assert "killed again" in world("revive", token=token).error.message
    assert world.link.word == [] and not world.link.sent


def test_without_an_engine_stops_are_kept_and_a_resume_asks_for_what_was_kept(world):
    away = Dispatcher(lambda: None, world.tree)
    for cmd, args in (("pause", {"all": True}), ("drain", {"all": True}), ("flatten", {"shard": 1}), ("reduce_only", {"on": True})):
        reply = answer(away, Request(cmd=cmd, args=args, why="x"), ANNA)
        assert reply.ok and reply.effects == [] and world.tree.asked[-1][0] == "keep" and world.tree.asked[-1][1].cmd == cmd
    for cmd, args in (("resume", {"all": True}), ("reduce_only", {"on": False})):
        assert answer(away, Request(cmd=cmd, args=args, why="x"), ANNA).data == {"did": "take_back"}
    world.tree.take_back = lambda request: None
    assert answer(away, Request(cmd="reduce_only", args={"on": False}, why="x"), ANNA).error.code == "unavailable", "there is nothing to take back"


def test_a_flatten_says_which_shards_send_nothing_to_close_a_position_with(world):
    state = world.tree.state()
    world.tree.state = lambda: state
    assert world("flatten").data is None
    state.holds = [Hold(shard=1, kind="pause"), Hold(shard=1, kind="drain"), Hold(shard=-1, kind="pause_symbol", symbol="SYM0")]
    assert world("flatten", shard=0).data is None
    told = world("flatten")
    assert [e.shard for e in told.effects] == [0, 1] and told.data["warning"].startswith("shard 1: paused or drained") and "resume" in told.data["hint"]


def test_an_engine_that_comes_back_while_a_stop_is_noted_gets_it_itself(world):
    found = [None, world.link, world.link, world.link]
    back = Dispatcher(lambda: found.pop(0), world.tree)
    reply = answer(back, Request(cmd="drain", args={"all": True}, why="x"), ANNA)
    assert [e.shard for e in reply.effects] == [0, 1] and world.tree.asked[-1][0] == "keep"


def test_an_engine_that_dies_over_a_stop_leaves_it_to_the_next_one(world):
    world.link.broken[1] = ControlError("unavailable", "it ended before it took drain")
    assert world("drain", all=True).error.code == "unavailable" and not world.tree.asked, "it lives: a person is to ask again"
    world.link.alive = lambda: False
    reply = world("drain", all=True)
    assert reply.ok and [e.shard for e in reply.effects] == [0] and world.tree.asked[-1][0] == "keep"


def test_weights_with_which_nobody_could_decide_are_refused_or_told(world):
    assert "nobody could ever decide; to stop trading: peregrine pause" in arguments.problems("weights", {"weights": [0, 0]})[0]
    assert world("weights", weights=[0, 0, 5]).data["warning"].startswith("all the weight is on slots without a policy")
    assert world("weights", weights=[1, 5]).data is None


def test_all_problems_of_arguments_are_told_at_once():
    found = arguments.problems("limits.set", {"limits": {"a": -1, "b": "x"}, "symbol": "TOOLONGSYMBOL", "colour": 1})
    text = "; ".join(found)
    assert all(word in text for word in ("a: found -1", "b: expected an integer", "1 to 8 characters", "`colour` is no argument"))
    assert "exactly one of" in arguments.problems("pause", {})[0]
    assert "exactly one of" in arguments.problems("pause", {"all": True, "shard": 1})[0]
    assert "at most one of" in arguments.problems("flatten", {"all": True, "shard": 1})[0]
    assert "`weights` is missing" in arguments.problems("weights", {})[0]


def test_a_limit_is_held_to_the_bounds_that_the_configuration_has_for_it():
    """A window of 0 would switch its check off, which the configuration refuses."""
    from orchestrator.config.models import InstrumentLimits, Risk

    bounds = {}
    for model in (InstrumentLimits, Risk):
        for name, field in model.model_fields.items():
            at = {type(m).__name__: m for m in field.metadata}
            low = at["Ge"].ge if "Ge" in at else at["Gt"].gt + 1 if "Gt" in at else None
            if low is not None and name in limits.ALL:
                bounds[name] = (low, at["Le"].le if "Le" in at else None)
    assert set(bounds) == set(limits.ALL)
    for name, (low, high) in bounds.items():
        least, most = limits.RANGES.get(name, (0, 2**62))
        assert (least, most if high is not None else None) == (low, high), name


def test_every_limit_of_the_engine_has_a_name_of_the_configuration():
    from orchestrator.config.models import InstrumentLimits, Risk

    assert set(limits.OF_SYMBOLS) == set(InstrumentLimits.model_fields)
    others = {"breakers", "short_sales", "restricted_symbols", "authorised_strategies", "by_symbol"}
    assert set(limits.OF_ACCOUNT) == set(Risk.model_fields) - set(InstrumentLimits.model_fields) - others
    assert {f for f in bodies.LIMIT_FIELDS if f} == set(limits.ALL.values())


def test_arming_again_reaches_the_accounts_breaker_first_and_a_revival_does_too(world):
    asked = world.agent.calls
    assert world("rearm").ok and asked[-1][0] == "rearm_account" and world.link.sent[-1][:2] == ("rearm", 1)
    before = len(asked)
    world("rearm", breaker="message_rate"), world("rearm", shard=1)
    assert len(asked) == before, "one shard's, or one that the account has not"
    token = world("revive").data["token"]
    assert world("revive", token=token).ok and asked[-1][0] == "rearm_account" and world.link.word == [0]


def test_an_account_at_its_limit_is_neither_armed_nor_revived(world):
    def refuses(op, **args):
        raise ControlError("refused", "the loss is at its limit")

    token = world("revive").data["token"]
    world.agent.call = refuses
    sent = len(world.link.sent)
    for reply in (world("rearm"), world("revive", token=token)):
        assert reply.error.code == "refused" and "at its limit" in reply.error.message
    assert len(world.link.sent) == sent and world.link.word == [], "the kill word stands"
    world.agent.call = lambda op, **args: (_ for _ in ()).throw(ControlError("unavailable", "it hangs"))
    assert world("rearm").ok, "what cannot be asked guards by itself"
