"""Every check of the gate on its own: just under its limit, at it, just over it."""

from __future__ import annotations

import pytest

from hotpath import _core
from tests.oracles.risk_gate import LIMITS_DTYPE, OP_DTYPE, REASONS, REQUEST_DTYPE, VIEW_DTYPE
from tests.risk.gate_setup import NOW, Setup, limits, market, order

BUY_NOTIONAL = 1_000_000 * 100


def test_layouts_are_those_of_the_compiled_structs():
    assert LIMITS_DTYPE.itemsize == _core.RISK_LIMITS_BYTES == 256
    assert LIMITS_DTYPE.fields["max_account_orders"][1] == 128
    assert LIMITS_DTYPE.fields["soft_permille"][1] == 200
    assert (REQUEST_DTYPE.itemsize, VIEW_DTYPE.itemsize, OP_DTYPE.itemsize) == (48, 56, 144)
    assert tuple(_core.RISK_REASONS) == REASONS


def test_limits_come_back_as_they_were_set():
    s = Setup(max_long_lots=123, soft_permille=700)
    assert s.gate.limits(1) == limits(max_long_lots=123, soft_permille=700)


def test_an_instrument_keeps_its_own_limits_when_the_default_changes():
    s = Setup()
    assert s.gate.set_limits(limits(instrument=1, max_order_lots=7))
    assert s.gate.set_limits(limits(max_order_lots=9))
    assert s.gate.limits(1) == limits(instrument=1, max_order_lots=7)
    assert s.gate.limits(0) == limits(max_order_lots=9)


@pytest.mark.parametrize("bad", [{"version": 2}, {"max_loss": -1}, {"soft_permille": 0}, {"soft_permille": 1001},
                                 {"instrument": 2}, {"max_messages": 4096}, {"max_executions": 64}])
def test_invalid_limits_are_refused_and_change_nothing(bad):
    s = Setup()
    before = s.gate.state_hash()
    assert not s.gate.set_limits(limits(**bad))
    assert s.gate.state_hash() == before


def test_without_limits_nothing_passes():
    s = Setup()
    s.gate = _core.Gate(max_instruments=2)
    s.gate.set_authorised(1, True)
    s.gate.set_session_ready(True)
    s.gate.set_journal_healthy(True)
    assert s.reason() != "pass"


# (reason, limit field, value of the field that makes the standard order sit exactly at the limit)
AT_LIMIT = [
    ("price_collar", "collar_ticks", 500, order(price_ticks=1_000_600)),
    ("price_collar", "collar_ticks", 400, order(side=1, mark=2, price_ticks=999_500)),
    ("order_quantity", "max_order_lots", 100, order()),
    ("order_notional", "max_order_notional", BUY_NOTIONAL, order()),
    ("working_orders", "max_working_orders", 1, order()),
    ("working_notional", "max_working_notional", BUY_NOTIONAL, order()),
    ("account_orders", "max_account_orders", 1, order()),
    ("account_notional", "max_account_notional", BUY_NOTIONAL, order()),
    ("position_long", "max_long_lots", 100, order()),
    ("position_short", "max_short_lots", 100, order(side=1, mark=2)),
    ("gross", "max_gross", BUY_NOTIONAL, order()),
    ("credit", "max_credit", BUY_NOTIONAL, order()),
]


@pytest.mark.parametrize("reason,name,value,request_", AT_LIMIT, ids=[f"{a[0]}-{i}" for i, a in enumerate(AT_LIMIT)])
def test_a_limit_passes_at_its_value_and_refuses_one_beyond(reason, name, value, request_):
    assert Setup(**{name: value + 1}).reason(request_) == "pass"
    assert Setup(**{name: value}).reason(request_) == "pass"
    verdict = Setup(**{name: value - 1}).verdict(request_)
    assert verdict["reason"] == reason
    assert verdict["observed"] == value
    assert verdict["limit"] == value - 1


def test_the_collar_is_the_smaller_of_ticks_and_share():
    # 5 bps of 1,000,100 is 500 ticks.
    s = Setup(collar_bps=5)
    assert s.reason(order(price_ticks=1_000_599)) == "pass"
    assert s.reason(order(price_ticks=1_000_600)) == "pass"
    assert s.reason(order(price_ticks=1_000_601)) == "price_collar"


