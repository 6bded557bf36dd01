"""Panel, report, doctor and machine: what people read."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from orchestrator.observe import telemetry
from orchestrator.observe.doctor import CHECKS, Needs, examine, policy_kernel
from orchestrator.observe.machine import Probe, describe, one_line
from orchestrator.observe.panel import LivePanel, render
from orchestrator.observe.report import nanoseconds, print_report
from orchestrator.observe.result import LATENCY_KEYS, RunResult, SymbolResult


def text_of(renderable) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def snapshot(**counters):
    base = {"now_ns": 10**9, "started_ns": 10**6, "events": 1000, "feed_state": 2, "session_ready": 1, "trading_state": 1}
    rows = [("PRGN", 1_000_000, 1_000_100, 1_000_100, -300, 123_400, 200, 1)]
    return telemetry.read(telemetry.build({**base, **counters}, {"tick_to_order": [440, 1200], "risk": []}, rows))


def result(**changes) -> RunResult:
    values = {
        "config_name": "laptop", "seed": 7, "duration_ns": 15 * 10**9, "events": 30_000, "orders": 40, "fills": 12,
        "rejects": 1, "risk_rejects": 2, "risk_reasons": {"price_collar": 2}, "pnl_units": -12_345, "gaps": 1,
        "symbols": {"PRGN": SymbolResult(position_lots=-300)}, "journal": "runs/a b", "journal_records": 31_000,
        "tick_to_order_ns": {"p50": 740, "p90": 1_200, "p99": 4_000, "p99_9": 9_000, "max": 12_000, "count": 40},
        "stages_ns": {"policy": {"p50": 90, "count": 40}}, "noise_ns": {"p99": 60, "max": 40_000, "count": 9},
        "machine": describe(),
    }  # fmt: skip
    return RunResult(**{**values, **changes})


def test_the_panel_shows_price_position_profit_orders_fills_latency_and_gaps():
    shown = text_of(render(snapshot(gaps=3, fills=12, orders=44), snapshot(now_ns=5 * 10**8, events=500)))
    for words in ("100.0000", "100.0100", "-300", "+12.34 USD", "44", "12", "440 ns", "3,", "live", "ready", "(1,000/s)"):
        assert words in shown, words


def test_the_panel_says_when_the_book_is_stale_and_the_session_down():
    shown = text_of(render(snapshot(feed_state=4, session_ready=0, trading_state=5)))
    assert "stale" in shown and "not ready" in shown and "killed" in shown


def test_a_state_of_a_newer_engine_does_not_break_the_panel():
    assert "state 99" in text_of(render(snapshot(feed_state=99)))


def test_without_a_terminal_the_panel_is_a_line_now_and_then():
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    with LivePanel(console) as panel:
        for now_s in (6, 7, 8, 12):
            panel.update(snapshot(now_ns=now_s * 10**9))
    lines = console.file.getvalue().strip().splitlines()
    assert len(lines) == 2 and "1,000 events" in lines[0]


def test_the_json_object_has_every_promised_key_and_survives_json():
    out = json.loads(json.dumps(result().to_json()))
    promised = ["events", "orders", "fills", "rejects", "risk_rejects", "position", "pnl", "gaps", "stale_ns", "tick_to_order_ns", "stages_ns", "journal", "machine"]  # fmt: skip
    assert list(out)[: len(promised)] == promised
    assert (out["position"], out["pnl"], out["pnl_units"]) == (-300, -1.2345, -12_345)
    assert list(out["tick_to_order_ns"]) == list(LATENCY_KEYS)
    assert out["stages_ns"]["policy"]["p99"] == 0
    assert "final_book" not in out
    assert result(final_book={}).to_json()["final_book"] == {}


def test_the_report_tells_trading_latency_noise_and_how_to_replay():
    console = Console(file=io.StringIO(), width=110)
    print_report(result(warnings=["memory could not be locked"]), console)
    shown = console.file.getvalue()
    for words in ("-1.23 USD", "-300 lots", "740 ns", "noise floor", "price collar 2", "31,000 records", "seed 7",
                  "peregrine replay 'runs/a b'", "peregrine verify 'runs/a b'", "memory could not be locked"):  # fmt: skip
        assert words in shown, words


def test_a_run_without_orders_shows_dashes_not_zero_latencies():
    shown = text_of_report(result(tick_to_order_ns={}, stages_ns={}, noise_ns={}))
    assert "0 ns" not in shown.partition("latency")[2] and "not measured" in shown


def text_of_report(value: RunResult) -> str:
    console = Console(file=io.StringIO(), width=110)
    print_report(value, console)
    return console.file.getvalue()


@pytest.mark.parametrize(("value", "text"), [(0, "0 ns"), (999, "999 ns"), (12_300, "12.3 µs"), (4_560_000, "4.56 ms"), (1_200_000_000, "1.20 s")])  # fmt: skip
def test_times_are_shown_in_the_unit_they_read_best_in(value, text):
    assert nanoseconds(value) == text


@pytest.fixture
def kernel(tmp_path):
    """A machine made of files: `kernel({path: text})` → Probe."""

    def make(files: dict[str, str]) -> Probe:
        (tmp_path / "dev/shm").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return Probe(tmp_path)

    return make


BAD_MACHINE = {
    "proc/cpuinfo": "model name : Old CPU\nflags : fpu sse2\n",
    "proc/meminfo": "MemTotal: 2048000 kB\nMemAvailable: 102400 kB\n",
    "proc/swaps": "Filename Type\n/swapfile file\n",
    "proc/sys/net/core/rmem_max": "212992\n",
    "proc/sys/kernel/sched_rt_runtime_us": "950000\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/smt/active": "1\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
}


def test_a_bad_machine_gets_a_fix_for_every_finding(kernel, tmp_path):
    needs = Needs(pinned=True, journal_dir=str(tmp_path), memlock_bytes=65536)
    found = {f.name: f for f in examine(needs, kernel(BAD_MACHINE))}
    bad = {name for name, f in found.items() if f.status != "ok"}
    assert bad >= {"memory", "swap", "governor", "smt", "transparent_hugepages", "socket_buffer", "tsc", "clock_source",
                   "memlock", "isolcpus", "nohz_full", "cpu_quota"}  # fmt: skip
    assert all(found[name].fix for name in bad)
    assert found["memory"].status == "fail"
    assert "950" not in found["rt_throttling"].found and "50 ms" in found["rt_throttling"].found


def test_a_machine_that_shows_nothing_still_gets_an_answer_to_every_question(tmp_path):
    found = examine(Needs(journal_dir=str(tmp_path)), Probe(tmp_path / "empty"))
    assert len(found) >= len(CHECKS)
    assert {f.name for f in found if f.status == "fail"} <= {"shared_memory", "engine", "disk"}


@pytest.mark.parametrize(("flags", "kernel_name"), [({"avx2", "avx512_vnni", "avx512bw", "avx512vl"}, "avx512vnni"), ({"avx2"}, "avx2"), (set(), "scalar")])  # fmt: skip
def test_the_policy_kernel_follows_the_cpu_unless_the_engine_says(flags, kernel_name, monkeypatch):
    from hotpath import _core

    monkeypatch.delattr(_core, "best_policy_kernel", raising=False)
    assert policy_kernel(flags) == kernel_name


@pytest.mark.parametrize(("needed", "status"), [(True, "fail"), (False, "warn")])
def test_a_configured_card_that_cannot_be_driven_is_told_with_its_address(tmp_path, needed, status):
    needs = Needs(journal_dir=str(tmp_path), device_address="0000:ff:1f.7", device_needed=needed)
    found = {f.name: f for f in examine(needs)}["device"]
    assert (found.status, "0000:ff:1f.7" in found.found, bool(found.fix)) == (status, True, True)


def test_the_plan_and_the_unit_are_printed_and_nothing_else(peregrine, read_json):
    plan = peregrine("doctor", "--fix-plan", "--profile", "pinned").stdout
    assert plan.startswith("#!/bin/sh") and 'case "${1:-}" in' in plan
    out = read_json(peregrine("doctor", "--fix-plan", "--json"))
    assert out["steps"] and out["script"].startswith("#!/bin/sh")
    assert "[Service]" in peregrine("doctor", "--systemd").stdout
    assert read_json(peregrine("doctor", "--systemd", "--json"))["path"] == "/etc/systemd/system/peregrine-peregrine.service"
    assert "one after the other" in peregrine("doctor", "--systemd", "--fix-plan", code=64).stderr


def test_doctor_on_the_command_line(peregrine, read_json):
    out = peregrine("doctor", "--json", code=None)
    report = read_json(out)
    assert out.returncode == (0 if report["ok"] else 69)
    assert {"engine", "cores", "memlock", "tsc", "policy_kernel", "disk"} <= {f["name"] for f in report["findings"]}
    assert all(set(f) == {"name", "status", "found", "fix"} for f in report["findings"])
    assert "to improve" in peregrine("doctor", code=None).stdout


def test_the_machine_is_described_from_what_the_kernel_shows(kernel):
    machine = describe(kernel(BAD_MACHINE))
    assert (machine["cpu"], machine["governor"], machine["smt"]) == ("Old CPU", "powersave", True)
    assert "Old CPU" in one_line(machine)
