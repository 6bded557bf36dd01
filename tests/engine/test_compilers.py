"""The same journal through an engine built by another compiler: the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rig import feed_all, records, replayer

from orchestrator.config import load_profile
from orchestrator.run import journals, plan
from orchestrator.run.virtual import run_virtual

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
#include <pybind11/pybind11.h>
void bind_replay(pybind11::module_& m);
PYBIND11_MODULE(other_build, m) { bind_replay(m); }
"""

# In a process of its own: two builds of one class cannot live in one interpreter.
REPLAY = """
import ast, importlib.util, json, sys
spec = importlib.util.spec_from_file_location("other_build", sys.argv[1])
other = importlib.util.module_from_spec(spec)
spec.loader.exec_module(other)
with open(sys.argv[2], encoding="utf-8") as f:
    plan = ast.literal_eval(f.read())
print(json.dumps(other.ReplayEngine(**plan).run(sys.argv[3]), default=repr))
"""


def build_with(compiler: str, folder: Path) -> Path:
    """The engine and its replay binding alone, compiled by `compiler` into `folder`."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import cxx
    finally:
        sys.path.pop(0)
    tc = cxx.Toolchain(build_dir=folder / "objects", cxx=[compiler], verbose=False,
                       jobs=int(os.environ.get("PEREGRINE_JOBS", "2")))  # fmt: skip
    tc.flags = ["-g0"]
    core = tc.archive(tc.compile(cxx.core_sources(), ['-DPEREGRINE_VERSION="other"']), "core")
    source = ROOT / "build" / f"other_build_{os.getpid()}.cpp"
    source.parent.mkdir(exist_ok=True)
    source.write_text(MODULE)
    try:
        objects = tc.compile([source, ROOT / "src/hotpath/bindings/bind_replay.cpp"], cxx.python_includes())
    finally:
        source.unlink()
    return tc.link([*objects, core], folder / "other_build.so", shared=True)


@pytest.mark.slow
def test_a_journal_of_the_gcc_build_is_identical_through_a_clang_build(tmp_path) -> None:
    compiler = shutil.which("clang++")
    if compiler is None:
        pytest.skip("no clang++ on this machine: the engine is compared with itself only")
    cfg = load_profile("replay", {"journal.dir": str(tmp_path / "runs"), "journal.ring_mb": 4, "engine.mlock": False,
                                  "engine.max_orders": 65_536})  # fmt: skip
    run = run_virtual(cfg, for_ns=5_000_000_000)
    folder = Path(run.journal)
    library = build_with(compiler, tmp_path / "clang")
    parsed, _ = journals.read_header(folder)
    policies = [p.spec for p in plan.policies_of_header(parsed)]
    (tmp_path / "plan.txt").write_text(repr({"shard": parsed.config["shard"], "policies": policies, "quorum": parsed.config["quorum"]}))
    done = subprocess.run([sys.executable, "-c", REPLAY, str(library), str(tmp_path / "plan.txt"), str(folder)],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert theirs["identical"], theirs
    assert theirs["orders"] > 50
    assert theirs["state_hashes"] >= 5
    _, same = replayer(folder)
    ours = feed_all(same, records(folder))
    for key in ("order_hash", "state_hash", "pnl_units", "fills", "decisions"):
        assert theirs["summary"][key] == ours["summary"][key], key
    assert f"{theirs['summary']['order_hash']:016x}" == run.order_hash
    check_goldens(library, tmp_path)


def check_goldens(library: Path, tmp_path: Path) -> None:
    """The golden journals through the other build: the hashes they were blessed with. Bank swaps need the engine's Python."""
    sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "golden")]
    import golden

    table = golden.table()
    for name in sorted(table.keys() - {"commands", "veto"}):
        folder = golden.unpack(ROOT / "tests/golden" / f"{name}.tar.zst", tmp_path / name)
        parsed, _ = journals.read_header(folder)
        policies = [p.spec for p in plan.policies_of_header(parsed)]
        (tmp_path / "plan.txt").write_text(repr({"shard": parsed.config["shard"], "policies": policies, "quorum": parsed.config["quorum"]}))
        done = subprocess.run([sys.executable, "-c", REPLAY, str(library), str(tmp_path / "plan.txt"), str(folder)],
                              capture_output=True, text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, (name, done.stderr)
        theirs = json.loads(done.stdout)
        assert theirs["identical"], (name, theirs)
        for key in ("order_hash", "state_hash"):
            assert f"{theirs['summary'][key]:016x}" == table[name][key], (name, key)
