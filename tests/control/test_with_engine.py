"""The whole way: client, server, dispatcher, a real engine of two shards, its journal."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from control_rig import fresh_name

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from control_world import World  # noqa: E402

from orchestrator.control.client import ControlClient  # noqa: E402
from orchestrator.control.errors import ControlError  # noqa: E402
from orchestrator.control.messages import Request  # noqa: E402
from orchestrator.observe.segment import Segment  # noqa: E402
from orchestrator.run.journals import verify_journal  # noqa: E402
from orchestrator.run.plan import builtin_policy_path  # noqa: E402


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One engine for the tests of this file; the last of them ends it."""
    base = Path(tempfile.mkdtemp(prefix="prg"))
    patch = pytest.MonkeyPatch()
    patch.setenv("PEREGRINE_RUNTIME_DIR", str(base))
    with World(tmp_path_factory.mktemp("world"), fresh_name(), shards=2) as made:
        yield made
    patch.undo()
    shutil.rmtree(base, ignore_errors=True)


def test_a_kill_acts_by_word_and_is_journaled_with_its_sender_and_a_revival_takes_two_steps(world):
    with ControlClient.local(world.name) as control:
        killed = control.call("kill", why="fire", who="anna")
        assert killed.data["kill_word"] and len(killed.effects) == 2
        with Segment(world.name) as segment:
            assert segment.status().kill_level == 1
        world.until(lambda: world.counters()["trading_state"] == 5 and world.counters()["working_orders"] == 0, "the kill")
        orders = world.counters()["orders"]
        with pytest.raises(ControlError, match="no such token"):
            control.call("revive", {"token": "guessed"}, why="out")
        token = control.call("revive", why="fire is out").data["token"]
        assert world.counters()["orders"] == orders
        assert len(control.call("revive", {"token": token}, why="fire is out").effects) == 2
        world.until(lambda: world.counters()["orders"] > orders, "it to trade again")
        kinds = [line["kind"] for line in control.call("commands").data["commands"]]
        assert kinds.count("kill") == 2 and kinds.count("revive") == 2 and "kill word" in kinds


def test_a_new_supervisor_knows_the_limits_and_commands_of_the_one_before(world):
    with ControlClient.local(world.name) as control:
        control.call("limits.set", {"limits": {"collar_bps": 77}}, why="test", who="anna")
    world.stop_control()
    world.start_control()
    with ControlClient.local(world.name) as control:
        assert control.call("limits.get").data["symbols_default"]["collar_bps"] == 77
        assert any(line.get("who") == "anna" for line in control.call("commands").data["commands"])


def test_a_day_of_commands_each_named_in_the_journal_and_the_journal_replays(world):
    with ControlClient.local(world.name) as control:
        def call(cmd, _why="because", **args):
            return control.call(cmd, args, why=_why, who="anna")

        status = control.call("status").data
        assert status["engine"]["counters"]["orders"] >= 3 and not status["problems"], status["problems"]
        assert status["limits"]["account"]["max_loss_units"] == 2_000_000_000

        # limits: of the account, divided over the shards; of one symbol, in its own shard
        effects = call("limits.set", limits={"max_loss_units": 1_000_000_001, "soft_permille": 700}).effects
        assert [e.shard for e in effects] == [0, 1]
        call("limits.set", symbol="FLCN", limits={"max_order_lots": 150})
        now = control.call("limits.get").data
        assert (now["account"]["max_loss_units"], now["account"]["soft_permille"]) == (1_000_000_001, 700)
        assert [s["account"]["max_loss_units"] for s in now["shards"]] == [500_000_001, 500_000_000]
        assert now["symbols"]["FLCN"]["max_order_lots"] == 150 and "PRGN" not in now["symbols"]
        of_one = control.call("limits.get", {"symbol": "FLCN"}).data
        assert of_one["own"] and of_one["limits"]["max_order_lots"] == 150 and of_one["shard"] == 1
        with pytest.raises(ControlError, match="did you mean max_order_lots"):
            call("limits.set", limits={"max_order_lot": 1})

        # symbols and shards
        assert [e.shard for e in call("pause", symbol="FLCN").effects] == [1]
        assert [e.shard for e in call("pause", all=True).effects] == [0, 1]
        world.until(lambda: world.counters()["working_orders"] == 0, "every order cancelled")
        call("resume", all=True)
        call("resume", symbol="FLCN")
        before = world.counters()["orders"]
        world.until(lambda: world.counters()["orders"] > before + 5, "it to trade again")

        # a policy: loaded, swapped in, swapped back
        with pytest.raises(ControlError, match="nothing is loaded"):
            call("policy.swap", slot=0)
        call("policy.load", slot=0, data=builtin_policy_path().read_bytes())
        assert [e.shard for e in call("policy.swap", slot=0).effects] == [0, 1]
        assert len(call("policy.swap", slot=0, back=True).effects) == 2
        assert len(call("weights", weights=[2]).effects) == 2
        assert call("snapshot").data["shards"][0]["shard"] == 0

        # the same id is done once, by the engine's own memory too
        request = Request(cmd="note", args={"text": "end of the day"}, why="because", who="anna")
        first = control.send(request)
        assert control.send(request).duplicate and control.send(request).effects == first.effects

        listed = control.call("commands").data["commands"]
        assert [line["ts_ns"] for line in listed] == sorted(line["ts_ns"] for line in listed)
        note = next(line for line in listed if line["kind"] == "note" and line["shard"] == 1)
        assert (note["who"], note["why"], note["id"], note["text"]) == ("anna", "because", request.id, "end of the day")
        assert note["seq"] == first.effects[1].seq
        assert {line["kind"] for line in listed} >= {"limits", "pause", "resume", "pause_symbol", "bank_swap", "weights", "note"}
    world.stop_control()
    assert world.result()["stopped_by"] == "signal"
    assert verify_journal(world.run_folder)["identical"]
    audit = [json.loads(line) for line in (world.run_folder / "control.log").read_text().splitlines()]
    assert any(line.get("id") == request.id and line["effects"][1]["seq"] == note["seq"] for line in audit)
