"""What must never happen, judged by the venue's own record and by the journal."""

from __future__ import annotations

import resource
import signal
import struct
from pathlib import Path

import pytest
from rig import (
    ACCOUNT_QUERY,
    CANCEL,
    CONTROL,
    DECISION,
    ENTER,
    FEED,
    FEED_STATE,
    INTENT,
    MASS_CANCEL,
    NEW_RISK,
    REPLACE,
    SESSION,
    STATE_HASH,
    Intent,
    Record,
    call,
    controls,
    intents,
    records,
    replayer,
    until,
    verify,
)

from orchestrator.config import load_profile
from orchestrator.run.virtual import run_virtual

SHORT_MARK = 34  # risk/gate.h
KILL_WORD, SUPERVISOR_LOST, JOURNAL_UNHEALTHY = 1, 2, 4
DAY = 48  # time in force of what rests, execution/ouch.h: "0"


def check_against_the_venue(venue, journal: list[Record], report: dict) -> None:
    """Nothing reached the venue that is not in the journal; both count the same position, fees and executions."""
    asked: dict[int, Intent] = {i.user_ref_num: i for i in intents(journal) if i.kind in NEW_RISK}
    fences = {i.user_ref_num for i in intents(journal) if i.kind == MASS_CANCEL}
    numbers = [i.user_ref_num for i in intents(journal) if i.kind in (*NEW_RISK, MASS_CANCEL)]
    assert numbers == sorted(set(numbers)), "numbers rise and are used once"
    for event in venue.ours():
        number = event["user_ref_num"]
        if event["kind"] in ("accepted", "replaced"):
            intent = asked[number]
            assert (event["price_ticks"], event["side"] in "ST") == (intent.price_ticks, intent.side == 1), event
            assert event["orig_ref_num"] == (intent.orig_ref_num if intent.kind == REPLACE else event["orig_ref_num"])
            assert event["qty"] <= intent.qty_lots
        elif event["kind"] == "executed":
            assert number in asked, event
        elif event["kind"] == "mass_cancel":
            assert number in fences, event
        assert event["kind"] != "malformed", event
    assert report["position"] == venue.position_lots()
    # The venue's fees are money it takes, in the same units.
    assert report["fees_units"] == venue.summary()["fees_ticks"]
    assert report["unknown_orders"] == 0
    assert venue.summary()["open_orders"] == 0


@pytest.mark.parametrize("on_disconnect", [False, True], ids=["orders stay on disconnect", "cancel on disconnect"])
def test_no_order_without_a_journaled_intent_over_a_faulty_network(venue, engine, on_disconnect) -> None:
    judge = venue(seed=11, fault="loss=2%,reorder=1%,disconnect=2s", cancel_on_disconnect=on_disconnect)
    run = engine(judge)
    run.until("reconnects", 2)
    run.until("fills", 5)
    report = run.finish(signal.SIGTERM)
    journal = records(run.run_folder)
    check_against_the_venue(judge, journal, report)
    assert report["reconnects"] >= 2
    assert verify(run.run_folder)["identical"]
    # After each connection: query, then the fence; nothing new before the fence is answered.
    ups = up_times(journal)
    for connection, next_one in zip(ups, [*ups[1:], len(journal) + 1], strict=True):
        first = [i.kind for i in intents(journal) if connection < i.seq < next_one][:2]
        assert first in ([ACCOUNT_QUERY, MASS_CANCEL], [ACCOUNT_QUERY], []), first


def up_times(journal: list[Record]) -> list[int]:
    return [r.seq for r in journal if r.type == 20 and r.payload[0] == 1]


def test_a_fault_given_to_the_embedded_venue_is_survived(peregrine, tmp_path, engine_name) -> None:
    import json

    report = json.loads(
        peregrine(
            "run", "--for", "5s", "--json", "--journal", str(tmp_path / "runs"),
            "--set", "venue.faults='loss=2%,reorder=1%,disconnect=1s'", "--set", f"engine.name={engine_name}",
            "--set", "engine.idle=sleep",
        ).stdout
    )  # fmt: skip
    assert report["stopped_by"] == "time"
    assert report["reconnects"] >= 1
    assert report["unknown_orders"] == 0
    verdict = json.loads(peregrine("verify", report["journal"], "--json").stdout)
    assert verdict["identical"]


