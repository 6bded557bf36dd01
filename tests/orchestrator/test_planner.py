"""Where decisions are cheapest: the planner's arithmetic against values worked out by hand, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hotpath.policy import artifact
from hotpath.policy.oracle import Layer, Network
from orchestrator.cli import main as cli
from orchestrator.run import planner
from orchestrator.run.planner import Budget, Cost, crossover

KEYS = {"policy", "budget", "family", "crossover_weights", "auto", "why"}


def peregrine(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(args))
    return int(ended.value.code or 0)


def network(*weights: list[list[int]], m: int = 1) -> Network:
    """Layers of these weights without biases; hidden ones shift by 1. The quantiser is x * m."""
    layers = []
    for k, rows in enumerate(weights):
        w = np.array(rows, np.int8)
        last = k == len(weights) - 1
        layers.append(Layer(w, np.zeros(len(w), np.int32), None if last else np.full(len(w), 1, np.uint8)))
    n = layers[0].inputs
    return Network(np.arange(n, dtype=np.uint16), np.full(n, m, np.int16), np.zeros(n, np.uint8), tuple(layers))


def test_a_baked_cores_cycles_are_those_worked_out_by_hand():
    # quantiser: one digit, nothing to add: 0. Layer 0: 3x + 5y + half: 4 digits and a constant, so 3 levels.
    # Layer 1, the last, 7x and 5x: two digits each, 1 level. Two logits: one compare.
    small = network([[3, 5]], [[7], [5]])
    assert Budget(adds_per_stage=0).cycles(small) == 5  # quantiser, two layers, argmax, consensus
    assert Budget(adds_per_stage=2).cycles(small) == 3  # ceil((0 + 3 + 1 + 1) / 2)
    assert Budget(adds_per_stage=1).cycles(small) == 8  # a level each, and three of gates: two clamps, the answer


def test_a_loadable_cores_cycles_are_those_worked_out_by_hand():
    # 16-64-32-32-5 at 8 lanes: 8 * 16 + 4 * 64 + 4 * 32 + 1 * 32 rows of weights, 5 and 4 * 5 around them
    wide = network(*(np.zeros((o, i), int).tolist() for i, o in ((16, 64), (64, 32), (32, 32), (32, 5))))
    assert Budget("loadable", lanes=8).cycles(wide) == 544 + 25


def test_the_devices_cost_is_pcie_and_cycles_times_period():
    assert Budget(period_ns=5.0, pcie_ns=600.0).device_ns(20) == 700.0
    assert pytest.approx((787 + 547) / 2) == planner.PCIE_NS


def cost(weights: int, cpu: float, device: float) -> Cost:
    return Cost(str(weights), weights, cpu, 0, device)


def test_the_crossover_lies_where_the_two_lines_meet():
    # at 1000 the CPU is 300 ahead, at 2000 it is 100 behind: three quarters of the way
    assert crossover([cost(1000, 700, 1000), cost(2000, 1200, 1100)]) == 1750.0


@pytest.mark.parametrize(("costs", "found"), [
    ([cost(1, 10, 20), cost(2, 15, 20)], None),
    ([cost(1, 30, 20), cost(2, 40, 20)], 0.0),
    ([cost(1, 20, 20), cost(2, 40, 20)], 1.0),
    ([cost(1, 30, 20), cost(2, 10, 20)], None),
    ([], None),
])  # fmt: skip
def test_a_crossover_that_is_not_there_is_said(costs, found):
    assert crossover(costs) == found


@pytest.mark.parametrize(("cpu", "choice", "words"), [
    (100.0, "cpu", "less than the way to the device and back alone"),
    (720.0, "cpu", "the device would answer in 74"),
    (5000.0, "device", "the device answers in"),
])  # fmt: skip
def test_auto_takes_the_cheaper_and_says_why(cpu, choice, words):
    own = artifact.make(network(*(np.ones((o, 16), int).tolist() for o in (16, 5))), name="ones", provenance={}, parity=1)
    told = planner.plan(own, Budget(adds_per_stage=4, period_ns=25.0, pcie_ns=667.0), cpu_ns=lambda _: cpu)
    assert told["auto"] == choice and words in told["why"], told["why"]


def test_the_family_grows_and_is_loadable():
    counts = [planner.weights_of(n) for n in planner.family()]
    assert counts == sorted(counts) and counts[0] == 16 * 8 + 8 * 8 + 8 * 5
    assert planner.measured_here(planner.family([(8, 8)])[0]) > 0


def test_the_plan_is_told_as_json_with_the_given_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert peregrine("policy", "plan", "builtin:default", "--json", "--variant", "loadable", "--lanes", "8", "--period-ns", "4",
                     "--pcie-ns", "500") == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == KEYS
    own = told["policy"]
    assert own["device_ns"] == 500 + 4 * own["cycles"] and told["budget"]["lanes"] == 8
    assert told["auto"] == ("device" if own["device_ns"] < own["cpu_ns"] else "cpu")


def test_the_plan_is_shown_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert peregrine("policy", "plan", "builtin:default", "--plot", str(tmp_path / "plan.png")) == 0
    out = " ".join(capsys.readouterr().out.split())
    for piece in ("this policy", "16-256-256-5", "crossover:", "placement auto:", "PCIe"):
        assert piece in out
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("options", "words"), [
    (["--variant", "other"], "expected one of baked, loadable"),
    (["--variant", "loadable", "--lanes", "3"], "power of two"),
    (["--period-ns", "0"], "above 0"),
    (["--pcie-ns", "-1"], "0 or more"),
    (["--plot", "/nowhere/plan.png"], "cannot be written"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_a_hint(options: list[str], words: str, capsys: pytest.CaptureFixture[str],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "measured_here", lambda _: 100.0)
    assert peregrine("policy", "plan", "builtin:default", *options) == 64
    err = capsys.readouterr().err
    assert words in err and "hint:" in err


def test_without_the_gatewares_formulas_it_says_what_to_install(capsys: pytest.CaptureFixture[str],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peregrine_hdl.latency", None)
    assert peregrine("policy", "plan", "builtin:default") == 69
    assert "peregrine-engine[hdl]" in capsys.readouterr().err


def test_no_hardware_library_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in ("amaranth", "peregrine_hdl")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "amaranth", None)
    assert Budget().cycles(network([[1]])) >= 1
