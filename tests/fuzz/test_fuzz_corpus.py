"""Every parser takes its corpus and its regression cases without a finding, under AddressSanitizer and UBSan.

The targets are those of `make fuzz`, built here with the ordinary compiler and a main that feeds files.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(HERE)]
import fuzz  # noqa: E402
import fuzz_driver as driver  # noqa: E402


@pytest.fixture(scope="module")
def programs():
    """All C++ targets, compiled once."""
    return fuzz.build_replay(fuzz.cpp_targets())


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz.cpp_targets())
def test_the_corpus_and_the_regressions_show_nothing(programs, name):
    run = fuzz.replay(programs[name], name)
    assert run.returncode == 0, run.stderr[-4000:]


@pytest.mark.parametrize("name", fuzz.python_targets())
def test_a_python_parser_takes_its_corpus_and_regressions(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs = driver.seeds_of(name, module)
    assert len(inputs) >= 3
    for data in inputs:
        module.one_input(data)


def test_every_target_has_a_corpus():
    missing = [n for n in [*fuzz.cpp_targets(), *fuzz.python_targets()] if not list((HERE / "corpus" / n).glob("*"))]
    assert not missing, "run `make fuzz` and commit what it keeps"


def test_the_corpus_is_small_and_belongs_to_targets():
    files = [f for kind in ("corpus", "regressions") for f in (HERE / kind).rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 2 << 20
    names = {*fuzz.cpp_targets(), *fuzz.python_targets()}
    assert {f.parent.name for f in files} <= names


@pytest.mark.slow
def test_the_replay_says_which_target_failed(programs, tmp_path):
    bad = tmp_path / "not-there"
    run = subprocess.run([str(programs["itch"]), str(bad)], capture_output=True, text=True)
    assert run.returncode == 2


def test_a_machine_without_clang_is_told_what_to_install():
    env = {**os.environ, "FUZZ_CXX": "clang-that-is-not-there"}
    run = subprocess.run([sys.executable, "tools/fuzz.py", "--only", "itch"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 69
    assert "clang-that-is-not-there is not installed" in run.stderr and "hint: apt install clang" in run.stderr


def test_a_name_that_matches_no_target_is_a_usage_error():
    run = subprocess.run([sys.executable, "tools/fuzz.py", "--only", "nonesuch"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 64 and "hint: there are" in run.stderr


def test_the_own_mutator_finds_a_planted_fault(tmp_path, monkeypatch, capsys):
    class Planted:
        seeds = staticmethod(lambda: [b"abcdefgh" * 4])

        @staticmethod
        def one_input(data: bytes) -> None:
            if b"\xff\xff\xff\xff" in data:
                raise ValueError("planted")

    assert driver.run_own(Planted, "planted", 20, tmp_path) == 1
    assert len(list(tmp_path.glob("crash-*"))) == 1
