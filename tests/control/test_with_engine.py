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

from orchestrator.cli.main import main  # noqa: E402
from orchestrator.control import keys  # noqa: E402
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
    server, anna = keys.make("server"), keys.make("anna")
    keys.write(server, base / "server.key")
    keys.write(anna, base / "anna.key")
    (base / "clients").write_text(anna.line("risk") + "\n")
    control = {"tcp": "127.0.0.1:0", "key_file": str(base / "server.key"), "clients_file": str(base / "clients")}
    with World(tmp_path_factory.mktemp("world"), fresh_name(), shards=2, for_s=3600, control=control) as made:
        made.remote = ["--key", str(base / "anna.key"), "--server-key", server.public]
        yield made
    patch.undo()
    shutil.rmtree(base, ignore_errors=True)


def journaled(control, kind, request_id) -> list[int]:
    """The shards whose journals hold this request of anna's."""
    told = control.call("commands").data["commands"]
    return sorted(c["shard"] for c in told if (c["kind"], c.get("id"), c.get("who")) == (kind, request_id, "anna"))


def test_a_kill_acts_by_word_and_is_journaled_with_its_sender_and_a_revival_takes_two_steps(world):
    with ControlClient.local(world.name, timeout_s=60) as control:
        killed = control.call("kill", why="fire", who="anna")
        assert killed.data["kill_word"] and (len(killed.effects) == 2 or "not_journaled" in killed.data)  # an engine that got no core
        world.until(lambda: journaled(control, "kill", killed.id) == [0, 1], "the kill in both journals")
        with Segment(world.name) as segment:
            assert segment.status().kill_level == 1
        world.until(lambda: world.states() == [5, 5] and world.counters()["working_orders"] == 0, "the kill")
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
    with ControlClient.local(world.name, timeout_s=60) as control:
        control.call("limits.set", {"limits": {"collar_bps": 77}}, why="test", who="anna")
    world.stop_control()
    world.start_control()
    with ControlClient.local(world.name, timeout_s=60) as control:
        assert control.call("limits.get").data["symbols_default"]["collar_bps"] == 77
        assert any(line.get("who") == "anna" for line in control.call("commands").data["commands"])


@pytest.fixture
def cli(capsys):
    """Runs a command line in this process: `cli("pause", …)` → stdout; `code` is what it must end with."""

    def call(*args, code=0):
        with pytest.raises(SystemExit) as end:
            main([*args, "--timeout", "60"])
        out = capsys.readouterr()
        assert end.value.code == code, out.err + out.out
        return out.out if code == 0 else out.err

    return call


def test_the_command_line_shows_what_there_is(world, cli):
    shown = cli("status")
    assert world.name in shown and "FLCN" in shown and "max_loss" not in shown
    assert json.loads(cli("status", "--json"))["engine"]["counters"]["orders"] >= 3
    assert "max_order_lots" in cli("limits", "get") and json.loads(cli("limits", "get", "--symbol", "PRGN", "--json"))["shard"] == 0
    lines = [json.loads(line) for line in cli("tail", "--once", "--json").splitlines()]
    assert {line["what"] for line in lines} == {"command", "state"}
    assert any(line.get("kind") == "limits" and line["who"] == "anna" for line in lines)
    assert "command  limits" in cli("tail", "--once")


