"""The same stages in every topology: what a journal records is what the shard did, whoever handed it its inputs."""

from __future__ import annotations

import bisect
import json
import signal
from pathlib import Path

import pytest
from rig import (
    FEED,
    FEED_STATE,
    INTENT,
    MASS_CANCEL,
    NEW_RISK,
    SNAPSHOT,
    call,
    controls,
    intents,
    records,
    until,
    verify,
)

from orchestrator.config import load_profile
from orchestrator.config.problems import ConfigError
from orchestrator.observe.segment import Segment
from orchestrator.observe.shards import read_engine
from orchestrator.run.shards import folders, instruments_of, part, user_of
from orchestrator.run.watch import AccountBreaker

SYMBOLS = ("PRGN", "FLCN", "HAWK", "KITE", "MERL")
TOPOLOGIES = {
    "inline, one shard": {"engine.topology": "inline", "engine.shards": 1},
    "inline, four shards on a thread": {"engine.topology": "inline", "engine.shards": 4},
    "pipelined, one shard": {"engine.topology": "pipelined", "engine.shards": 1},
    "pipelined, four shards": {"engine.topology": "pipelined", "engine.shards": 4},
    "pipelined, four shards on two threads": {"engine.topology": "pipelined", "engine.shards": 4, "engine.shards_per_thread": 2},
}
STALE, OVERRUN = 4, 6
LIFE_SIGN_NS = 50_000_000  # engine/feed_router.h


@pytest.fixture
def start(venue, engine):
    """Starts a venue and an engine of five symbols: `start(topology settings…)` → (run, venue, shards)."""

    def go(settings: dict, **options):
        shards = settings.get("engine.shards", 1)
        judge = options.pop("judge", None) or venue(seed=7, symbols=",".join(SYMBOLS), rate=options.pop("rate", 400), shards=shards)
        # The laptop's limits are small for four: what is divided must leave each shard something to trade with.
        wide = {"risk.max_account_orders": 64}
        base = {"instruments": [{"symbol": s} for s in SYMBOLS], "engine.cores": {"engine": None}, **wide}
        return engine(judge, settings={**base, **settings}, **options), judge, shards

    return go


def check_shards(run, judge, shards: int, report: dict) -> None:
    """Each shard replays to what it recorded; the venue counts the same; nothing was sent that no journal holds."""
    own = folders(run.run_folder)
    assert len(own) == shards
    verdict = verify(run.run_folder)
    assert verdict["identical"], verdict
    assert verdict["records"] == report["journal_records"]
    assert report["position"] == judge.position_lots()
    assert report["fees_units"] == judge.summary()["fees_ticks"]
    assert report["unknown_orders"] == 0
    assert judge.summary()["open_orders"] == 0
    for shard, folder in enumerate(own):
        journal = records(folder)
        asked = {i.user_ref_num: i for i in intents(journal)}
        events = judge.ours(shard)
        for event in events:
            if event["kind"] in ("accepted", "executed", "replaced", "mass_cancel"):
                assert event["user_ref_num"] in asked, event
        traded = {SYMBOLS[e["symbol"]] for e in events if e["kind"] == "executed"}
        assert traded <= set(SYMBOLS[shard::shards]), "a symbol belongs to one shard"
        assert any(e["kind"] == "executed" for e in events), f"shard {shard} traded nothing"
        # Every record of a shard has its own place in one sequence, and its time never runs backwards.
        assert [r.seq for r in journal] == list(range(1, len(journal) + 1))
        assert all(a.ts_ns <= b.ts_ns for a, b in zip(journal, journal[1:], strict=False))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_topology_trades_replays_and_agrees_with_the_venue(start, topology) -> None:
    run, judge, shards = start(TOPOLOGIES[topology])
    until(lambda: all(judge.server.summary(user_of("DEMO01", k))["executed"] >= 3 for k in range(shards)), "fills of every shard")
    report = run.finish(signal.SIGTERM)
    assert report["stopped_by"] == "signal"
    assert report["topology"] == TOPOLOGIES[topology]["engine.topology"]
    check_shards(run, judge, shards, report)
    if shards > 1:
        rows = report["shards"]
        assert [row["symbols"] for row in rows] == [list(SYMBOLS[k::shards]) for k in range(shards)]
        for name in ("orders", "fills", "events", "pnl_units"):
            assert report[name] == sum(row[name] for row in rows)


