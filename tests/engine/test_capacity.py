"""Ten times the rate, ten times the symbols, 8,000 symbols: nothing is lost and every book is the venue's. No timing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rig import environment

from orchestrator.config import load_profile
from orchestrator.config.memory import memory_mb, memory_parts
from orchestrator.config.problems import ConfigError
from orchestrator.run.burst import LOADS, RULES, Load, queue_table, run_load

BY_NAME = {load.name: load for load in LOADS}


def check(outcome) -> None:
    assert outcome.identical, "verify"
    assert outcome.books_equal, "books equal to the venue's own, level by level"
    assert outcome.position_equal
    assert not [q["name"] for q in outcome.queues if q["name"] not in RULES], "every queue has its rule"
    assert all(q["high_water"] <= q["capacity"] for q in outcome.queues if q["capacity"])
    assert outcome.gaps == 0 or outcome.kernel_drops > 0, "a gap on loopback is a full receive buffer"


@pytest.mark.parametrize("topology", [("inline", 4, None), ("pipelined", 4, 2)], ids=["inline", "pipelined"])
def test_bursts_of_ten_times_the_rate_over_ten_times_the_symbols_lose_nothing(topology) -> None:
    outcome = run_load(BY_NAME["10x symbols, bursts of 10x"], *topology, seconds=1.5, least_messages=5_000)
    check(outcome)
    assert outcome.books == 80 and outcome.messages > 5_000 and outcome.orders > 0


@pytest.mark.parametrize("topology", [("inline", 1, None), ("pipelined", 4, 2)], ids=["inline", "pipelined"])
def test_an_engine_that_trades_8_symbols_of_8000_is_given_no_other(topology) -> None:
    outcome = run_load(BY_NAME["feed of 8,000, 8 traded"], *topology, seconds=2)
    check(outcome)
    assert outcome.books == 8
    assert outcome.of_no_shard > 0.9 * outcome.delivered


@pytest.mark.slow
@pytest.mark.parametrize("topology", [("inline", 1, None), ("pipelined", 4, 2)], ids=["inline", "pipelined"])
def test_an_engine_books_all_8000_symbols_of_a_feed(topology) -> None:
    outcome = run_load(BY_NAME["all 8,000 booked"], *topology, seconds=2)
    check(outcome)
    assert outcome.books == 8000 and outcome.of_no_shard == 0


def test_a_shard_that_stalls_is_rebuilt_and_ends_with_the_venues_books() -> None:
    outcome = run_load(BY_NAME["a shard that stalls"], "pipelined", 4, None, seconds=2)
    check(outcome)
    assert outcome.overruns > 0 and outcome.rebuilt > 0
    (row,) = [r for r in queue_table([outcome]) if r["queue"] == "feed to shard"]
    assert row["seen"] and row["times_full"] >= outcome.rebuilt


def test_every_load_of_the_capacity_test_can_be_configured() -> None:
    from pathlib import Path

    from orchestrator.run.burst import _config

    def symbols(load: Load) -> list[str]:
        return [f"X{i:04}" for i in range(load.traded)]

    for load in LOADS:
        for topology, shards, per_thread in load.topologies:
            cfg = _config(load, topology, shards, per_thread, Path("x"), symbols(load))
            assert len(cfg.instruments) == load.traded


MEASURE = """
import sys
from hotpath import _core
from orchestrator.config import load_profile
from orchestrator.run import plan
n, orders = int(sys.argv[1]), int(sys.argv[2])
cfg = load_profile("laptop", {"instruments": [{"symbol": f"X{i:04}"} for i in range(n)], "engine.max_orders": orders})
spec = plan.shard_spec(cfg, midnight_ns=0)
policies = [p.spec for p in plan.load_policies(cfg)]
def rss():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1])
before = rss()
engine = _core.ReplayEngine(shard=spec, policies=policies, quorum=128, stage=None)
print(rss() - before)
"""


@pytest.mark.parametrize(("symbols", "orders"), [(1, 1_000_000), (8000, 65_536)])
def test_the_stated_memory_is_what_a_shard_takes(symbols, orders) -> None:
    out = subprocess.run([sys.executable, "-c", MEASURE, str(symbols), str(orders)], capture_output=True, text=True,
                         env=environment(), timeout=240, check=True)  # fmt: skip
    taken = int(out.stdout) << 10
    cfg = load_profile("laptop", {"instruments": [{"symbol": f"X{i:04}"} for i in range(symbols)], "engine.max_orders": orders})
    stated = memory_parts(cfg.instruments, cfg.feed, cfg.journal, cfg.engine)["snapshots"]  # one copy of the state
    assert taken <= stated * 1.1, (taken >> 20, stated >> 20)
    assert taken >= stated * 0.5, (taken >> 20, stated >> 20)


def test_pools_beyond_the_budget_are_refused_with_what_they_come_to() -> None:
    with pytest.raises(ConfigError, match=r"(?s)memory_budget_mb.*at least \d+: what the pools come to \(books") as err:
        load_profile("laptop", {"engine.max_orders": 20_000_000})
    assert [p.path for p in err.value.problems] == ["engine.memory_budget_mb"]
    cfg = load_profile("laptop")
    assert 64 < memory_mb(cfg.instruments, cfg.feed, cfg.journal, cfg.engine) < cfg.engine.memory_budget_mb
