"""Positions, claims and money in integers."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from hotpath import _core
from tests.oracles.risk_gate import Item

FILLS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 500), st.integers(1, 3_000_000), st.integers(-50, 50)), max_size=30)


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-(2**40), 2**40), st.integers(1, 2**40), st.integers(0, 62))
def test_notional_rounds_away_from_us_and_says_when_it_does_not_fit(price, lots, multiplier, shift):
    exact = Fraction(price * lots * multiplier, 1 << shift)
    for up, want in ((True, -((-exact.numerator) // exact.denominator)), (False, exact.numerator // exact.denominator)):
        got = _core.notional(price, lots, multiplier, shift, up)
        fits = abs(want) < 2**63 and abs(price * lots * multiplier) < 2**127 - 2**63
        assert got == (want if fits else None) or (got is None and abs(want) >= 2**63 - 2)


@given(FILLS, st.sampled_from([(1, 0), (3, 1), (10, 0), (7, 5)]))
def test_fills_agree_with_average_cost_in_python(fills, contract):
    x = _core.Exposure(1)
    x.set_contract(0, *contract)
    item = Item(multiplier=contract[0], shift=contract[1])
    for side, lots, price, fee in fills:
        x.apply_fill(0, side, lots, price, fee)
        item.fill(side, lots, price, fee)
        got = x.of(0)
        assert (got["position_lots"], got["cost_basis"], got["realized"], got["fees"]) == (item.position, item.cost, item.realized, item.fees)


@given(FILLS)
def test_realized_and_cost_add_up_to_the_cash_that_moved(fills):
    x = _core.Exposure(1)
    cash = 0
    for side, lots, price, fee in fills:
        x.apply_fill(0, side, lots, price, fee)
        cash += -price * lots if side == 0 else price * lots
    got = x.of(0)
    assert got["realized"] - got["cost_basis"] == cash


def test_a_broken_trade_gives_the_position_back():
    x = _core.Exposure(1)
    x.apply_fill(0, 0, 100, 1000, 5)
    x.apply_fill(0, 0, 50, 1200, 5)
    x.revert_fill(0, 0, 50, 1200, 5)
    got = x.of(0)
    assert got["position_lots"] == 100
    assert got["fees"] == 5
    assert got["realized"] - got["cost_basis"] == -100_000


def test_the_mark_is_the_side_we_would_close_at_and_the_last_good_one():
    x = _core.Exposure(1)
    x.apply_fill(0, 0, 10, 1000, 0)
    assert x.account()["unrealized"] == 0  # no mark yet: worth what it cost
    x.mark(0, 990, 1010)
    assert x.account()["unrealized"] == -100
    x.mark(0, 0, 1005)  # the bid side went empty: its last good price stays
    assert x.account()["unrealized"] == -100
    x.apply_fill(0, 1, 20, 1000, 0)
    assert x.of(0)["unrealized"] == -50  # short ten: bought back at 1005


def test_unknown_orders_count_in_the_worst_case():
    x = _core.Exposure(2)
    x.move_claim(0, 0, (0, 0, 0), (0, 70, 7))
    x.move_claim(0, 1, (0, 0, 0), (20, 0, 2))
    assert (x.of(0)["worst_long_lots"], x.of(0)["worst_short_lots"]) == (70, 20)
    assert x.account()["unknown_orders"] == 1
    x.move_claim(0, 0, (0, 70, 7), (70, 0, 7))
    assert x.account()["unknown_orders"] == 0
    assert x.account()["working_orders"] == 2
    x.move_claim(0, 0, (70, 0, 7), (0, 0, 0))
    assert x.account()["working_orders"] == 1
    assert x.account()["worst_lots"] == 20


def test_a_sum_beyond_64_bits_is_counted_and_shuts_the_gate_for_good():
    x = _core.Exposure(2)
    x.move_claim(0, 0, (0, 0, 0), (1, 0, 2**63 - 2))
    x.move_claim(1, 0, (0, 0, 0), (1, 0, 2**63 - 2))
    assert x.account()["overflows"] > 0
