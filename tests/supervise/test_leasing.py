"""When the supervisor moves leases, and when it leaves them alone."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.control.leases import LeaseState
from orchestrator.supervise import leasing


class Link:
    """As much of an EngineLink as is asked."""

    def __init__(self, shards: int, name: str = "nobody-has-this-name") -> None:
        self.shards, self.name = shards, name


class Host:
    """Counts its rounds."""

    made: list[Host] = []
    above = whole = False

    def __init__(self, *_: Any, **__: Any) -> None:
        self.ticks = 0
        Host.made.append(self)

    def tick(self, snapshot: Any) -> None:
        self.ticks += 1

    def is_whole(self) -> bool:
        return Host.whole

    def state(self) -> LeaseState:
        return LeaseState(1, 1, 1, False, grants=self.ticks, above=Host.above)


class NoSegment:
    """A segment that can always be read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> NoSegment:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def rounds(monkeypatch):
    """A Leasing whose clock is moved by hand: `rounds(link, at_s)`."""
    Host.made.clear()
    now = [100.0]
    monkeypatch.setattr(leasing, "LeaseHost", Host)
    monkeypatch.setattr(leasing, "Segment", NoSegment)
    monkeypatch.setattr(leasing, "read_engine", lambda segment: segment)
    monkeypatch.setattr(leasing.time, "monotonic", lambda: now[0])
    one = leasing.Leasing()

    def go(link: Link | None, at_s: float) -> Any:
        now[0] = at_s
        one.round(link)
        state = one.state()
        return state and state.grants

    go.hurry = one.hurry  # type: ignore[attr-defined]
    return go


def test_an_engine_that_has_all_of_its_limit_is_looked_at_again_when_a_limit_was_changed_or_it_is_another(rounds, monkeypatch) -> None:
    assert rounds(None, 1) is None and not Host.made
    monkeypatch.setattr(Host, "whole", True)
    link = Link(1)
    assert rounds(link, 10) == 1 and rounds(link, 20) == 1
    rounds.hurry()
    assert rounds(link, 30) == 2 and rounds(link, 40) == 2
    assert rounds(Link(1), 41) == 1 and rounds(None, 42) == 1


def test_it_looks_a_few_times_a_second_however_often_it_is_called(rounds) -> None:
    link = Link(4)
    assert rounds(link, 10) == 1 and rounds(link, 10.1) == 1 and rounds(link, 10 + leasing.EVERY_S) == 2


def test_it_looks_at_once_when_a_limit_was_changed_and_often_while_leases_come_down(rounds, monkeypatch) -> None:
    link = Link(4)
    assert rounds(link, 10) == 1
    rounds.hurry()
    assert rounds(link, 10.01) == 2 and rounds(link, 10.1) == 2
    monkeypatch.setattr(Host, "above", True)
    rounds.hurry()
    assert rounds(link, 10.2) == 3 and rounds(link, 10.2 + leasing.ABOVE_EVERY_S) == 4


def test_another_life_of_the_engine_gets_a_host_of_its_own(rounds) -> None:
    rounds(Link(4), 10)
    assert rounds(Link(4), 20) == 1 and len(Host.made) == 2


def test_an_engine_that_cannot_be_read_is_left_alone(monkeypatch) -> None:
    one = leasing.Leasing()
    one.round(Link(4))  # type: ignore[arg-type]
    assert one.state() is None
