"""Four shards share one budget while they trade: it goes to whom uses it, and the venue's record never passes it."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from rig import LEASE_GRANT, LEASE_RETURN, Engine, commands, constant_policy, records, until, verify

from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLink
from orchestrator.control.leases import LeaseHost
from orchestrator.control.messages import Request
from orchestrator.observe.segment import Segment
from orchestrator.observe.shards import read_engine

SHARDS = 4
SYMBOLS = ("AAAA", "BBBB", "CCCC", "DDDD", "EEEE", "FFFF", "GGGG", "HHHH")
BUDGET_UNITS = 1_600_000_000  # four orders of 100 lots a shard, at about 100.00
JOIN_BID = 1


def gross_at_the_venue(judge: Any) -> int:
    """The most the account ever had there: open orders at their prices and positions at what they cost, all ports."""
    events = sorted((e for shard in range(SHARDS) for e in [{**x, "of": shard} for x in judge.ours(shard)]), key=lambda e: e["ts_ns"])
    opened: dict[tuple[int, int], int] = {}
    held: dict[tuple[int, int], tuple[int, int]] = {}
    most = 0
    for e in events:
        at = (e["of"], e["user_ref_num"])
        if e["kind"] == "replaced":
            opened.pop((e["of"], e["orig_ref_num"]), None)
        if e["kind"] in ("accepted", "replaced"):
            opened[at] = e["open"] * e["price_ticks"]
        elif e["kind"] == "executed":
            lots, cost = held.get((e["of"], e["symbol"]), (0, 0))
            signed = e["qty"] if e["side"] == "B" else -e["qty"]
            held[e["of"], e["symbol"]] = (lots + signed, cost + signed * e["price_ticks"])
            opened[at] = e["open"] * opened[at] // (e["open"] + e["qty"]) if at in opened else 0
        elif e["kind"] in ("cancelled", "canceled", "reduced"):
            opened[at] = 0 if e["open"] == 0 else opened.get(at, 0)
        most = max(most, sum(opened.values()) + sum(abs(cost) for _, cost in held.values()))
    return most


def test_the_budget_moves_to_the_shards_that_use_it_and_is_never_passed(tmp_path: Path, engine_name: str, venue) -> None:
    policy = tmp_path / "buys.safetensors"
    policy.write_bytes(constant_policy(JOIN_BID))
    judge = venue(seed=5, symbols=",".join(SYMBOLS), rate=300, shards=SHARDS)
    wide = 10**13
    engine = Engine(tmp_path, engine_name, judge, settings={
        "instruments": [{"symbol": s} for s in SYMBOLS], "engine.shards": SHARDS, "risk.max_gross_units": BUDGET_UNITS,
        "risk.max_account_orders": 64, "risk.max_loss_units": wide, "risk.max_drawdown_units": wide, "risk.max_credit_units": wide,
        "risk.max_account_notional_units": wide, "policies.members": [{"file": str(policy), "slot": 0}],
    })  # fmt: skip
    try:
        engine.until("session_ready")
        with EngineLink(engine_name) as link, Segment(engine_name) as segment:
            host = LeaseHost(lambda: link)

            def pause(shard: int, paused: bool) -> None:
                flags = bodies.number(bodies.PAUSE_CANCELS) if paused else b""
                link.send("pause" if paused else "resume", shard=shard, body=flags, request=Request(cmd="pause"))

            for shard in range(1, SHARDS):
                pause(shard, True)
            held: list[list[int]] = []

            def tick() -> list[dict[str, int]]:
                snapshot = read_engine(segment)
                shards = [dict(s.counters) for s in snapshot.extra["shards"]]
                held.append([s["lease_units"] for s in shards])
                host.tick(snapshot)
                time.sleep(0.02)
                return shards

            part = BUDGET_UNITS // SHARDS
            until(lambda: tick()[0]["gross_units"] > part * 5 // 4, "the one that trades uses more than its part")
            greedy = tick()[0]["lease_units"]
            for shard in range(1, SHARDS):
                pause(shard, False)
            until(lambda: all(s["gross_units"] > 0 for s in tick()[1:]), "the others have found something")
            state = host.state()
            assert state is not None and state.grants >= 2 and state.returns >= 2
        report = engine.finish(signal.SIGTERM)
    finally:
        engine.end()
    assert greedy > part * 5 // 4 and max(sum(levels) for levels in held) <= BUDGET_UNITS
    assert min(levels[1] for levels in held) < part * 9 // 10, "an idle shard gave up some of its part"
    most = gross_at_the_venue(judge)
    assert part < most <= BUDGET_UNITS, (most, BUDGET_UNITS)
    assert report["orders"] > SHARDS
    for shard in range(SHARDS):
        folder = engine.run_folder / f"shard-{shard:02}"
        kinds = [kind for _, kind in commands(records(folder))]
        assert LEASE_GRANT in kinds or LEASE_RETURN in kinds
        assert verify(folder)["identical"]