def test_without_a_touch_the_collar_uses_the_reference_and_without_both_nothing_passes():
    s = Setup(collar_ticks=10)
    assert s.reason(order(price_ticks=1_000_010), market(ask_lots=0)) == "pass"
    assert s.reason(order(price_ticks=1_000_011), market(ask_lots=0)) == "price_collar"
    assert s.reason(order(), market(ask_lots=0, reference_ticks=0)) == "no_reference"


@pytest.mark.parametrize("filled,expected", [(99, "pass"), (100, "pass"), (101, "position_long")])
def test_position_and_open_and_unknown_lots_all_count_to_the_worst_case(filled, expected):
    s = Setup(max_long_lots=400)
    s.exposure.set_position(0, filled, 0)
    s.exposure.move_claim(0, 0, (0, 0, 0), (120, 80, 1))
    assert s.reason() == expected


@pytest.mark.parametrize("new_open,expected", [(249, "pass"), (250, "pass"), (251, "position_long")])
def test_a_replace_counts_the_larger_of_old_and_new(new_open, expected):
    s = Setup(max_long_lots=250)
    s.exposure.move_claim(0, 0, (0, 0, 0), (100, 0, BUY_NOTIONAL))
    replace = order(kind=1, qty_lots=new_open, old_open_lots=100, old_notional=BUY_NOTIONAL)
    assert s.reason(replace) == expected


def test_a_replace_to_less_adds_nothing_and_no_order():
    s = Setup(max_long_lots=100, max_working_orders=1, max_working_notional=BUY_NOTIONAL)
    s.exposure.move_claim(0, 0, (0, 0, 0), (100, 0, BUY_NOTIONAL))
    assert s.reason(order(kind=1, qty_lots=50, old_open_lots=100, old_notional=BUY_NOTIONAL)) == "pass"
    assert s.reason(order(qty_lots=50)) == "working_orders"


@pytest.mark.parametrize("limit,expected", [(501, "pass"), (500, "pass"), (499, "loss")])
def test_loss_is_measured_at_the_closing_side(limit, expected):
    s = Setup(max_loss=limit)
    s.exposure.apply_fill(0, 0, 5, 1_000_000, 0)
    s.exposure.mark(0, 999_900, 1_000_100)  # 5 lots, 100 ticks under cost
    assert s.exposure.account()["loss"] == 500
    assert s.reason() == expected


@pytest.mark.parametrize("limit,expected", [(701, "pass"), (700, "pass"), (699, "drawdown")])
def test_drawdown_is_measured_from_the_peak(limit, expected):
    s = Setup(max_drawdown=limit)
    s.exposure.apply_fill(0, 0, 1, 1_000_000, 0)
    s.exposure.mark(0, 1_001_000, 1_001_100)
    s.exposure.mark(0, 1_000_300, 1_000_400)
    assert s.exposure.account()["loss"] == 0
    assert s.reason() == expected


def test_a_tripped_breaker_stays_until_it_is_reset_and_lets_reducing_orders_pass():
    s = Setup(max_loss=100)
    s.exposure.apply_fill(0, 0, 5, 1_000_000, 0)
    s.exposure.mark(0, 999_900, 1_000_100)
    assert s.gate.update_breakers(s.exposure)
    assert not s.gate.update_breakers(s.exposure)  # says so once
    s.exposure.mark(0, 1_000_000, 1_000_100)
    assert s.exposure.account()["loss"] == 0
    assert s.reason() == "loss"
    assert s.reason(order(side=1, mark=1, qty_lots=5)) == "pass"
    assert s.reason(order(side=1, mark=2, qty_lots=6)) == "loss"
    s.gate.reset_breakers()
    assert s.reason() == "pass"


@pytest.mark.parametrize("lease,expected", [((BUY_NOTIONAL + 1, 101), "pass"), ((BUY_NOTIONAL, 100), "pass"),
                                            ((BUY_NOTIONAL - 1, 100), "lease_notional"), ((BUY_NOTIONAL, 99), "lease_quantity")])
def test_the_lease_is_a_limit_of_its_own(lease, expected):
    s = Setup()
    assert s.gate.grant(2, *lease)
    assert s.reason() == expected