def test_a_shard_is_given_the_messages_of_its_own_symbols(start) -> None:
    """With the venue's directory read, what is journaled belongs to the shard, but for a sign of life now and then."""
    run, judge, shards = start({"engine.topology": "inline", "engine.shards": 4})
    run.until("fills", 8)
    run.finish(signal.SIGTERM)
    locates = {int.from_bytes(m[1:3], "big"): m[11:19].decode().strip() for m in judge.server.itch_messages() if m[:1] == b"R"}
    for shard, folder in enumerate(folders(run.run_folder)):
        mine = set(SYMBOLS[shard::shards])
        seen, fed_ns = set(), None
        for r in records(folder):
            if r.type not in (FEED, SNAPSHOT):
                continue
            name = locates.get(int.from_bytes(r.payload[17:19], "big")) if r.payload[16:17] != b"G" else None
            seen.add(name)
            if r.type == FEED and name is not None and name not in mine and fed_ns is not None:
                assert r.ts_ns - fed_ns >= LIFE_SIGN_NS, "only a shard that had nothing for so long is given another's"
            fed_ns = r.ts_ns if r.type == FEED else fed_ns
        assert mine <= seen


def states(name: str) -> list[int]:
    """The trading state of each shard."""
    with Segment(name) as segment:
        return [s["trading_state"] for s in read_engine(segment).extra["shards"]]


@pytest.mark.parametrize("topology", ["inline, four shards on a thread", "pipelined, four shards"])
def test_the_kill_word_stops_every_shard(start, tmp_path, engine_name, topology) -> None:
    run, judge, shards = start(TOPOLOGIES[topology])
    run.until("acks", 8)
    assert engine_name in call(tmp_path, "kill", engine_name).stdout
    until(lambda: states(engine_name) == [5] * shards, "every shard killed")
    until(lambda: judge.summary()["open_orders"] == 0, "no order open at the venue")
    top = json.loads(call(tmp_path, "top", engine_name, "--json").stdout)
    assert [s["trading_state"] for s in top["shards"]] == [5] * shards
    report = run.finish(signal.SIGTERM)
    assert report["stopped_by"] == "kill"
    for folder in folders(run.run_folder):
        journal = records(folder)
        (seen,) = [c for c in controls(journal) if c[1] == 1]
        after = [i.kind for i in intents(journal) if i.seq > seen[0]]
        assert after[:1] == [MASS_CANCEL]
        assert not set(after) & set(NEW_RISK)
    assert verify(run.run_folder)["identical"]


@pytest.mark.parametrize("topology", ["inline, four shards on a thread", "pipelined, four shards on two threads"])
def test_a_run_of_several_shards_goes_on_after_a_crash(start, venue, engine, topology) -> None:
    run, judge, shards = start(TOPOLOGIES[topology])
    until(lambda: all(judge.server.summary(user_of("DEMO01", k))["executed"] >= 2 for k in range(shards)), "fills of every shard")
    run.kill_9()
    folder = run.run_folder
    again, _, _ = start(TOPOLOGIES[topology], judge=judge, resume=folder)
    again.until("session_ready", 1)
    fills = judge.summary()["executed"]
    until(lambda: judge.summary()["executed"] > fills + 4, "fills after the recovery")
    report = again.finish(signal.SIGTERM)
    assert report["position"] == judge.position_lots()
    assert report["unknown_orders"] == 0
    verdict = verify(folder)
    assert verdict["identical"], verdict
    assert verdict["recoveries"] == shards


