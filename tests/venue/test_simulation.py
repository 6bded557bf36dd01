"""The whole-system simulator: same seed, same run; the shipped engine passes; what fails can be looked at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.simulate import failure
from orchestrator.run import simulate as engines
from peregrine_sim import simulate as simulator

SEEDS_OF_MAKE_TEST = 200


@pytest.fixture(scope="module")
def blueprints():
    return engines.blueprints()


@pytest.fixture
def runner(blueprints):
    with simulator.Runner(blueprints, engines.start_ns()) as r:
        yield r


def cli(cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "orchestrator", *args], capture_output=True, text=True, cwd=cwd, timeout=300)


def test_a_seed_cuts_at_every_record_and_every_send_and_nothing_is_found(runner):
    result = runner.run(3)
    assert result.finding == ""
    assert result.records > 50 and result.sends > 5
    uncut, full_disks, two_shards = 1, 8, 1
    assert result.runs == uncut + result.records + result.sends + full_disks + two_shards
    assert result.recoveries >= result.records + result.sends
    assert result.orders > 0 and result.fills > 0 and result.late_bytes > 0


def test_the_same_seed_is_the_same_run_bit_for_bit(blueprints):
    def once() -> simulator.Seed:
        with simulator.Runner(blueprints, engines.start_ns()) as r:
            return r.run(5)

    first, second = once(), once()
    assert first == second
    assert first.fingerprint != 0


def test_different_seeds_are_different_runs(runner):
    assert len({runner.run(seed, "none").fingerprint for seed in range(1, 9)}) == 8


def test_one_named_run_is_the_one_of_the_sweep(runner):
    assert runner.run(4, "record", 20) == runner.run(4, "record", 20)
    assert runner.run(4, "record", 20).fingerprint != runner.run(4, "record", 21).fingerprint
    assert runner.run(4, "record", 20).recoveries >= 1


def test_sending_before_the_journal_has_it_is_found(blueprints):
    with simulator.Runner(blueprints, engines.start_ns(), mutant="send_before_journal") as r:
        findings = [r.run(seed).finding for seed in (1, 2, 3)]
    assert all(findings), "every one of three seeds finds it"
    assert any("stands in no intent of the journal" in f for f in findings)


def test_trusting_the_lease_of_a_dead_shard_is_found(runner):
    honest = [runner._simulation.run_leases(seed) for seed in range(1, 11)]
    assert not [r["finding"] for r in honest if r["finding"]]
    assert any(r["returned_lots"] > 0 for r in honest), "what is not in use does come back"
    trusted = [runner._simulation.run_leases(seed, trusted=True)["finding"] for seed in range(1, 11)]
    assert any("the account's limit is" in f for f in trusted)


def test_a_failing_seed_says_how_to_replay_it_and_leaves_its_journal(blueprints, tmp_path):
    with simulator.Runner(blueprints, engines.start_ns(), mutant="send_before_journal") as r:
        result, journal = next(simulator.work(r, range(1, 2), "", 0, tmp_path))
    assert result.finding and journal == tmp_path / "seed-1"
    text = failure(result, journal)
    assert re.search(rf"replay:  peregrine simulate --seed 1 --cut {result.cut} --number {result.number}\n", text)
    decoded = cli(tmp_path, "decode", str(journal))
    assert decoded.returncode == 0 and "recovered" in decoded.stdout
    assert cli(tmp_path, "verify", str(journal)).returncode in (0, 1)


def test_the_journal_of_a_good_run_verifies(runner, tmp_path):
    assert runner.run(2, "record", 40).finding == ""
    journal = runner.keep_journal(2, tmp_path)
    verified = cli(tmp_path, "verify", str(journal))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_command_reports_as_json_over_processes(tmp_path):
    done = cli(tmp_path, "simulate", "--seed", "7", "--seeds", "2", "--jobs", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["seeds"] == 2 and report["failed"] == [] and report["runs"] > 100


def test_the_command_refuses_what_it_cannot_do(tmp_path):
    assert cli(tmp_path, "simulate", "--cut", "sideways").returncode == 64
    assert cli(tmp_path, "simulate", "--cut", "record", "--seeds", "2").returncode == 64


def test_a_worker_that_dies_is_a_finding_of_the_seed_it_was_at(tmp_path):
    told = []
    code = "import sys; print('{\"begin\": 11}', flush=True); sys.exit('assertion failed: x')"
    simulator.run_jobs(range(11, 12), 1, tmp_path, [sys.executable, "-c", code], lambda seed, journal: told.append(seed))
    assert [s.seed for s in told] == [11] and "assertion failed: x" in told[0].finding
    assert told[0].replay() == "peregrine simulate --seed 11"


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, SEEDS_OF_MAKE_TEST, 20))
def test_seeds(runner, first):
    for seed in range(first, first + 20):
        result = runner.run(seed)
        assert not result.finding, f"{result.finding}\n{result.replay()}"
