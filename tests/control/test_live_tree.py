"""The control plane of one tree of two shards, from `up` to `down`, told as a day: each test goes on where the last one ended.

A deploy from another machine; one that trades nothing; leases; a supervisor killed in the middle of a deploy; an engine killed;
the account's breaker; a deploy by restart. The journals judge at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "supervise"))
from lease_judge import lease_events, passes  # noqa: E402
from tree_rig import Patient, Rig, quiet_port  # noqa: E402

from orchestrator.cli.main import main  # noqa: E402
from orchestrator.config import config_hash, load_file  # noqa: E402
from orchestrator.control import keys  # noqa: E402
from orchestrator.control.errors import ControlError  # noqa: E402
from orchestrator.control.messages import Request  # noqa: E402
from orchestrator.deploy.history import History  # noqa: E402
from orchestrator.observe.segment import Segment, SegmentError, process_start_ticks  # noqa: E402
from orchestrator.observe.shards import read_engine, shards_of  # noqa: E402
from orchestrator.observe.telemetry import TelemetryError  # noqa: E402
from orchestrator.run.journals import verify_journal  # noqa: E402
from orchestrator.run.plan import builtin_policy_path  # noqa: E402

pytestmark = pytest.mark.slow
BUDGET_UNITS = 4_000_000_000
WIDE = 2_000_000_000
WHY = ("--why", "because", "--who", "ada")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree that is up, its configuration as a file and as a dict, and hands on it."""
    folder = tmp_path_factory.mktemp("tree")
    rig = Rig(folder)
    patch = pytest.MonkeyPatch()
    patch.setenv("PEREGRINE_RUNTIME_DIR", str(rig.runtime_base))
    patch.setenv("PEREGRINE_STATE_DIR", str(folder / "state"))
    server, ada, rita = keys.make("server"), keys.make("ada"), keys.make("rita")
    for pair in (server, ada, rita):
        keys.write(pair, folder / f"{pair.name}.key")
    clients = folder / "clients"
    clients.write_text(ada.line("admin") + "\n" + rita.line("risk") + "\n")
    clients.chmod(0o600)
    shutil.copy(builtin_policy_path(), folder / "other.safetensors")
    tcp = f"127.0.0.1:{quiet_port()}"  # the same after a restart
    cfg = {
        "extends": "laptop", "version": 1, "name": "tree", "instruments": [{"symbol": s} for s in ("AAAA", "BBBB", "CCCC", "DDDD")],
        "venue": {"kind": "embedded", "rate_per_s": 300},
        "risk": {"max_loss_units": WIDE, "max_drawdown_units": WIDE, "max_account_orders": 64, "max_gross_units": BUDGET_UNITS,
                 "breakers": {"cooldown_ns": 1_000_000}},
        "engine": {"name": rig.name, "mlock": False, "idle": "sleep", "shards": 2, "active_symbols": 2},
        "journal": {"dir": str(folder / "runs"), "ring_mb": 4, "segment_mb": 16, "sync": "none"},
        "supervise": {"lost_after_ms": 60_000, "restart": {"backoff_ms": 50}, "ready_timeout_s": 150, "stop_timeout_s": 60},
        "report": {"histograms": False, "refresh_ms": 50},
        # a machine that is busy is no fault of a deploy's
        "observe": {"metrics": None, "alerts": {"heartbeat_after_s": 60, "stale_after_s": 60}},
        "control": {"tcp": tcp, "key_file": str(folder / "server.key"), "clients_file": str(clients)},
    }  # fmt: skip
    made = SimpleNamespace(rig=rig, name=rig.name, cfg=cfg, file=folder / "tree.yaml", history=History(rig.name), folder=folder, kept=None,
                           remote=["--remote", tcp, "--server-key", server.public])  # fmt: skip

    def write(**risk):
        made.cfg["risk"].update(risk)
        made.file.write_text(yaml.safe_dump(made.cfg))
        return made.file

    made.write = write
    try:
        rig.call("up", "--detach", "--json", "-c", str(write()))
        made.run = rig.run_folder()
        yield made
        assert not (left := rig.left()), left
    finally:
        rig.sweep()
        patch.undo()


@pytest.fixture
def cli(capsys):
    """A command line in this process; (stdout, stderr)."""

    def call(*args, code=0):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in args])
        out = capsys.readouterr()
        assert end.value.code == code, out.err + out.out
        return out

    return call


def counters(tree) -> list[dict[str, int]]:
    """Of each shard; [] while there is no engine."""
    try:
        with Segment(tree.name) as segment:
            return [s.counters for s in shards_of(read_engine(segment))]
    except (SegmentError, TelemetryError, OSError):
        return []


