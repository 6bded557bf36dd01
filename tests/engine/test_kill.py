"""The kill switch under fire: whoever kills, whatever else goes on, nothing new leaves and everything is cancelled.

Judged by the journal (what was made after the kill was seen) and by the venue's own record (what it accepted after the
mass cancel). Times are in the report; bench/bench_kill.py measures them, no test judges them.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hung_python import HELD_BYTES, NOTED_NS
from rig import (
    CANCEL,
    COMMAND,
    CONTROL,
    FEED,
    INTENT,
    MASS_CANCEL,
    NEW_RISK,
    SEND_RESULT,
    Engine,
    environment,
    intents,
    records,
    until,
    verify,
)

from hotpath import _core
from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLink
from orchestrator.control.messages import Request
from orchestrator.observe.segment import Segment

WIDE = {"risk.max_account_orders": 64}
KILLED = 5
CLOCKS_DIFFER_NS = 10**8  # the engine's clock and the wall clock, on a machine that is busy while one is set by the other


@pytest.fixture
def trading(tmp_path: Path, engine_name: str, venue: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """`trading(fault, script, settings…)` → (engine process that has orders working, venue)."""
    started: list[Engine] = []

    def start(fault: str = "", launcher: list[str] | None = None, **settings: Any) -> tuple[Engine, Any]:
        judge = venue(seed=7, symbols="PRGN,FLCN", rate=800, fault=fault)
        base = {"instruments": [{"symbol": "PRGN"}, {"symbol": "FLCN"}], **WIDE}
        engine = Engine(tmp_path, engine_name, judge, settings={**base, **settings}, launcher=launcher)
        started.append(engine)
        engine.until("acks", 3)
        return engine, judge

    yield start
    for one in started:
        one.end()
    for leftover in Path("/dev/shm").glob(f"*{engine_name}*"):
        leftover.unlink()


def kill_word(name: str, level: int = 1) -> None:
    with Segment(name, write=True) as segment:
        segment.kill(level)


def settled(engine: Engine, judge: Any) -> None:
    """Killed, nothing open at the venue, and it listens on without an order."""
    engine.until("trading_state", KILLED)
    until(lambda: judge.summary()["open_orders"] == 0, "no order open at the venue")
    engine.until("events", engine.counters()["events"] + 100)


def check(engine: Engine, judge: Any, report: dict[str, Any], by: str) -> dict[str, Any]:
    """The report's last kill, held against journal and venue."""
    kill = report["kills"][-1]
    assert kill["by"] == by and kill["new_after"] == 0 and kill["still_open"] == 0
    journal = records(engine.run_folder)
    after = [i for i in intents(journal) if i.seq > kill["seen_seq"]]
    assert not [i for i in after if i.kind in NEW_RISK]
    assert after[0].kind == MASS_CANCEL, "the cancel is the first thing that leaves"
    assert kill["cancels_sent_ns"] >= kill["first_cancel_ns"] >= kill["seen_ns"]
    assert kill["last_order_ns"] <= kill["cancels_sent_ns"], "no order was handed over behind the cancel"
    fence = after[0].user_ref_num
    told = judge.ours()
    at = next(n for n, e in enumerate(told) if e["kind"] == "mass_cancel" and e["user_ref_num"] == fence)
    assert not [e for e in told[at:] if e["kind"] in ("accepted", "replaced")], "the venue accepted nothing after it"
    assert report["unknown_orders"] == 0
    assert verify(engine.run_folder)["identical"]
    return kill


