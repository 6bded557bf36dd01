"""What a reading of the engine says about its life."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.supervise.state_file import Hold
from orchestrator.supervise.view import EngineView, ShardView
from orchestrator.supervise.watching import engine_state

GOOD = ShardView(feed_state=2, session_ready=True, trading_state=1, working_orders=1, unknown_orders=0)
VIEW = EngineView(pid=7, epoch=1, up=True, heartbeat_count=5, kill_level=0, shards=(GOOD, GOOD))


def state(before="trading", view=VIEW, *, pid=7, stalled="", enabled=True):
    return engine_state(before, view, pid, stalled=stalled, enabled=enabled)


def with_shard(**changes) -> EngineView:
    return replace(VIEW, shards=(GOOD, replace(GOOD, **changes)))


@pytest.mark.parametrize("before", ["starting", "syncing", "ready", "trading"])
def test_a_good_engine_trades_where_that_is_enabled_and_is_ready_where_not(before):
    assert state(before)[0] == "trading"
    assert state(before, enabled=False)[0] == "ready"


def test_one_shard_that_is_behind_is_enough_to_sync_and_is_named():
    assert state(view=with_shard(feed_state=4)) == ("syncing", "the books of shard 1 are not in step with the feed (stale)")
    assert state(view=with_shard(session_ready=False)) == ("syncing", "the order session of shard 1 is not logged in and reconciled")


def test_an_engine_that_stands_still_is_said_to_be_stalled_and_by_what():
    assert state(stalled="engine is stalled: no heartbeat for 2.5 s") == ("syncing", "engine is stalled: no heartbeat for 2.5 s")


def test_memory_of_another_process_is_not_this_engines():
    assert state("starting", pid=8) == ("starting", "")
    assert state("trading", pid=8)[0] == "syncing"
    assert state("starting", None) == ("starting", "")
    assert state("trading", replace(VIEW, up=False))[0] == "syncing"


def test_an_engine_whose_every_shard_is_held_is_ready_and_says_by_what():
    held = replace(VIEW, shards=(replace(GOOD, trading_state=3), replace(GOOD, trading_state=5)))
    assert state(view=held) == ("ready", "no shard trades: killed, paused")
    assert state(view=with_shard(trading_state=3))[0] == "trading", "one that trades is enough"


@pytest.mark.parametrize("before", ["draining", "stopped", "failed"])
def test_an_engine_on_its_way_out_is_not_called_back_by_a_reading(before):
    assert state(before) == (before, "")


def test_open_orders_count_the_unknown_once():
    view = replace(VIEW, shards=(replace(GOOD, working_orders=3, unknown_orders=2), replace(GOOD, working_orders=0, unknown_orders=1)))
    assert view.open_orders() == 4


DRAINING, PAUSED, KILLED = 4, 3, 5
HOLDS = [Hold(shard=0, kind="drain", who="anna", why="lunch"), Hold(shard=1, kind="pause", who="bob"), Hold(shard=1, kind="drain", who="carl")]


def held(*trading_states: int) -> tuple[str, str]:
    shards = tuple(replace(GOOD, trading_state=state) for state in trading_states)
    return engine_state("ready", replace(VIEW, shards=shards), 7, enabled=True, holds=HOLDS)


def test_who_stopped_the_shards_is_said_where_it_is_known():
    assert held(DRAINING, PAUSED) == ("ready", "no shard trades: drained by anna (lunch), paused by bob")
    assert held(PAUSED, KILLED) == ("ready", "no shard trades: killed, paused"), "a drain explains no pause, and nothing a kill"


def test_one_shard_that_is_held_is_said_of_a_tree_that_trades():
    assert held(1, DRAINING) == ("trading", "books in step, session reconciled, trading enabled; shard 1 drained by carl")
    assert held(1, 1) == ("trading", "books in step, session reconciled, trading enabled"), "what is lifted is not said any more"


def test_shards_that_share_a_thread_are_said_together():
    def of(*threads: int) -> str:
        return replace(VIEW, shards=tuple(replace(GOOD, thread=t) for t in threads)).sharing()

    assert of(0, 1, 0, 1, 0, 1, 0, 1) == "8 shards on 2 threads: 0,2,4,6 | 1,3,5,7"
    assert of(0, 0) == "2 shards on 1 thread: 0,1" and of(2, 0, 0) == "3 shards on 2 threads: 1,2 | 0"
    assert of(0) == of(0, 1, 2) == ""
