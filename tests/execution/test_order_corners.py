"""Corners of the order manager that planted faults showed to be unguarded (tools/mutate.py)."""

from __future__ import annotations

from tests.execution.test_order_manager import canceled, desk, executed, live, msg, state


def test_a_cancel_report_larger_than_the_rest_takes_only_the_rest():
    d = desk()
    live(d)
    d.order_message(executed(1, 30), 0)
    event = d.order_message(canceled(1, 500), 0)
    assert event["anomaly"]
    order = d.find(1)
    assert (order["canceled_lots"], order["leaves_lots"], order["executed_lots"]) == (70, 0, 30)
    assert state(d) == "Canceled"
    assert d.counters()["over_cancels"] == 1


def test_a_break_takes_back_the_fill_of_its_own_order_when_one_match_filled_two():
    d = desk()
    live(d, 1)
    live(d, 2)
    d.order_message(executed(1, 40, match=7), 0)
    d.order_message(executed(2, 60, match=7), 0)
    event = d.order_message(msg("BrokenTrade", user_ref_num=1, match_number=7), 0)
    assert event["lots"] == 40
    assert d.exposure.of(0)["position_lots"] == 60
    d.order_message(msg("BrokenTrade", user_ref_num=2, match_number=7), 0)
    assert d.exposure.of(0)["position_lots"] == 0


def test_a_modification_below_what_is_executed_ends_the_order_at_what_is_executed():
    d = desk()
    live(d)
    d.order_message(executed(1, 60), 0)
    d.order_message(msg("Modified", user_ref_num=1, side="B", quantity=10), 0)
    order = d.find(1)
    assert (order["total_lots"], order["executed_lots"], order["leaves_lots"]) == (60, 60, 0)
    assert d.exposure.of(0)["open_lots"] == (0, 0)
    assert d.exposure.of(0)["position_lots"] == 60