def test_each_way_to_kill_is_told_apart_and_cancels_everything(trading) -> None:
    engine, judge = trading()
    with EngineLink(engine.name) as link:
        for how in ("command", "word", "signal"):
            if how == "command":
                link.send("kill", shard=0, request=Request(cmd="kill", who="ada", why="it looks wrong"))
            elif how == "word":
                link.kill(1)
            else:
                break
            settled(engine, judge)
            link.kill(0)
            link.send("revive", shard=0, request=Request(cmd="revive", who="ada"))
            engine.until("orders", engine.counters()["orders"] + 3)
    engine.signal(signal.SIGUSR1)
    settled(engine, judge)
    report = engine.finish(signal.SIGTERM)
    last = check(engine, judge, report, "signal")
    first, second = report["kills"][:2]
    assert (first["by"], first["who"], first["why"]) == ("command", "ada", "it looks wrong")
    assert first["asked_ns"] <= first["seen_ns"] + CLOCKS_DIFFER_NS
    # The word's own stamp tells only of its last setting, which here was the lifting.
    assert second["by"].startswith("word") and all(k["lifted_seq"] for k in (first, second))
    assert all(k["new_after"] == 0 and k["cancels_sent_ns"] for k in report["kills"])
    assert last["asked_ns"] <= last["seen_ns"] + CLOCKS_DIFFER_NS and report["stopped_by"] == "kill"


def readable(pipe: int) -> bool:
    return bool(select.select([pipe], [], [], 0)[0])


@pytest.mark.parametrize("how", ["word", "signal"])
def test_a_kill_works_while_no_python_of_the_engine_runs(trading, tmp_path, how) -> None:
    fifo, held_by, told = tmp_path / "hang", tmp_path / "held", tmp_path / "told.json"
    os.mkfifo(fifo)
    os.mkfifo(held_by)
    launcher = [sys.executable, str(Path(__file__).with_name("hung_python.py")), str(fifo), str(held_by), str(told)]
    held = os.open(held_by, os.O_RDWR)  # there before the other side: nobody waits for anybody at the start
    engine, judge = trading(launcher=launcher)
    pipe = os.open(fifo, os.O_WRONLY)
    os.write(pipe, b"x")
    left = HELD_BYTES - until(lambda: readable(held) and len(os.read(held, 1)), "a Python that hangs")
    time.sleep(2 * NOTED_NS / 1e9)  # so long at least that it is noted
    engine.until("orders", engine.counters()["orders"] + 2)  # it trades on without Python
    if how == "word":
        kill_word(engine.name)
    else:
        engine.signal(signal.SIGUSR1)
    settled(engine, judge)
    while left:
        left -= until(lambda: readable(held) and len(os.read(held, HELD_BYTES)), "the rest of what it writes")
    os.close(held)
    os.close(pipe)
    until(lambda: told.exists() and told.read_text().endswith("\n"), "a note of it")
    report = engine.finish(signal.SIGTERM)
    kill = check(engine, judge, report, how)
    stood_still = [json.loads(line) for line in told.read_text().splitlines()]
    assert any(began < kill["seen_ns"] <= kill["cancels_sent_ns"] < ended for began, ended in stood_still), "all of it while no Python ran"


def test_a_kill_passes_a_flood_of_commands(trading) -> None:
    engine, judge = trading()
    over = threading.Event()
    pushed = [0]

    def flood() -> None:
        writer = _core.CommandWriter(_core.Segment.attach(engine.name, write=True))
        while not over.is_set():
            pushed[0] += writer.push(bodies.command("note", bodies.note("x" * 300), 0, b""))
        writer.release()

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        until(lambda: pushed[0] > 1000, "a flood")
        kill_word(engine.name)
        settled(engine, judge)
        behind = pushed[0] + 2000  # far more than the ring holds: some of them are consumed
        until(lambda: pushed[0] > behind, "a flood that goes on")
    finally:
        over.set()
        flooder.join()
    report = engine.finish(signal.SIGTERM)
    kill = check(engine, judge, report, "word")
    notes = [r.seq for r in records(engine.run_folder) if r.type == COMMAND]
    assert min(notes) < kill["seen_seq"] < max(notes), "it came in the middle of them"


