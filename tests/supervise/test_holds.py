"""What a person has stopped, noted on the way of the command: against a link that answers as it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLink, EngineLinkError
from orchestrator.control.messages import Effect, Request
from orchestrator.supervise.holds import ANY_SHARD, UNKNOWN_SEQ, Holds, TreeLink, words
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


def test_what_is_owed_is_given_once_and_stays_until_a_resume(engine):
    engine.holds.owe("drain", 0, Request(cmd="drain", who="anna"))
    assert engine.holds.listed()[0].owed
    engine("drain", 0, "bob")  # the engine came back while it was noted
    assert [(h.who, h.owed) for h in engine.holds.listed()] == [("anna", False)]
    engine("resume", body=RESUME)
    assert engine.stand() == []


@pytest.mark.parametrize(("resumed", "left"), [(12, [20]), (25, [])])
def test_what_was_given_again_stands_by_the_journals_order_also_where_a_resume_was_noted_meanwhile(resumed, left):
    holds = Holds()
    holds.owe("pause", 0, Request(cmd="pause", who="anna"))
    (owed,) = holds.listed()
    holds.lifted(0, resumed)
    assert holds.listed() == []
    holds.given_again(owed, 20)
    assert [h.seq for h in holds.listed()] == left


def test_a_symbol_that_is_owed_is_over_once_an_engine_is_told_of_it_by_name(engine):
    engine.link.instruments = {"PRGN": (0, 0), "FLCN": (0, 1)}
    for symbol in ("PRGN", "FLCN"):
        engine.holds.owe("pause_symbol", ANY_SHARD, Request(cmd="pause", who="anna", why="news"), symbol=symbol)
    assert words(engine.holds.listed()[0]) == "FLCN paused by anna (news)"
    engine("resume", 0, body=RESUME)
    assert len(engine.stand()) == 2, "a shard's resume leaves symbols alone"
    engine("resume_symbol", 0, body=bodies.number(1))
    assert [h.symbol for h in engine.holds.listed()] == ["PRGN"] and len(engine.written[-1]) == 1


@pytest.mark.parametrize(("kind", "body", "left"), [("flatten", b"", ["reduce_only"]), ("reduce_only", bodies.number(1), ["flatten"]),
                                                    ("reduce_only", bodies.number(0), ["flatten"]), ("resume", RESUME, [])])  # fmt: skip
def test_what_reduces_is_owed_until_an_engine_takes_it_or_its_contrary(engine, kind, body, left):
    for owed in ("flatten", "reduce_only"):
        engine.holds.owe(owed, 0, Request(cmd=owed, who="anna"))
    engine(kind, 1, body=body)
    assert len(engine.stand()) == 2, "of another shard"
    engine(kind, 0, body=body)
    assert [h.kind for h in engine.holds.listed()] == left and len(engine.written[-1]) == len(left)


def test_what_reduces_is_the_journals_to_keep_once_it_was_given():
    holds = Holds()
    holds.owe("flatten", 0, Request(cmd="flatten", who="anna"))
    (owed,) = holds.listed()
    holds.given_again(owed, 20)
    assert holds.listed() == []


def test_a_kill_ends_what_reduces_and_was_owed_before_it_and_nothing_else():
    holds = Holds()
    for kind in ("flatten", "reduce_only", "pause", "drain"):
        holds.owe(kind, 0, Request(cmd=kind, who="anna"))
    holds.killed()
    holds.owe("flatten", 1, Request(cmd="flatten", who="bob"), after_kill=True)
    assert [(h.shard, h.kind) for h in holds.listed()] == [(0, "drain"), (0, "pause"), (1, "flatten")]
