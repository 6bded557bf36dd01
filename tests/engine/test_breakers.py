"""Breakers of a live engine: they stop it, say so, are armed again by the rules, and their history is in the journal."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import MASS_CANCEL, NEW_RISK, Engine, intents, records, until, verify

from orchestrator.control import bodies, breakers
from orchestrator.control.engine_link import EngineLink, EngineLinkError
from orchestrator.control.messages import Request

STOPPED_BY_BREAKER = 7
WIDE = {"risk.max_account_orders": 64}


@pytest.fixture
def trading(tmp_path: Path, engine_name: str, venue: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """`trading(fault, breakers…)` → (engine process, link to it, venue)."""
    open_: list[Any] = []

    def start(fault: str = "", **settings: Any) -> tuple[Engine, EngineLink, Any]:
        judge = venue(seed=7, symbols="PRGN,FLCN", rate=800, fault=fault)
        base = {"instruments": [{"symbol": "PRGN"}, {"symbol": "FLCN"}], **WIDE}
        engine = Engine(tmp_path, engine_name, judge, settings={**base, **settings})
        open_.append(engine)
        engine.until("inputs", 1)
        link = EngineLink(engine_name)
        open_.append(link)
        return engine, link, judge

    yield start
    for one in reversed(open_):
        one.end() if isinstance(one, Engine) else one.close()
    for leftover in Path("/dev/shm").glob(f"*{engine_name}*"):
        leftover.unlink()


def rearm(link: EngineLink, bits: int = breakers.ALL, who: str = "ada", why: str = "looked at it") -> Any:
    return link.send("rearm", shard=0, body=bodies.number(bits), request=Request(cmd="rearm", who=who, why=why))


def test_too_many_messages_stop_new_orders_until_somebody_arms_the_breaker_again(trading) -> None:
    engine, link, judge = trading(**{"risk.breakers": {
        "max_messages": 30, "message_window_ns": 60_000_000_000, "cooldown_ns": 1_500_000_000}})  # fmt: skip
    engine.until("breaker_trips")
    counters = engine.counters()  # read again: of one reading two words may be of two moments
    assert counters["breakers_open"] == 1 and counters["trading_state"] == STOPPED_BY_BREAKER
    until(lambda: judge.summary()["open_orders"] == 0, "no order open at the venue")
    orders = engine.counters()["orders"]
    engine.until("events", engine.counters()["events"] + 200)
    assert engine.counters()["orders"] == orders, "it does not arm itself"
    with pytest.raises(EngineLinkError, match="refused"):
        rearm(link, bits=16)
    effect = until(lambda: _or_none(lambda: rearm(link)), "the cooldown's end")
    engine.until("orders", orders + 2)
    engine.until("breaker_trips", 2)  # and it counts from zero
    link.close()
    report = engine.finish(signal.SIGTERM)
    journal = records(engine.run_folder)
    first, second = report["breakers"][:2]
    assert (first["breaker"], first["value"], first["limit"], first["shard"]) == ("message_rate", 31, 30, 0)
    assert (first["rearmed_by"], first["why"]) == ("ada", "looked at it") and first["rearmed_seq"] > effect.seq
    assert first["rearmed_ns"] - first["ts_ns"] >= 1_500_000_000
    assert second["rearmed_by"] is None
    found = intents(journal)
    assert not [i for i in found if first["seq"] < i.seq < effect.seq and i.kind in NEW_RISK]
    assert [i for i in found if first["seq"] < i.seq < effect.seq][0].kind == MASS_CANCEL
    before = [i for i in found if i.seq < first["seq"] and i.kind in (*NEW_RISK, 3)]
    assert len(before) == 31, "it trips with the first message past its limit, and that step sends no more"
    assert report["stopped_by"] == "signal", "a breaker that counts is no kill"
    assert verify(engine.run_folder)["identical"]


def test_a_breaker_is_not_armed_before_its_cooldown_is_over(trading) -> None:
    engine, link, _ = trading(**{"risk.breakers": {
        "max_messages": 20, "message_window_ns": 60_000_000_000, "cooldown_ns": 3_600_000_000_000}})  # fmt: skip
    engine.until("breaker_trips")
    with pytest.raises(EngineLinkError, match="did not take rearm: refused"):
        rearm(link)
    link.close()
    report = engine.finish(signal.SIGTERM)
    assert [trip["rearmed_seq"] for trip in report["breakers"]] == [None]
    assert verify(engine.run_folder)["identical"]


def _or_none(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except EngineLinkError:
        return None


def test_too_many_refusals_of_the_venue_trip_and_the_breaker_may_arm_itself(trading) -> None:
    engine, link, _ = trading("reject=40%", **{"risk.breakers": {
        "max_rejects": 3, "reject_window_ns": 60_000_000_000, "cooldown_ns": 300_000_000, "rearm": "after_cooldown"}})  # fmt: skip
    engine.until("breaker_trips", 2)
    link.close()
    report = engine.finish(signal.SIGTERM)
    assert report["rejects"] >= 8
    trip = report["breakers"][0]
    assert (trip["breaker"], trip["value"], trip["limit"], trip["rearmed_by"]) == ("reject_rate", 4, 3, "cooldown")
    assert 300_000_000 <= trip["rearmed_ns"] - trip["ts_ns"] < 2**62
    between = [i for i in intents(records(engine.run_folder)) if trip["seq"] < i.seq < trip["rearmed_seq"]]
    assert not [i for i in between if i.kind in NEW_RISK]
    assert verify(engine.run_folder)["identical"]


def test_a_drawdown_kills_is_in_the_history_and_takes_arming_and_reviving(trading) -> None:
    engine, link, _ = trading(**{"risk.max_drawdown_units": 1, "risk.breakers": {"cooldown_ns": 200_000_000}})
    engine.until("trading_state", 5)
    orders = engine.counters()["orders"]
    until(lambda: _or_none(lambda: rearm(link)), "the cooldown's end")
    assert engine.counters()["trading_state"] == 5, "the kill it caused stands"
    link.send("revive", shard=0, request=Request(cmd="revive", who="ada"))
    engine.until("breaker_trips", 2)  # trading again, it falls again
    link.close()
    report = engine.finish(signal.SIGTERM)
    trips = [t for t in report["breakers"] if t["breaker"] == "drawdown"]
    assert trips[0]["value"] > trips[0]["limit"] == 1 and trips[0]["rearmed_by"] == "ada"
    assert report["orders"] >= orders and report["kills"][0]["by"] == "breaker: drawdown"
    assert report["kills"][0]["lifted_seq"] and report["kills"][0]["new_after"] == 0
    assert verify(engine.run_folder)["identical"]


def test_a_loss_above_its_limit_cannot_be_armed_away(trading) -> None:
    dear = {"taker_fee_units_per_lot": 10_000_000, "maker_fee_units_per_lot": 10_000_000}  # no price moves a loss back
    engine, link, _ = trading(**{"account": dear, "risk.max_loss_units": 0, "risk.breakers": {"cooldown_ns": 0}})
    engine.until("breaker_trips")
    assert engine.counters()["pnl_units"] < -1_000_000
    with pytest.raises(EngineLinkError, match="refused"):
        rearm(link, breakers.BITS["loss"])
    link.close()
    report = engine.finish(signal.SIGTERM)
    loss = next(t for t in report["breakers"] if t["breaker"] == "loss")
    assert loss["value"] > loss["limit"] == 0 and loss["rearmed_seq"] is None
    assert report["stopped_by"] == "breaker"


def test_a_tripped_breaker_survives_a_crash(trading, tmp_path, engine_name) -> None:
    engine, link, judge = trading(**{"risk.breakers": {
        "max_messages": 20, "message_window_ns": 60_000_000_000, "cooldown_ns": 0}})  # fmt: skip
    engine.until("breakers_open")
    link.close()
    folder = engine.run_folder
    engine.kill_9()
    settings = {"instruments": [{"symbol": "PRGN"}, {"symbol": "FLCN"}], **WIDE}
    second = Engine(tmp_path, engine_name, judge, settings=settings, resume=folder)
    try:
        counters = second.until("session_ready")
        counters = second.until("inputs", counters["inputs"] + 50)
        assert counters["breakers_open"] == 1 and counters["trading_state"] == STOPPED_BY_BREAKER
        with EngineLink(engine_name) as again:
            rearm(again)
        second.until("orders", second.counters()["orders"] + 1)
        report = second.finish(signal.SIGTERM)
    finally:
        second.end()
    assert report["breakers"][0]["rearmed_by"] == "ada"
    assert verify(folder)["identical"]
