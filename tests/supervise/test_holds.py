"""What a person has stopped, noted on the way of the command: against a link that answers as it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLink, EngineLinkError
from orchestrator.control.messages import Effect, Request
from orchestrator.supervise.holds import UNKNOWN_SEQ, Holds, TreeLink, words
from orchestrator.supervise.state_file import Hold

RESUME = bodies.number(bodies.RESUME_DRAINED)


class Engine:
    """A TreeLink over an engine that is not there: each command is journaled at the next number, or fails."""

    def __init__(self, monkeypatch) -> None:
        self.seq, self.fails, self.written = 10, "", []
        self.seen: list[list[Hold]] = []  # the holds at the moment a command was handed to the engine
        monkeypatch.setattr(EngineLink, "__init__", lambda link, name: None)
        monkeypatch.setattr(EngineLink, "send", lambda link, kind, **rest: self._send(kind, **rest))
        self.holds = Holds()
        self.link = TreeLink("e", self.holds, lambda: self.written.append(self.stand()))

    def _send(self, kind, *, shard, body=b"", request, timeout_s=2.0, part=0):
        self.seen.append(self.holds.listed())
        if self.fails:
            raise EngineLinkError(self.fails, "as the test has it")
        self.seq += 1
        return Effect(shard, self.seq, 0)

    def stand(self) -> list[tuple[int, str, str]]:
        """Shard, what, by whom."""
        return [(h.shard, h.kind, h.who) for h in self.holds.listed()]

    def __call__(self, kind: str, shard: int = 0, who: str = "anna", body: bytes = b"", *, fails: str = "") -> None:
        self.fails = fails
        self.link.send(kind, shard=shard, body=body, request=Request(cmd=kind, who=who, why="lunch"))


@pytest.fixture
def engine(monkeypatch):
    return Engine(monkeypatch)


def test_a_drain_is_noted_before_it_is_sent_and_written_before_it_is_answered(engine):
    engine("drain", 1)
    assert [(h.shard, h.kind) for h in engine.seen[0]] == [(1, "drain")]
    assert engine.stand() == [(1, "drain", "anna")] == engine.written[-1]
    assert words(engine.holds.listed()[0]) == "drained by anna (lunch)"


def test_a_persons_resume_lifts_what_stands_on_that_shard_and_the_supervisors_own_lifts_nothing(engine):
    engine("drain", 0)
    engine("pause", 1, "bob")
    engine.link.own("resume", shard=0, body=bodies.number(bodies.RESUME_HELD), request=Request(cmd="start", who="supervisor"))
    assert engine.stand() == [(0, "drain", "anna"), (1, "pause", "bob")]
    engine("resume", 0, "carl", RESUME)
    assert engine.stand() == [(1, "pause", "bob")] == engine.written[-1]


def test_the_supervisors_own_drain_is_nobodys_wish(engine):
    engine.link.own("drain", shard=0, request=Request(cmd="stop", who="supervisor"))
    assert engine.stand() == []


def test_the_first_who_and_why_stay(engine):
    engine("drain", 0, "anna")
    engine("drain", 0, "bob")
    assert engine.stand() == [(0, "drain", "anna")]


def test_a_refused_drain_is_none_and_one_without_an_answer_is_kept_until_a_resume(engine):
    with pytest.raises(EngineLinkError):
        engine("drain", fails="refused")
    assert engine.stand() == []
    engine("resume", body=RESUME)  # one before it does not count
    with pytest.raises(EngineLinkError):
        engine("drain", fails="timeout")
    assert engine.stand() == [(0, "drain", "anna")] == engine.written[-1]
    with pytest.raises(EngineLinkError):
        engine("resume", body=RESUME, fails="timeout")
    assert engine.stand() == [(0, "drain", "anna")]
    engine("resume", body=RESUME)
    assert engine.stand() == []


def test_what_a_dead_supervisor_had_written_stands_and_is_lifted_like_any_other(engine):
    engine.holds.restore([Hold(shard=0, kind="drain", who="anna"), Hold(shard=1, kind="pause", who="bob", seq=7)])
    assert [h.seq for h in engine.holds.listed()] == [UNKNOWN_SEQ, 7]
    engine("resume", 0, body=RESUME)
    engine("resume", 1, body=RESUME)
    assert engine.stand() == []


@given(st.lists(st.sampled_from(["drain", "resume"]), max_size=8), st.randoms(use_true_random=False))
def test_whatever_order_the_answers_are_noted_in_the_journals_last_word_stands(kinds, random):
    """Two threads may note in another order than the engine's: the numbers decide."""
    holds, seq, late = Holds(), UNKNOWN_SEQ, []
    for kind in kinds:
        seq += 1
        if kind == "drain":
            late.append((holds.taken, (holds.given("drain", 0, Request(cmd="drain", who="a")), seq)))
        else:
            late.append((holds.lifted, (0, seq)))
        if random.random() < 0.5:
            random.shuffle(late)
            for act, args in late:
                act(*args)
            late.clear()
    random.shuffle(late)
    for act, args in late:
        act(*args)
    assert bool(holds.listed()) == (bool(kinds) and kinds[-1] == "drain")
