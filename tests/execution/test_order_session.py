"""The session: login, replay, account query, mass cancel, rounds, recovery, throttle."""

from __future__ import annotations

import random

import pytest

from hotpath import _core
from tests.execution.line import ALARM, CANCEL, MASS_CANCEL, MS, QUERY, Line, kinds
from tests.oracles.execution_venue import TinyVenue


def test_the_first_connection_of_a_fresh_session_takes_the_whole_path():
    line = Line()
    line.login()
    assert line.desk.phase == "querying" and not line.desk.ready
    assert line.desk.enter(0, 0, 10_000, 100, line.now)[0] == "not_ready"
    line.to_venue()
    line.to_desk()
    assert line.desk.phase == "mass_canceling"
    line.settle()
    assert line.desk.ready
    assert kinds(line.intents) == [QUERY, MASS_CANCEL]
    assert line.desk.take_phases() == ["logging_in", "querying", "mass_canceling", "ready"]
    assert line.alarms() == []


def test_numbers_start_above_what_the_venue_has_seen():
    line = Line()
    line.venue.last = 41
    line.up()
    assert line.intents[-1]["user_ref_num"] == 42  # the mass cancel itself takes one
    assert line.enter() == 43


def test_the_answers_an_earlier_run_got_are_not_taken_for_ours_when_its_journal_is_gone():
    old = Line().up()
    for _ in range(3):
        old.enter()
    old.settle()
    line = Line()
    line.venue = old.venue
    line.login()
    # The replay begins with the old answers to the old query and the old mass cancel, both of number 1.
    line.to_venue()
    line.settle()
    assert line.desk.ready
    fence = [i["user_ref_num"] for i in line.intents if i["kind"] == MASS_CANCEL][-1]
    assert fence == line.venue.last and fence > 4, "the last fence lies above all the venue had seen"
    n = line.enter()
    line.settle()
    assert n == fence + 1 and line.desk.find(n)["state"] == "Live"


def test_orders_sent_after_a_fence_that_was_none_are_not_left_hanging():
    # Our query of a dead connection is answered in the replay, then an operator's mass cancel, then our own query.
    line = Line()
    line.login()
    line.to_venue()
    line.drop()
    line.venue.on_request(b"C" + (1).to_bytes(4, "big") + b" " * 12)
    line.venue.on_request(b"C" + (2).to_bytes(4, "big") + b" " * 12)
    line.venue.on_request(b"C" + (3).to_bytes(4, "big") + b" " * 12)
    line.login()
    line.to_venue()
    line.to_desk(2)  # the old answer, and the operator's X of the number our fence took
    assert line.desk.ready
    n = line.enter()
    line.settle()
    assert n <= 3 and line.desk.find(n)["state"] == "Dead", "the venue ignored it, and we know"
    assert line.desk.ready and line.enter() == line.venue.last + 1


def test_an_order_carries_epoch_number_and_strategy_in_fourteen_characters():
    line = Line(epoch=0xA7, firm="ABCD").up()
    line.desk.enter(0, 1, 12_345, 100, line.now, mark=2, tif=ord("3"), strategy=5, post_only=True)
    m = _core.ouch_decode_request(line.collect()[0]["message"])
    assert m["cl_ord_id"] == "00A70000000205" and len(m["cl_ord_id"]) == 14
    assert (m["side"], m["quantity"], m["price"], m["tif"], m["symbol"]) == ("T", 100, 12_345, "3", "PRGN")
    assert _core.ouch_find_tag(m["appendage"], 2) == b"ABCD"
    assert _core.ouch_find_tag(m["appendage"], 12) == b"P"


@pytest.mark.parametrize("price,qty,error", [(0, 1, "bad_price"), (1, 1, "sent"), (1_999_999_900, 1, "sent"), (1_999_999_901, 1, "bad_price"),
                                             (1, 0, "bad_quantity"), (1, 999_999, "sent"), (1, 1_000_000, "bad_quantity")])
def test_what_the_protocol_cannot_carry_is_refused(price, qty, error):
    line = Line().up()
    assert line.desk.enter(0, 0, price, qty, line.now)[0] == error


