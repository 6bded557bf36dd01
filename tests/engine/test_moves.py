"""Shards that change their thread while they trade: nothing lost, nothing doubled, and a replay that knows nothing of it."""

from __future__ import annotations

import json
import signal
import struct
from pathlib import Path

import pytest
from rig import (
    COMMAND,
    INTENT,
    NEW_RISK,
    SESSION,
    Intent,
    call,
    commands,
    intent_of,
    intents,
    records,
    until,
    verify,
)
from test_topologies import SYMBOLS, check_shards, start  # noqa: F401 - a fixture

from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLink, EngineLinkError
from orchestrator.control.messages import Request
from orchestrator.observe.segment import Segment
from orchestrator.observe.shards import read_engine
from orchestrator.run.shards import folders, user_of

TWO_THREADS = {"engine.topology": "pipelined", "engine.shards": 4, "engine.shards_per_thread": 2}
MOVE = bodies.KINDS["move"]


@pytest.fixture
def link(engine_name: str):
    """A supervisor's hand on the engine, taken once it is there."""
    made: list[EngineLink] = []

    def take() -> EngineLink:
        made.append(EngineLink(engine_name))
        return made[-1]

    yield take
    for one in made:
        one.close()


def threads(name: str) -> list[int]:
    """The thread that polls each shard, as telemetry says."""
    with Segment(name) as segment:
        return [s["thread"] for s in read_engine(segment).extra["shards"]]


def move(hand: EngineLink, shard: int, thread: int) -> None:
    hand.send("move", shard=shard, body=bodies.number(thread), request=Request(cmd="move"))