# ---- kill

def new_orders_after(journal: list[Record], seq: int) -> list[Intent]:
    return [i for i in intents(journal) if i.seq > seq and i.kind in NEW_RISK]


def check_killed(run, judge, why: str) -> None:
    """The kill is an input; after it nothing new, at once a mass cancel; the process goes on until it is told to end."""
    run.until("trading_state", 5)
    until(lambda: judge.summary()["open_orders"] == 0, "no order open at the venue")
    events = run.counters()["events"]
    run.until("events", events + 200)  # it goes on listening
    report = run.finish(signal.SIGTERM)
    assert report["stopped_by"] == why
    journal = records(run.run_folder)
    (seen,) = [c for c in controls(journal) if c[1] == KILL_WORD]
    assert new_orders_after(journal, seen[0]) == []
    assert MASS_CANCEL in [i.kind for i in intents(journal) if i.seq > seen[0]][:1]
    check_against_the_venue(judge, journal, report)
    assert verify(run.run_folder)["identical"]


@pytest.mark.parametrize("how", ["word", "signal command", "SIGUSR1"])
def test_a_kill_stops_new_orders_at_once_and_cancels_everything(venue, engine, tmp_path, engine_name, how) -> None:
    judge = venue(seed=7)
    run = engine(judge)
    run.until("acks", 5)
    if how == "word":
        assert engine_name in call(tmp_path, "kill", engine_name).stdout
    elif how == "signal command":
        call(tmp_path, "kill", engine_name, "--signal")
    else:
        run.signal(signal.SIGUSR1)
    check_killed(run, judge, "kill")


def test_a_kill_with_flatten_ends_flat(venue, engine, tmp_path, engine_name) -> None:
    judge = venue(seed=7)
    run = engine(judge)
    until(lambda: judge.position_lots() != 0 and run.counters().get("fills", 0) > 3, "a position")
    call(tmp_path, "kill", engine_name, "--flatten")
    until(lambda: run.counters().get("trading_state") == 5 and judge.position_lots() == 0, "a flat position")
    report = run.finish(signal.SIGTERM)
    assert report["position"] == 0
    journal = records(run.run_folder)
    (seen,) = [c for c in controls(journal) if c[1] == KILL_WORD]
    check_only_reducing(journal, seen[0], judge)
    assert verify(run.run_folder)["identical"]


def check_only_reducing(journal: list[Record], seq: int, judge) -> None:
    """What was entered after `seq` never went past flat: executions of it took the position towards zero."""
    numbers = {i.user_ref_num for i in new_orders_after(journal, seq)}
    position = 0
    for e in judge.ours():
        if e["kind"] != "executed":
            continue
        signed = e["qty"] if e["side"] == "B" else -e["qty"]
        if e["user_ref_num"] in numbers:
            assert position * signed < 0, e
            assert abs(signed) <= abs(position), e
        position += signed


def test_the_loss_breaker_kills(venue, engine) -> None:
    judge = venue(seed=7)
    run = engine(judge, settings={"risk.max_loss_units": 1, "risk.max_drawdown_units": 1})
    run.until("trading_state", 5)
    until(lambda: judge.summary()["open_orders"] == 0, "no order open at the venue")
    events = run.counters()["events"]
    run.until("events", events + 100)
    report = run.finish(signal.SIGTERM)
    assert report["stopped_by"] == "breaker"
    journal = records(run.run_folder)
    kinds = [i.kind for i in intents(journal)]
    fence = max(n for n, k in enumerate(kinds) if k == MASS_CANCEL)
    assert not set(kinds[fence:]) & set(NEW_RISK)
    check_against_the_venue(judge, journal, report)
    assert verify(run.run_folder)["identical"]