def test_sent_but_not_acknowledged_then_lost_on_the_way_is_unknown_until_the_fence():
    line = Line().up()
    n = line.enter()
    line.drop()
    assert line.desk.find(n)["state"] == "Unknown"
    assert line.desk.exposure.of(0)["worst_long_lots"] == 100
    line.login()
    line.to_venue()
    line.to_desk()
    assert line.desk.phase == "mass_canceling"
    assert line.desk.find(n)["state"] == "Unknown"  # the query's answer is not enough
    line.settle()
    assert line.desk.find(n)["state"] == "Dead"
    assert line.desk.ready and line.desk.exposure.of(0)["worst_long_lots"] == 0


def test_the_acknowledgement_and_fills_that_were_lost_come_with_the_replay():
    line = Line().up()
    n = line.enter()
    line.to_venue()
    line.venue.fill(n, 60, 10_000)
    line.drop()
    assert line.desk.find(n)["state"] == "Unknown"
    line.up()
    assert line.desk.exposure.of(0)["position_lots"] == 60 == line.venue.position
    assert line.desk.find(n)["state"] == "Canceled"


def test_an_order_that_arrives_late_from_the_dead_connection_is_ignored_after_the_mass_cancel():
    line = Line().up()
    n = line.enter()
    late = line.drop(lose_wire=False)
    line.up()
    assert line.desk.find(n)["state"] == "Dead"
    for data in late:
        line.venue.on_request(data)
    assert n not in line.venue.orders
    line.settle()
    assert line.alarms() == []


def test_an_order_that_arrives_late_but_before_the_mass_cancel_is_seen_and_canceled():
    line = Line().up()
    n = line.enter()
    late = line.drop(lose_wire=False)
    line.login()
    for data in late:
        line.venue.on_request(data)
    line.settle()
    assert line.desk.find(n)["state"] == "Canceled"
    assert line.desk.ready and not line.venue.orders[n].live


def test_replayed_messages_are_booked_once():
    line = Line().up()
    n = line.enter()
    line.to_venue()
    line.venue.fill(n, 100, 10_000)
    line.settle()
    line.drop()
    line.desk.on_state(True, line.now)
    line.desk.on_packet(b"A" + _core.soup_login_accepted(line.session, 1), line.now)  # the venue replays from the start
    line.sent_sequence = 0
    line.collect()
    line.settle()
    assert line.desk.exposure.of(0)["position_lots"] == 100
    assert line.desk.duplicates == 4  # query answer, mass cancel answer, accepted, executed
    assert line.desk.ready


def test_a_gap_in_the_sequence_halts_with_an_alarm():
    line = Line().up()
    line.drop()
    line.desk.on_state(True, line.now)
    line.desk.on_packet(b"A" + _core.soup_login_accepted(line.session, line.desk.next_sequence + 5), line.now)
    assert line.desk.phase == "halted" and not line.desk.ready
    assert line.alarms() == [ALARM["gap"]]


def test_a_new_session_makes_everything_before_it_final():
    line = Line().up()
    n = line.enter()
    line.settle()
    line.drop()
    line.session = "PRG0000002"
    line.venue = TinyVenue()
    line.up()
    assert line.alarms() == [ALARM["session_changed"]]
    assert line.desk.find(n)["state"] == "Dead"
    assert line.desk.next_sequence == 3  # query answer and mass cancel answer of the new session
    assert line.enter() == n + 2         # numbers still rise


def test_a_session_the_venue_no_longer_has_is_asked_for_as_the_current_one():
    line = Line().up()
    line.drop()
    assert line.desk.login == (b"PRG0000001", 3)
    line.desk.on_state(True, line.now)
    line.desk.on_packet(b"JS", line.now)
    assert line.alarms() == [ALARM["login_rejected"]]
    line.desk.on_state(False, line.now, 1)
    assert line.desk.login == (b" " * 10, 1)


def test_no_answer_starts_another_round_and_the_rounds_are_bounded():
    line = Line(max_rounds=3, answer_timeout_ns=10 * MS)
    line.login()
    line.wire.clear()
    line.tick(100 * MS)
    assert kinds(line.intents) == [QUERY] * 3
    assert line.desk.phase == "halted"
    assert line.alarms() == [ALARM["no_agreement"]]
    assert line.desk.deadline_ns is None
    line.desk.retry(line.now)
    line.settle()
    assert line.desk.ready


