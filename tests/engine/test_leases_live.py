"""Four shards share one budget while they trade: it goes to whom uses it, and the venue's own record
never passes it; lowered below what stands, it lets nobody add."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from rig import LEASE_GRANT, LEASE_RETURN, Engine, commands, constant_policy, records, until, verify

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from chaos_account import AccountDay, AccountLimits, judge_account, lowest_bids  # noqa: E402

from orchestrator.control import bodies  # noqa: E402
from orchestrator.control.engine_link import EngineLink  # noqa: E402
from orchestrator.control.leases import LeaseHost  # noqa: E402
from orchestrator.control.messages import Request  # noqa: E402
from orchestrator.control.told import Shard  # noqa: E402
from orchestrator.observe.segment import Segment  # noqa: E402
from orchestrator.observe.shards import read_engine  # noqa: E402
from orchestrator.run.shards import folders, user_of  # noqa: E402

SHARDS = 4
SYMBOLS = ("AAAA", "BBBB", "CCCC", "DDDD", "EEEE", "FFFF", "GGGG", "HHHH")
BUDGET_UNITS = 1_600_000_000  # four orders of 100 lots a shard, at about 100.00
JOIN_BID = 1
ORDERS = 64
QUOTE_AGE_NS = 500_000_000  # a gate takes no older book
STILL = {"seed": 5, "rate_per_s": 300, "value_step_256": 0, "burst": 0}  # a market that goes nowhere: what is judged is exact to a few ticks


def account_at_the_venue(judge: Any, **limits: Any) -> AccountDay:
    """What the venue's own record says of all ports together; prices from the venue's own feed."""
    users = [port["user"] for port in judge.config["ports"]]
    ports = [users.index(user_of("DEMO01", shard)) for shard in range(SHARDS)]
    record = judge.server.record()
    began_ns = min(e["ts_ns"] for e in record if e["port"] in ports and e["kind"] == "accepted")
    names = [one["symbol"] for one in judge.config["symbols"]]
    lowest = lowest_bids(judge.server.itch_messages(), names, judge.config["midnight_ns"], began_ns - QUOTE_AGE_NS)
    since_ns = limits.pop("since_ns", 0)
    return judge_account(record, ports, AccountLimits(**limits), lowest, since_ns=since_ns)


def engine_limits(engine: Engine) -> dict[str, int]:
    """The account's limits as the first shard began with."""
    shard = Shard(folders(engine.run_folder)[0], 0)
    shard.refresh(deque())
    return shard.account


def tick_refused(segment: Segment) -> list[int]:
    """Orders that each shard's gate refused for its lease."""
    return [s.rejects.get("lease_notional", 0) for s in read_engine(segment).extra["shards"]]


def test_the_budget_moves_to_the_shards_that_use_it_and_is_never_passed(tmp_path: Path, engine_name: str, venue) -> None:
    policy = tmp_path / "buys.safetensors"
    policy.write_bytes(constant_policy(JOIN_BID))
    judge = venue(seed=5, symbols=",".join(SYMBOLS), flow=STILL, shards=SHARDS)
    wide = 10**13
    engine = Engine(tmp_path, engine_name, judge, settings={
        "instruments": [{"symbol": s} for s in SYMBOLS], "engine.shards": SHARDS, "risk.max_gross_units": BUDGET_UNITS,
        "risk.max_account_orders": ORDERS, "risk.max_loss_units": wide, "risk.max_drawdown_units": wide, "risk.max_credit_units": wide,
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

            def moved() -> bool:
                state = host.state()
                return state is not None and state.grants >= 2 and state.returns >= 2

            until(lambda: all(s["gross_units"] > 0 for s in tick()[1:]) and moved(), "the others have found something, and the budget moves")

            # the limit is lowered to half of what stands: nobody may add, at once, and what stands is all that is above
            stands = sum(s["gross_units"] for s in tick())
            lowered = stands // 2
            with_it = {**engine_limits(engine), "max_gross": lowered}
            for shard in range(SHARDS):
                link.send("limits", shard=shard, body=bodies.limits(with_it), request=Request(cmd="limits.set"))
            until(lambda: sum(s["lease_units"] for s in tick()) <= lowered, "the cuts")
            until(lambda: all(s["unknown_orders"] == 0 for s in tick()), "the end of what was on its way")
            told = len(judge.server.record())
            refused = sum(tick_refused(segment))
            until(lambda: tick() and sum(tick_refused(segment)) > refused + 20, "orders that are refused for the lease")
            state = host.state()
            assert state is not None and state.above and state.cuts >= SHARDS and state.budget_units == lowered
        report = engine.finish(signal.SIGTERM)
    finally:
        engine.end()
    assert greedy > part * 5 // 4 and max(sum(levels) for levels in held) <= BUDGET_UNITS
    assert min(levels[1] for levels in held) < part * 9 // 10, "an idle shard gave up some of its part"
    day = account_at_the_venue(judge, orders=ORDERS, gross_units=BUDGET_UNITS)
    assert day.passed == [] and part < day.worst_units <= BUDGET_UNITS and day.orders > SHARDS, day
    assert day.reducing_units == 0 and day.gross_units == day.worst_units, "it only buys: there is nothing else above"
    users = [port["user"] for port in judge.config["ports"]]
    own = {users.index(user_of("DEMO01", shard)) for shard in range(SHARDS)}
    added = [e for e in judge.server.record()[told:] if e["port"] in own and e["kind"] in ("accepted", "replaced")]
    assert added == [], "nothing that adds came to the venue after the cuts"
    assert account_at_the_venue(judge, gross_units=day.worst_units // 2, since_ns=0).passed, "the judge can find something"
    assert report["orders"] > SHARDS
    for shard in range(SHARDS):
        folder = engine.run_folder / f"shard-{shard:02}"
        kinds = [kind for _, kind in commands(records(folder))]
        assert LEASE_GRANT in kinds or LEASE_RETURN in kinds
        assert verify(folder)["identical"]