def test_a_run_is_not_resumed_with_another_number_of_shards(start) -> None:
    run, judge, _ = start({"engine.shards": 4})
    run.until("fills", 1)
    run.finish(signal.SIGTERM)
    refused, _, _ = start({"engine.shards": 1, "venue": {**judge.yaml(), "shard_logins": []}}, judge=judge, resume=run.run_folder)
    _, err = refused.process.communicate(timeout=120)
    assert refused.process.returncode == 78 and "engine.shards" in err, err


@pytest.mark.parametrize("topology", ["inline, four shards on a thread", "pipelined, four shards"])
def test_a_faulty_network_loses_nothing_in_any_topology(venue, start, topology) -> None:
    judge = venue(seed=11, symbols=",".join(SYMBOLS), rate=400, shards=4, fault="loss=2%,reorder=1%,disconnect=2s")
    run, _, shards = start(TOPOLOGIES[topology], judge=judge)
    run.until("reconnects", 6)
    until(lambda: all(judge.server.summary(user_of("DEMO01", k))["executed"] >= 2 for k in range(shards)), "fills of every shard")
    check_shards(run, judge, shards, run.finish(signal.SIGTERM))


def test_a_shard_that_does_not_keep_up_is_told_so_and_rebuilt_and_never_misses_a_message(venue, engine, tmp_path) -> None:
    """Its signal takes milliseconds, its ring is the smallest: the other shard and the feed go on without it."""
    pytest.importorskip("numba")
    judge = venue(seed=7, symbols="PRGN,FLCN", rate=12_000, shards=2)
    run = engine(judge, settings={
        "instruments": [{"symbol": "PRGN"}, {"symbol": "FLCN"}], "engine.topology": "pipelined", "engine.shards": 2,
        "engine.feed_ring_kb": 512, "engine.cores": {"engine": None}, "policies.signal": "my_signals:slow",
        "policies.decision_interval_ns": 0, "journal.ring_mb": 64,
    })  # fmt: skip
    run.until("overruns", 2)
    run.until("snapshots", 4)  # one each at the start
    judge.server.pause_flow(True)
    call(tmp_path, "kill", run.name)  # it decides no more: what waits for it is soon through
    until(lambda: judge.summary()["open_orders"] == 0, "no order open at the venue")
    until(lambda: run.counters().get("feed_state") == 2 and up_to_the_last(run, judge), "whole books, everything consumed")
    report = run.finish(signal.SIGTERM)
    full = [q for q in report["queues"] if q["name"] == "feed to shard"]
    assert sum(q["times_full"] for q in full) >= 2
    assert any("did not keep up" in w for w in report["warnings"])
    verdict = verify(run.run_folder)
    assert verdict["identical"], verdict
    assert report["position"] == judge.position_lots()
    messages = judge.server.itch_messages()
    overrun = 0
    for shard, folder in enumerate(folders(run.run_folder)):
        overrun += check_no_message_is_missed(records(folder), messages, ("PRGN", "FLCN")[shard])
    assert overrun >= 2


def up_to_the_last(run, judge) -> bool:
    """Has each shard the last message of its symbol? Asked while the flow stands still and nothing works."""
    messages = judge.server.itch_messages()
    for folder, symbol in zip(folders(run.run_folder), ("PRGN", "FLCN"), strict=True):
        last = own_messages(messages, symbol)[1][-1]
        at = 0
        for r in records(folder):
            if r.type == FEED:
                at = int.from_bytes(r.payload[:8], "little")
            elif r.type == SNAPSHOT and r.payload[16:17] == b"G":
                at = int(r.payload[17:37]) - 1
        if at < last:
            return False
    return True


def own_messages(messages: list[bytes], symbol: str) -> tuple[bytes, list[int]]:
    """The symbol's locate and the sequence numbers of its messages."""
    (locate,) = [m[1:3] for m in messages if m[:1] == b"R" and m[11:19].decode().strip() == symbol]
    return locate, [n for n, m in enumerate(messages, 1) if m[1:3] == locate]