def test_the_command_line_changes_what_it_is_asked_to(world, cli):
    why = ("--why", "test", "--who", "cli")
    assert "shard 1 at" in cli("pause", "FLCN", *why)
    everything = json.loads(cli("resume", "--all", "--json", *why))
    assert len(everything["effects"]) == 2 and everything["data"]["still_paused"] == ["FLCN"]  # paused by its name
    assert "journaled" in cli("resume", "FLCN", *why)
    assert "still_paused" not in cli("resume", "--all", *why)
    assert "limits: done" in cli("limits", "set", "max_order_lots=120", "--symbol", "FLCN", *why)
    assert json.loads(cli("limits", "get", "--symbol", "FLCN", "--json"))["limits"]["max_order_lots"] == 120
    assert "artifact" not in cli("swap", "builtin:default", *why) and "journaled" in cli("swap", "--back", *why)
    for args in (("weights", "2"), ("reduce-only", "on", "--shard", "1"), ("reduce-only", "off"), ("note", "hello"),
                 ("flatten", "--shard", "0"), ("resume", "--shard", "0"), ("drain", "--shard", "1"), ("resume", "--all"),
                 ("ask", "snapshot", "all=true")):  # fmt: skip
        assert "done" in cli(*args, *why)
    told = [c for c in json.loads(cli("ask", "commands", "--json"))["commands"] if c.get("who") == "cli"]
    assert {"pause_symbol", "resume", "limits", "bank_swap", "weights", "reduce_only", "note", "flatten", "drain"} <= {c["kind"] for c in told}


def test_the_command_line_says_what_is_wrong_and_what_to_do(world, cli):
    assert "--why is missing" in cli("pause", "--all", code=64)
    assert "exactly one of the three" in cli("pause", "--why", "x", code=64)
    assert "no symbol NONE" in cli("pause", "NONE", "--why", "x", code=64)
    assert "no limit" in cli("limits", "set", "max=1", "--why", "x", code=64)
    assert "expected NAME=INTEGER" in cli("limits", "set", "max", "--why", "x", code=64)
    assert "no supervisor of nobody" in cli("status", "--name", "nobody", code=69)
    assert "there is no tree here" in cli("ask", "stop", "--why", "x", code=69)


def test_another_machine_reaches_it_with_a_key_and_what_the_key_may_do(world, cli):
    remote = ("--remote", world.addresses["control_tcp"].removeprefix("tcp://"), *world.remote)
    assert json.loads(cli("status", "--json", *remote))["name"] == world.name
    assert "journaled" in cli("pause", "PRGN", "--why", "test", *remote)
    assert "resume needs operator" in cli("resume", "PRGN", "--why", "test", *remote, code=69)
    assert "journaled" in cli("resume", "PRGN", "--why", "test")
    assert "--remote needs --key" in cli("status", "--remote", "127.0.0.1:1", code=64)


def test_the_command_line_kills_and_revives(world, cli):
    told = cli("kill", world.name, "--yes", "--why", "fire", "--who", "cli")
    assert "kill word set" in told and ("journaled by shard 0 at" in told or "not journaled, or not yet" in told)
    world.until(lambda: world.counters()["trading_state"] == 5, "the kill")
    with ControlClient.local(world.name, timeout_s=60) as control:  # who and why, in both journals
        world.until(lambda: sum(c.get("why") == "fire" and c["who"] == "cli" for c in control.call("commands").data["commands"]) == 2, "its journals")
    token = json.loads(cli("revive", "--why", "out", "--json"))["data"]["token"]
    assert "shard 1 at" in cli("revive", "--why", "out", "--token", token)
    orders = world.counters()["orders"]
    world.until(lambda: world.counters()["orders"] > orders, "it to trade again")


def test_a_day_of_commands_each_named_in_the_journal_and_the_journal_replays(world):
    with ControlClient.local(world.name, timeout_s=60) as control:
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
            call("policy.swap", slot=1)
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
        note = next(line for line in listed if line.get("id") == request.id and line["shard"] == 1)
        assert (note["who"], note["why"], note["id"], note["text"]) == ("anna", "because", request.id, "end of the day")
        assert note["seq"] == first.effects[1].seq
        assert {line["kind"] for line in listed} >= {"limits", "pause", "resume", "pause_symbol", "bank_swap", "weights", "note"}
    world.stop_control()
    assert world.result()["stopped_by"] == "signal"
    assert verify_journal(world.run_folder)["identical"]
    audit = [json.loads(line) for line in (world.run_folder / "control.log").read_text().splitlines()]
    assert any(line.get("id") == request.id and line["effects"][1]["seq"] == note["seq"] for line in audit)
