"""What a user installs: sdist to wheel with only a compiler, the wheel in an empty environment far from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import uuid
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 600) -> str:
    """stdout of a command that must succeed; nothing of this checkout on its path."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env={**clean, "NO_COLOR": "1", **(env or {})},
                          capture_output=True, text=True, timeout=timeout)  # fmt: skip
    assert done.returncode == 0, (command, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """(sdist, wheel made from the unpacked sdist), from a copy of the tracked files."""
    folder = tmp_path_factory.mktemp("package")
    try:
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                capture_output=True, check=True).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: which files belong to it is not known")
    copy = folder / "copy"
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    dist = folder / "dist"
    dist.mkdir()
    make = "import sys; from setuptools import build_meta as b; print(b.build_{0}(sys.argv[1]))"
    sdist = dist / run(sys.executable, "-c", make.format("sdist"), dist, cwd=copy).splitlines()[-1]
    with tarfile.open(sdist) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    # An object of this checkout is taken where all that its compiler read is in the sdist, byte for byte; the rest is compiled.
    lent = {"PEREGRINE_LENDER": str(ROOT)}
    wheel = dist / run(sys.executable, "-c", make.format("wheel"), dist, cwd=source, env=lent).splitlines()[-1]
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """bin/ of an environment that has the wheel; its dependencies are lent by this interpreter, nothing is fetched."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", site,
        built[1], cwd=folder)  # fmt: skip
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "venv" / "bin"


@pytest.mark.slow
def test_the_sdist_holds_what_a_compiler_needs(built) -> None:
    with tarfile.open(built[0]) as tar:
        names = {n.split("/", 1)[1] for n in tar.getnames() if "/" in n}
    for name in ("src/hotpath/engine/shard.h", "src/hotpath/journal/record.h", "sim/venue/virtual_run.h", "tools/cxx.py",
                 "src/hotpath/bindings/rings.pyx", "pyproject.toml", "setup.py", "LICENSE", "README.md"):  # fmt: skip
        assert name in names, name
    headers = {str(p.relative_to(ROOT)) for folder in ("src", "sim") for p in (ROOT / folder).rglob("*.h")}
    assert headers <= names
    assert not [n for n in names if n.endswith((".so", ".o", ".a", ".pyc"))]


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_no_sources(built) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    assert not [n for n in names if n.endswith((".h", ".cpp", ".pyx", ".o", ".a"))]
    assert not [n for n in names if n.startswith(("tests/", "bench/", "tools/", "src/", "sim/", "build/"))]
    for name in ("orchestrator/config/profiles/laptop.yaml", "orchestrator/config/profiles/pinned.yaml",
                 "orchestrator/config/profiles/replay.yaml", "orchestrator/data/default.safetensors", "hotpath/py.typed",
                 "hotpath/_core.pyi", "hotpath/_venue.pyi", "peregrine_sim/__init__.py"):  # fmt: skip
        assert name in names, name
    for module in ("_core", "_venue", "rings"):
        assert [n for n in names if n.startswith(f"hotpath/{module}.") and n.endswith(".so")], module


@pytest.mark.slow
def test_the_installed_package_runs_far_from_the_checkout(installed, tmp_path) -> None:
    python = installed / "python"
    where = run(python, "-c", "import hotpath._core, orchestrator; print(hotpath._core.__file__, orchestrator.__file__)", cwd=tmp_path)
    assert str(installed.parent) in where
    assert str(ROOT) not in where
    peregrine = (python, "-c", "import sys; from orchestrator.cli.main import main; sys.argv[0] = 'peregrine'; main()")
    name = f"wheel-{uuid.uuid4().hex[:10]}"
    virtual = json.loads(run(*peregrine, "run", "--virtual", "--for", "2s", "--json", cwd=tmp_path))
    assert virtual["orders"] > 0
    live = json.loads(run(*peregrine, "run", "--for", "3s", "--json", "--set", f"engine.name={name}", cwd=tmp_path))
    assert live["events"] > 100
    assert live["stopped_by"] == "time"
    for result in (virtual, live):
        assert json.loads(run(*peregrine, "verify", result["journal"], "--json", cwd=tmp_path))["identical"]
    shown = run(*peregrine, "policy", "info", "builtin:default", "--json", cwd=tmp_path)
    assert json.loads(shown)["actions"]
    assert "peregrine" in run(*peregrine, "--help", cwd=tmp_path).lower()
    assert (tmp_path / "runs").is_dir()


@pytest.mark.slow
def test_the_command_is_named_in_the_wheel(built) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        (entry,) = [n for n in wheel.namelist() if n.endswith("entry_points.txt")]
        assert "peregrine = orchestrator.cli.main:main" in wheel.read(entry).decode()