def orders(tree) -> int:
    return sum(c["orders"] for c in counters(tree))


def trades_on(tree, more: int = 3) -> None:
    before = orders(tree)
    tree.rig.wait(lambda: orders(tree) > before + more)


def test_another_machine_deploys_limits_pauses_weights_a_policy_symbols_and_the_log_level_at_once(tree, cli):
    trades_on(tree)
    before = tree.file.read_text()
    tree.cfg["policies"] = {"members": [{"file": str(tree.folder / "other.safetensors"), "slot": 0, "weight": 3}], "quorum_q8": 128,
                            "decision_interval_ns": 1_000_000}  # fmt: skip
    tree.cfg["engine"]["active_symbols"] = 1
    tree.cfg["observe"]["log_level"] = "debug"
    tree.write(restricted_symbols=["DDDD"], max_order_lots=150)
    assert tree.rig.state().addresses["control_tcp"].removeprefix("tcp://") == tree.remote[1]
    for more in ((), ("--dry-run",), ("--restart",)):
        denied = cli("config", "deploy", "-c", tree.file, *WHY, *more, *tree.remote, "--key", tree.folder / "rita.key", code=69).err
        assert "deploy needs admin" in denied and tree.history.all() == []
    plan = json.loads(cli("config", "deploy", "-c", tree.file, "--dry-run", *tree.remote, "--key", tree.folder / "ada.key", "--json").out)
    assert [s["cmd"] for s in plan["steps"]][:2] == ["pause", "limits.set"] and plan["restart"] == [] and tree.history.all() == []
    out = cli("config", "deploy", "-c", tree.file, *WHY, "--window", "2s", *tree.remote, "--key", tree.folder / "ada.key", "--json")
    told = json.loads(out.out)
    assert told["state"] == "good" and told["number"] == 1 and "verifying" in out.err
    assert [s["cmd"] for s in told["steps"]] == ["pause", "limits.set", "weights", "policy.load", "policy.swap", "active_symbols", "log_level"]
    assert all(s["effects"] for s in told["steps"] if s["cmd"] not in ("policy.load", "log_level"))
    with Patient.local(tree.name, timeout_s=60) as control:
        limits = control.call("limits.get").data
        lines = control.call("commands").data["commands"]
    assert limits["symbols_default"]["max_order_lots"] == 150 and limits["account"]["max_gross_units"] == BUDGET_UNITS
    kinds = {line["kind"]: line for line in lines if line.get("who") == "ada"}
    assert {"pause_symbol", "limits", "weights", "bank_swap", "active_symbols", "note"} <= set(kinds)
    assert kinds["weights"]["weights"][0] == 3 and kinds["limits"]["why"] == "deploy 1: because"
    tree.rig.wait(lambda: [c["active_symbols"] for c in counters(tree)] == [1, 1])
    state = tree.rig.state()
    assert state.config_sha256 == config_hash(load_file(tree.file)), "a takeover and a restart go on with it"
    audit = [json.loads(line) for line in (tree.run / "control.log").read_text().splitlines()]
    assert {"ada"} == {line["who"] for line in audit if line["event"] == "deploy"}
    assert any(line.get("cmd") == "log_level" and line["args"] == {"level": "debug"} and line["ok"] for line in audit)
    trades_on(tree)
    tree.before = before


def test_going_back_undoes_each_of_them(tree, cli):
    back = json.loads(cli("config", "rollback", "--name", tree.name, *WHY, "--window", "2s", "--json").out)
    assert back["state"] == "good"
    assert [s["cmd"] for s in back["steps"]] == ["limits.set", "weights", "policy.load", "policy.swap", "resume", "active_symbols", "log_level"]
    tree.file.write_text(tree.before)
    tree.cfg = yaml.safe_load(tree.before)
    assert tree.rig.state().config_sha256 == config_hash(load_file(tree.file))
    tree.rig.wait(lambda: [c["active_symbols"] for c in counters(tree)] == [2, 2])
    assert "nothing to do" in cli("config", "deploy", "-c", tree.file, *WHY).out
    trades_on(tree)