def test_a_lease_of_an_old_epoch_is_refused():
    s = Setup()
    assert s.gate.grant(5, 10, 10)
    assert not s.gate.grant(5, 10**9, 10**9)
    assert not s.gate.grant(4, 10**9, 10**9)
    assert not s.gate.grant(6, -1, 0)
    assert s.gate.lease() == (5, 10, 10)


def test_only_unused_lease_goes_back():
    s = Setup()
    s.gate.grant(2, 1000, 100)
    s.exposure.move_claim(0, 0, (0, 0, 0), (30, 0, 400))
    assert s.gate.give_back(3, 700, 50, s.exposure) == (3, 600, 50)
    assert s.gate.lease() == (3, 400, 50)
    assert s.gate.give_back(3, 1, 1, s.exposure) == (3, 0, 0)  # the same return again does nothing
    assert s.gate.lease() == (3, 400, 50)


@pytest.mark.parametrize("price,expected", [(1_000_299, "pass"), (1_000_300, "self_trade"), (1_000_301, "self_trade")])
def test_an_order_that_would_meet_our_own_is_refused(price, expected):
    s = Setup()
    s.exposure.move_claim(0, 1, (0, 0, 0), (10, 0, 1))
    s.exposure.set_own_best(0, 1, 1_000_300)
    assert s.reason(order(price_ticks=price)) == expected


@pytest.mark.parametrize("position,mark,expected", [
    (101, 1, "pass"), (100, 1, "pass"), (99, 1, "short_mark"), (99, 2, "pass"), (99, 3, "pass"), (200, 0, "short_mark")])
def test_a_sell_beyond_the_position_is_marked_short(position, mark, expected):
    s = Setup()
    s.exposure.set_position(0, position, 0)
    assert s.reason(order(side=1, mark=mark)) == expected


def test_a_buy_carries_no_sell_mark():
    assert Setup().reason(order(mark=1)) == "short_mark"


@pytest.mark.parametrize("price,mark,expected", [
    (999_901, 2, "pass"), (999_900, 2, "short_sale_restricted"), (999_899, 2, "short_sale_restricted"), (999_900, 3, "pass")])
def test_a_restricted_short_sale_needs_a_price_above_the_bid(price, mark, expected):
    assert Setup().reason(order(side=1, mark=mark, price_ticks=price), market(short_sale_restricted=1)) == expected


@pytest.mark.parametrize("age,expected", [(999, "pass"), (1000, "pass"), (1001, "quote_stale")])
def test_old_market_data_is_refused(age, expected):
    assert Setup(max_quote_age_ns=1000).reason(view=market(quote_ts_ns=NOW - age)) == expected


@pytest.mark.parametrize("later,expected", [(99, "duplicate_order"), (100, "duplicate_order"), (101, "pass")])
def test_the_same_order_again_within_the_window_is_a_duplicate(later, expected):
    s = Setup(duplicate_window_ns=100)
    s.gate.on_sent(order(), NOW)
    assert s.reason(now=NOW + later, view=market(quote_ts_ns=NOW)) == expected
    assert s.reason(order(qty_lots=101), now=NOW + later) == "pass"
    assert s.reason(order(price_ticks=1_000_001), now=NOW + later) == "pass"
    assert s.reason(order(instrument=1), now=NOW + later) == "pass"


def test_more_orders_than_can_be_remembered_are_refused_rather_than_waved_through():
    s = Setup(duplicate_window_ns=10**9)
    for i in range(64):
        assert s.reason(order(qty_lots=1 + i)) == "pass"
        s.gate.on_sent(order(qty_lots=1 + i), NOW)
    assert s.reason(order(qty_lots=999)) == "duplicate_order"


@pytest.mark.parametrize("fills,expected", [(2, "pass"), (3, "pass"), (4, "execution_throttle")])
def test_repeated_executions_of_one_side_throttle_that_side(fills, expected):
    s = Setup(max_executions=3, execution_window_ns=1000)
    for _ in range(fills):
        s.gate.on_execution(0, 0, NOW - 999)
    assert s.reason() == expected
    assert s.reason(order(side=1, mark=2)) == "pass"
    assert s.reason(order(instrument=1)) == "pass"
    assert s.reason(now=NOW + 1) == "pass"


