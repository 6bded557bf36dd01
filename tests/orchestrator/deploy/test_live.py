"""Deploys to a real engine through its real control API: one that does well, and one that passes every check and trades nothing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("hotpath._core")
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))
from control_world import World  # noqa: E402

from orchestrator.config import effective, from_effective  # noqa: E402
from orchestrator.control.client import ControlClient  # noqa: E402
from orchestrator.deploy.flow import DeployRefused, Job, Outcome, Tools, deploy  # noqa: E402
from orchestrator.deploy.health import read  # noqa: E402
from orchestrator.deploy.history import History  # noqa: E402
from orchestrator.deploy.running import running  # noqa: E402
from orchestrator.run.journals import verify_journal  # noqa: E402


@pytest.fixture
def world(tmp_path, monkeypatch):
    """One engine of two shards and its control process."""
    base = Path(tempfile.mkdtemp(prefix="prg"))
    monkeypatch.setenv("PEREGRINE_RUNTIME_DIR", str(base))
    with World(tmp_path, f"dep{os.getpid()}", shards=2) as made:
        yield made
    shutil.rmtree(base, ignore_errors=True)


def bring(world: World, history: History, why: str = "because", **changes) -> tuple[Outcome, list[str]]:
    """Deploy the running configuration with changes in `risk`."""
    now = running(world.name, history, world.run_folder)
    after = {**now.now, "risk": {**now.now["risk"], **changes}}
    said: list[str] = []
    with ControlClient.local(world.name) as control:
        job = Job(world.name, now.run, now.now, effective(from_effective(after)), "ada", why, "test", own_limits=now.own_limits, window_s=3.0)
        return deploy(job, Tools(control, lambda: read(world.name), history, said.append)), said


def test_what_does_well_stays_and_what_does_not_is_taken_back_all_in_the_journal(world, tmp_path):
    history = History(world.name, tmp_path / "deploys")
    good, said = bring(world, history, "smaller losses", max_loss_units=1_900_000_000)
    assert good.state == "good", (good.health, said)
    assert [e["shard"] for e in history.get(1).steps[0].effects] == [0, 1]
    with ControlClient.local(world.name) as control:
        in_force = control.call("limits.get").data
    assert in_force["account"]["max_loss_units"] == 1_900_000_000

    # every check of the configuration passes: it is a legal limit; and no order there is would ever pass the gate
    bad, said = bring(world, history, "a typing error", max_order_notional_units=1)
    assert bad.state == "rolled back", (bad.health, said)
    assert any("the gate refused" in problem or "no order was sent" in problem for problem in bad.health)
    assert any(line.startswith("ROLLBACK") for line in said)
    with ControlClient.local(world.name) as control:
        assert control.call("limits.get").data == {**in_force, "shards": control.call("limits.get").data["shards"]}
        lines = control.call("commands").data["commands"]
    orders = world.counters()["orders"]
    world.until(lambda: world.counters()["orders"] > orders + 5, "it to trade again")
    limits = [line for line in lines if line["kind"] == "limits"]
    assert len(limits) == 6 and {line["who"] for line in limits} == {"ada"}  # two shards, three times: to, to, back
    assert [line["why"] for line in limits][-1] == "deploy 2: a typing error, taken back"

    # set by hand since: told, and nothing is changed
    with ControlClient.local(world.name) as control:
        control.call("limits.set", {"limits": {"collar_bps": 77}}, why="by hand", who="bob")
    with pytest.raises(DeployRefused, match="collar_bps is 77, configured 500"):
        bring(world, history, max_loss_units=1_800_000_000)
    assert [m.state for m in history.all()] == ["good", "rolled back"]
    world.stop_control()
    assert world.result()["stopped_by"] == "signal"
    assert verify_journal(world.run_folder)["identical"]