def test_what_passes_every_check_and_trades_nothing_is_taken_back_by_the_supervisor(tree, cli):
    tree.write(max_order_notional_units=1)  # a legal limit, and no order there is passes it
    out = cli("config", "deploy", "-c", tree.file, *WHY, "--window", "2500ms", code=75)
    assert "deploy 3: rolled back" in out.out and "ROLLBACK" in out.out
    assert tree.history.get(3).configuration == str(tree.file)
    assert [p.name for p in sorted((tree.history.folder / "0003/sources").iterdir())] == ["00-sent.yaml", "01-tree.yaml"]
    assert "no order was sent" in out.err or "the gate refused" in out.err
    tree.write(max_order_notional_units=500_000_000)
    with Patient.local(tree.name, timeout_s=60) as control:
        assert control.call("limits.get").data["symbols_default"]["max_order_notional_units"] == 500_000_000
        control.call("limits.set", {"limits": {"collar_bps": 77}}, why="by hand", who="bob")
    assert "collar_bps is 77, configured 500" in cli("config", "deploy", "-c", tree.write(max_order_lots=150), *WHY, code=75).err
    tree.write(max_order_lots=200)
    with Patient.local(tree.name, timeout_s=60) as control:
        control.call("limits.set", {"limits": {"collar_bps": 500}}, why="and back", who="bob")
    assert "idle" in cli("config", "deploy", "-c", tree.file, "--set", "engine.idle=yield", *WHY, code=78).err, "that needs a restart"
    trades_on(tree)