# ---- ends

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_flushes_reports_and_ends_with_success(venue, engine, number) -> None:
    judge = venue(seed=9)
    run = engine(judge)
    until(lambda: judge.summary()["open_orders"] > 0 and run.counters().get("acks", 0) > 3, "working orders")
    report = run.finish(number)
    assert report["stopped_by"] == "signal"
    check_against_the_venue(judge, records(run.run_folder), report)
    verdict = verify(run.run_folder)
    assert verdict["identical"]
    assert verdict["records"] == report["journal_records"]


def test_a_stop_while_disconnected_comes_back_to_cancel_first(venue, engine) -> None:
    judge = venue(seed=9, cancel_on_disconnect=False)
    run = engine(judge, settings={"execution.session.reconnect_delay_ns": 200_000_000})
    until(lambda: judge.summary()["open_orders"] > 0 and run.counters().get("acks", 0) > 3, "working orders")
    run.signal(signal.SIGSTOP)
    judge.server.drop_connections()
    run.signal(signal.SIGINT)
    run.signal(signal.SIGCONT)
    report = run.finish()
    check_against_the_venue(judge, records(run.run_folder), report)


# ---- feed and journal health

def test_a_silent_feed_means_cancels_and_nothing_new(venue, engine) -> None:
    judge = venue(seed=7)
    run = engine(judge, settings={"feed.silence_ns": 300_000_000})
    until(lambda: judge.summary()["open_orders"] > 0 and run.counters().get("acks", 0) > 3, "working orders")
    judge.server.silence(True)
    until(lambda: run.counters().get("feed_state") not in (None, 2) and judge.summary()["open_orders"] == 0, "cancels")
    judge.server.silence(False)
    until(lambda: run.counters().get("feed_state") == 2, "a live feed")
    orders = run.counters()["orders"]
    run.until("orders", orders + 3)  # it trades again on whole books
    report = run.finish(signal.SIGTERM)
    journal = records(run.run_folder)
    check_against_the_venue(judge, journal, report)
    check_orders_only_while_live(journal)
    assert report["stale_ns"] > 0
    assert verify(run.run_folder)["identical"]


def check_orders_only_while_live(journal: list[Record]) -> None:
    live = False
    for r in journal:
        if r.type == FEED_STATE:
            live = r.payload[0] == 2
        elif r.type == 27:
            live = False
        elif r.type == 64 and r.payload[0] in NEW_RISK:
            assert live, r.seq


def quotes_accepted(journal: list[Record]) -> list[int]:
    """Places in the journal where the venue has just accepted an order that rests, and that is to rest on: no cancel and no
    replace of it was sent before."""
    found, rests = [], set()
    for i, r in enumerate(journal):
        if r.type == INTENT:
            intent = intents([r])[0]
            if intent.kind == ENTER and intent.tif == DAY:
                rests.add(intent.user_ref_num)
            elif intent.kind == MASS_CANCEL:
                rests.clear()
            else:
                rests -= {intent.user_ref_num, intent.orig_ref_num}
        elif r.type == SESSION and r.payload[:2] == b"SA" and int.from_bytes(r.payload[10:14], "big") in rests:
            found.append(i)
    return found


