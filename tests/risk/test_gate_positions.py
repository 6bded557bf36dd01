"""How many symbols at once: counted by what is held and what may still fill, refused at the limit, slowed before it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core
from tests.oracles.risk_gate import OP_DTYPE
from tests.risk.gate_setup import NOW, limits, market, order

N = 6
ALL = 2**32 - 1


def gate_with(**changes: int):
    """A gate and an exposure of N instruments."""
    gate, exposure = _core.Gate(max_instruments=N), _core.Exposure(N)
    assert gate.set_limits(limits(**changes))
    gate.set_authorised(1, True)
    gate.set_session_ready(True)
    gate.set_journal_healthy(True)
    assert gate.grant(1, 10**15, 10**9)
    return gate, exposure


def verdict(gate, exposure, ix: int, now: int = NOW, **changes: int):
    return gate.check(order(instrument=ix, **changes), market(quote_ts_ns=now), exposure, now)


def send(gate, exposure, ix: int, now: int = NOW) -> str:
    """Checks an order and, when it passes, sends it: run_batch does both as the shard does."""
    ops = np.zeros(1, OP_DTYPE)
    ops[0]["now"], ops[0]["instrument"] = now, ix
    for name, value in {"instrument": ix, "strategy": 1, "price_ticks": 1_000_000, "qty_lots": 100}.items():
        ops[0]["request"][name] = value
    for name, value in {"bid_ticks": 999_900, "ask_ticks": 1_000_100, "bid_lots": 500, "ask_lots": 500, "reference_ticks": 1_000_000,
                        "quote_ts_ns": now, "feed_live": 1, "sound": 1, "trading": 1, "market_open": 1}.items():  # fmt: skip
        ops[0]["view"][name] = value
    codes, _, _, _ = gate.run_batch(exposure, ops)
    return _core.RISK_REASONS[codes[0]]


def test_the_symbol_that_would_be_one_too_many_is_refused_and_those_there_are_go_on() -> None:
    gate, exposure = gate_with(max_positions=3)
    exposure.set_position(0, 100, 0)                                  # held
    exposure.move_claim(1, 0, (0, 0, 0), (100, 0, 10**8))             # works
    assert verdict(gate, exposure, 2)["reason"] == "pass"
    exposure.move_claim(2, 1, (0, 0, 0), (0, 100, 10**8))             # sent, unanswered: never flat
    refused = verdict(gate, exposure, 3)
    assert (refused["reason"], refused["observed"], refused["limit"]) == ("positions", 4, 3)
    for ix in range(3):
        assert verdict(gate, exposure, ix, price_ticks=999_000)["reason"] in ("pass", "self_trade")
    exposure.move_claim(2, 1, (0, 100, 10**8), (0, 0, 0))             # rejected: free again
    assert verdict(gate, exposure, 3)["reason"] == "pass"


def test_zero_is_no_such_limit() -> None:
    gate, exposure = gate_with(max_positions=0, soft_positions=0)
    for ix in range(N):
        assert send(gate, exposure, ix) == "pass"
    assert exposure.account()["occupied"] == N and not gate.positions_throttled(exposure)


def test_beyond_the_soft_level_one_symbol_opens_an_interval() -> None:
    gate, exposure = gate_with(max_positions=5, soft_positions=2, soft_positions_interval_ns=1_000)
    assert [send(gate, exposure, ix) for ix in (0, 1)] == ["pass", "pass"]
    assert gate.positions_throttled(exposure)
    assert send(gate, exposure, 2) == "pass"                          # the first beyond it
    slowed = verdict(gate, exposure, 3, NOW + 999)
    assert (slowed["reason"], slowed["observed"], slowed["limit"]) == ("positions", 4, 2)
    assert verdict(gate, exposure, 0, NOW + 999, price_ticks=999_800)["reason"] == "pass"  # those there are add freely
    assert send(gate, exposure, 3, NOW + 1_000) == "pass"
    assert send(gate, exposure, 4, NOW + 2_000) == "pass"
    assert verdict(gate, exposure, 5, NOW + 9_000)["limit"] == 5      # the hard limit, however long it waits
    assert send(gate, exposure, 5, NOW + 9_000) == "positions"


def test_an_order_that_was_refused_later_does_not_use_up_the_interval() -> None:
    gate, exposure = gate_with(soft_positions=1, soft_positions_interval_ns=1_000, max_messages=2)
    assert send(gate, exposure, 0) == "pass" and send(gate, exposure, 1) == "pass"
    assert send(gate, exposure, 2, NOW + 1_500) == "message_rate"
    assert gate.set_limits(limits(soft_positions=1, soft_positions_interval_ns=1_000))
    assert send(gate, exposure, 2, NOW + 1_500) == "pass"


@pytest.mark.parametrize("bad", [{"max_positions": -1}, {"soft_positions": -1}, {"soft_positions_interval_ns": -1}])
def test_negative_numbers_are_no_limits(bad) -> None:
    assert not _core.Gate(max_instruments=2).set_limits(limits(**bad))


def test_only_the_first_so_many_symbols_open_and_the_others_reduce() -> None:
    gate, exposure = gate_with()
    exposure.set_position(3, 250, 0)
    whole = gate.state_hash()
    gate.set_active(2)
    assert gate.state_hash() != whole
    assert [verdict(gate, exposure, ix)["reason"] for ix in range(4)] == ["pass", "pass", "reduce_only", "reduce_only"]
    sell = {"side": 1, "mark": 1, "price_ticks": 1_000_000}
    assert verdict(gate, exposure, 3, qty_lots=250, **sell)["reason"] == "pass"
    assert verdict(gate, exposure, 3, qty_lots=251, **{**sell, "mark": 2})["reason"] == "reduce_only"
    gate.set_active(ALL)
    assert gate.state_hash() == whole
    assert verdict(gate, exposure, 3)["reason"] == "pass"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("opfr"), st.integers(0, N - 1), st.integers(0, 1), st.integers(1, 5)), max_size=60))
def test_the_count_is_that_of_a_slow_look_at_every_symbol(steps) -> None:
    exposure = _core.Exposure(N)
    claims: list[list[int]] = [[0, 0] for _ in range(N)]
    for what, ix, side, lots in steps:
        if what == "o":    # an order appears, unanswered
            if claims[ix][side] == 0:
                exposure.move_claim(ix, side, (0, 0, 0), (0, lots, lots * 10))
                claims[ix][side] = lots
        elif what == "r":  # … is done
            exposure.move_claim(ix, side, (0, claims[ix][side], claims[ix][side] * 10), (0, 0, 0))
            claims[ix][side] = 0
        elif what == "f":
            exposure.apply_fill(ix, side, lots, 1_000_000, 0)
        else:
            exposure.set_position(ix, lots - 3, 0)
        seen = [exposure.of(i) for i in range(N)]
        slow = sum(x["position_lots"] != 0 or any(claims[i]) for i, x in enumerate(seen))
        assert exposure.account()["occupied"] == slow
