"""The judges of every moment can find things: limits passed in the venue's record, orders where none may be in the journal."""

from __future__ import annotations

import dataclasses
import struct
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(Path(__file__).parent)]

from chaos_judge import INTENT, RECOVERED, SESSION  # noqa: E402
from chaos_limits import (  # noqa: E402
    COMMAND,
    CONTROL,
    PAUSE,
    RESUME,
    SUPERVISOR_BACK,
    SUPERVISOR_LOST,
    Limits,
    journal_faults,
    limits_passed,
)
from test_chaos import Story, is_new_order, nth  # noqa: E402

WIDE = Limits(long_lots=1000, short_lots=1000, symbol_orders=16, account_orders=16, account_units=2_000_000_000)


PASSED = [("long_lots", 99, "position"), ("short_lots", 99, "position"), ("symbol_orders", 0, "of the symbol"),
          ("account_orders", 0, "orders of"), ("account_units", 1_000_000, "worth")]  # fmt: skip


def below(which: str, value: int) -> Limits:
    """All wide but one."""
    return dataclasses.replace(WIDE, **{which: value})


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    """A day on which each of those was passed, both sides of the market among them."""
    return Story(tmp_path_factory.mktemp("limits") / "story",
                 lambda day: all(limits_passed(day.venue, below(which, value)) for which, value, _ in PASSED))  # fmt: skip


def test_nothing_is_found_in_an_honest_day(story):
    assert limits_passed(story.venue, WIDE) == []
    assert journal_faults(story.journal, loss_policy="cancel") == []


@pytest.mark.parametrize(("which", "value", "says"), PASSED)
def test_a_limit_that_was_passed_is_found_at_its_moment(story, which, value, says):
    found = limits_passed(story.venue, below(which, value))
    assert found and all(says in sentence for sentence in found)


def faults(story: Story, change, policy: str = "stop") -> list[str]:
    """Of the journal with this done to its records."""
    records = story.records()
    change(records)
    folder = story.rewritten(records)
    return journal_faults(folder, loss_policy=policy)


def before_an_order(kind: int, payload: bytes):
    """Puts a record before the third order."""

    def change(records) -> None:
        at = nth(records, INTENT, is_new_order)
        records.insert(at, (kind, records[at][1], payload))

    return change


def command(kind: int) -> bytes:
    return struct.pack("<QHHI", 7, kind, 0, 0)


def test_an_order_of_a_shard_that_is_held_is_found(story):
    found = faults(story, before_an_order(COMMAND, command(PAUSE)))
    assert found and all("held" in sentence for sentence in found)

    def held_and_let_go(records) -> None:
        before_an_order(COMMAND, command(PAUSE))(records)
        before_an_order(COMMAND, command(RESUME))(records)

    assert faults(story, held_and_let_go) == []


@pytest.mark.parametrize("policy", ["trade", "stop", "cancel"])
def test_an_order_without_a_supervisor_is_found_where_the_policy_forbids_it(story, policy):
    found = faults(story, before_an_order(CONTROL, struct.pack("<B7xQ", SUPERVISOR_LOST, 1)), policy)
    assert bool(found) == (policy != "trade") and all("supervisor is lost" in sentence for sentence in found)
    assert faults(story, before_an_order(CONTROL, struct.pack("<B7xQ", SUPERVISOR_BACK, 1)), policy) == []


def test_an_order_before_the_last_lifes_orders_are_settled_is_found(story):
    def never_answered(records) -> None:
        at = next(i for i, r in enumerate(records) if r[0] == RECOVERED)
        del records[next(i for i in range(at, len(records)) if records[i][0] == SESSION and records[i][2][:2] == b"SX")]

    found = faults(story, never_answered)
    assert found and all("fate" in sentence for sentence in found)


def test_time_that_runs_backwards_is_found(story):
    def early(records) -> None:
        middle = len(records) // 2
        kind, ts_ns, payload = records[middle]
        records[middle] = (kind, ts_ns - 3_600_000_000_000, payload)

    assert any("earlier" in sentence for sentence in faults(story, early))
