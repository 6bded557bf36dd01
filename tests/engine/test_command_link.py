"""Commands of another process: answered with where they stand in the journal, done once, known by who gave them."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import (
    CANCEL,
    COMMAND,
    CONTROL,
    MASS_CANCEL,
    NEW_RISK,
    Engine,
    commands,
    controls,
    intents,
    records,
    until,
    verify,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from chaos_line import Line  # noqa: E402

from hotpath import _core  # noqa: E402
from orchestrator.control import bodies  # noqa: E402
from orchestrator.control.engine_link import EngineLink, EngineLinkError  # noqa: E402
from orchestrator.control.messages import Request  # noqa: E402
from orchestrator.observe.segment import Segment  # noqa: E402
from orchestrator.observe.shards import read_engine  # noqa: E402

K = bodies.KINDS
SUPERVISOR_LOST, SUPERVISOR_BACK = 2, 6


@pytest.fixture
def trading(tmp_path: Path, engine_name: str, venue: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """`trading(settings…)` → (engine process that has traded, link to it)."""
    open_: list[Any] = []

    def start(shards: int = 1, by_line: bool = False, **settings: Any) -> tuple[Engine, EngineLink]:
        judge = venue(seed=7, symbols="PRGN,FLCN", rate=800, shards=shards)
        if by_line:
            open_.append(line := Line(judge.server.ouch))
            settings["venue.ouch"] = line.address
        base = {"instruments": [{"symbol": "PRGN"}, {"symbol": "FLCN"}], "engine.shards": shards, "risk.max_account_orders": 64}
        engine = Engine(tmp_path, engine_name, judge, settings={**base, **settings})
        if by_line:
            engine.line = line
        open_.append(engine)
        engine.until("orders", 3)
        link = EngineLink(engine_name)
        open_.append(link)
        return engine, link

    yield start
    for one in reversed(open_):
        one.end() if isinstance(one, Engine) else one.close()
    for leftover in Path("/dev/shm").glob(f"*{engine_name}*"):
        leftover.unlink()


def instruments(name: str) -> dict[str, dict[str, int]]:
    with Segment(name) as segment:
        rows = read_engine(segment).instruments
    return {r["symbol"].decode().strip(): {n: int(r[n]) for n in r.dtype.names if n != "symbol"} for r in rows}


def test_the_answer_names_the_record_and_the_record_names_who_gave_it(trading) -> None:
    engine, link = trading()
    asked = Request(cmd="note", who="ada", why="because the test says so")
    effect = link.send("note", shard=0, body=bodies.note("hello"), request=asked)
    again = link.send("note", shard=0, body=bodies.note("hello"), request=asked)
    other = link.send("note", shard=0, body=bodies.note("hello"), request=Request(cmd="note", who="bob"))
    engine.finish(signal.SIGTERM)
    by_seq = {r.seq: r for r in records(engine.run_folder)}
    for one in (effect, again, other):
        assert by_seq[one.seq].type == COMMAND and by_seq[one.seq].ts_ns <= one.ts_ns
    key, kind, said, size = struct.unpack_from("<QHHI", by_seq[effect.seq].payload)
    assert (key, kind, by_seq[effect.seq].payload[16 : 16 + size]) == (asked.key(), K["note"], b"hello")
    origin = bodies.parse_origin(by_seq[effect.seq].payload[16 + size : 16 + size + said])
    assert origin == {"id": asked.id, "who": "ada", "why": "because the test says so", "when_ns": asked.when_ns, "cmd": "note"}
    assert verify(engine.run_folder)["identical"]


def test_a_paused_symbol_sends_nothing_more_cancels_what_works_and_goes_on_when_resumed(trading) -> None:
    engine, link = trading()
    symbol, (shard, ix) = next(iter(link.instruments.items()))
    paused = link.send("pause_symbol", shard=shard, body=bodies.number(ix), request=Request(cmd="pause"))
    until(lambda: instruments(engine.name)[symbol]["state"] == 3 and instruments(engine.name)[symbol]["working_lots"] == 0, "the symbol stopped")
    before = engine.counters()["orders"]
    engine.until("orders", before + 5)  # the others trade on
    resumed = link.send("resume_symbol", shard=shard, body=bodies.number(ix), request=Request(cmd="resume"))
    until(lambda: instruments(engine.name)[symbol]["state"] == 1, "the symbol goes on")
    link.close()
    until(lambda: any(i.seq > resumed.seq and i.kind in NEW_RISK and i.instrument == ix for i in intents(records(engine.run_folder))), "its orders again")
    engine.finish(signal.SIGTERM)
    found = intents(records(engine.run_folder))
    between = [i for i in found if paused.seq < i.seq < resumed.seq]
    assert not [i for i in between if i.kind in NEW_RISK and i.instrument == ix]
    assert [i for i in between if i.kind in NEW_RISK and i.instrument != ix]
    assert verify(engine.run_folder)["identical"]


def test_a_pause_may_cancel_everything_and_a_resume_may_lift_a_drain(trading) -> None:
    engine, link = trading()

    def stopped(state: int) -> None:
        until(lambda: engine.counters()["trading_state"] == state, f"state {state}")
        until(lambda: engine.counters()["working_orders"] == 0, "nothing works")

    def a_pause_finds_something() -> bool:
        """Pauses and resumes; true when something worked at the venue at that moment and was cancelled, order by order."""
        paused = link.send("pause", shard=0, body=bodies.number(bodies.PAUSE_CANCELS), request=Request(cmd="pause"))
        stopped(3)
        resumed = link.send("resume", shard=0, request=Request(cmd="resume"))
        engine.until("orders", engine.counters()["orders"] + 2)
        meanwhile = [i.kind for i in intents(records(engine.run_folder)) if paused.seq < i.seq < resumed.seq]
        assert not set(meanwhile) & set(NEW_RISK)
        return CANCEL in meanwhile

    until(a_pause_finds_something, "a pause while something works")
    drained = link.send("drain", shard=0, request=Request(cmd="drain"))
    stopped(4)
    half = link.send("resume", shard=0, request=Request(cmd="resume"))
    assert engine.counters()["trading_state"] == 4
    whole = link.send("resume", shard=0, body=bodies.number(bodies.RESUME_DRAINED), request=Request(cmd="resume"))
    engine.until("orders", engine.counters()["orders"] + 2)
    link.close()
    engine.finish(signal.SIGTERM)
    found = intents(records(engine.run_folder))
    assert not [i for i in found if drained.seq < i.seq < whole.seq and i.kind in NEW_RISK] and half.seq > drained.seq
    assert verify(engine.run_folder)["identical"]


def test_a_killed_engine_is_revived_only_after_the_kill_word_is_cleared(trading) -> None:
    engine, link = trading()
    link.kill(1)
    until(lambda: engine.counters()["trading_state"] == 5, "killed")
    with pytest.raises(EngineLinkError, match="kill stands") as refused:
        link.send("revive", shard=0, request=Request(cmd="revive"))
    assert refused.value.code == "refused" and "journal number" not in refused.value.message
    link.kill(0)
    link.send("revive", shard=0, request=Request(cmd="revive"))
    engine.until("orders", engine.counters()["orders"] + 2)
    effect = link.send("kill", shard=0, request=Request(cmd="kill"))
    until(lambda: engine.counters()["trading_state"] == 5, "killed by command")
    revived = link.send("revive", shard=0, request=Request(cmd="revive"))
    engine.until("orders", engine.counters()["orders"] + 2)
    link.close()
    engine.finish(signal.SIGTERM)
    found = intents(records(engine.run_folder))
    assert not [i for i in found if effect.seq < i.seq < revived.seq and i.kind in NEW_RISK]
    assert [i for i in found if effect.seq < i.seq < revived.seq and i.kind == MASS_CANCEL]
    assert verify(engine.run_folder)["identical"]


def test_what_is_not_valid_is_refused_and_the_reason_is_told(trading) -> None:
    engine, link = trading()
    for kind, body in (("pause_symbol", bodies.number(9999)), ("limits", b"short"), ("reduce_only", bodies.number(2))):
        with pytest.raises(EngineLinkError, match=f"did not take {kind}: refused"):
            link.send(kind, shard=0, body=body, request=Request(cmd=kind))
    again = Request(cmd="limits")
    for _ in range(2):  # asked for again under its id it is still what it was: refused, not done
        with pytest.raises(EngineLinkError, match="refused"):
            link.send("limits", shard=0, body=b"short", request=again)
    with pytest.raises(EngineLinkError, match="malformed"):  # an artifact cannot come by ring
        link.send("bank_swap", shard=0, body=struct.pack("<II", 0, 4) + b"abcd", request=Request(cmd="policy.swap"))
    with pytest.raises(ValueError, match="at most 1016"):
        link.send("note", shard=0, body=bytes(1010), request=Request(cmd="note"))
    with pytest.raises(EngineLinkError, match="no other supervisor"):
        _other_process_claims(engine.name)
    link.close()
    engine.finish(signal.SIGTERM)
    assert verify(engine.run_folder)["identical"]


def _other_process_claims(name: str) -> None:
    """As a second supervisor would: in a child, whose error is raised here."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        said = b""
        try:
            EngineLink(name).close()
        except EngineLinkError as err:
            said = f"{err.hint}".encode()
        os.write(write, said)
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    said = os.read(read, 4096).decode()
    os.close(read)
    if said:
        raise EngineLinkError("unavailable", said)