def test_the_loss_of_a_stopped_supervisor_kills_where_that_is_the_policy(trading, engine_name) -> None:
    code = ("import sys, time; from orchestrator.control.engine_link import EngineLink, EngineLinkError\n"
            "while True:\n"
            "    try: link = EngineLink(sys.argv[1]); break\n"
            "    except EngineLinkError: time.sleep(0.02)\n"
            "while True: link.beat(); time.sleep(0.02)")
    supervisor = subprocess.Popen([sys.executable, "-c", code, engine_name], env=environment())
    try:
        engine, judge = trading(**{"engine.supervisor_timeout_ms": 6000, "report.refresh_ms": 60_000, "supervise.engine_loss_policy": "kill"})
        supervisor.send_signal(signal.SIGSTOP)
        settled(engine, judge)
    finally:
        supervisor.kill()
        supervisor.communicate()
    report = engine.finish(signal.SIGTERM)
    check(engine, judge, report, "lost supervisor")


def test_a_slow_venue_gets_the_cancel_behind_no_later_order(trading) -> None:
    engine, judge = trading("lag=300ms")
    kill_word(engine.name)
    settled(engine, judge)
    report = engine.finish(signal.SIGTERM)
    check(engine, judge, report, "word")


def test_flattening_orders_are_told_apart_from_new_ones(trading) -> None:
    engine, judge = trading()
    until(lambda: judge.position_lots() != 0, "a position")
    kill_word(engine.name, 2)
    until(lambda: engine.counters()["trading_state"] == KILLED and judge.position_lots() == 0, "a flat position")
    report = engine.finish(signal.SIGTERM)
    kill = report["kills"][-1]
    assert kill["by"] == "word, flattening" and kill["new_after"] == 0


# ---- a socket that takes nothing

def test_while_the_socket_takes_nothing_no_order_is_made_and_a_kill_still_makes_its_cancel(trading) -> None:
    from orchestrator.run import journals, plan

    engine, _ = trading()
    engine.until("orders", 40)
    engine.finish(signal.SIGTERM)
    journal = records(engine.run_folder)
    parsed, _ = journals.read_header(engine.run_folder)
    policies = plan.policies_of_header(parsed)
    orders = [i.seq for i in intents(journal) if i.kind in NEW_RISK]

    def shard_so_far(until_seq: int) -> tuple[Any, list[Any]]:
        shard = _core.StepEngine(shard=parsed.config["shard"], policies=[p.spec for p in policies], quorum=parsed.config["quorum"])
        for r in journal:
            if r.seq >= until_seq:
                break
            if 16 <= r.type < 64:
                shard.step(r.type, r.seq, r.ts_ns, r.payload)
        return shard, [r for r in journal if r.seq > until_seq and r.type == FEED]

    def new_orders(outputs: list[tuple[int, bytes]]) -> list[int]:
        return [p[0] for kind, p in outputs if kind == INTENT and p[0] in NEW_RISK]

    def trades_on(until_seq: int) -> bool:
        """Does it make orders of the feed alone, from there on? Not where all it may have is under way and unanswered."""
        shard, rest = shard_so_far(until_seq)
        return any(new_orders(shard.step(r.type, r.seq, r.ts_ns, r.payload)) for r in rest)

    until_seq = next(filter(trades_on, orders[len(orders) // 2 :]))
    shard, rest = shard_so_far(until_seq)
    taken_nothing = int.to_bytes(until_seq, 8, "little") + int.to_bytes(50, 4, "little") + int.to_bytes(-11, 4, "little", signed=True)
    made = [kind for kind, _ in shard.step(SEND_RESULT, until_seq, rest[0].ts_ns, taken_nothing)]
    assert INTENT not in made
    middle = len(rest) // 2
    assert not [n for r in rest[:middle] for n in new_orders(shard.step(r.type, r.seq, r.ts_ns, r.payload))]
    at = rest[middle]
    outputs = shard.step(CONTROL, at.seq, at.ts_ns, bytes([1]) + bytes(7) + int.to_bytes(1, 8, "little"))
    kinds = [p[0] for kind, p in outputs if kind == INTENT]
    assert kinds and set(kinds) <= {MASS_CANCEL, CANCEL}, "cancels have their share of the buffer"
    assert not [n for r in rest[middle:] for n in new_orders(shard.step(r.type, r.seq, r.ts_ns, r.payload))]
