"""`python -m peregrine_hdl emit`: the same bytes every time, a manifest that is true, errors with a hint."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from peregrine_hdl import registers as r

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "src/orchestrator/data/default.safetensors"


def emit(*args: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "hdl")])}
    return subprocess.run([sys.executable, "-m", "peregrine_hdl", "emit", *map(str, args)], env=env, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.usefixtures("toolchain")
def test_verilog_and_manifest_are_byte_identical_between_runs_and_say_what_they_are(tmp_path):
    first = emit("--policy", DEFAULT, "--out", tmp_path / "a", "--json", hash_seed="1")
    second = emit("--policy", DEFAULT, "--out", tmp_path / "b", hash_seed="2")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    for name in ("peregrine_core.v", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    manifest = json.loads(first.stdout)
    assert manifest == json.loads((tmp_path / "a/manifest.json").read_text())
    verilog = (tmp_path / "a/peregrine_core.v").read_text()
    assert manifest["verilog_sha256"] == hashlib.sha256(verilog.encode()).hexdigest()
    assert manifest["policies"][0]["sha256"] == hashlib.sha256(DEFAULT.read_bytes()).hexdigest()
    assert manifest["ii"] == 1 and manifest["cycles"] == sum(b["cycles"] for b in manifest["blocks"])
    fields = manifest["ports"]["o_payload"]["fields"]
    assert fields["logits"] == {"first_bit": 32, "bits": 32, "signed": True, "count": [1, 5]}
    canonical = json.dumps(manifest["ports"], sort_keys=True, separators=(",", ":"))
    assert manifest["register_map_hash"] == hashlib.sha256(canonical.encode()).hexdigest()
    code = "\n".join(line for line in verilog.splitlines() if not line.startswith("/*"))
    assert " * " not in code, "a multiplier"


@pytest.mark.slow
@pytest.mark.usefixtures("toolchain")
def test_a_set_with_a_risk_policy_is_emitted(tmp_path):
    done = emit("--policy", DEFAULT, "--policy", DEFAULT, "--weight", 2, "--weight", 0, "--risk", "1:3,4:0", "--quorum", 128,
                "--out", tmp_path, "--json", "--adds-per-stage", 0)  # fmt: skip
    assert done.returncode == 0, done.stderr
    second = json.loads(done.stdout)["policies"][1]
    assert (second["weight"], second["risk"], second["veto_actions"], second["forced_action"]) == (0, True, [3, 4], 0)


@pytest.mark.slow
@pytest.mark.usefixtures("toolchain")
def test_a_device_is_emitted_byte_identically_with_the_hash_of_its_registers(tmp_path):
    args = ["--policy", DEFAULT, "--variant", "baked-device", "--push-slots", 2, "--core-clock-khz", 250_000]
    first = emit(*args, "--out", tmp_path / "a", "--json", hash_seed="1")
    second = emit(*args, "--out", tmp_path / "b", hash_seed="2")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    for name in ("peregrine_device.v", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    manifest, verilog = json.loads(first.stdout), (tmp_path / "a/peregrine_device.v").read_text()
    assert manifest["variant"] == "baked-device" and manifest["register_map_hash"] == r.MAP_SHA256
    assert manifest["verilog_sha256"] == hashlib.sha256(verilog.encode()).hexdigest()
    header = re.search(r"module peregrine_device\((.*?)\);", verilog, flags=re.S)
    assert header and sorted(p.strip() for p in header[1].split(",")) == sorted(manifest["ports"])
    for name in ("clk", "rst", "core_clk", "core_rst", "irq", "s_axil_awaddr", "s_push_wstrb", "m_axi_araddr", "m_axi_wdata"):
        assert name in manifest["ports"]


@pytest.mark.usefixtures("toolchain")
def test_a_device_takes_one_policy(tmp_path):
    done = emit("--policy", DEFAULT, "--policy", DEFAULT, "--variant", "baked-device", "--out", tmp_path / "out")
    assert done.returncode == 64 and "expected 1 in a device" in done.stderr


@pytest.mark.usefixtures("toolchain")
@pytest.mark.parametrize(("args", "code", "words"), [
    (["--policy", "nowhere.safetensors"], 78, "cannot be read"),
    (["--policy", DEFAULT, "--variant", "loaded"], 64, "baked"),
    (["--policy", DEFAULT, "--quorum", "300"], 64, "expected 0..256"),
    (["--policy", DEFAULT, "--weight", "1", "--weight", "2"], 64, "expected one a policy"),
    (["--policy", DEFAULT, "--risk", "4:1:0"], 64, "slot below 1"),
    (["--policy", DEFAULT, "--risk", "0:9:0"], 64, "actions below 5"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_a_hint(args, code, words, tmp_path):
    done = emit(*args, "--out", tmp_path / "out")
    assert done.returncode == code, done.stderr
    assert "error: " in done.stderr and "hint: " in done.stderr and words in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_the_wheels_the_command_says_what_to_install(tmp_path):
    code = ("import sys; sys.modules['amaranth'] = None; from peregrine_hdl import __main__ as m; "
            "sys.argv = ['x', 'emit', '--policy', 'a', '--out', 'b']; sys.exit(m.main())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "hdl")])})
    assert done.returncode == 69, done.stderr
    assert "peregrine-engine[hdl]" in done.stderr