class Heart:
    """A supervisor's beats, from before the engine is there until `end`; none while `still` is set."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.still, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat)
        self._thread.start()

    def _beat(self) -> None:
        segment = None
        while not self._over.wait(0.02):
            with contextlib.suppress(_core.ShmError):  # none yet
                segment = segment or _core.Segment.attach(self._name, write=True)
            if segment is not None and not self.still.is_set():
                segment.supervisor_beat()

    def end(self) -> None:
        """No more of them."""
        self._over.set()
        self._thread.join()


def last_control(engine: Engine, wanted: int) -> int:
    """Number of the journal's last control input if it is of that kind, else 0."""
    seen = controls(records(engine.run_folder))
    return seen[-1][0] if seen and seen[-1][1] == wanted else 0


@pytest.mark.parametrize(("policy", "new_orders", "cancels"), [("trade", True, False), ("stop", False, False), ("cancel", False, True)])
def test_without_its_supervisor_the_engine_follows_its_policy_until_it_is_back(trading, engine_name, policy, new_orders, cancels) -> None:
    heart = Heart(engine_name)  # from the engine's first moment on: it counts from its start
    try:
        engine, link = trading(**{"supervise.engine_loss_policy": policy, "engine.supervisor_timeout_ms": 700, "report.refresh_ms": 60_000})
        heart.still.set()
        lost = until(lambda: last_control(engine, SUPERVISOR_LOST), "the loss is seen")
        if new_orders:
            until(lambda: any(i.seq > lost and i.kind in NEW_RISK for i in intents(records(engine.run_folder))), "orders all the same")
        else:
            until(lambda: engine.counters()["trading_state"] == 3, "no new orders")
        if cancels:
            until(lambda: engine.counters()["working_orders"] == 0, "what worked is cancelled")
        heart.still.clear()
        until(lambda: any(kind == SUPERVISOR_BACK and seq > lost for seq, kind, _ in controls(records(engine.run_folder))), "back")
        engine.until("orders", engine.counters()["orders"] + 3)
    finally:
        heart.end()
    link.close()
    engine.finish(signal.SIGTERM)
    journal = records(engine.run_folder)
    back = next(seq for seq, kind, _ in controls(journal) if kind == SUPERVISOR_BACK and seq > lost)
    meanwhile = [i for i in intents(journal) if lost < i.seq < back]
    assert bool([i for i in meanwhile if i.kind in NEW_RISK]) == new_orders
    assert not [r for r in journal if r.type == CONTROL and lost < r.seq < back]
    assert verify(engine.run_folder)["identical"]