def check_no_message_is_missed(journal: list, messages: list[bytes], symbol: str) -> int:
    """While its books are whole a shard has every message of its symbol, one after the other, up to the last.

    Between "stale" and the snapshot's end nothing new is sent. Returns how often the shard was overrun.
    """
    locate, own = own_messages(messages, symbol)
    at: int | None = None  # index into `own` of the next message
    live = False
    overruns = 0
    for r in journal:
        if r.type == FEED_STATE:
            state, reason = r.payload[0], r.payload[1]
            live = state == 2
            if state == STALE:
                at = None
                overruns += reason == OVERRUN
        elif r.type == SNAPSHOT and r.payload[16:17] == b"G":
            at = bisect.bisect_left(own, int(r.payload[17:37]))
        elif r.type == FEED and r.payload[17:19] == locate:
            seq = int.from_bytes(r.payload[:8], "little")
            if at is None and seq == 1:
                at = 0
            if at is not None:
                assert own[at] == seq, f"expected message {own[at]}, journaled {seq}"
                at += 1
        elif r.type == INTENT and intents([r])[0].kind in NEW_RISK:
            assert live and at is not None, f"an order on books that are not whole, record {r.seq}"
    assert at == len(own), "whole at the end, up to the last message"
    return overruns


# ---- the rules of dealing

def test_symbols_are_dealt_in_order_and_limits_add_up_to_the_account() -> None:
    names = [{"symbol": f"S{i:04}"} for i in range(11)]
    cfg = load_profile("laptop", {"instruments": names, "engine.shards": 4, "risk.max_account_orders": 19})
    dealt = [[i.symbol for i in instruments_of(cfg, k)] for k in range(4)]
    assert dealt[0] == ["S0000", "S0004", "S0008"] and dealt[3] == ["S0003", "S0007"]
    assert sorted(s for shard in dealt for s in shard) == [n["symbol"] for n in names]
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert [part(19, 4, k) for k in range(4)] == [7, 4, 4, 4]
    from orchestrator.run import plan

    specs = [plan.shard_spec(cfg, midnight_ns=0, shard=k) for k in range(4)]
    assert sum(s["lease_notional"] for s in specs) == cfg.risk.max_gross_units
    for key, setting in (("max_loss", "max_loss_units"), ("max_drawdown", "max_drawdown_units"), ("max_credit", "max_credit_units"),
                         ("max_account_orders", "max_account_orders"), ("max_messages", "max_messages"),
                         ("max_account_notional", "max_account_notional_units")):  # fmt: skip
        assert sum(s["limits"][key] for s in specs) == getattr(cfg.risk, setting), key
    alone = plan.shard_spec(load_profile("laptop"), midnight_ns=0)
    assert "lease_notional" not in alone and alone["limits"]["max_loss"] == load_profile("laptop").risk.max_loss_units


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"engine.shards": 2}, "engine.shards"),
        ({"engine.shards_per_thread": 2}, "engine.shards_per_thread"),
        ({"engine.topology": "pipelined", "engine.shards_per_thread": 2}, "engine.shards_per_thread"),
        ({"engine.feed_ring_kb": 600}, "engine.feed_ring_kb"),
        ({"engine.cores.session": 1}, "engine.cores.session"),
        ({"engine.cores.engine": [0, 1]}, "engine.cores.engine"),
        ({"instruments": [{"symbol": "A"}, {"symbol": "B"}, {"symbol": "C"}], "engine.shards": 3,
          "risk.max_messages": 2, "risk.cancel_reserve_messages": 0}, "risk.max_messages"),
        ({"instruments": [{"symbol": "A"}, {"symbol": "B"}], "engine.shards": 2,
          "risk.max_messages": 9, "risk.cancel_reserve_messages": 8}, "risk.cancel_reserve_messages"),
    ],
)  # fmt: skip
def test_topologies_that_cannot_be_are_refused_where_they_stand(settings, path) -> None:
    with pytest.raises(ConfigError) as err:
        load_profile("laptop", settings)
    assert [p.path for p in err.value.problems] == [path]
    assert err.value.problems[0].expected


