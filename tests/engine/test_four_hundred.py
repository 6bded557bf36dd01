"""Four hundred symbols in eight shards of fifty, live against the simulated venue: every shard trades, all of it replays."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from rig import until, verify

from orchestrator.observe.segment import Segment
from orchestrator.observe.shards import read_engine
from orchestrator.run.shards import user_of

SHARDS, EACH = 8, 50
SYMBOLS = [f"S{i:03}" for i in range(SHARDS * EACH)]
SETTINGS = {
    "instruments": [{"symbol": s, "load": 1 + i % 7} for i, s in enumerate(SYMBOLS)],
    "engine.shards": SHARDS, "engine.topology": "pipelined", "engine.assignment": "by_load", "engine.symbols_per_shard": EACH,
    "engine.max_orders": 16_384, "engine.cores": {"engine": None}, "risk.max_account_orders": 4_000, "risk.max_messages": 4_000,
    "risk.max_drawdown_units": 800_000_000, "risk.max_loss_units": 800_000_000, "risk.max_account_notional_units": 10**12,
    "risk.max_gross_units": 10**12, "risk.max_credit_units": 10**12, "risk.max_working_notional_units": 10**11,
}  # fmt: skip


@pytest.mark.slow
def test_four_hundred_symbols_trade_in_eight_shards_of_fifty(venue, engine) -> None:
    judge = venue(seed=7, symbols=",".join(SYMBOLS), rate=4, orders_per_symbol=24, shards=SHARDS)
    run = engine(judge, settings=SETTINGS)
    until(lambda: all(judge.server.summary(user_of("DEMO01", k))["executed"] >= 3 for k in range(SHARDS)), "fills of every shard")
    with Segment(run.name) as segment:
        shards = read_engine(segment).extra["shards"]
    resident = Path(f"/proc/{run.process.pid}/status").read_text().split("VmRSS:")[1].split()[0]
    report = run.finish(signal.SIGTERM)
    assert [len(row["symbols"]) for row in report["shards"]] == [EACH] * SHARDS
    assert sorted(s for row in report["shards"] for s in row["symbols"]) == SYMBOLS
    assert all(s["active_symbols"] == EACH and s["limit_positions"] >= 500 // SHARDS for s in shards)
    assert report["position"] == judge.position_lots() and judge.summary()["open_orders"] == 0
    assert report["unknown_orders"] == 0
    verdict = verify(run.run_folder)
    assert verdict["identical"] and len(verdict["shards"]) == SHARDS
    print(f"\n{report['events']} events, {report['orders']} orders, {report['fills']} fills, {report['risk_reasons']}, "
          f"placement {report.get('placement', 'a thread a shard')!r}, {int(resident) >> 10} MiB resident")
    for k, s in enumerate(shards):
        print(f"shard {k} on thread {s['thread']}: {s['events']} events, {s['orders']} orders, {s['positions']} symbols, "
              f"state {s['trading_state']}, lag p99 {s.histograms['lag'].percentile(99)} ns, "
              f"round p99 {s.histograms['round'].percentile(99)} ns, {s['stalls']} stalls, longest {s['stall_max_ns']} ns")
