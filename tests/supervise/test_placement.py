"""Where each process goes: the plan for several machines, and what a real child gets of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines import container, numa2, smt16, vm2
from orchestrator.config import load_profile
from orchestrator.config.cores import hot_threads, resolve_cores
from orchestrator.config.problems import ConfigError
from orchestrator.observe.fix_plan import roles_of
from orchestrator.observe.topology import Cpu, Topology, read_topology
from orchestrator.supervise.placement import Placement, allowed_of, plan_placement, verify

PIPELINED = ["engine.topology=pipelined", "engine.cores.feed=auto", "engine.cores.session=auto"]
EXTERNAL = """\
extends: pinned
venue:
  kind: external
  ouch: 10.100.0.9:4000
  itch_a: 239.1.1.1:5000
  interface: 10.100.3.7
  cancel_on_disconnect: true
  account: {username: DESK01, password_env: DESK_PASSWORD}
"""


def machine(cores: int, *, smt: int = 1, nodes: int = 1, allowed: set[int] | None = None, isolated: tuple[int, ...] = ()) -> Topology:
    """A machine without files: `cores` cores of `smt` CPUs each, dealt to the nodes in turn."""
    cpus = tuple(Cpu(n, n % cores % nodes, tuple(n % cores + cores * i for i in range(smt))) for n in range(cores * smt))
    return Topology(cpus, tuple(sorted(allowed or {c.number for c in cpus})), tuple(range(nodes)), isolated=isolated)


def test_on_two_cpus_the_engine_has_one_and_everything_else_the_other(tmp_path):
    plan = plan_placement(load_profile("pinned"), read_topology(vm2(tmp_path)))
    assert list(plan) == ["supervisor", "venue", "engine", "telemetry"]
    assert plan["engine"].threads["engine"] == 1
    assert {plan[name].cpus for name in ("supervisor", "venue", "telemetry")} == {(0,)}
    assert (plan["engine"].nice, plan["telemetry"].nice, plan["telemetry"].scheduling) == (0, 5, "batch")
    assert plan["engine"].lock_memory and not plan["telemetry"].lock_memory


def test_with_smt_a_hot_threads_sibling_is_given_to_nobody(tmp_path):
    plan = plan_placement(load_profile("pinned", PIPELINED), read_topology(smt16(tmp_path)))
    hot = {plan["engine"].threads[name] for name in ("engine", "feed", "session")}
    assert hot == {13, 14, 15}
    for name in ("supervisor", "venue", "telemetry"):
        assert not set(plan[name].cpus) & {13, 14, 15, 29, 30, 31}
    assert set(plan["engine"].cpus) == set(range(16))


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_eight_shards_have_a_placement_where_there_are_fewer_cores_than_threads(cores):
    symbols = [{"symbol": f"S{i}"} for i in range(8)]
    cfg = load_profile("laptop", {"instruments": symbols, "engine.topology": "pipelined", "engine.shards": 8, "risk.max_account_orders": 64, "journal.ring_mb": 4})
    assert {name for name in plan_placement(cfg, machine(cores))["engine"].threads if name.startswith("engine")} <= {"engine", "engine-1"}
    assert roles_of(cfg, machine(cores)).problem


def test_the_engine_lives_beside_the_card_that_brings_the_feed(tmp_path, monkeypatch):
    monkeypatch.setenv("DESK_PASSWORD", "x")
    from orchestrator.config import load_file

    file = tmp_path / "desk.yaml"
    file.write_text(EXTERNAL)
    engine = plan_placement(load_file(file), read_topology(numa2(tmp_path / "m")))["engine"]
    assert (engine.node, engine.why) == (1, "where ens3f0 is, which receives the feed")
    assert all(core % 2 == 1 for core in engine.cpus)
    assert engine.threads["engine"] == 15


def test_the_engine_lives_beside_its_device_when_it_has_one(tmp_path):
    cfg = load_profile("pinned", ["device.address=0000:65:00.0"])
    engine = plan_placement(cfg, read_topology(numa2(tmp_path), ("0000:65:00.0",)))["engine"]
    assert engine.node == 0 and "0000:65:00.0" in engine.why and engine.threads["engine"] == 14


def test_named_cores_decide_the_node_and_numa_off_leaves_it(tmp_path):
    topology = read_topology(numa2(tmp_path))
    named = plan_placement(load_profile("pinned", ["engine.cores.engine=6"]), topology)["engine"]
    assert (named.node, named.threads["engine"]) == (0, 6)
    off = plan_placement(load_profile("pinned", ["supervise.numa=off"]), topology)["engine"]
    assert off.node is None and off.cpus == tuple(range(16))


def test_cores_on_two_nodes_leave_memory_to_the_kernel_and_say_so(tmp_path):
    cfg = load_profile("pinned", [*PIPELINED, "engine.cores.engine=6", "engine.cores.feed=7"])
    engine = plan_placement(cfg, read_topology(numa2(tmp_path)))["engine"]
    assert engine.node is None and "nodes 0-1" in engine.why


def test_a_container_gives_only_what_it_has(tmp_path):
    plan = plan_placement(load_profile("pinned"), read_topology(container(tmp_path)))
    assert set(plan["engine"].cpus) == {4, 5, 6, 7} and plan["engine"].threads["engine"] == 7
    assert plan["telemetry"].cpus == (4, 5, 6)


def test_isolated_cpus_are_the_hot_threads_and_nobody_elses():
    plan = plan_placement(load_profile("pinned"), machine(8, isolated=(2, 3)))
    assert plan["engine"].threads["engine"] == 3
    assert set(plan["telemetry"].cpus) == {0, 1, 4, 5, 6, 7}
    assert plan["engine"].threads["journal"] not in (2, 3)


def test_a_configured_core_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="core 9"):
        plan_placement(load_profile("pinned", ["engine.cores.engine=9"]), machine(4))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.booleans(), st.data())
def test_no_other_process_ever_shares_a_hot_core_where_there_is_another(cores, smt, nodes, pipelined, data):
    everyone = set(range(cores * smt))
    allowed = data.draw(st.sets(st.sampled_from(sorted(everyone)), min_size=1)) if everyone else everyone
    cfg = load_profile("laptop", [*(PIPELINED if pipelined else []), "engine.cores.engine=auto"])
    topology = machine(cores, smt=smt, nodes=nodes, allowed=allowed)
    plan = plan_placement(cfg, topology)
    engine = plan["engine"]
    hot = {engine.threads[name] for name in hot_threads(cfg.engine)} - {None}
    for placement in plan.values():
        assert placement.cpus and set(placement.cpus) <= allowed
        if placement.process != "engine" and allowed - hot:
            assert not set(placement.cpus) & hot
    assert resolve_cores(cfg.engine, engine.cpus, topology.isolated) == engine.threads  # the engine will decide the same
    if engine.node is not None:
        assert {topology.node_of(n) for n in engine.cpus} == {engine.node}
    assert plan_placement(cfg, topology) == plan


APPLY = """
import sys, os, resource, json
from orchestrator.supervise.placement import Placement, apply
account = apply(Placement(**json.loads(sys.argv[1])))
print(json.dumps([account.line, list(account.problems)]), flush=True)
os.execv(sys.executable, [sys.executable, "-c", '''
import os, json, resource
from orchestrator.supervise.placement import preferred_node
print(json.dumps([sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), preferred_node()]))'''])
"""


def applied(**fields) -> tuple[str, list[str], list]:
    """A child that takes a placement on and becomes another program: the account, and what that program finds."""
    import json

    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", APPLY, json.dumps({"process": "telemetry", **fields})], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    (line, problems), found = (json.loads(text) for text in done.stdout.splitlines())
    return line, problems, found


def test_what_a_child_takes_on_its_program_still_has_after_exec():
    core = max(os.sched_getaffinity(0))
    line, problems, found = applied(cpus=[core], nice=19, scheduling="batch")  # 19 may be had from wherever these tests are
    assert problems == [] and line == f"telemetry: CPUs {core}, nice 19, batch"
    assert found == [[core], 19, os.SCHED_BATCH, None]


def test_memory_of_a_node_is_kept_over_exec_where_the_kernel_takes_it():
    line, problems, found = applied(cpus=sorted(os.sched_getaffinity(0)), node=0)
    assert found[3] == 0 or any("memory of node 0" in p for p in problems)


def test_what_cannot_be_had_is_told_and_nothing_is_raised():
    line, problems, found = applied(cpus=[1000])
    assert any("CPUs 1000" in p for p in problems) and "runs on CPUs" in line
    assert found[0] == sorted(os.sched_getaffinity(0))


def test_a_difference_between_plan_and_kernel_is_told():
    other = 19 if os.getpriority(os.PRIO_PROCESS, 0) < 19 else 18
    account = verify(Placement("engine", tuple(sorted(os.sched_getaffinity(0))), nice=other))
    assert any(f"not {other}" in p for p in account.problems)


def test_the_cpus_of_another_process_are_read():
    assert set(allowed_of(os.getpid())) == os.sched_getaffinity(0)
    assert allowed_of(2**22 + 5) == ()


def test_a_placement_is_a_line_for_a_person():
    placement = Placement("engine", (4, 5, 6, 7), 1, 0, "other", True, {"engine": 7, "journal": None}, "where ens3f0 is")
    assert placement.line() == "engine: CPUs 4-7, nice 0, other class, memory of node 1, memory locked; engine on 7 (where ens3f0 is)"
