"""The commands that run the engine, against a stand-in for the module that drives it."""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from pathlib import Path

import pytest

from orchestrator.cli._durations import duration_ns
from orchestrator.cli._errors import CliError
from orchestrator.cli.main import build_app, main
from orchestrator.cli.status import headline
from orchestrator.observe.result import RunResult


@pytest.fixture
def runner(monkeypatch):
    """A module in place of orchestrator.runner that notes its calls."""
    module = types.ModuleType("orchestrator.runner")
    module.calls = []

    def note(name, answer):
        def call(*args, **kwargs):
            module.calls.append((name, args, kwargs))
            return answer(*args, **kwargs) if callable(answer) else answer

        setattr(module, name, call)

    note("run_supervised", RunResult(events=5, journal="runs/x"))
    note("run_live", RunResult(events=6, journal="runs/y"))
    note("run_virtual", RunResult(mode="virtual"))
    note("replay_journal", RunResult(mode="replay"))
    note("replay_itch", RunResult(mode="replay", final_book={}))
    note("verify_journal", {"records": 10, "orders": 2, "identical": True})
    module.note = note
    monkeypatch.setitem(sys.modules, "orchestrator.runner", module)
    return module


@pytest.fixture
def cli(capsys):
    """Runs a command line in this process: `cli("run", …)` → (exit code, stdout, stderr)."""

    def call(*args: str):
        with pytest.raises(SystemExit) as end:
            main(list(args))
        out = capsys.readouterr()
        return end.value.code, out.out, out.err

    return call


@pytest.mark.parametrize(("text", "ns"), [("500ms", 5 * 10**8), ("15s", 15 * 10**9), ("2m", 120 * 10**9), ("1.5s", 15 * 10**8), ("1m30s", 90 * 10**9), ("1h", 3600 * 10**9), ("250us", 250_000)])  # fmt: skip
def test_durations_are_read_as_people_write_them(text, ns):
    assert duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "15", "s", "-1s", "0s", "1 s", "1s2", "15sec", "1e3s", "9" * 40 + "h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(CliError):
        duration_ns(text)


def test_run_prints_one_object(runner, cli):
    code, out, _ = cli("run", "--for", "15s", "--json", "--seed", "3", "--journal", "some where", "--set", "risk.max_loss_units=5")
    assert code == 0 and json.loads(out)["events"] == 5 and len(out.splitlines()) == 1
    (name, (config,), options) = runner.calls[0]
    assert (name, options["for_ns"]) == ("run_supervised", 15 * 10**9)
    assert (config.venue.seed, config.journal.dir, config.risk.max_loss_units) == (3, "some where", 5)


def test_run_without_json_ends_in_the_report(runner, cli):
    code, out, _ = cli("run", "--for", "1s")
    assert code == 0 and "peregrine replay runs/x" in out
    assert callable(runner.calls[0][2]["on_tick"])


def test_run_in_one_process_is_asked_for_by_name(runner, cli):
    code, out, _ = cli("run", "--one-process", "--for", "1s", "--json")
    assert code == 0 and json.loads(out)["events"] == 6 and [c[0] for c in runner.calls] == ["run_live"]


def test_run_in_virtual_time_uses_its_profile_and_needs_a_length(runner, cli):
    assert cli("run", "--virtual", "--for", "60s", "--seed", "7", "--json")[0] == 0
    assert runner.calls[0][0] == "run_virtual" and runner.calls[0][1][0].name == "replay"
    assert cli("run", "--virtual")[0] == 64


@pytest.mark.parametrize("how", [KeyboardInterrupt, "SIGTERM"])
def test_a_signal_before_trading_ends_well(runner, cli, how):
    def stop(*args, **kwargs):
        if how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        raise KeyboardInterrupt

    runner.note("run_supervised", stop)
    before = signal.getsignal(signal.SIGTERM)
    assert cli("run", "--json")[0] == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_replay_takes_a_journal_or_a_recorded_feed(runner, cli, tmp_path):
    assert cli("replay", str(tmp_path), "--json")[0] == 0
    code, out, _ = cli("replay", "--itch", str(tmp_path), "--json", "--set", "virtual.feed_latency={kind: constant, latency_ns: 1}")
    assert code == 0 and json.loads(out)["final_book"] == {}
    assert [c[0] for c in runner.calls] == ["replay_journal", "replay_itch"]
    assert cli("replay")[0] == cli("replay", str(tmp_path), "--itch", str(tmp_path))[0] == 64
    assert cli("replay", str(tmp_path / "none"))[0] == cli("replay", str(tmp_path), "--set", "a=1")[0] == 64


def test_verify_says_identical_or_shows_the_first_order_that_differs(runner, cli, tmp_path):
    code, out, _ = cli("verify", str(tmp_path), "--json")
    assert code == 0 and json.loads(out) == {"records": 10, "orders": 2, "identical": True}
    difference = {"order": 2, "features": {"journal": [1], "replay": [2]}}
    runner.note("verify_journal", {"records": 10, "orders": 2, "identical": False, "divergence": difference})
    code, out, _ = cli("verify", str(tmp_path))
    assert code == 1 and "DIFFERENT" in out and "journal  [1]" in out and "replay   [2]" in out


def test_bench_shows_the_table_and_hands_its_exit_code_on(runner, cli):
    row = {"name": "risk_gate", "unit": "ns", "p50": 80, "p99": 120, "p99_9": 300, "max": 9000, "rate": 12e6,
           "baseline": {"name": "none"}, "ratio": 0.5}  # fmt: skip
    runner.note("bench", ({"machine": {}, "noise": {}, "results": [row]}, 75))
    code, out, _ = cli("bench", "--quick", "--only", "risk_gate")
    assert code == 75 and "risk_gate" in out and "80 ns" in out
    assert runner.calls[0][2]["only"] == ["risk_gate"]


def test_an_engine_that_is_not_built_is_said_with_the_fix(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "orchestrator.runner", None)
    code, _, err = cli("run", "--for", "1s")
    assert code in (69, 70) and "hint:" in err


@pytest.mark.parametrize(("level", "line"), [
    (0, "desk, ready, trading enabled, no shard trades: paused"),
    (1, "desk, KILLED (level 1): no new orders until `peregrine revive`, ready, no shard trades: paused"),
])  # fmt: skip
def test_the_head_line_of_status_says_a_kill_first_and_never_that_trading_is_enabled_then(level, line):
    tree = {"state": "ready", "trading_enabled": True, "reason": "no shard trades: paused"}
    assert headline({"name": "desk", "tree": tree, "engine": {"engine": {"kill_level": level}}}) == line


def test_every_command_explains_itself(cli):
    import typer

    def walk(group, path):
        for name, command in group.commands.items():
            assert command.help, f"{' '.join([*path, name])} has no help"
            for param in command.params:
                assert getattr(param, "help", None) or param.name == "help", f"{name} {param.name}"
            if hasattr(command, "commands"):
                walk(command, [*path, name])

    walk(typer.main.get_command(build_app()), [])


@pytest.mark.parametrize("args", [["nonsense"], ["run", "--nonsense"], ["run", "--for", "x"], ["config", "check"]])
def test_a_slip_on_the_command_line_is_exit_64_with_a_hint(cli, args):
    code, _, err = cli(*args)
    assert code == 64 and "hint:" in err


def test_the_command_line_works_as_a_process_of_its_own(peregrine):
    assert "run" in peregrine("--help").stdout
    assert Path(peregrine("version").stdout.split()[0]).name == "peregrine-engine"