def test_an_order_that_survives_the_mass_cancel_halts_instead_of_being_forgotten():
    line = Line(max_rounds=2, answer_timeout_ns=10 * MS).up()
    n = line.enter()
    line.settle()
    line.venue.frozen = {n}
    line.drop()
    line.login()
    line.settle()
    assert line.desk.phase == "settling"
    for _ in range(5):
        line.tick(10 * MS)
        line.settle()
    assert line.desk.phase == "halted"
    assert line.desk.exposure.of(0)["open_lots"] == (100, 0)
    assert ALARM["no_agreement"] in line.alarms()
    line.venue.frozen = set()
    line.desk.retry(line.now)
    line.settle()
    assert line.desk.ready


def test_a_mass_cancel_answer_of_an_older_connection_is_not_the_fence():
    line = Line().up()
    n = line.enter()
    line.drop()
    line.login()
    line.to_venue()
    line.to_desk()                          # query answered, mass cancel on its way
    old = line.intents[-1]["user_ref_num"]
    line.to_venue()                         # the venue takes it, but the line drops before the answer
    line.drop()
    line.login()                            # the replay brings the old answer
    line.to_desk()
    assert line.desk.phase == "querying"
    assert line.desk.find(n)["state"] == "Unknown"
    line.settle()
    assert line.intents[-1]["user_ref_num"] > old
    assert line.desk.find(n)["state"] == "Dead"


def test_without_mass_cancel_singles_are_sent_and_the_unknown_waits_for_the_silence_limit():
    line = Line(venue_mass_cancel=False, silence_ns=500 * MS, answer_timeout_ns=10 * MS)
    line.login()
    line.settle()
    line.tick(500 * MS)
    assert line.desk.ready
    seen, lost = line.enter(), line.enter(qty=7)
    line.to_venue(1)
    line.to_desk()
    line.drop()
    line.login()
    line.settle()
    assert [(i["kind"], i["user_ref_num"]) for i in line.intents[-2:]] == [(CANCEL, seen), (CANCEL, lost)]
    assert line.desk.find(seen)["state"] == "Canceled"
    assert line.desk.find(lost)["acked"] is False
    line.tick(499 * MS)
    assert not line.desk.ready
    assert line.desk.exposure.of(0)["worst_long_lots"] == 7
    line.tick(1 * MS)
    assert line.desk.ready
    assert line.desk.find(lost)["state"] == "Dead"


def test_a_cancel_before_ready_is_held_and_the_mass_cancel_does_it():
    line = Line().up()
    n = line.enter()
    line.settle()
    line.drop()
    assert line.desk.cancel(n, 0, line.now) == "held"
    line.login()
    assert line.desk.cancel(n, 0, line.now) == "held"
    line.settle()
    assert line.desk.find(n)["state"] == "Canceled"
    assert CANCEL not in kinds(line.intents)


def test_a_cancel_of_an_order_being_replaced_goes_out_under_both_numbers():
    for refused in (False, True):
        line = Line().up()
        n = line.enter()
        line.settle()
        if refused:
            line.venue.frozen = {n}
        error, new = line.desk.replace(n, 10_100, 200, line.now)
        assert error == "sent"
        assert line.desk.replace(n, 10_200, 300, line.now)[0] == "replace_pending"
        assert line.desk.cancel(new, 0, line.now) == "sent"  # either number names the chain
        assert [i["user_ref_num"] for i in line.collect()][-2:] == [n, new]
        assert line.desk.cancel(n, 0, line.now) == "cancel_pending"
        line.to_venue(1)
        line.venue.frozen = set()
        line.settle()
        assert line.desk.open_numbers() == []
        assert not any(o.live for o in line.venue.orders.values())


def test_a_cancel_nobody_answers_is_asked_again():
    line = Line(cancel_timeout_ns=10 * MS).up()
    n = line.enter()
    line.settle()
    assert line.desk.cancel(n, 0, line.now) == "sent"
    assert line.desk.cancel(n, 0, line.now) == "cancel_pending"
    line.collect()
    line.wire.clear()
    line.tick(10 * MS)
    assert ALARM["cancel_unanswered"] in line.alarms()
    line.settle()
    assert line.desk.find(n)["state"] == "Canceled"