def test_the_budget_goes_to_the_shard_that_uses_it(tree, cli):
    with Patient.local(tree.name, timeout_s=60) as control:
        control.call("flatten", {"shard": 1}, why="test")
        tree.rig.wait(lambda: counters(tree)[0]["lease_units"] > BUDGET_UNITS * 11 // 20)  # what both hold, the journals tell at the end
        control.call("resume", {"shard": 1}, why="test")
    use = json.loads(cli("limits", "get", "--json").out)["use"]
    gross = use["max_gross_units"]
    assert gross["value"] == BUDGET_UNITS and gross["left"] == BUDGET_UNITS - gross["used"] and len(gross["shards"]) == 2
    # a budget that most of is used: told as soft, what is too much on lease comes back, and up again
    with Patient.local(tree.name, timeout_s=60) as control:
        def now():
            return control.call("limits.get").data["use"]["max_gross_units"]

        def tightened() -> int:
            if (limit := now()["used"] * 8 // 7) < BUDGET_UNITS // 1000:
                return 0
            control.call("limits.set", {"limits": {"max_gross_units": limit}}, why="less")
            for _ in range(10):
                if now()["soft"]:
                    return limit
                time.sleep(0.03)
            control.call("limits.set", {"limits": {"max_gross_units": BUDGET_UNITS}}, why="what stood has gone: it trades on first")
            return 0

        tight = tree.rig.wait(tightened)
        tree.rig.wait(lambda: sum(c["lease_units"] for c in counters(tree)) <= tight)
        # and one below what stands: the leases are cut to it at once, and what stands is told as above it
        tree.rig.wait(lambda: now()["used"] > 100)
        half = now()["used"] // 2
        control.call("limits.set", {"limits": {"max_gross_units": half}}, why="much less")
        tree.rig.wait(lambda: now()["out"] <= half)
        tree.rig.wait(lambda: "above by" in cli("limits", "get").out or now()["above"] == 0)
        tree.rig.wait(lambda: sum(c["lease_units"] for c in counters(tree)) <= half)
        control.call("limits.set", {"limits": {"max_gross_units": BUDGET_UNITS}}, why="as it was")
        tree.rig.wait(lambda: sum(c["lease_units"] for c in counters(tree)) > tight and not now()["soft"] and not now()["above"])
    assert "least left in" in cli("limits", "get").out and "max_long_lots" in cli("limits", "get", "--symbol", "AAAA").out
    assert json.loads(cli("limits", "get", "--symbol", "AAAA", "--json").out)["use"]["max_long_lots"]["value"] == 1000


def test_a_supervisor_killed_in_the_middle_of_a_deploy_has_it_taken_back_by_the_next_which_knows_its_replies(tree, cli):
    engine = tree.rig.pid("engine")
    with Patient.local(tree.name, timeout_s=60) as control:
        done = Request(cmd="limits.set", args={"limits": {"max_messages": 900}}, why="once", who="ada")
        first = control.send(done)
        assert first.ok and len(first.effects) == 2
        deploy = Request(cmd="deploy", args={"config": tree.write(max_order_lots=120, max_messages=900).read_bytes(), "window_ms": 600_000,
                                             "over_drift": True}, why="cut off", who="ada")  # fmt: skip
        begun = control.send(deploy)
        assert begun.data == {"deploy": deploy.id, "state": "under way"}
        with pytest.raises(ControlError, match="a deploy of ada is under way"):
            control.call("deploy", {"rollback": 0}, why="no")
        tree.rig.wait(lambda: control.call("deploy.status").data["stage"] == "verifying")
    tree.rig.kill_supervisor()
    trades_on(tree)  # without one
    tree.rig.call("up", "--take-over", "--detach")
    assert tree.rig.pid("engine") == engine and tree.rig.state().generation == 2
    with Patient.local(tree.name, timeout_s=60) as control:
        again = control.send(done)
        assert again.duplicate and again.ok and again.effects == first.effects, "the very reply, not where the repetition stands"
        assert control.send(deploy).duplicate
        tree.rig.wait(lambda: control.call("deploy.status", {"id": deploy.id}).data["state"] == "rolled back")
        told = control.call("deploy.status", {"id": deploy.id}).data
        assert "was cut off" in told["health"][0] and told["number"] == 4
        limits = control.call("limits.get").data
        assert limits["symbols_default"]["max_order_lots"] == 200
        listed = [c for c in control.call("commands").data["commands"] if c.get("id") == done.id]
        assert len(listed) == 2, "the engine was not asked a second time"
        control.call("limits.set", {"limits": {"max_messages": 1000}}, why="as it was", who="ada")
    tree.write(max_order_lots=200, max_messages=1000)
    trades_on(tree)


def test_an_engine_that_was_killed_comes_back_with_its_leases(tree):
    before = [c["lease_epoch"] for c in counters(tree)]
    pid = tree.rig.pid("engine")
    os.kill(pid, signal.SIGKILL)
    tree.rig.wait(lambda: process_start_ticks(pid) == 0)
    tree.rig.wait(lambda: tree.rig.state().state == "trading" and tree.rig.pid("engine") not in (0, pid))
    tree.rig.wait(lambda: len(now := counters(tree)) == 2 and all(c["lease_epoch"] > e for c, e in zip(now, before, strict=True)))
    trades_on(tree)


def test_the_accounts_breaker_follows_a_changed_limit_and_is_armed_again_by_a_revival_within_it(tree):
    with Patient.local(tree.name, timeout_s=60) as control:
        control.call("limits.set", {"limits": {"max_loss_units": 2, "max_drawdown_units": 2}}, why="tight", who="ada")

        def word() -> int:
            with Segment(tree.name) as segment:
                return segment.status().kill_level

        tree.rig.wait(lambda: word() == 1)
        try:  # what it holds may be worth more again by now; that it is refused while it loses is proven where nothing moves
            control.call("rearm", why="too early", who="ada")
        except ControlError as refused:
            assert re.search("the account's .* (the limit 2|a moment ago)|did not take rearm: refused", str(refused))
        control.call("limits.set", {"limits": {"max_loss_units": WIDE, "max_drawdown_units": WIDE}}, why="as it was", who="ada")

        def armed() -> bool:
            try:
                return control.call("rearm", why="looked at it", who="ada").ok
            except ControlError:  # its next reading is still to come
                return False

        tree.rig.wait(armed)
        token = control.call("revive", why="again").data["token"]
        assert control.call("revive", {"token": token}, why="again").ok
    trades_on(tree)
    assert word() == 0


def test_a_change_that_needs_it_is_deployed_from_another_machine_by_a_restart(tree, cli):
    tree.cfg["engine"]["idle"] = "yield"
    there = [*tree.remote, "--key", tree.folder / "ada.key"]
    plan = cli("config", "deploy", "-c", tree.write(), "--restart", "--dry-run", *there).out
    assert plan.splitlines() == ["down and up again, for the sake of:", "    engine.idle: sleep → yield"]
    before = tree.rig.state().supervisor_pid
    out = cli("config", "deploy", "-c", tree.file, "--restart", "--window", "2s", *WHY, *there).out
    assert [line.split()[0] for line in out.splitlines()] == ["backup", "down", "up", "verifying", "deploy"] and "deploy 5: good" in out
    assert tree.rig.state().supervisor_pid != before
    deployed = tree.history.get(5)
    assert (deployed.who, deployed.why) == ("ada", "because") and (tree.history.folder / "0005/sources/00-sent.yaml").exists()
    assert tree.rig.run_folder() != tree.run and tree.rig.state().state == "trading"
    assert tree.history.get(5).restart and tree.rig.state().config_sha256 == config_hash(load_file(tree.file))
    trades_on(tree)
    assert tree.rig.down()["code"] == 0


def test_both_runs_replay_and_at_no_instant_were_leases_above_the_limit(tree):
    for run in (tree.run, tree.rig.run_folder()):
        assert verify_journal(run)["identical"]
    events = lease_events(tree.run)
    assert {e.kind for e in events} >= {"lease_grant", "lease_return", "start"}
    assert passes(events, BUDGET_UNITS) == []
    ended = json.loads((tree.run / "result.json").read_bytes())
    trips = [t["rearmed_by"] for t in ended["breakers"] if t["breaker"].startswith("account_")]
    assert trips and set(trips) == {"ada"}
