"""Virtual time: the seed decides everything, latencies are what the configuration says, a recording is a backtest."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from oracles.market_book import OracleMarket
from recordings import recording
from rig import ENTER, FEED, HEADER, INTENT, SEND_RESULT, SESSION, Record, intents, records, verify

from orchestrator.config import load_profile
from orchestrator.config.models import Config
from orchestrator.run import virtual
from orchestrator.run.virtual import first_traded, replay_itch, run_virtual

SECONDS = 1_000_000_000


def config(tmp_path: Path, **changes: Any) -> Config:
    settings = {"journal.dir": str(tmp_path / "runs"), "journal.ring_mb": 4, "engine.mlock": False, "engine.max_orders": 65_536}
    return load_profile("replay", {**settings, **changes})


def outputs(journal: list[Record]) -> list[tuple[int, int, int, bytes]]:
    """Every record but the header, whose machine section tells of this machine."""
    return [(r.type, r.seq, r.ts_ns, r.payload) for r in journal if r.type != HEADER]


def delays_to_venue(journal: list[Record], midnight_ns: int) -> list[int]:
    """For every accepted order: the venue's stamp less the time the intent was journaled."""
    sent = {}
    for r in journal:
        if r.type == INTENT and r.payload[0] == ENTER:
            sent[struct.unpack_from("<I", r.payload, 4)[0]] = r.ts_ns
    out = []
    for r in journal:
        if r.type == SESSION and r.payload[:2] == b"SA":
            stamp, number = struct.unpack_from(">QI", r.payload, 2)
            out.append(midnight_ns + stamp - sent[number])
    return out


def midnight() -> int:
    from orchestrator.run import plan

    return plan.session_midnight_ns(virtual.VIRTUAL_DAY)


def test_the_same_seed_gives_the_same_journal_and_another_seed_another(tmp_path) -> None:
    runs = [run_virtual(config(tmp_path, **{"venue.seed": seed}), for_ns=2 * SECONDS) for seed in (7, 7, 8)]
    one, again, other = ([*outputs(records(Path(r.journal)))] for r in runs)
    assert one == again
    assert runs[0].order_hash == runs[1].order_hash
    assert runs[0].state_hash == runs[1].state_hash
    assert runs[0].orders > 20
    assert runs[0].fills > 5
    assert runs[2].order_hash != runs[0].order_hash
    assert runs[2].state_hash != runs[0].state_hash
    assert other != one


def test_a_virtual_journal_replays_to_the_same_bytes(tmp_path) -> None:
    run = run_virtual(config(tmp_path), for_ns=2 * SECONDS)
    report = verify(Path(run.journal))
    assert report["identical"], report
    assert report["orders"] == len(intents(records(Path(run.journal))))
    assert report["order_hash"] == run.order_hash
    assert report["state_hash"] == run.state_hash
    assert report["never_sent"] == 0


@pytest.mark.parametrize(
    ("model", "allowed"),
    [
        ({"kind": "constant", "latency_ns": 250_000}, lambda d: d == 250_000),
        ({"kind": "uniform", "low_ns": 50_000, "high_ns": 150_000}, lambda d: 50_000 <= d <= 150_000),
        ({"kind": "recorded", "file": "delays.txt"}, lambda d: d in (40_000, 90_000, 700_000)),
    ],
    ids=["constant", "uniform", "recorded"],
)
def test_orders_arrive_after_the_configured_latency_and_the_same_way_each_time(tmp_path, monkeypatch, model, allowed) -> None:
    (tmp_path / "delays.txt").write_text("40000\n90000\n700000\n")
    monkeypatch.chdir(tmp_path)
    runs = [run_virtual(config(tmp_path, **{"virtual.order_latency": model}), for_ns=2 * SECONDS) for _ in range(2)]
    journal = records(Path(runs[0].journal))
    delays = delays_to_venue(journal, midnight())
    assert len(delays) > 20
    # One channel keeps its order: a delay is longer than drawn only where the message before was still under way.
    late = [d for d in delays if not allowed(d)]
    assert len(late) <= len(delays) // 20, late
    assert len(set(delays)) == 1 or model["kind"] != "constant"
    assert len(set(delays)) > 1 or model["kind"] == "constant"
    assert outputs(journal) == outputs(records(Path(runs[1].journal)))
    assert verify(Path(runs[0].journal))["identical"]


