"""Why a shard does not trade, in words: of states, of commands out of control.log and out of the journals."""

from __future__ import annotations

import json
import os

import pytest

from orchestrator.observe.health import readiness
from orchestrator.observe.reading import Reader
from orchestrator.observe.segment import process_start_ticks
from orchestrator.observe.standing import Standing, breakers_of, of_status, owed, reasons
from orchestrator.supervise import state_file
from orchestrator.supervise.paths import runtime_dir
from orchestrator.supervise.state_file import Hold, TreeState

WELL = {"feed_state": 2, "session_ready": 1, "trading_state": 1}


def change(cmd: str, *effects: tuple[int, int], who: str = "kim", why: str = "news", **args: object) -> dict:
    """A line of control.log."""
    return {"event": "change", "cmd": cmd, "who": who, "why": why, "args": args, "ok": True, "effects": [{"shard": s, "seq": n} for s, n in effects]}


def told(shards: list[dict], *lines: dict, kill_level: int = 0) -> list[str]:
    said = Standing()
    for line in lines:
        said.audited(line)
    return reasons(shards, kill_level=kill_level, tree=None, said=said)


def test_a_pause_a_drain_and_a_kill_are_told_with_who_and_why_until_they_are_lifted():
    paused, drained, killed = ({**WELL, "trading_state": n} for n in (3, 4, 5))
    pause, drain, kill = change("pause", (0, 1234), shard=0), change("drain", (0, 9), who="lee", why="closing"), change("kill", (0, 77), (1, 78), why="fire")
    assert told([paused, WELL], pause) == ["shard 0: paused by kim: news (record 1,234)"]
    assert told([drained], drain) == ["shard 0: drained by lee: closing (record 9)"]
    assert told([killed, killed], kill, kill_level=1) == [
        "the kill word is set by kim: fire (record 77)", "shard 0: killed by kim: fire (record 77)", "shard 1: killed by kim: fire (record 78)"]  # fmt: skip
    assert told([paused], pause, change("resume", (0, 1300))) == ["shard 0: paused"], "by whom is no longer known"
    assert told([WELL], pause) == [], "what it does counts, not what it was told"
    assert told([paused], change("pause"), {"event": "refused", "cmd": "pause"}) == ["shard 0: paused"]


@pytest.mark.parametrize(
    ("counters", "text"),
    [({"feed_state": 4}, "books are stale"), ({"session_ready": 0}, "the order session is not ready"), ({"trading_state": 6}, "the journal takes no more records"),
     ({"trading_state": 7, "breakers_open": 3, "breakers_cooling": 2}, "stopped by a breaker: message rate, awaits rearm; reject rate, cooling down"),
     ({"trading_state": 5, "breakers_open": 4}, "killed by a breaker: loss, awaits rearm"), ({"trading_state": 0}, "starting"), ({"trading_state": 12}, "state 12")],
)  # fmt: skip
def test_every_state_that_keeps_orders_back_has_its_words(counters, text):
    assert told([WELL, WELL | counters]) == [f"shard 1: {text}"]
    assert bool(breakers_of(counters)) == ("breaker" in text)


def test_the_journals_say_the_same_as_the_log_of_control():
    said = Standing()
    for line in ({"shard": 0, "seq": 5, "kind": "pause", "who": "kim", "why": "news", "value": 1}, {"shard": 0, "seq": 6, "kind": "kill word", "value": 1},
                 {"shard": 0, "seq": 7, "kind": "kill", "who": "lee", "why": "fire"}, {"shard": 1, "seq": 3, "kind": "pause_symbol", "who": "kim", "why": "halt", "value": 2},
                 {"shard": 0, "seq": 8, "kind": "revive", "who": "lee", "why": "out"}, {"shard": 0, "seq": 9, "kind": "pause", "who": "else", "duplicate": True}):  # fmt: skip
        said.journaled(line, {(1, 2): "HAWK"})
    assert str(said.symbols["HAWK"]) == " by kim: halt (record 3)" and said.of(0, "pause") == " by kim: news (record 5)" and not said.of(0, "kill")
    said.journaled({"shard": 1, "seq": 4, "kind": "resume_symbol", "value": 2}, {(1, 2): "HAWK"})
    assert not said.symbols


def test_readiness_tells_who_paused_a_shard_and_a_symbol_and_that_trading_is_held(stand_in):
    one = stand_in(shards=2)
    one.counters[1] |= {"trading_state": 3}
    one.write()
    folder = runtime_dir(one.name, make=True)
    tree = TreeState(name=one.name, supervisor_pid=os.getpid(), supervisor_start_ticks=process_start_ticks(os.getpid()), state="ready", reason="trading is held")
    state_file.write(folder, tree)
    lines = [change("pause", (1, 40), shard=1), change("pause", (0, 41), symbol="S0", why="halted"), change("reduce_only", (0, 42), on=True)]
    (folder / "control.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = readiness(Reader(one.name).read(), 600)
    assert found["reasons"] == ["the supervisor has not enabled trading: the tree is ready (trading is held)", "shard 1: paused by kim: news (record 40)"]
    assert found["remarks"] == ["S0: paused by kim: halted (record 41)", "shard 0: reduce-only by kim: news (record 42)"] and not found["ready"]


def test_what_is_owed_to_the_engine_that_comes_next_is_told_with_who_and_why():
    holds = [Hold(shard=s, kind="flatten", owed=True, who="anna", why="enough") for s in (0, 1)]
    holds += [Hold(shard=-1, kind="pause_symbol", symbol="PRGN", owed=True, who="bob"), Hold(shard=0, kind="drain", who="carl", seq=7)]
    tree = TreeState(name="desk", supervisor_pid=1, supervisor_start_ticks=0, state="syncing", holds=holds)
    assert owed(tree) == ["owed to the engine that comes next: flatten by anna: enough, shard 0, 1", "owed to the engine that comes next: pause by bob, symbol PRGN"]
    assert of_status({"engine": None}, tree, list) == (["no engine runs"], owed(tree))
