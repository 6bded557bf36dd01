"""The plan for four machines, word for word as it was read over once; and that its script does nothing by itself.

`PEREGRINE_WRITE_PLANS=1` writes the scripts in trees/ anew, to be read over again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from machines import CPU, MACHINES, container, numa2, smt16, vm2, write
from orchestrator.config import load_profile
from orchestrator.observe.fix_plan import make_plan
from orchestrator.observe.fix_script import script

TREES = Path(__file__).parent / "trees"
PIPELINED = ["engine.topology=pipelined", "engine.cores.feed=auto", "engine.cores.session=auto"]


@pytest.mark.parametrize("name", MACHINES)
def test_the_script_of_a_recorded_machine_is_the_one_that_was_read_over(name, tmp_path):
    text = script(make_plan(load_profile("pinned"), MACHINES[name](tmp_path)))
    golden = TREES / f"{name}.sh"
    if os.environ.get("PEREGRINE_WRITE_PLANS"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert subprocess.run(["sh", "-n", "-c", text], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("argument", [None, "show", "help"])
def test_the_script_changes_nothing_unless_told_to(argument, tmp_path):
    file = tmp_path / "plan.sh"
    file.write_text(script(make_plan(load_profile("pinned"), smt16(tmp_path / "machine"))))
    traced = subprocess.run(["sh", "-x", str(file), *([argument] if argument else [])], capture_output=True, text=True, cwd=tmp_path)
    assert traced.returncode == (0 if argument == "show" else 64)
    ran = {line.lstrip("+ ").split()[0] for line in traced.stderr.splitlines() if line.startswith("+")}
    assert ran <= {"set", "who=root", "case", "cat", "echo", "exit"} | {w for w in ran if w.startswith("who=")}


def run_in(root: Path, text: str, what: str) -> str:
    """Runs a plan's script with every path of the machine moved below a folder and its tools replaced by an echo."""
    tools = root / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("update-grub", "grubby", "systemctl", "swapoff", "swapon", "sysctl"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {root}/calls\n')
        (tools / name).chmod(0o755)
    (root / "etc/sysctl.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/security/limits.d").mkdir(parents=True, exist_ok=True)
    moved = re.sub(r"(?<![\w.])/(?=(?:sys|proc|etc)/)", f"{root}/", text)
    file = root / "plan.sh"
    file.write_text(moved)
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "PEREGRINE_USER": "trader"}
    done = subprocess.run(["sh", str(file), what], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stderr


def files_of(root: Path) -> dict[str, str]:
    """Every file below a folder but the test's own."""
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file() and not p.is_symlink()
            and p.relative_to(root).parts[0] in ("sys", "proc", "etc")}  # fmt: skip


@pytest.mark.parametrize("machine", [smt16, numa2])
def test_applied_and_undone_a_machine_is_as_it_was(machine, tmp_path):
    probe = machine(tmp_path)
    before = files_of(tmp_path)
    text = script(make_plan(load_profile("pinned"), probe))
    assert run_in(tmp_path, text, "apply") == ""
    applied = files_of(tmp_path)
    assert applied != before
    assert applied["etc/security/limits.d/90-peregrine.conf"] == "trader - memlock unlimited\ntrader - nofile 65536\n"
    run_in(tmp_path, text, "undo")
    # a cpu list that was a mask of the same CPUs and a word of a choice are as good as they were
    norm = {name: value.replace("[always] madvise never", "always").strip() for name, value in before.items()}
    assert {name: value.strip() for name, value in files_of(tmp_path).items()} == norm


def test_applied_the_hot_cpus_are_quiet(tmp_path):
    plan = make_plan(load_profile("pinned"), smt16(tmp_path))
    run_in(tmp_path, script(plan), "apply")
    assert plan.roles.quiet == (15, 31)
    for n in plan.roles.quiet:
        assert (tmp_path / f"{CPU}/cpu{n}/cpufreq/scaling_governor").read_text().strip() == "performance"
        assert (tmp_path / f"{CPU}/cpu{n}/cpuidle/state2/disable").read_text().strip() == "1"
        assert (tmp_path / f"{CPU}/cpu{n}/cpuidle/state1/disable").read_text().strip() == "0"
    assert (tmp_path / f"{CPU}/cpu0/cpufreq/scaling_governor").read_text().strip() == "powersave"
    for irq in (40, 61, 62):
        assert (tmp_path / f"proc/irq/{irq}/smp_affinity_list").read_text().strip() == "0-14,16-30"
    assert "irqbalance" in (tmp_path / "calls").read_text()
    after = make_plan(load_profile("pinned"), smt16_again(tmp_path))
    assert not [s.name for s in after.steps if s.name in ("governor", "deep idle states", "kernel settings") and s.lines]


