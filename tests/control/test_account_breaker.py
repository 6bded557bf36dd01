"""The account's breaker over several shards: by the limits in force, armed again by the command, never disarmed by a revival."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.config import load_profile
from orchestrator.control.engine_agent import EngineAgent
from orchestrator.control.errors import ControlError
from orchestrator.run.watch import AccountBreaker, Watcher


class Word:
    """A segment as far as its kill word goes."""

    def __init__(self) -> None:
        self.level = 0

    def kill(self, level: int) -> None:
        self.level = level

    def status(self):
        return SimpleNamespace(kill_level=self.level)


@pytest.fixture
def watched():
    """`watched(pnl, loss, drawdown)`: a reading; its `word`, `breaker` and `notes`."""
    watcher = Watcher(load_profile("laptop", {"instruments": [{"symbol": "A"}, {"symbol": "B"}], "engine.shards": 2}), None, None)
    word = Word()

    def read(pnl: int, loss: int = 1000, drawdown: int = 5000) -> int:
        watcher._judge(watcher.breaker, word, {"pnl_units": pnl, "limit_loss_units": loss, "limit_drawdown_units": drawdown})
        return word.level

    read.word, read.breaker, read.notes = word, watcher.breaker, watcher.notes
    return read


def test_it_judges_by_the_limits_that_are_in_force_not_by_those_of_the_start(watched):
    assert watched(-900) == 0
    assert watched(-900, loss=2000) == 0 and watched(-1500, loss=2000) == 0, "a limit raised while it trades"
    assert watched(-1500, loss=1500) == 1 and "1500 units, reached 1500" in watched.breaker.reason, "and one lowered"


def test_a_kill_lifted_past_it_arms_it_again_or_is_set_again(watched):
    assert watched(-1000) == 1
    watched.word.level = 0
    assert watched(-1000) == 1 and "killed again" in watched.notes[-1], "the loss is still at its limit"
    watched.word.level = 0
    assert watched(-1000, loss=3000) == 0 and watched.breaker.reason == ""
    assert watched(-2999, loss=3000) == 0 and watched(-3000, loss=3000) == 1, "and it guards as before"
    assert [t["rearmed_by"] for t in watched.breaker.history] == ["revive", None]


def test_the_best_of_the_day_outlives_the_engine_and_an_arming_begins_anew(tmp_path):
    kept = tmp_path / "account.json"
    first = AccountBreaker(10_000, 500, kept)
    assert not first.tripped_by(400) and not first.tripped_by(100)
    second = AccountBreaker(10_000, 500, kept)  # the engine died at +100, 300 below its best
    assert not second.tripped_by(-99) and second.tripped_by(-100) and "drawdown, 500 units" in second.reason
    assert second.rearm("ada", "looked", 1)
    third = AccountBreaker(10_000, 500, kept)
    assert not third.tripped_by(-599) and third.tripped_by(-600)
    kept.write_text("{half a")
    assert not AccountBreaker(10_000, 500, kept).tripped_by(-400)


def test_the_engine_process_arms_it_by_a_persons_word_within_the_limit_only(folder):
    folder.mkdir(mode=0o700)
    breaker = AccountBreaker(1000, 5000)
    agent = EngineAgent(None, folder, account=breaker)
    ask = {"op": "rearm_account", "who": "ada", "why": "looked"}
    assert agent._do(ask) == "not tripped"
    assert breaker.tripped_by(-1200)
    with pytest.raises(ControlError, match="the loss is 1200 units, the limit 1000") as refused:
        agent._do(ask)
    assert refused.value.code == "refused" and breaker.reason
    breaker.follow(2000, 5000)
    assert agent._do(ask) == "armed again" and breaker.history[0]["rearmed_by"] == "ada"
    agent._socket.close()