def test_each_shard_answers_for_itself(trading) -> None:
    engine, link = trading(shards=2)
    assert link.shards == 2 and {shard for shard, _ in link.instruments.values()} == {0, 1}
    effects = [link.send("pause", shard=s, request=Request(cmd="pause", id="one-request-for-both")) for s in range(2)]
    until(lambda: engine.counters()["trading_state"] == 3, "paused")
    link.close()
    engine.finish(signal.SIGTERM)
    for effect in effects:
        journal = records(engine.run_folder / f"shard-{effect.shard:02}")
        assert (effect.seq, K["pause"]) in commands(journal)
        assert verify(engine.run_folder / f"shard-{effect.shard:02}")["identical"]


def test_nothing_is_resumed_while_the_engine_ends(trading) -> None:
    engine, link = trading(by_line=True)
    engine.line.stall(600)  # no cancel arrives: the end lasts as long as the engine waits for that
    until(lambda: engine.counters()["working_orders"] > 0, "something to cancel, which nothing can take away any more")
    engine.signal(signal.SIGTERM)
    refused = 0
    while engine.process.poll() is None:  # somebody resumes as fast as answers come
        try:
            link.send("resume", shard=0, body=bodies.number(bodies.RESUME_DRAINED), request=Request(cmd="resume"), timeout_s=0.5)
        except EngineLinkError as err:
            refused += "it ends" in err.message
    link.close()
    engine.finish()
    journal = records(engine.run_folder)
    drained = next(seq for seq, kind in commands(journal) if kind == K["drain"])
    assert refused and not [i for i in intents(journal) if i.seq > drained and i.kind in NEW_RISK]
    assert not [seq for seq, kind in commands(journal) if kind == K["resume"] and seq > drained]