def smt16_again(root: Path):
    """The same machine as its kernel would show it after the plan."""
    from orchestrator.observe.machine import Probe

    conf = (root / "etc/sysctl.d/90-peregrine.conf").read_text()
    write(root, {f"proc/sys/{name.strip().replace('.', '/')}": value.strip() for name, _, value in (line.partition("=") for line in conf.splitlines())})
    return Probe(root)


def test_what_stands_on_the_command_line_already_is_not_asked_for_again(tmp_path):
    plan = make_plan(load_profile("pinned"), numa2(tmp_path))
    line = "BOOT_IMAGE=/vmlinuz " + " ".join(plan.boot_arguments)
    assert len(plan.boot_arguments) == 4
    (tmp_path / "proc/cmdline").write_text(line)
    assert make_plan(load_profile("pinned"), numa2_as_is(tmp_path)).boot_arguments == ()


def numa2_as_is(root: Path):
    """The folder as it stands."""
    from orchestrator.observe.machine import Probe

    return Probe(root)


def test_after_a_start_with_the_line_the_same_cpus_are_the_engines(tmp_path):
    first = make_plan(load_profile("pinned"), numa2(tmp_path / "a"))
    isolated = next(a for a in first.boot_arguments if a.startswith("isolcpus")).rpartition(",")[2]
    again = make_plan(load_profile("pinned"), numa2(tmp_path / "b", isolated=isolated))
    assert again.roles.hot == first.roles.hot


def test_more_hot_threads_get_more_cpus_each_a_core_of_its_own(tmp_path):
    plan = make_plan(load_profile("pinned", PIPELINED), smt16(tmp_path))
    assert plan.roles.hot == (13, 14, 15) and plan.roles.quiet == (13, 14, 15, 29, 30, 31)
    assert "isolcpus=managed_irq,domain,13-15,29-31" in plan.boot_arguments


def test_a_configuration_that_pins_nothing_is_told_what_auto_would_be(tmp_path):
    plan = make_plan(load_profile("laptop", ["engine.cores.engine=null"]), smt16(tmp_path))
    assert plan.roles.assumed and plan.roles.hot == (15,)
    assert "pins no thread" in script(plan).replace("\n# ", " ")


def test_with_too_few_cpus_none_is_set_apart_and_the_rest_of_the_plan_stands(tmp_path):
    plan = make_plan(load_profile("pinned", PIPELINED), vm2(tmp_path))
    assert plan.boot_arguments == () and plan.roles.quiet == ()
    assert "3 hot threads" in plan.roles.problem
    assert any(step.name == "kernel settings" for step in plan.steps)
    assert subprocess.run(["sh", "-n", "-c", script(plan)], capture_output=True, text=True).stderr == ""


def test_a_container_is_told_what_its_host_and_its_start_must_do(tmp_path):
    plan = make_plan(load_profile("pinned"), container(tmp_path))
    assert not [step for step in plan.steps if step.lines and not step.blocked]
    text = script(plan)
    assert "2.5 cores of time are allowed" in text and "--cpuset-cpus=" in text
    assert run_in(tmp_path, text, "apply") == ""
    assert not (tmp_path / "calls").exists()


def test_the_plan_as_json_has_the_steps_with_their_reasons(tmp_path):
    out = json.loads(json.dumps(make_plan(load_profile("pinned"), numa2(tmp_path)).to_json()))
    assert out["roles"]["hot"] and out["boot_arguments"]
    assert all(step["buys"] for step in out["steps"])
    assert {step["part"] for step in out["steps"]} >= {"boot", "irq", "power", "memory", "network", "limits"}


def test_a_card_on_the_other_socket_is_pointed_out(tmp_path):
    plan = make_plan(load_profile("pinned", ["engine.cores.engine=14"]), numa2(tmp_path))
    assert plan.roles.node == 0
    assert any(step.name == "ens3f0 is far" for step in plan.steps)
