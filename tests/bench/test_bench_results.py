"""The bench's report: what latest.json holds, which exit code a set of figures earns, and what stands beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator import runner
from orchestrator.cli._errors import CliError
from orchestrator.cli.bench import beside, figure, table, targets

driver = runner.bench_driver()
assert driver is not None
CHEAP = ["risk_gate", "order_encode"]


def row(name: str, p99: float, echo_p99: float = 20_000.0) -> dict[str, Any]:
    return {"name": name, "p99": p99, "baseline": {"name": "twin", "p99": echo_p99}}


def test_figures_within_the_budget_are_good():
    code, reason = driver.verdict([row("tick_to_order", 5_000), row("wire_to_wire_inline", 90_000)])
    assert code == 0 and "within" in reason


@pytest.mark.parametrize("name", ["tick_to_order", "wire_to_wire_inline"])
def test_a_p99_over_100_us_fails_on_a_machine_that_can_judge(name):
    rows = {"tick_to_order": row("tick_to_order", 5_000), "wire_to_wire_inline": row("wire_to_wire_inline", 90_000)}
    rows[name]["p99"] = 100_001
    code, reason = driver.verdict(rows.values())
    assert code == 1 and name in reason
    rows[name]["p99"] = 100_000
    assert driver.verdict(rows.values())[0] == 0


def test_a_raw_echo_over_50_us_makes_the_machine_too_noisy_to_judge():
    slow = [row("tick_to_order", 500_000), row("wire_to_wire_inline", 500_000, echo_p99=50_001)]
    code, reason = driver.verdict(slow)
    assert code == 75 and "too noisy" in reason
    slow[1]["baseline"]["p99"] = 50_000
    assert driver.verdict(slow)[0] == 1


def test_a_stage_never_fails_the_budget():
    code, reason = driver.verdict([row("matching", 1e9)])
    assert code == 0 and "no budgeted" in reason


def test_the_noise_floor_is_the_worst_seen_by_any_program():
    floors = [{"noise": {"p50": 20, "p99": 20, "p99_9": 40, "max": 900, "count": 5}},
              {"noise": {"p50": 30, "p99": 90, "p99_9": 30, "max": 800, "count": 6}}]  # fmt: skip
    assert driver.noise_floor(floors) == {"p50": 25, "p99": 90, "p99_9": 40, "max": 900, "count": 11}


def test_every_asked_for_measurement_has_a_program_whose_source_is_there():
    wanted = {
        "ring_spsc", "ring_round_trip", "itch_decode", "book_update_hot", "book_update_wide", "features", "policy_inference", "risk_gate",
        "order_encode", "journal_append", "tick_to_order", "wire_to_wire_inline", "orders_per_second",
        "virtual_time_throughput", "virtual_time_recorded", "matching",
    }  # fmt: skip
    assert set(driver.NAMES) == wanted
    for program in driver.PROGRAMS:
        assert (driver.NATIVE / f"{program.name}.cpp").is_file()
        asked = (driver.ROOT / "bench" / f"bench_{program.name}.py").read_text()
        assert all(f'question("{name}")' in asked for name in program.results)


def test_a_target_says_how_many_times_it_is_kept_or_missed():
    rows = [{"name": "risk_gate", "p99": 50.0, "rate": 2e7}, {"name": "orders_per_second", "p99": 1.0, "rate": 25.0}]
    by_name = {t["name"]: t for t in driver.targets.rows(rows)}
    assert by_name["risk"]["times"] == 200_000 and by_name["orders"]["times"] == 0.5
    assert "order" not in by_name  # tick_to_order was not measured in this run
    lines = targets({"targets": list(by_name.values())})
    assert "200,000 times under" in lines[0] and "missed" in lines[1]


def test_a_twin_that_cannot_be_measured_is_named_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(driver.twins, "HOME", tmp_path)
    row = {"name": "virtual_time_recorded", "unit": "ns", "working_set": {"decision_interval_ns": 1}, "twins": []}
    driver.twins.beside("virtual_time", [row], tmp_path, 0.1)
    assert beside({"results": [row]}) == ["virtual_time_recorded: not measured beside hftbacktest: not installed (make twins)"]


def test_a_measurement_that_does_not_exist_is_a_usage_error_naming_those_that_do():
    with pytest.raises(CliError, match="tick_to_order") as caught:
        runner.bench(only=["tick_to_odor"], quick=True, out=None, on_result=None)
    assert caught.value.code == 64


def test_outside_a_checkout_the_bench_says_so_and_how_to_get_one(monkeypatch, tmp_path):
    assert runner.bench_driver(tmp_path / "site-packages" / "orchestrator") is None
    monkeypatch.setattr(runner, "bench_driver", lambda: None)
    with pytest.raises(CliError, match="installed package") as caught:
        runner.bench(only=[], quick=True, out=None, on_result=None)
    assert caught.value.code == 69 and "make bench" in caught.value.hint


def test_a_distribution_is_read_back_from_its_text():
    text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n  1.5  0.0  1  1.00\n  9.0  0.99  99  100.00\n 12.0  1.0  100  inf\n"
    assert driver.curve(text) == ([1.0, 100.0], [1.5, 9.0])


@pytest.mark.parametrize(("value", "unit", "text"), [(4.43, "ns", "4.4 ns"), (740.2, "ns", "740 ns"), (12_345, "ns", "12.3 µs")])
def test_figures_are_shown_in_the_unit_they_read_best_in(value, unit, text):
    assert figure(value, unit) == text


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int, Path]:
    if shutil.which("g++") is None and shutil.which("c++") is None:
        pytest.skip("no compiler here")
    if not (driver.toolchain().build_dir / "libperegrine_core.a").exists():
        pytest.skip("the engine was not built in this tree")
    out = tmp_path_factory.mktemp("bench")
    seen: list[str] = []
    report, code = runner.bench(only=CHEAP, quick=True, out=out, on_result=lambda r: seen.append(r["name"]))
    assert sorted(seen) == sorted(CHEAP)
    return report, code, out


def test_latest_json_holds_machine_noise_and_results_with_their_baseline(measured):
    report, code, out = measured
    stored = json.loads((out / "latest.json").read_text())
    assert stored == report and code == 0
    assert all((out / name).is_file() for name in stored["files"])
    assert {"cpu", "flags", "kernel", "compiler", "commit", "bench_flags", "kernel_settings"} <= set(stored["machine"])
    assert {"p50", "p99", "p99_9", "max"} <= set(stored["noise"])
    assert [r["name"] for r in stored["results"]] == CHEAP
    for result in stored["results"]:
        assert result["unit"] == "ns" and result["rate"] > 0 and result["working_set"]
        assert 0 < result["p50"] <= result["p99"] <= result["p99_9"] <= result["max"]
        assert result["baseline"]["name"] and 0 < result["baseline"]["p50"] <= result["baseline"]["max"]
        assert result["ratio"] == pytest.approx(result["p50"] / result["baseline"]["p50"], abs=0.001)


def test_each_distribution_has_a_file_that_agrees_with_the_report(measured):
    report, _, out = measured
    for result in report["results"]:
        for suffix, figures in (("", result), (".baseline", result["baseline"])):
            text = (out / f"{result['name']}{suffix}.hgrm").read_text()
            _, values = driver.curve(text)
            assert values == sorted(values) and values[0] <= figures["p50"] <= figures["max"] * 1.01
            assert "hgrm" not in figures and "quantiles" not in figures
    assert (out / "percentiles.png").exists() or "matplotlib" in report["plot"]


def test_the_table_has_a_line_a_result(measured):
    report, _, _ = measured
    assert table(report).row_count == len(CHEAP)
