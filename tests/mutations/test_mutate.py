"""The planted faults fit the source, cover the rooms, and the tool that plants them tells caught from survived."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import mutate  # noqa: E402

MUTATIONS = mutate.load()


@pytest.mark.parametrize("m", MUTATIONS, ids=lambda m: f"{m.room}: {m.name}")
def test_a_mutation_fits_the_source_once_and_says_what_must_catch_it(m):
    text = (ROOT / m.file).read_text()
    assert m.apply(text) != text
    assert len(m.caught_by.split()) >= 3
    assert m.tests and all((ROOT / t).exists() for t in m.tests)
    assert all((ROOT / "src/hotpath/bindings" / f"{b}.cpp").exists() for b in m.bindings)


def test_each_room_has_at_least_ten_and_no_name_twice():
    rooms = Counter(m.room for m in MUTATIONS)
    assert set(rooms) == {"book", "gate", "order_state", "placement", "reconcile"}
    assert min(rooms.values()) >= 10
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS)


def one(**changes) -> mutate.Mutation:
    return mutate.Mutation(**{"room": "book", "name": "n", "file": "f", "old": "a", "new": "b", "tests": ("t",), "bindings": (),
                              "caught_by": "some test there is", **changes})  # fmt: skip


@pytest.mark.parametrize(("text", "times"), [("", 0), ("a a", 2)])
def test_a_mutation_whose_text_is_not_there_once_is_an_error(text, times):
    with pytest.raises(mutate.BadEntry, match=f"stands {times} times in f"):
        one().apply(text)


def test_a_mutation_that_changes_nothing_is_an_error():
    with pytest.raises(mutate.BadEntry, match="the same"):
        one(new="a").apply("a")


def tool(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "tools/mutate.py", *args], cwd=ROOT, capture_output=True, text=True)


def test_the_list_names_all_and_an_unknown_name_is_a_usage_error():
    listed = tool("--list")
    assert listed.returncode == 0 and f"{len(MUTATIONS)} mutations" in listed.stdout
    assert tool("--only", "nonesuch").returncode == 64


def test_the_last_test_of_a_process_that_died_is_named():
    output = "tests/a.py::test_one PASSED [ 50%]\ntests/a.py::test_two[x 1] "
    assert mutate._last_test(output) == "tests/a.py::test_two[x 1]"


@pytest.mark.slow
def test_a_sample_of_the_planted_faults_is_caught():
    """Compiles only what holds the faults: the rest is linked from the tree's own build."""
    run = tool("--only", "gate", "--sample", "2", "--seed", "3", "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["rooms"] == {"gate": [2, 2]}
