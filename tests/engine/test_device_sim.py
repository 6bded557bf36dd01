"""Decisions by the simulated gateware: register by register the real device, and the orders of the kernels whatever becomes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from rig import verify

from orchestrator.config import load_profile
from orchestrator.observe.result import RunResult
from orchestrator.run.device import FAULTS, fault_plan
from orchestrator.run.virtual import run_virtual
from peregrine_sim.device import SimMissing, library

SECONDS = 1_000_000_000


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """The library, made once; without the wheels of the [hdl] extra these tests say so."""
    try:
        library()
    except SimMissing as err:
        pytest.skip(f"no simulated device: {err} (hint: {err.hint})")


def run(tmp_path: Path, faults: dict[str, Any] | None = None, **changes: Any) -> RunResult:
    settings = {
        "journal.dir": str(tmp_path / "runs"), "journal.ring_mb": 4, "engine.mlock": False, "engine.max_orders": 65_536,
        "engine.name": f"gateware-{os.getpid()}",
    }  # fmt: skip
    return run_virtual(load_profile("replay", {**settings, **changes}), for_ns=SECONDS, device_faults=faults)


@pytest.fixture(scope="module")
def by_cpu(tmp_path_factory) -> RunResult:
    """The same flow decided by the kernels alone."""
    return run(tmp_path_factory.mktemp("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["inline", "ring"])
def test_the_gateware_decides_what_the_kernels_decide(mode, by_cpu, tmp_path) -> None:
    settings = {"policies.placement": "device", "device.backend": "sim", "device.mode": mode, "device.max_events_behind": 1_000_000}
    result = run(tmp_path, **settings, **{"device.recompute_every": 1})
    d = result.device
    assert d is not None
    assert d["detail"].startswith("loadable, ")
    assert d["wrong"] == 0
    assert d["fallback"] == 0
    assert d["used"] > 100
    if mode == "inline":  # by ring an answer comes some events later, and the orders with it
        assert result.order_hash == by_cpu.order_hash
        assert d["used"] == result.decisions == by_cpu.decisions
    assert verify(Path(result.journal))["identical"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_faults_between_engine_and_gateware_change_no_order(name, by_cpu, tmp_path) -> None:
    rate = 10 if name in ("link_down", "reset") else 100
    settings = {"policies.placement": "device", "device.backend": "sim", "device.recompute_every": 1, "device.probe_after": 20}
    result = run(tmp_path, fault_plan(seed=5, failing_resets=1, **{name: rate}), **settings, **{"device.deadline_cycles": 4_000})
    assert result.order_hash == by_cpu.order_hash
    assert result.device is not None
    assert result.device["used"] > 50
    assert result.device["used"] + result.device["fallback"] == result.decisions
    assert verify(Path(result.journal))["identical"]


@pytest.mark.slow
def test_a_deadline_shorter_than_the_gateware_leaves_every_decision_to_the_kernels(by_cpu, tmp_path) -> None:
    settings = {"policies.placement": "device", "device.backend": "sim", "device.deadline_cycles": 32, "device.probe_after": 50}
    result = run(tmp_path, **settings)
    assert result.order_hash == by_cpu.order_hash
    assert result.device is not None
    assert result.device["used"] == 0
    assert result.device["link"]["late"] > 0
    assert result.device["link"]["breaker_opened"] > 0
