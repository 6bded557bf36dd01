"""The C++ stress programs, optimised, and the runner's own verdicts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CROSS = shutil.which("aarch64-linux-gnu-g++")


def native(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "tools/native.py", *args], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_ten_million_checksummed_messages_pass_every_ring_optimised():
    result = native("--flavour", "release", "--only", "ring", "--", "all", "10000000")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("spsc", "shared", "record", "broadcast", "seqlock", "histogram"):
        assert name in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("flavour", ["tsan", "asan"])
def test_rings_are_clean_under_the_sanitizers(flavour):
    result = native("--flavour", flavour, "--only", "ring", "--", "all", "200000")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{flavour} ring_both: ok" in result.stdout


@pytest.mark.slow
def test_a_program_that_fails_fails_the_run():
    result = native("--flavour", "release", "--only", "ring", "--", "nonesuch")
    assert result.returncode == 1
    assert "ring_both: FAILED (exit 1)" in result.stdout
    assert "no stress named 'nonesuch'" in result.stdout


def test_a_name_that_matches_no_program_is_an_error():
    result = native("--flavour", "tsan", "--only", "nonesuch")
    assert result.returncode == 64
    assert "no program" in result.stderr


@pytest.mark.skipif(CROSS is None, reason="aarch64-linux-gnu-g++ is not installed")
@pytest.mark.parametrize("source", sorted((ROOT / "src/hotpath/core").glob("*.cpp")), ids=lambda p: p.name)
def test_the_core_compiles_for_aarch64(source):
    command = [CROSS, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", '-DPEREGRINE_VERSION="0"',
               f"-I{ROOT / 'src/hotpath'}", str(source)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
