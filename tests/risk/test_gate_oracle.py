"""The whole gate against the slow Python one, on random orders with a state that moves."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hotpath import _core
from tests.oracles.risk_gate import CODE, LIMITS_DTYPE, NO_INSTRUMENT, OP_DTYPE, OracleGate, ceil_shift

INSTRUMENTS = 3


def random_limits(rng: random.Random, instrument: int) -> dict[str, int]:
    """Each limit wide, or now and then tight enough to be met."""

    def pick(wide: int, low: int, high: int, chance: float = 0.12) -> int:
        return rng.randint(low, high) if rng.random() < chance else wide

    return {
        "version": 1, "instrument": instrument, "collar_ticks": pick(10**5, 0, 500), "collar_bps": pick(10_000, 0, 6),
        "max_order_lots": pick(10**6, 50, 400), "max_order_notional": pick(10**12, 10**8, 4 * 10**8),
        "max_working_orders": pick(500, 1, 20), "max_working_notional": pick(10**14, 10**8, 10**10),
        "max_long_lots": pick(10**6, 100, 2000), "max_short_lots": pick(10**6, 100, 2000), "max_executions": pick(60, 0, 5),
        "execution_window_ns": rng.choice([10_000, 100_000]), "duplicate_window_ns": pick(0, 1, 50_000, 0.5),
        "max_quote_age_ns": pick(10**6, 0, 3000), "max_account_orders": pick(10_000, 2, 60),
        "max_account_notional": pick(10**15, 10**9, 2 * 10**10), "max_gross": pick(10**15, 10**9, 3 * 10**10),
        "max_credit": pick(10**15, 10**9, 3 * 10**10), "max_loss": pick(10**13, 10**4, 10**7, 0.2),
        "max_drawdown": pick(10**13, 10**4, 10**7, 0.2), "max_messages": pick(4000, 5, 60, 0.3),
        "message_window_ns": rng.choice([10_000, 100_000]), "cancel_reserve": rng.randint(0, 4), "soft_permille": rng.choice([800, 800, 500, 1000]),
        "max_positions": rng.choice([0, 0, 0, 0, 1, 2, 3]), "soft_positions": rng.choice([0, 0, 0, 0, 1, 2]), "soft_positions_interval_ns": rng.choice([0, 5_000, 200_000]),
    }


def episode(seed: int, steps: int) -> tuple[object, object, OracleGate, np.ndarray, list[str], list[int]]:
    """One market, one set of limits; the oracle runs as the operations are drawn."""
    rng = random.Random(seed)
    gate = _core.Gate(max_instruments=INSTRUMENTS, duplicate_capacity=16)
    exposure = _core.Exposure(INSTRUMENTS)
    oracle = OracleGate(INSTRUMENTS, 16)
    for ix in (NO_INSTRUMENT, *range(INSTRUMENTS)):
        if ix != NO_INSTRUMENT and rng.random() < 0.5:
            continue
        values = random_limits(rng, ix)
        row = np.zeros(1, LIMITS_DTYPE)
        for k, v in values.items():
            row[0][k] = v
        assert gate.set_limits(row.tobytes())
        if ix == NO_INSTRUMENT:
            oracle.account = values
            oracle.limits = [values] * INSTRUMENTS
        else:
            oracle.limits[ix] = values
    for s in range(3):
        if rng.random() < 0.9:
            gate.set_authorised(s, True)
            oracle.authorised.add(s)
    for ix in range(INSTRUMENTS):
        if rng.random() < 0.05:
            gate.set_restricted(ix, True)
            oracle.restricted.add(ix)
        if rng.random() < 0.3:
            oracle.items[ix].multiplier, oracle.items[ix].shift = rng.choice([(3, 1), (10, 0), (7, 3)])
            exposure.set_contract(ix, oracle.items[ix].multiplier, oracle.items[ix].shift)
    if rng.random() < 0.1:
        oracle.reduce_only = True
        gate.set_reduce_only(True)
    for flag, setter, chance in (("killed", lambda v: gate.kill() if v else None, 0.02), ("paused", gate.set_paused, 0.02), ("breaker", gate.set_breaker, 0.02)):
        value = rng.random() < chance
        setter(value)
        setattr(oracle, flag, value)
    if oracle.killed:
        oracle.reduce_only = False
    if rng.random() < 0.08:
        oracle.active = rng.randrange(INSTRUMENTS)
        gate.set_active(oracle.active)
    oracle.session_ready, oracle.journal_healthy = rng.random() < 0.98, rng.random() < 0.98
    gate.set_session_ready(oracle.session_ready)
    gate.set_journal_healthy(oracle.journal_healthy)
    oracle.lease = (rng.choice([10**15, 10**10]), rng.choice([10**7, 10**7, 3000]))
    gate.grant(1, *oracle.lease)

    ops = np.zeros(steps, OP_DTYPE)
    reasons: list[str] = []
    softs: list[int] = []
    live: list[tuple[int, int, int, int, int]] = []  # instrument, side, lots, notional, price
    last: dict[int, dict[str, int]] = {}
    mid = [1_000_000 + 50_000 * i for i in range(INSTRUMENTS)]
    now = 10**15
    quiet = rng.random() < 0.5
    for i in range(steps):
        now += rng.choice([0, 1, 100, 1000, 5000])
        ix = rng.randrange(INSTRUMENTS)
        op = ops[i]
        op["now"], op["instrument"] = now, ix
        what = rng.random()
        reason, soft = "pass", 0
        if what < 0.70 or (what < 0.94 and not live):
            mid[ix] = max(10_000, mid[ix] + rng.randint(-300, 300))
            side, old = rng.randrange(2), (0, 0)
            position = oracle.items[ix].position
            r = {"instrument": INSTRUMENTS if rng.random() < 0.003 else ix, "kind": 1 if rng.random() < 0.15 else 0, "side": side,
                 "mark": 0 if side == 0 else rng.choice([1, 2, 2, 2, 3]), "strategy": rng.randrange(3),
                 "price_ticks": mid[ix] + rng.randint(-900, 900) + (-600 if side == 0 else 600) * quiet,
                 "qty_lots": rng.choice([1, 10, 100, 100, 300, rng.randint(1, 500), max(1, abs(position))])}
            if ix in last and rng.random() < 0.02:  # the same again
                r.update(last[ix])
                side = r["side"]
            last[ix] = {name: r[name] for name in ("side", "mark", "price_ticks", "qty_lots")}
            if rng.random() < 0.003:
                r["qty_lots"] = rng.choice([0, -1, 2**61])
            if rng.random() < 0.003:
                r["price_ticks"] = rng.choice([0, -1, 2**61])
            mine = [o for o in live if o[0] == ix and o[1] == side]
            if r["kind"] == 1 and mine:
                chosen = rng.choice(mine)
                old = (chosen[2], chosen[3])
            elif r["kind"] == 1:
                r["kind"] = 0
            r["old_open_lots"], r["old_notional"] = old
            m = {"bid_ticks": mid[ix] - 100, "ask_ticks": mid[ix] + 100, "bid_lots": 0 if rng.random() < 0.02 else 100,
                 "ask_lots": 0 if rng.random() < 0.02 else 100, "reference_ticks": 0 if rng.random() < 0.2 else mid[ix],
                 "quote_ts_ns": now - rng.randint(0, 2000), "feed_live": rng.random() > 0.005, "sound": rng.random() > 0.005,
                 "trading": rng.random() > 0.005, "market_open": rng.random() > 0.005, "short_sale_restricted": rng.random() < 0.1}
            for k, v in r.items():
                op["request"][k] = v
            for k, v in m.items():
                op["view"][k] = v
            reason, soft = oracle.check(r, m, now)
            if reason == "pass":
                oracle.sent_order(r, now)
                item = oracle.items[ix]
                notional = ceil_shift(r["price_ticks"] * r["qty_lots"] * item.multiplier, item.shift)
                if r["kind"] == 1:
                    live.remove(chosen)
                    live.append((ix, side, max(old[0], r["qty_lots"]), max(old[1], notional), r["price_ticks"]))
                    live[-1:] = [(*live[-1][:4], chosen[4] if (chosen[4] > r["price_ticks"]) == (side == 0) else r["price_ticks"])]
                else:
                    live.append((ix, side, r["qty_lots"], notional, r["price_ticks"]))
        elif what < 0.94:
            ix, side, lots, money, price = live.pop(rng.randrange(len(live)))
            left = [o[4] for o in live if o[0] == ix and o[1] == side]
            best = (max(left) if side == 0 else min(left)) if left else 0
            op["kind"], op["instrument"], op["side"], op["a"], op["b"], op["c"] = 3, ix, side, lots, money, best
            oracle.released(ix, side, lots, money, best)
            if i + 1 < steps and rng.random() < 0.6:
                pass
        elif what < 0.975:
            side, lots, fee = rng.randrange(2), rng.randint(1, 300), rng.randint(-900, 900)
            price = mid[ix] + rng.randint(-200, 200)
            op["kind"], op["side"], op["a"], op["b"], op["c"] = 1, side, lots, price, fee
            oracle.filled(ix, side, lots, price, fee, now)
        elif what < 0.99:
            bid, ask = (0 if rng.random() < 0.1 else mid[ix] - 100), (0 if rng.random() < 0.1 else mid[ix] + 100)
            op["kind"], op["a"], op["b"] = 2, bid, ask
            oracle.marked(ix, bid, ask)
        else:
            op["kind"] = 4
            op["request"]["kind"] = 2
            oracle.sent_order({"kind": 2}, now)
        reasons.append(reason)
        softs.append(soft)
    return gate, exposure, oracle, ops, reasons, softs


def compare(seed: int, steps: int, seen: dict[str, int]) -> int:
    """Runs one episode both ways; returns how many orders it checked."""
    gate, exposure, oracle, ops, reasons, softs = episode(seed, steps)
    codes, soft, _, _ = gate.run_batch(exposure, ops)
    for i in range(steps):
        assert (codes[i], soft[i]) == (CODE[reasons[i]], softs[i]), (seed, i, reasons[i], ops[i])
    account = exposure.account()
    assert account["gross"] == oracle.gross() and account["credit_used"] == oracle.credit(), seed
    assert account["pnl"] == oracle.pnl() and account["pnl_peak"] == oracle.peak, seed
    for ix, item in enumerate(oracle.items):
        got = exposure.of(ix)
        assert (got["position_lots"], got["cost_basis"], got["realized"], got["fees"]) == (item.position, item.cost, item.realized, item.fees)
    checks = int((ops["kind"] == 0).sum())
    for r, kind in zip(reasons, ops["kind"], strict=True):
        if kind == 0:
            seen[r] = seen.get(r, 0) + 1
    return checks


def run(orders: int, first_seed: int) -> dict[str, int]:
    """Episodes until that many orders were checked."""
    seen: dict[str, int] = {}
    done, seed = 0, first_seed
    while done < orders:
        done += compare(seed, 1000, seen)
        seed += 1
    return seen


def test_the_gate_agrees_with_the_oracle_on_a_hundred_thousand_orders():
    seen = run(100_000, 1)
    missing = [r for r in CODE if seen.get(r, 0) < 3 and r != "breaker"]
    assert not missing, f"the random orders never met {missing}: {seen}"


@pytest.mark.slow
def test_the_gate_agrees_with_the_oracle_on_a_million_orders():
    run(1_000_000, 10_001)