def test_shards_moved_to_and_fro_two_hundred_times_lose_and_double_nothing(start, link) -> None:  # noqa: F811
    run, judge, shards = start(TWO_THREADS)
    run.until("acks", 8)
    hand = link()
    assert threads(run.name) == [0, 0, 1, 1]
    before = run.counters()["orders"]
    rounds = 0
    while rounds < 50 or run.counters()["orders"] < before + 10:  # it trades meanwhile
        n, rounds = rounds, rounds + 1
        for shard in range(shards):  # all on one thread, all on the other, and every pairing between
            move(hand, shard, (n + (shard & n)) % 2)
    for shard in range(shards):
        move(hand, shard, 1 - shard // 2)
    until(lambda: threads(run.name) == [1, 1, 0, 0], "every shard on the other thread")
    hand.close()
    until(lambda: all(judge.server.summary(user_of("DEMO01", k))["executed"] >= 3 for k in range(shards)), "fills of every shard")
    check_shards(run, judge, shards, run.finish(signal.SIGTERM))
    for folder in folders(run.run_folder):
        assert sum(kind == MOVE for _, kind in commands(records(folder))) == rounds + 1


def test_a_drained_shard_moves_and_goes_on(start, link) -> None:  # noqa: F811
    run, judge, shards = start(TWO_THREADS)
    run.until("acks", 8)
    hand = link()
    for thread in (1, 0, 1):
        hand.send("drain", shard=0, request=Request(cmd="drain"))
        until(lambda: judge.server.summary(user_of("DEMO01", 0))["open_orders"] == 0, "drained")
        move(hand, 0, thread)
        until(lambda thread=thread: threads(run.name)[0] == thread, "moved")
        sent = judge.server.summary(user_of("DEMO01", 0))["accepted"]
        hand.send("resume", shard=0, body=bodies.number(bodies.RESUME_DRAINED), request=Request(cmd="resume"))
        until(lambda sent=sent: judge.server.summary(user_of("DEMO01", 0))["accepted"] > sent, "orders again")
    hand.close()
    until(lambda: all(judge.server.summary(user_of("DEMO01", k))["executed"] >= 2 for k in range(shards)), "fills of every shard")
    check_shards(run, judge, shards, run.finish(signal.SIGTERM))


@pytest.mark.parametrize(("settings", "thread"), [(TWO_THREADS, 2), ({"engine.topology": "inline", "engine.shards": 4}, 0)])
def test_a_move_to_a_thread_that_does_not_exist_is_refused_and_not_journaled(start, link, settings, thread) -> None:  # noqa: F811
    run, _, _ = start(settings)
    run.until("acks", 2)
    hand = link()
    with pytest.raises(EngineLinkError, match="no such thread") as refused:
        move(hand, 1, thread)
    assert "pipelined" in refused.value.hint
    hand.close()
    run.finish(signal.SIGTERM)
    journal = records(folders(run.run_folder)[1])
    assert [r for r in journal if r.type == COMMAND] and MOVE not in [kind for _, kind in commands(journal)]


def test_only_active_symbols_open_and_the_others_get_rid_of_what_they_have(start, link) -> None:  # noqa: F811
    run, judge, _ = start({"engine.topology": "inline", "engine.shards": 1, "execution.max_inventory_lots": 300})
    run.until("fills", 5)
    hand = link()
    effect = hand.send("active_symbols", shard=0, body=bodies.number(2), request=Request(cmd="active"))
    until(lambda: run.counters().get("active_symbols") == 2, "two of them alone")
    run.until("orders", run.counters()["orders"] + 20)
    until(lambda: any(i.seq > effect.seq and i.kind in NEW_RISK and i.instrument < 2 for i in intents(records(run.run_folder))), "the active ones trade")
    back = hand.send("active_symbols", shard=0, body=bodies.number(999), request=Request(cmd="active"))
    until(lambda: run.counters()["active_symbols"] == len(SYMBOLS), "all of them again")
    run.until("orders", run.counters()["orders"] + 20)
    hand.close()
    run.finish(signal.SIGTERM)
    check_only_reducing(run.run_folder, effect.seq, back.seq, first=2)
    assert verify(run.run_folder)["identical"]
    assert judge.summary()["open_orders"] == 0


def check_only_reducing(folder: Path, since: int, until_seq: int, first: int) -> None:
    """Between the two numbers no new order of an instrument from `first` on can take its position further from zero."""
    held: dict[int, int] = {}
    sent: dict[int, Intent] = {}
    first_of: dict[int, int] = {}  # a replace's number → the number its order began with
    done: dict[int, int] = {}      # … and what of it is executed: a replace's quantity is the whole order's
    for r in records(folder):
        if r.type == SESSION and r.payload[:2] == b"SE":  # executed: our number and the quantity behind type and time
            number, lots = struct.unpack_from(">II", r.payload, 10)
            order = sent[number]
            done[first_of[number]] = done.get(first_of[number], 0) + lots
            held[order.instrument] = held.get(order.instrument, 0) + (lots if order.side == 0 else -lots)
        if r.type != INTENT:
            continue
        intent = intent_of(r)
        if intent.kind not in NEW_RISK:
            continue
        sent[intent.user_ref_num] = intent
        first_of[intent.user_ref_num] = first_of.get(intent.orig_ref_num, intent.user_ref_num)
        if not since < r.seq < until_seq:
            continue
        if intent.instrument >= first:
            adds = intent.qty_lots - done.get(first_of[intent.user_ref_num], 0)
            signed = adds if intent.side == 0 else -adds
            position = held.get(intent.instrument, 0)
            assert position * signed < 0 and abs(signed) <= abs(position), (intent, position)


def test_what_a_run_starts_with_is_in_its_header_and_top_shows_threads_and_health(start, tmp_path, engine_name) -> None:  # noqa: F811
    run, _, shards = start({**TWO_THREADS, "engine.assignment": "by_load", "engine.active_symbols": 1,
                            "instruments": [{"symbol": s, "load": load} for s, load in zip(SYMBOLS, (1, 50, 2, 40, 30), strict=True)]})
    run.until("acks", 8)
    top = json.loads(call(tmp_path, "top", engine_name, "--json").stdout)
    report = run.finish(signal.SIGTERM)
    assert [row["symbols"] for row in report["shards"]] == [["FLCN"], ["KITE"], ["MERL"], ["HAWK", "PRGN"]]
    assert [s["thread"] for s in top["shards"]] == [0, 0, 1, 1]
    assert [s["active_symbols"] for s in top["shards"]] == [1] * shards
    assert all(s["soft_positions"] == 25 and s["limit_positions"] == 125 and 0 <= s["positions"] <= 2 for s in top["shards"])
    assert all(s["lag_ns"] >= 0 and s["stall_max_ns"] >= 0 for s in top["shards"])
    verdict = verify(run.run_folder)
    assert verdict["identical"], verdict
