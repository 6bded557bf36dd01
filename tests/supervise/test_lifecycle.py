"""The life of a process is the table, and the table is what the page draws."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.supervise.lifecycle import MOVES, STATES, ForbiddenMove, Life, allowed
from orchestrator.supervise.watching import steps

PAGE = Path(__file__).resolve().parents[2] / "docs/concepts/supervision.md"
RUNNING = {"starting", "syncing", "ready", "trading"}


def oracle(before: str, after: str) -> bool:
    """The rules, said another way than the table says them."""
    if after == "failed":
        return before in RUNNING | {"draining"}  # whatever has a process may die
    if after == "draining":
        return before in RUNNING  # whatever runs may be asked to stop
    if after == "stopped":
        return before in {"draining", "failed"}  # only what was asked to, or was given up
    if after == "starting":
        return before in {"stopped", "failed"}  # only what has no process
    ladder = ["starting", "syncing", "ready", "trading"]
    if before not in ladder:
        return False
    up = ladder.index(after) - ladder.index(before)
    return up == 1 or (up < 0 and before != "starting")  # one rung up, any fall


@given(st.lists(st.sampled_from(STATES), max_size=40), st.booleans())
def test_no_life_makes_a_move_the_rules_do_not_have(path, trades):
    told = []
    life = Life("x", trades=trades, on_move=lambda one, before: told.append((before, one.state)))
    for after in path:
        before = life.state
        if oracle(before, after) and (trades or after != "trading"):
            life.move(after)
            assert life.state == after and life.reason == MOVES[before, after] and told[-1] == (before, after)
        else:
            with pytest.raises(ForbiddenMove):
                life.move(after)
            assert life.state == before, "a refused move moves nothing"


def test_table_and_rules_are_equal_move_by_move():
    for before in STATES:
        for after in STATES:
            assert allowed(before, after) == oracle(before, after), (before, after)
            assert allowed(before, after, trades=False) == (oracle(before, after) and after != "trading")


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_the_steps_between_two_states_are_all_moves_of_the_table(before, after):
    at = before
    for state in steps(before, after):
        assert allowed(at, state), (before, after)
        at = state
    if before in RUNNING and after in RUNNING and (before == after or after != "starting"):
        assert at == after


def test_the_page_lists_every_move_and_no_other():
    rows = [line.split("|")[1:4] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = {(a.strip().strip("`"), b.strip().strip("`")): c.strip() for a, b, c in rows if b.strip().strip("`") in STATES}
    assert told == MOVES