def test_each_shard_needs_a_login_of_its_own_at_an_external_venue() -> None:
    venue = {"kind": "external", "ouch": "127.0.0.1:1", "itch_a": "127.0.0.1:2", "cancel_on_disconnect": True,
             "account": {"username": "A", "password_env": "X"}}  # fmt: skip
    two = {"instruments": [{"symbol": "A"}, {"symbol": "B"}], "engine.shards": 2}
    with pytest.raises(ConfigError, match="one for each shard after the first"):
        load_profile("laptop", {"venue": venue, **two})
    with pytest.raises(ConfigError, match="A again"):
        load_profile("laptop", {"venue": {**venue, "shard_logins": [{"username": "A", "password_env": "Y"}]}, **two})
    assert load_profile("laptop", {"venue": {**venue, "shard_logins": [{"username": "B", "password_env": "Y"}]}, **two})


def test_the_accounts_loss_over_all_shards_trips_once() -> None:
    breaker = AccountBreaker(1000, 400)
    assert not breaker.tripped_by(300)
    assert not breaker.tripped_by(-99)
    assert breaker.tripped_by(-100), "400 under the peak"
    assert "drawdown" in breaker.reason
    assert not breaker.tripped_by(-5000), "once"
    loss = AccountBreaker(1000, 4000)
    assert not loss.tripped_by(-999)
    assert loss.tripped_by(-1000) and "loss" in loss.reason


def test_the_watcher_kills_every_shard_when_the_account_has_lost_too_much(start, tmp_path, monkeypatch) -> None:
    """Each shard's own breaker is out of the way here: the sum alone is over the limit."""
    from orchestrator.run import watch
    from orchestrator.run.watch import Watcher

    def small(segment):
        snapshot = read_engine(segment)
        snapshot.counters.update(limit_loss_units=4, limit_drawdown_units=4)
        return snapshot

    monkeypatch.setattr(watch, "read_engine", small)

    run, judge, shards = start({"engine.topology": "inline", "engine.shards": 4})
    run.until("fills", 4)
    cfg = load_profile("laptop", {
        "instruments": [{"symbol": s} for s in SYMBOLS], "engine.shards": 4, "engine.name": run.name,
        "report.refresh_ms": 50,
    })  # fmt: skip
    watcher = Watcher(cfg, None, lambda: None)
    watcher.start()
    until(lambda: watcher.notes, "the watcher's kill")
    watcher.stop()
    with Segment(run.name) as segment:
        assert segment.status().kill_level == 1
    run.until("trading_state", 5)
    until(lambda: judge.summary()["open_orders"] == 0, "no order open at the venue")
    assert run.finish(signal.SIGTERM)["stopped_by"] == "kill"


def test_the_commands_take_a_run_of_several_shards_whole(start, peregrine) -> None:
    run, _, shards = start({"engine.topology": "pipelined", "engine.shards": 4, "engine.shards_per_thread": 4})
    run.until("fills", 4)
    report = run.finish(signal.SIGTERM)
    folder = Path(report["journal"])
    assert [p.name for p in folders(folder)] == [f"shard-{k:02}" for k in range(shards)]
    verdict = json.loads(peregrine("verify", str(folder), "--json").stdout)
    assert verdict["identical"] and len(verdict["shards"]) == shards
    assert verdict["orders"] == sum(v["orders"] for v in verdict["shards"])
    assert "in 4 shards" in peregrine("verify", str(folder)).stdout
    replayed = json.loads(peregrine("replay", str(folder), "--json").stdout)
    for name in ("orders", "fills", "position", "pnl_units", "order_hash", "state_hash"):
        assert replayed[name] == report[name], name
    assert [s["symbols"] for s in replayed["shards"]] == [s["symbols"] for s in report["shards"]]
    lines = [json.loads(line) for line in peregrine("decode", str(folder), "--json").stdout.splitlines()]
    assert {line["shard"] for line in lines} == set(range(shards))
    assert peregrine("verify", str(folder / "shard-01")).stdout.startswith("identical")