@pytest.mark.parametrize("sent,expected", [(8, "pass"), (9, "pass"), (10, "message_rate")])
def test_the_message_rate_counts_this_order_and_forgets_after_the_window(sent, expected):
    s = Setup(max_messages=12, cancel_reserve=2, message_window_ns=1000)
    for i in range(sent):
        s.gate.on_sent(order(qty_lots=200 + i), NOW - 999)
    assert s.reason() == expected
    assert s.reason(now=NOW + 1) == "pass"


def test_cancels_always_pass_but_count():
    s = Setup(max_messages=1, message_window_ns=1000)
    s.gate.kill()
    s.gate.set_session_ready(False)
    s.gate.set_journal_healthy(False)
    assert s.reason(order(kind=2, qty_lots=0, price_ticks=0), market(feed_live=0, trading=0)) == "pass"
    s.gate.on_sent(order(kind=2), NOW)
    fresh = Setup(max_messages=1, message_window_ns=1000)
    fresh.gate.on_sent(order(kind=2), NOW)
    assert fresh.reason() == "message_rate"


@pytest.mark.parametrize("action,expected", [
    (lambda g: g.kill(), "killed"), (lambda g: g.set_paused(True), "paused"),
    (lambda g: g.set_session_ready(False), "session_not_ready"), (lambda g: g.set_journal_healthy(False), "journal_unhealthy"),
    (lambda g: g.set_restricted(0, True), "restricted"), (lambda g: g.set_authorised(1, False), "strategy_not_authorised"),
    (lambda g: g.set_reduce_only(True), "reduce_only")])
def test_a_switch_stops_new_orders(action, expected):
    s = Setup()
    assert s.reason() == "pass"
    action(s.gate)
    assert s.reason() == expected


@pytest.mark.parametrize("request_,expected", [
    (order(instrument=2), "unknown_instrument"), (order(strategy=2), "strategy_not_authorised"), (order(strategy=64), "strategy_not_authorised"),
    (order(price_ticks=0), "bad_price"), (order(price_ticks=-5), "bad_price"), (order(qty_lots=0), "bad_quantity"),
    (order(kind=1, old_open_lots=-1), "bad_quantity"),
    (order(price_ticks=2**62, qty_lots=4), "price_collar")])
def test_nonsense_is_refused_by_name(request_, expected):
    assert Setup().reason(request_) == expected


def test_a_product_beyond_64_bits_is_refused():
    s = Setup(collar_ticks=2**62, max_order_lots=2**62, max_order_notional=2**63 - 1)
    view = market(ask_ticks=2**40, bid_ticks=2**40 - 1)
    assert s.reason(order(price_ticks=2**40, qty_lots=2**23), view) == "money_overflow"
    assert s.reason(order(price_ticks=2**40, qty_lots=2**23 - 1), view) != "money_overflow"


@pytest.mark.parametrize("flag,expected", [("feed_live", "feed_not_live"), ("sound", "book_unsound"),
                                           ("trading", "halted"), ("market_open", "market_closed")])
def test_a_market_that_is_not_live_stops_new_orders(flag, expected):
    assert Setup().reason(view=market(**{flag: 0})) == expected


def test_reduce_only_after_a_kill_lets_exactly_the_position_go():
    s = Setup()
    s.exposure.set_position(0, 100, BUY_NOTIONAL)
    s.gate.set_reduce_only(True)
    s.gate.kill()
    assert s.reason(order(side=1, mark=1)) == "killed"  # the kill takes back an earlier reduce-only
    s.gate.set_reduce_only(True)
    assert s.reason(order(side=1, mark=1, qty_lots=100)) == "pass"
    assert s.reason(order(side=1, mark=2, qty_lots=101)) == "reduce_only"
    s.exposure.move_claim(0, 1, (0, 0, 0), (0, 1, 10))  # one lot already on its way
    assert s.reason(order(side=1, mark=1, qty_lots=100)) == "reduce_only"
    assert s.reason(order(side=1, mark=1, qty_lots=99)) == "pass"


@pytest.mark.parametrize("limit,soft", [(126, False), (125, True), (100, True), (99, True)])
def test_eighty_percent_of_a_limit_is_soft(limit, soft):
    verdict = Setup(max_long_lots=limit).verdict()
    assert bool(verdict["soft"] >> REASONS.index("position_long") & 1) is soft
    assert (verdict["reason"] == "pass") is (limit >= 100)
