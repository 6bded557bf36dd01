"""`python -m peregrine_hdl emit --variant loadable`: the same bytes every time, and a manifest that is true."""

from __future__ import annotations

import hashlib
import json

import pytest
from test_emit import DEFAULT, emit

from peregrine_hdl import bank_image
from peregrine_hdl.loadable_limits import LARGEST, Limits
from peregrine_hdl.registers import MAP_SHA256


@pytest.mark.slow
@pytest.mark.usefixtures("toolchain")
def test_a_loadable_core_and_its_manifest_are_byte_identical_between_runs_and_say_what_they_are(tmp_path):
    options = ("--variant", "loadable", "--lanes", 8, "--slots", 2, "--weight-rows", 256)
    first = emit(*options, "--out", tmp_path / "a", "--json", hash_seed="1")
    second = emit(*options, "--out", tmp_path / "b", hash_seed="2")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    for name in ("peregrine_loadable.v", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    manifest = json.loads(first.stdout)
    verilog = (tmp_path / "a/peregrine_loadable.v").read_text()
    limits = Limits(8, 2, weight_rows=256)
    assert manifest["verilog_sha256"] == hashlib.sha256(verilog.encode()).hexdigest()
    assert manifest["register_map_hash"] == MAP_SHA256
    assert (manifest["lanes"], manifest["slots"], manifest["banks"]) == (8, 2, 2)
    assert manifest["image_version"] == bank_image.IMAGE_VERSION
    assert manifest["bank_words"] == bank_image.max_words(limits) == 1 + sum(1 + n for n in manifest["regions"].values())
    cycles = manifest["cycles"]
    for name, found in cycles["examples"].items():
        sizes = [int(n) for n in name.split("-")]
        rows = sum(-(-o // 8) * n + cycles["layer"] for n, o in zip(sizes, sizes[1:], strict=False))
        assert found == cycles["request"] + rows == limits.cycles(sizes)
    assert "-".join(map(str, LARGEST)) in cycles["examples"]
    assert "upset" not in verilog and "upset" not in manifest["ports"]


@pytest.mark.parametrize(("args", "words"), [
    (["--lanes", 12], "power of two"), (["--slots", 9], "expected 1..8"), (["--policy", DEFAULT], "found one"),
    (["--weight-rows", 70000], "weight_rows: found 70000"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_a_hint(args, words, tmp_path):
    done = emit("--variant", "loadable", *args, "--out", tmp_path / "out")
    assert done.returncode == 64, done.stderr
    assert "error: " in done.stderr and "hint: " in done.stderr and words in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_baked_core_without_a_policy_is_refused(tmp_path):
    done = emit("--out", tmp_path / "out")
    assert done.returncode == 64 and "--policy" in done.stderr and not (tmp_path / "out").exists()
