"""The shipped policy: sound, of the size promised, active in all its actions, better than chance; its fit repeats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hotpath.policy import artifact as artifacts
from hotpath.policy import oracle
from orchestrator.cli import main as cli
from orchestrator.learn import baselines, episodes, forecast, report, structure
from orchestrator.learn.fit_default import START
from orchestrator.run.plan import builtin_policy_path

pytest.importorskip("hotpath._venue")
ROOT = Path(__file__).resolve().parents[2]
SEEDS = report.HELD_OUT_SEEDS[:2]


@pytest.fixture(scope="module")
def shipped():
    return artifacts.load(builtin_policy_path())


@pytest.fixture(scope="module")
def judged(shipped):
    return report.judge(shipped, SEEDS, 20)


def test_the_shipped_artifact_is_equal_on_every_kernel(shipped):
    told = artifacts.verify(shipped)
    assert {"oracle", "scalar"} <= told.keys() and all(told.values()), told


def test_the_shipped_artifact_is_no_larger_than_promised(shipped):
    sizes = shipped.network.sizes
    assert len(sizes) == 4 and all(n <= most for n, most in zip(sizes, (16, 32, 16, 5), strict=True))
    assert sizes[-1] == 5


def test_the_shipped_artifact_says_where_it_came_from(shipped):
    told = shipped.provenance
    assert told["made_by"] == "orchestrator.learn.fit_default" and isinstance(told["seed"], int)
    assert {"python", "numpy"} <= told["versions"].keys()
    (data,) = told["data"]
    assert len(bytes.fromhex(data["sha256"])) == 32 and data["decisions"] > 100_000


def test_the_shipped_artifact_was_searched_under_the_settings_it_trades_with(shipped):
    for profile in ("laptop", "pinned", "replay"):
        cfg = episodes.load_profile(profile)
        told = shipped.provenance["search"]
        assert told["execution"] == cfg.execution.model_dump(include=told["execution"].keys()), profile
        assert told["decision_interval_ns"] == cfg.policies.decision_interval_ns
        assert told["rate_per_s"] == cfg.venue.rate_per_s


def test_held_out_seeds_were_not_fitted_on(shipped):
    told = shipped.provenance
    first, last = told["data"][0]["flow_seeds"]
    assert first <= last < min(report.HELD_OUT_SEEDS)
    budget = told["budget"]
    for used in (told["search"]["seeds_from"] + budget["generations"] * budget["search_sessions"],
                 told["search"]["calibration_seeds_from"] + budget["calibration_sessions"]):
        assert used < min(report.HELD_OUT_SEEDS)


def test_every_action_has_two_percent_of_the_decisions_on_held_out_seeds(judged):
    for session in judged["sessions"]["policy"]:
        assert session["decisions"] > 5_000
        assert min(session["shares"]) >= 0.02, session


def test_the_shipped_policy_earns_more_than_chance_and_than_nothing(judged):
    # Hundreds of dollars lie between them on every held-out seed, so this is no matter of luck.
    for mine, hold, chance in zip(*(judged["sessions"][k] for k in ("policy", "hold", "random")), strict=True):
        assert hold["pnl"] == 0 and hold["orders"] == 0
        assert mine["pnl"] > 0 and mine["pnl"] > chance["pnl"]


def test_chance_chooses_every_action(judged):
    assert min(judged["summary"]["random"]["share_mean"]) > 0.02


def test_the_same_session_twice_is_the_same(shipped):
    one, two = (episodes.run(episodes.loaded(shipped), 5, 3) for _ in range(2))
    assert one.pnl_units == two.pnl_units and (one.facts == two.facts).all() and (one.features == two.features).all()


def test_a_session_is_what_the_command_line_trades(shipped):
    # The report's smaller pools must not change a trade.
    full = episodes.load_profile(episodes.PROFILE)
    one = episodes.run(episodes.loaded(shipped), 5, 3)
    two = episodes.run(episodes.loaded(shipped), 5, 3, cfg=full)
    assert one.fills > 0 and (one.facts == two.facts).all() and one.pnl_units == two.pnl_units


@pytest.mark.parametrize("command", ["info", "verify"])
def test_the_command_line_knows_the_shipped_policy_by_name(command, shipped, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["policy", command, "builtin:default", "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["sha256"] == shipped.sha256


def test_a_quick_fit_gives_the_same_bytes_twice_and_others_for_another_seed(tmp_path):
    def fitted(name: str, seed: int, threads: str) -> bytes:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "sim")]),
               "OPENBLAS_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-m", "orchestrator.learn.fit_default", "--quick", "--seed", str(seed), "--out",
                        str(tmp_path / name)], check=True, env=env, capture_output=True, timeout=900)
        return (tmp_path / name).read_bytes()

    first = fitted("a", 3, "1")
    assert first == fitted("b", 3, "2")
    assert first != fitted("c", 4, "1")
    assert all(artifacts.verify(artifacts.load(tmp_path / "a")).values())


# ---- the parts

def mirrored(features: np.ndarray) -> np.ndarray:
    """The rows of a market whose buyers and sellers have changed places."""
    out = features.copy()
    columns = np.array(forecast.INDICES)
    out[:, columns[: forecast.SIGNED]] *= -1
    out[:, columns[forecast.POSITION]] *= -1
    buy, sell = columns[forecast.WORKING_BUY], columns[forecast.WORKING_SELL]
    out[:, [buy, sell]] = out[:, [sell, buy]]
    return out


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(2)
    rows = rng.integers(-20_000, 20_000, (4_000, len(artifacts.schema.NAMES))).astype(np.int32)
    columns = np.array(forecast.INDICES)
    rows[:, columns[forecast.SPREAD]] = rng.integers(1, 26, len(rows)) * 100
    rows[:, columns[forecast.POSITION]] = rng.integers(-400, 401, len(rows))
    rows[:, columns[forecast.WORKING_BUY :]] = rng.integers(0, 2, (len(rows), 2)) * 100
    return rows


def test_moves_are_those_of_the_mid_at_the_first_decision_after_the_horizon():
    facts = np.zeros((4, 8), np.int64)
    facts[:, episodes.NOW_NS] = [0, 400_000, 1_000_000, 2_500_000]
    facts[:, episodes.BID_TICKS] = [100, 200, 400, 800]
    facts[:, episodes.ASK_TICKS] = [300, 400, 600, 1_000]
    one = episodes.Episode(1, 0, 0, 0, 0, 0, 0, 0, False, np.zeros(5), np.zeros((4, 22), np.int32), facts)
    assert np.array_equal(forecast.moves_ticks(one, (1,))[:, 0], [300, 600, 400, np.nan], equal_nan=True)


def test_the_fit_finds_a_linear_rule_and_mirrors_it(rows):
    scale = forecast.scaling(rows, 100)
    x = scale.apply(rows)
    moves = (300 * x[:, :1] - 200 * x[:, 3:4]) + np.random.default_rng(1).normal(0, 50, (len(x), 1))
    made = forecast.fit(x, moves, (50,), units=8, steps=800, rng=np.random.default_rng(1))
    assert made.correlation[0] > 0.9

    def guess(features: np.ndarray) -> np.ndarray:
        return np.maximum(scale.apply(features) @ made.w0.T + made.b0, 0) @ made.w1.T

    inside = (np.abs(x[:, : forecast.SIGNED]) < 0.95).all(1)  # the quantiser rounds halves up and reaches to -128
    assert np.abs(guess(rows) + guess(mirrored(rows)))[inside].max() < 0.05


def test_the_network_computes_the_stated_tactic(rows):
    scale = forecast.scaling(rows, 100)
    x = scale.apply(rows)
    made = forecast.fit(x, 300 * x[:, :2], (50, 200), units=8, steps=50, rng=np.random.default_rng(1))
    vector = np.concatenate([[0.3, 0.1, 0.7, 0.3], START.vector()[6:]])
    tactics = structure.Tactics((0.0,) * 2, (0.0,) * 2, *[0.0] * 8).replaced(vector)
    network, agreement = structure.network(made, tactics, scale, rows, 100)
    assert network.sizes == [16, 32, 6, 5] and agreement > 0.9

    z = np.maximum(x @ made.w0.T + made.b0, 0) @ made.w1.T * made.reach_ticks
    columns = np.array(forecast.INDICES)
    p = rows[:, columns[forecast.POSITION]] / 100
    spread = np.maximum(x[:, forecast.SPREAD], 0) * 128 * 2.0 ** scale.s[forecast.SPREAD] / scale.m[forecast.SPREAD]
    own, other = rows[:, columns[forecast.WORKING_BUY]] / 100, rows[:, columns[forecast.WORKING_SELL]] / 100
    t = tactics
    logits = np.stack([
        np.zeros(len(x)),
        z @ t.join_forecast - t.join_position * p + t.join_spread * spread - t.join_own * own + t.join_other * other + t.join_bias,
        -z @ t.join_forecast + t.join_position * p + t.join_spread * spread - t.join_own * other + t.join_other * own + t.join_bias,
        z @ t.take_forecast - t.take_position * p + t.take_spread * spread + t.take_bias,
        -z @ t.take_forecast + t.take_position * p + t.take_spread * spread + t.take_bias,
    ], 1)  # fmt: skip
    best = np.sort(logits, 1)
    clear = best[:, -1] - best[:, -2] > 20  # ticks: int8 in the middle is coarse
    assert clear.sum() > 200
    assert (oracle.infer(network, rows).argmax(1) == logits.argmax(1))[clear].mean() > 0.99


def test_random_policies_choose_each_action_about_equally_on_their_samples(rows):
    made = baselines.random_policy(1, rows, 100)
    shares = np.bincount(oracle.infer(made.network, rows).argmax(1), minlength=5) / len(rows)
    assert made.network.sizes == [16, 32, 16, 5] and np.abs(shares - 0.2).max() < 0.05


def test_always_hold_holds(rows):
    assert (oracle.infer(baselines.always_hold().network, rows).argmax(1) == 0).all()


def test_a_report_is_placed_between_its_marks(judged):
    page = f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n"
    once = report.placed(page, judged)
    assert once.startswith("above\n") and once.endswith("\nbelow\n") and "\nold\n" not in once
    assert judged["artifact"][:16] in once and report.placed(once, judged) == once
    with pytest.raises(ValueError, match="must have one line"):
        report.placed("no marks", judged)


def test_the_document_reports_on_the_shipped_artifact(shipped):
    page = (ROOT / "docs/concepts/default-policy.md").read_text(encoding="utf-8")
    assert f"Artifact `{shipped.sha256[:16]}`" in page, "write it anew: python -m orchestrator.learn.report --into …"