def test_a_partial_cancel_names_the_intended_total():
    line = Line().up()
    n = line.enter()
    line.to_venue()
    line.venue.fill(n, 10, 10_000)
    line.settle()
    assert line.desk.cancel(n, 100, line.now) == "bad_quantity"
    assert line.desk.cancel(n, 40, line.now) == "sent"
    line.settle()
    assert (line.desk.find(n)["state"], line.desk.find(n)["leaves_lots"]) == ("Live", 30)


def test_the_throttle_leaves_a_share_to_cancels_and_holds_what_is_over_it():
    line = Line(max_messages=10, cancel_reserve=4, message_window_ns=100 * MS).up()
    line.tick(200 * MS)
    orders = [line.enter() for _ in range(6)]
    assert line.desk.enter(0, 0, 10_000, 100, line.now)[0] == "throttled"
    line.settle()
    assert [line.desk.cancel(n, 0, line.now) for n in orders] == ["sent"] * 4 + ["held"] * 2
    line.settle()
    assert line.desk.open_numbers() == orders[4:]
    line.tick(100 * MS)
    line.settle()
    assert line.desk.open_numbers() == []
    assert line.desk.enter(0, 0, 10_000, 100, line.now)[0] == "sent"


def test_mass_cancel_while_trading_takes_everything_and_singles_take_the_rest():
    line = Line().up()
    a, b = line.enter(), line.enter()
    line.settle()
    line.desk.mass_cancel(line.now)
    line.settle()
    assert line.desk.open_numbers() == []
    c = line.enter()
    line.settle()
    line.venue.frozen = {c}
    line.desk.mass_cancel(line.now)
    line.collect()
    line.to_venue()
    line.venue.frozen = set()
    line.settle()
    assert kinds(line.intents)[-2:] == [MASS_CANCEL, CANCEL]
    assert line.desk.open_numbers() == [] and (a, b) == (2, 3)


def test_a_partial_send_stops_new_orders_until_the_rest_has_gone():
    line = Line().up()
    line.desk.on_send_result(60, 20, line.now)
    assert line.desk.enter(0, 0, 10_000, 100, line.now)[0] == "not_ready"
    line.desk.on_send_result(40, 40, line.now)
    assert line.desk.ready
    line.desk.on_send_result(40, -11, line.now)
    assert not line.desk.ready and line.alarms() == []
    line.desk.on_send_result(40, -32, line.now)
    assert line.alarms() == [ALARM["send_failed"]]
    line.drop()
    line.up()


def test_the_end_of_the_day_stops_new_orders_and_not_cancels():
    line = Line().up()
    n = line.enter()
    line.venue.out.append(_core.ouch_encode({"type": "SystemEvent", "code": "E"}))
    line.settle()
    assert not line.desk.ready
    assert line.desk.cancel(n, 0, line.now) == "sent"
    line.settle()
    line.desk.on_packet(b"Z", line.now)
    assert line.desk.phase == "ended"


def test_disabled_order_entry_stops_new_orders():
    line = Line().up()
    line.venue.say("DisableResponse", user_ref_num=9)
    line.settle()
    assert not line.desk.ready and line.alarms() == [ALARM["disabled"]]
    line.venue.say("EnableResponse", user_ref_num=9)
    line.settle()
    assert line.desk.ready


def test_an_order_of_a_lost_journal_is_taken_in_and_canceled():
    line = Line()
    line.venue.on_EnterOrder({"user_ref_num": 30, "side": "S", "symbol": "PRGN", "price": 9_000, "quantity": 55, "tif": "0", "cl_ord_id": ""})
    line.venue.fill(30, 5, 9_000)
    line.up()
    assert line.desk.exposure.of(0)["position_lots"] == -5 == line.venue.position
    assert not line.venue.orders[30].live
    assert line.alarms() == [ALARM["anomaly"]]
    assert line.enter() > 30


def test_any_packet_at_any_time_is_survived():
    rng = random.Random(5)
    line = Line().up()
    for _ in range(3000):
        data = bytes(rng.randrange(256) for _ in range(rng.choice([0, 1, 5, 20, 40, 70, 74])))
        line.desk.on_packet(rng.choice([b"S", b"S", b"A", b"J", b"H", b"U", b"", b"+"]) + data, line.now)
        if rng.random() < 0.02:
            line.desk.on_state(rng.random() < 0.7, line.now)
        line.collect()
    assert line.desk.malformed > 0