def test_another_latency_is_another_run(tmp_path) -> None:
    slow, fast = (
        run_virtual(config(tmp_path, **{"virtual.order_latency": {"kind": "constant", "latency_ns": ns}}), for_ns=2 * SECONDS)
        for ns in (5_000_000, 10_000)
    )
    assert slow.state_hash != fast.state_hash


def test_stamps_never_run_backwards_and_every_send_has_its_result(tmp_path) -> None:
    journal = records(Path(run_virtual(config(tmp_path), for_ns=SECONDS).journal))
    assert all(a.ts_ns <= b.ts_ns and a.seq + 1 == b.seq for a, b in pairwise(journal))
    sent = [struct.unpack_from("<Q", r.payload)[0] for r in journal if r.type == SEND_RESULT]
    last = {r.seq for r in journal if r.type == INTENT}
    assert sent
    assert set(sent) <= last


def check_backtest(path: Path, tmp_path: Path, *, orders: int) -> None:
    """A recording as a backtest, twice, judged by an independent book over the feed the journal holds."""
    run, again = (replay_itch(path, config(tmp_path)) for _ in range(2))
    assert run.order_hash == again.order_hash
    assert run.state_hash == again.state_hash
    assert run.orders >= orders
    journal = records(Path(run.journal))
    oracle = OracleMarket()
    own_refs = set()
    for r in journal:
        if r.type == FEED:
            oracle.on_message(r.payload[16:])
        elif r.type == SESSION and r.payload[:2] in (b"SA", b"SU"):
            layout = ">QIcI8sQccQ" if r.payload[1:2] == b"A" else ">QIIcI8sQccQ"
            own_refs.add(struct.unpack_from(layout, r.payload, 2)[-1])
    (symbol,) = run.final_book
    for key, side in (("bids", "B"), ("asks", "S")):
        expected = [{"price_ticks": p, "qty_lots": q, "orders": n} for p, q, n in oracle.levels(symbol, side, 10)]
        assert run.final_book[symbol][key] == expected
    assert not own_refs & set(oracle.orders), "an order of ours is still in the book"
    assert own_refs or orders == 0
    report = verify(Path(run.journal))
    assert report["identical"], report


def test_a_recorded_feed_is_a_backtest_that_ends_with_the_venues_own_book(tmp_path) -> None:
    made = run_virtual(config(tmp_path, **{"venue.seed": 3}), for_ns=2 * SECONDS)
    feed = [r.payload[16:] for r in records(Path(made.journal)) if r.type == FEED]
    path = tmp_path / "made.itch"
    path.write_bytes(b"".join(struct.pack(">H", len(m)) + m for m in feed))
    assert first_traded(path.read_bytes())[0] == "PRGN"
    check_backtest(path, tmp_path, orders=10)


def test_a_real_recording_is_a_backtest_too(tmp_path) -> None:
    check_backtest(recording("itch/aapl_20200130_first6000.itch"), tmp_path, orders=0)


def test_a_file_without_orders_is_refused_in_words(tmp_path) -> None:
    path = tmp_path / "empty.itch"
    path.write_bytes(struct.pack(">H", 12) + b"S" + bytes(11))
    with pytest.raises(ValueError, match="no order in it"):
        replay_itch(path, config(tmp_path))


def test_runs_of_the_same_second_into_different_folders_have_journal_rings_of_their_own(tmp_path, monkeypatch) -> None:
    from hotpath import _venue

    rings = []

    def made(**spec: Any) -> None:
        rings.append(spec["journal"]["ring_name"])
        raise ValueError("seen")

    monkeypatch.setattr(_venue, "VirtualEngine", made)
    for folder in ("a", "b"):
        monkeypatch.setattr(virtual, "new_run_folder", lambda *_, at=tmp_path / folder / "20260105-093000-replay": at)
        with pytest.raises(ValueError, match="seen"):
            run_virtual(load_profile("replay"), for_ns=10**9)
    assert len(set(rings)) == 2