@pytest.mark.parametrize("state", [0, 1, 3, 4, 5], ids=["down", "recovering", "gapped", "stale", "ended"])
def test_from_the_input_that_says_so_a_feed_that_is_not_live_gets_no_order_and_its_quotes_are_cancelled(venue, engine, state) -> None:
    """A hand-made feed state in the middle of a live journal: replay shows what the shard would have done."""
    judge = venue(seed=7)
    run = engine(judge)
    run.until("fills", 5)
    until(lambda: quotes_accepted(records(run.run_folder)), "a quote accepted")
    run.finish(signal.SIGTERM)
    journal = records(run.run_folder)
    accepted = quotes_accepted(journal)
    at = accepted[len(accepted) // 2]  # something works at the venue just then
    _, shard = replayer(run.run_folder)
    for r in journal[: at + 1]:
        shard.feed(r.type, r.seq, r.ts_ns, r.payload)
    before = shard.finish(crashed=True)
    working = before["summary"]["working_orders"]
    assert working > 0
    shard.feed(FEED_STATE, 10**9, journal[at].ts_ns, struct.pack("<B7xQQ", state, 0, 0))
    cancels = shard.finish(crashed=True)["summary"]["cancels"] - before["summary"]["cancels"]
    assert cancels >= 1
    orders = shard.finish(crashed=True)["summary"]["orders"]
    # The book goes on moving; no decision is taken.
    for r in journal[at + 1 :]:
        if r.type == FEED:
            shard.feed(r.type, 10**9 + r.seq, r.ts_ns, r.payload)
    after = shard.finish(crashed=True)["summary"]
    assert after["orders"] == orders == before["summary"]["orders"]
    assert after["replaces"] == before["summary"]["replaces"]
    assert after["decisions"] == before["summary"]["decisions"]


def test_a_disk_that_takes_no_more_stops_new_orders_and_cancels(venue, engine) -> None:
    judge = venue(seed=7)
    run = engine(judge)
    run.until("acks", 5)
    # From here on no file of that process may grow: pwrite fails like on a full disk.
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    run.until("trading_state", 6)
    until(lambda: judge.summary()["open_orders"] == 0, "no order open at the venue")
    run.process.send_signal(signal.SIGTERM)
    out, err = run.process.communicate(timeout=120)
    assert "Traceback" not in err, err
    assert run.process.returncode == 0, (run.process.returncode, err)
    journal = records(run.run_folder)  # the segments, and what only the ring in memory holds
    (seen,) = [c for c in controls(journal) if c[1] == JOURNAL_UNHEALTHY]
    assert new_orders_after(journal, seen[0]) == []
    for event in judge.ours():
        if event["kind"] in ("accepted", "replaced"):
            assert event["user_ref_num"] in {i.user_ref_num for i in intents(journal)}
    assert verify(run.run_folder)["identical"]
    assert '"warnings"' in out
    assert "journal" in out


def test_a_supervisor_that_falls_silent_is_a_kill(venue, engine) -> None:
    judge = venue(seed=7)
    run = engine(judge, settings={"engine.supervisor_timeout_ms": 1500, "report.refresh_ms": 60_000, "supervise.engine_loss_policy": "kill"})
    run.until("trading_state", 5)
    run.finish(signal.SIGTERM)
    journal = records(run.run_folder)
    (seen,) = [c for c in controls(journal) if c[1] == SUPERVISOR_LOST]
    assert new_orders_after(journal, seen[0]) == []
    assert judge.summary()["open_orders"] == 0
    assert verify(run.run_folder)["identical"]


def test_every_kind_of_input_of_a_live_run_is_one_the_journal_knows(venue, engine) -> None:
    judge = venue(seed=7)
    run = engine(judge)
    run.until("orders", 5)
    report = run.finish(signal.SIGTERM)
    journal = records(run.run_folder)
    assert {r.type for r in journal} >= {1, 16, 17, 18, 19, 20, 21, 22, 26, 64, 65, STATE_HASH}
    assert CONTROL not in {r.type for r in journal}
    assert {i.kind for i in intents(journal)} <= {ENTER, REPLACE, CANCEL, MASS_CANCEL, ACCOUNT_QUERY}
    assert report["stopped_by"] == "signal"


def test_a_resting_sell_whose_long_mark_is_no_longer_true_is_taken_out_at_once(tmp_path) -> None:
    """Its replacement is refused for the mark; the order that carries it must not stay at the venue either."""
    cfg = load_profile("replay", {"journal.dir": str(tmp_path), "venue.seed": 3})
    journal = records(Path(run_virtual(cfg, for_ns=30 * 10**9).journal))
    refused = [i for i, r in enumerate(journal) if r.type == DECISION and r.payload[29] == SHORT_MARK]
    assert len(refused) > 3
    for i in refused:
        following = journal[i + 1]
        assert following.type == INTENT and following.payload[0] == CANCEL and following.payload[1] == 1, following
