"""What each OUCH request does, by the protocol notes and the choices of docs/concepts/venue.md."""

from __future__ import annotations

from typing import Any

import client as c
import pytest

from hotpath import _venue

T0 = 34_200_000_000_000
PORTS = [
    {"user": "ONE", "password": "P1", "firm": "AAAA"},
    {"user": "TWO", "password": "P2", "firm": "BBBB", "cancel_on_disconnect": True},
    {"user": "DROP", "password": "P1", "firm": "AAAA", "drop_copy_of": "AAAA"},
    {"user": "THREE", "password": "P3", "firm": "AAAA"},
]
LIVE_FLAGS = {"A": "added", "R": "removed"}


class Venue:
    """An open exchange with two firms; each `send` returns the new responses of that port."""

    def __init__(self, *, open_market: bool = True, **config: Any) -> None:
        self.x = _venue.Exchange({"symbols": [{"symbol": "PRGN"}, {"symbol": "FLCN"}], "ports": PORTS, **config})
        self.now = T0
        self.seen: dict[int, int] = {}
        self.feed_seen = 0
        self.x.start(self.now)
        if open_market:
            self.x.set_session_state("open", self.now)
        for port in range(len(PORTS)):
            self.new(port)
        self.feed()

    def new(self, port: int) -> list[c.Message]:
        messages = self.x.ouch_messages(port, self.seen.get(port, 0) + 1)
        self.seen[port] = self.seen.get(port, 0) + len(messages)
        return [c.decode_ouch(m) for m in messages]

    def feed(self) -> list[bytes]:
        messages = self.x.itch_messages(self.feed_seen + 1)
        self.feed_seen += len(messages)
        return messages

    def send(self, port: int, message: bytes) -> list[c.Message]:
        self.now += 1000
        self.x.on_ouch(port, message, self.now)
        self.x.check()
        return self.new(port)


@pytest.fixture
def v() -> Venue:
    return Venue()


def brief(responses: list[c.Message], *names: str) -> list[tuple[Any, ...]]:
    return [(r["type"], *(r[n] for n in names if n in r)) for r in responses]


def test_the_day_begins_with_a_system_event_on_every_port():
    x = Venue(open_market=False).x
    assert [c.decode_ouch(m)["code"] for p in range(3) for m in x.ouch_messages(p)] == ["S", "S", "S"]


def test_an_accepted_order_echoes_its_terms_and_names_its_reference_in_the_feed(v):
    (a,) = v.send(0, c.enter(1, "B", 100, 990_000, cl="hello"))
    assert (a["type"], a["urn"], a["side"], a["qty"], a["symbol"], a["price"]) == ("A", 1, "B", 100, "PRGN", 990_000)
    assert (a["state"], a["cl"], a["tags"][2]) == ("L", "hello", b"AAAA")
    (add,) = v.feed()
    assert add[:1] == b"A" and int.from_bytes(add[11:19], "big") == a["ref"]


def test_a_number_not_above_the_last_is_ignored_without_a_word(v):
    v.send(0, c.enter(5, "B", 100, 990_000))
    assert v.send(0, c.enter(5, "B", 100, 990_000)) == []
    assert v.send(0, c.enter(4, "B", 100, 990_000)) == []
    assert v.send(0, c.mass_cancel(5)) == []
    assert v.x.summary(0)["ignored"] == 3 and v.x.summary(0)["open_orders"] == 1


def test_numbers_are_counted_for_each_port_alone(v):
    v.send(0, c.enter(5, "B", 100, 990_000))
    assert brief(v.send(1, c.enter(1, "B", 100, 980_000))) == [("A",)]


def test_the_account_query_tells_the_next_free_number(v):
    assert v.send(0, c.query())[0]["next"] == 1
    v.send(0, c.enter(7, "B", 100, 990_000))
    assert v.send(0, c.query() + b"\0\0")[0]["next"] == 8


REJECTS = {
    "symbol": ({"symbol": "NOPE"}, 23), "side": ({"side": "X"}, 9), "zero": ({"qty": 0}, 19), "million": ({"qty": 1_000_000}, 19),
    "penny": ({"price": 990_050}, 29), "free": ({"price": 0}, 29), "dear": ({"price": 2_000_000_000}, 29), "huge": ({"price": 1 << 63}, 29),
    "tif": ({"tif": "E"}, 15), "display": ({"display": "Z"}, 3), "iso": ({"iso": "Y"}, 8), "cross": ({"cross": "O"}, 20),
    "min qty of a day order": ({"app": c.min_qty(10)}, 13), "min qty over size": ({"tif": "3", "app": c.min_qty(101)}, 13),
    "floor": ({"app": c.tag(5, (50).to_bytes(4, "big"))}, 4), "peg": ({"app": c.tag(6, b"M")}, 5), "offset": ({"app": c.tag(7, b"\0\0\0\1")}, 17),
    "route": ({"app": c.tag(14, b"SCAN")}, 22), "firm": ({"app": c.tag(2, b"ZZZZ")}, 12), "post ioc": ({"tif": "3", "app": c.post_only()}, 15),
    "gtt without time": ({"tif": "6"}, 15), "capacity": ({"capacity": "X"}, 15),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTS)
def test_a_bad_order_is_rejected_with_its_code_and_its_number_is_used_up(v, name):
    change, code = REJECTS[name]
    terms = {"side": "B", "qty": 100, "price": 990_000, **change}
    side, qty, price = terms.pop("side"), terms.pop("qty"), terms.pop("price")
    assert brief(v.send(0, c.enter(3, side, qty, price, cl="id", **terms)), "urn", "reason", "cl") == [("J", 3, code, "id")]
    assert v.send(0, c.enter(3, "B", 100, 990_000)) == []
    assert v.feed() == []


def test_unknown_tags_and_own_firm_do_no_harm(v):
    assert brief(v.send(0, c.enter(1, "B", 100, 990_000, app=c.tag(99, b"?") + c.tag(2, b"AAAA")))) == [("A",)]


@pytest.mark.parametrize("data", [b"", b"O", b"Zzzz", c.enter(1, "B", 1, 100)[:-1], c.enter(1, "B", 100, 990_000)[:-2] + b"\0\5\1",
                                  c.cancel(1)[:5], b"U" * 39, b"C", b"M\0", b"D", b"E\0\0"])  # fmt: skip
def test_malformed_requests_change_nothing_but_the_record(v, data):
    before = v.x.state_hash()
    assert v.send(0, data) == []
    assert v.x.state_hash() == before
    assert v.x.record()[-1]["kind"] == "malformed"


def test_taker_and_maker_hear_of_one_match_with_their_flags_and_fees(v):
    v.send(0, c.enter(1, "S", 100, 1_000_000))
    responses = v.send(1, c.enter(1, "B", 60, 1_010_000))
    assert brief(responses, "qty", "price", "liquidity") == [("A", 60, 1_010_000), ("E", 60, 1_000_000, "R")]
    (maker,) = v.new(0)
    assert (maker["type"], maker["qty"], maker["liquidity"], maker["match"]) == ("E", 60, "A", responses[1]["match"])
    assert v.x.summary(1)["fees_ticks"] == 30 * 60 and v.x.summary(0)["fees_ticks"] == -20 * 60
    assert v.x.summary(1)["cash_ticks"] == -60 * 1_000_000 and v.x.summary(0)["sold"] == 60
    assert c.kinds(v.feed()) == "AE"


def test_ioc_takes_what_is_there_and_the_rest_is_cancelled(v):
    v.send(0, c.enter(1, "S", 30, 1_000_000))
    assert brief(v.send(1, c.enter(1, "B", 100, 1_000_000, tif="3")), "qty", "reason", "state") == [("A", 100, "L"), ("E", 30), ("C", 70, "I")]


def test_ioc_that_meets_nothing_is_accepted_dead_then_cancelled(v):
    assert brief(v.send(1, c.enter(1, "B", 100, 1_000_000, tif="3")), "qty", "reason", "state") == [("A", 100, "D"), ("C", 100, "I")]


def test_fill_or_kill_is_ioc_with_the_whole_size_as_minimum(v):
    v.send(0, c.enter(1, "S", 30, 1_000_000))
    killed = v.send(1, c.enter(1, "B", 100, 1_000_000, tif="3", app=c.min_qty(100)))
    assert brief(killed, "qty", "reason", "state") == [("A", 100, "D"), ("C", 100, "I")]
    v.send(0, c.enter(2, "S", 70, 1_000_000))
    assert brief(v.send(1, c.enter(2, "B", 100, 1_000_000, tif="3", app=c.min_qty(100))), "qty") == [("A", 100), ("E", 30), ("E", 70)]


def test_a_market_order_takes_at_any_price_and_never_rests(v):
    v.send(0, c.enter(1, "S", 30, 5_000_000))
    assert brief(v.send(1, c.enter(1, "B", 50, 0x7FFFFFFF)), "qty", "reason") == [("A", 50), ("E", 30), ("C", 20, "I")]


def test_post_only_that_would_take_is_cancelled_and_trades_nothing(v):
    v.send(0, c.enter(1, "S", 30, 1_000_000))
    assert brief(v.send(1, c.enter(1, "B", 50, 1_000_000, app=c.post_only())), "qty", "reason", "state") == [("A", 50, "D"), ("C", 50, "G")]
    assert brief(v.send(1, c.enter(2, "B", 50, 990_000, app=c.post_only())), "state") == [("A", "L")]


def test_a_hidden_order_is_not_in_the_feed_and_its_trade_is_a_p(v):
    v.send(0, c.enter(1, "S", 30, 1_000_000, display="N"))
    assert v.feed() == []
    v.send(1, c.enter(1, "B", 30, 1_000_000))
    assert c.kinds(v.feed()) == "P" and v.new(0)[0]["liquidity"] == "J"


def test_an_attributed_order_shows_its_firm(v):
    v.send(0, c.enter(1, "S", 30, 1_000_000, display="A"))
    (f,) = v.feed()
    assert f[:1] == b"F" and f[36:40] == b"AAAA"


def test_a_timed_order_expires_on_its_second(v):
    v.send(0, c.enter(1, "B", 30, 990_000, tif="6", app=c.tag(c.EXPIRE, (2).to_bytes(4, "big"))))
    v.x.on_timer(v.now + 1_999_999_999)
    assert v.new(0) == []
    v.x.on_timer(v.now + 2_000_000_000)
    assert brief(v.new(0), "qty", "reason") == [("C", 30, "T")]


# ---- cancel

def test_cancel_to_zero_takes_everything_left(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.feed()
    assert brief(v.send(0, c.cancel(1)), "urn", "qty", "reason") == [("C", 1, 100, "U")]
    assert c.kinds(v.feed()) == "D"
    assert v.send(0, c.cancel(1)) == []


@pytest.mark.parametrize("long_form", [False, True])
def test_cancel_names_the_intended_total_with_what_was_executed(v, long_form):
    v.send(0, c.enter(1, "S", 100, 1_000_000))
    v.send(1, c.enter(1, "B", 30, 1_000_000))
    v.new(0), v.feed()
    assert brief(v.send(0, c.cancel(1, 50, long_form)), "qty") == [("C", 50)]  # 30 done, 20 stay open
    assert c.kinds(v.feed()) == "X"
    assert v.send(0, c.cancel(1, 50)) == []                                   # superfluous: nothing
    assert brief(v.send(0, c.cancel(1, 10)), "qty") == [("C", 20)]            # below what is done: the rest goes


def test_cancel_of_an_unknown_number_is_answered_with_nothing(v):
    assert v.send(0, c.cancel(77)) == []


# ---- replace: the four outcomes

def test_replace_counts_executions_of_the_chain_and_loses_priority(v):
    v.send(0, c.enter(1, "S", 500, 1_000_000))
    v.send(1, c.enter(1, "B", 100, 1_000_000))
    v.send(1, c.enter(2, "S", 50, 1_000_000))
    v.new(0), v.feed()
    (u,) = v.send(0, c.replace(1, 2, 500, 1_000_000))
    assert (u["type"], u["orig"], u["urn"], u["qty"], u["state"]) == ("U", 1, 2, 400, "L")
    assert c.kinds(v.feed()) == "U"
    v.send(0, c.enter(3, "B", 1, 900_000))
    v.send(1, c.enter(3, "B", 60, 1_000_000))  # firm two's own resting sell is pulled, then ours trades
    assert brief(v.new(0), "urn", "qty") == [("E", 2, 60)]


def test_replace_of_what_is_not_live_or_with_a_used_number_is_ignored_and_uses_no_number(v):
    v.send(0, c.enter(5, "B", 100, 990_000))
    assert v.send(0, c.replace(4, 6, 100, 980_000)) == []
    assert v.send(0, c.replace(5, 5, 100, 980_000)) == []
    assert v.send(0, c.query())[0]["next"] == 6


@pytest.mark.parametrize("terms", [{"price": 1}, {"qty": 0}, {"qty": 1_000_000}, {"tif": "E"}, {"display": "?"}, {"app": c.min_qty(5)}])
def test_replace_with_invalid_values_cancels_the_order_and_frees_the_new_number(v, terms):
    v.send(0, c.enter(1, "B", 100, 990_000))
    values = {"qty": 100, "price": 980_000, **terms}
    assert brief(v.send(0, c.replace(1, 2, values.pop("qty"), values.pop("price"), **values)), "urn", "qty", "reason") == [("C", 1, 100, "Z")]
    assert v.send(0, c.query())[0]["next"] == 2


def test_replace_down_to_what_is_executed_cancels_the_rest(v):
    v.send(0, c.enter(1, "S", 100, 1_000_000))
    v.send(1, c.enter(1, "B", 40, 1_000_000))
    v.new(0)
    assert brief(v.send(0, c.replace(1, 2, 40, 1_000_000)), "urn", "qty") == [("C", 1, 60)]


def test_replace_in_a_halt_is_rejected_and_the_order_stays(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.x.halt(0, "H", "T1", v.now)
    assert brief(v.send(0, c.replace(1, 2, 100, 980_000)), "urn", "reason") == [("J", 2, 7)]
    assert v.send(0, c.query())[0]["next"] == 3
    assert brief(v.send(0, c.cancel(1)), "qty") == [("C", 100)]


def test_replace_that_crosses_trades_at_once_under_its_new_number(v):
    v.send(1, c.enter(1, "S", 40, 1_000_000))
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.feed()
    assert brief(v.send(0, c.replace(1, 2, 100, 1_000_000)), "urn", "qty") == [("U", 2, 100), ("E", 2, 40)]
    assert c.kinds(v.feed()) == "DEA"


def test_replace_to_ioc_that_meets_nothing_dies(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    assert brief(v.send(0, c.replace(1, 2, 100, 990_000, tif="3")), "urn", "qty", "state") == [("U", 2, 100, "D"), ("C", 2, 100)]


def test_replace_between_shown_and_hidden_is_a_delete_or_an_add_in_the_feed(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.feed()
    v.send(0, c.replace(1, 2, 100, 990_000, display="N"))
    assert c.kinds(v.feed()) == "D"
    v.send(0, c.replace(2, 3, 100, 990_000, display="Y"))
    assert c.kinds(v.feed()) == "A"


def test_a_chain_of_replaces_answers_to_its_newest_number_only(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.send(0, c.replace(1, 2, 100, 980_000))
    v.send(0, c.replace(2, 3, 90, 970_000))
    assert v.send(0, c.cancel(1)) == [] and v.send(0, c.cancel(2)) == []
    assert brief(v.send(0, c.cancel(3)), "urn", "qty") == [("C", 3, 90)]


# ---- modify, mass cancel, disable

def test_modify_cuts_or_remarks_and_keeps_priority(v):
    v.send(0, c.enter(1, "S", 100, 1_000_000))
    v.send(1, c.enter(1, "S", 100, 1_000_000))
    assert brief(v.send(0, c.modify(1, "T", 60)), "side", "qty") == [("M", "T", 60)]
    assert v.send(0, c.modify(1, "T", 70)) == [] and v.send(0, c.modify(1, "B", 60)) == []
    v.send(1, c.enter(2, "B", 60, 1_000_000))
    assert brief(v.new(0), "qty") == [("E", 60)]


def test_mass_cancel_takes_the_ports_orders_first_and_answers_last(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.send(0, c.enter(2, "B", 100, 990_000, symbol="FLCN"))
    v.send(0, c.enter(3, "B", 100, 980_000))
    v.send(3, c.enter(1, "B", 100, 970_000))
    assert brief(v.send(0, c.mass_cancel(4, symbol="PRGN")), "urn", "symbol") == [("C", 1), ("C", 3), ("X", 4, "PRGN")]
    assert brief(v.send(0, c.mass_cancel(5, firm="AAAA")), "urn") == [("C", 2), ("X", 5)]
    assert v.x.summary(3)["open_orders"] == 1  # another port of the firm is another account
    assert brief(v.send(0, c.mass_cancel(6, firm="BBBB")), "reason") == [("J", 12)]
    assert v.send(0, c.enter(5, "B", 100, 990_000)) == []  # a late order under a lower number stays out


def test_disable_stops_new_orders_and_replaces_but_not_cancels_until_enable(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    assert brief(v.send(0, c.disable(2)), "urn") == [("G", 2)]
    assert brief(v.send(0, c.enter(3, "B", 100, 990_000)), "reason") == [("J", 12)]
    assert brief(v.send(0, c.replace(1, 4, 100, 980_000)), "urn", "reason") == [("J", 4, 12)]
    assert brief(v.send(0, c.cancel(1)), "qty") == [("C", 100)]
    assert brief(v.send(0, c.enable(5)), "urn") == [("K", 5)]
    assert brief(v.send(0, c.enter(6, "B", 100, 990_000))) == [("A",)]


# ---- self-trade prevention, disconnects, breaks, drop copy

def test_an_own_resting_order_is_cancelled_instead_of_traded_with(v):
    v.send(0, c.enter(1, "S", 100, 1_000_000))
    v.send(1, c.enter(1, "S", 100, 1_000_000))
    v.feed()
    responses = v.send(3, c.enter(1, "B", 60, 1_000_000))  # another port of the same firm
    assert brief(responses, "qty") == [("A", 60), ("E", 60)]
    (d,) = v.new(0)
    assert (d["type"], d["urn"], d["qty"], d["reason"], d["prevented"], d["liquidity"]) == ("D", 1, 100, "Q", 60, "A")
    assert c.kinds(v.feed()) == "DE"


@pytest.mark.parametrize(("mode", "resting", "incoming"), [("off", "E", "AE"), ("cancel_incoming", "", "AD"), ("decrement_both", "D", "AD")])
def test_the_other_ways_of_self_trade_prevention(mode, resting, incoming):
    v = Venue(stp=mode)
    v.send(0, c.enter(1, "S", 100, 1_000_000))
    assert "".join(r["type"] for r in v.send(3, c.enter(1, "B", 60, 1_000_000))) == incoming
    assert "".join(r["type"] for r in v.new(0)) == resting


def test_cancel_on_disconnect_is_each_ports_own_choice(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.send(1, c.enter(1, "B", 100, 990_000))
    v.x.on_disconnect(0, v.now)
    v.x.on_disconnect(1, v.now)
    assert v.new(0) == [] and v.x.summary(0)["open_orders"] == 1
    assert brief(v.new(1), "qty", "reason") == [("C", 100, "Z")]


def test_a_broken_trade_is_told_to_both_sides_once_and_undone_in_the_accounts(v):
    v.send(0, c.enter(1, "S", 100, 1_000_000, cl="mine"))
    match = v.send(1, c.enter(1, "B", 60, 1_000_000))[1]["match"]
    v.new(0), v.feed()
    assert v.x.bust(match, "S", v.now) and not v.x.bust(match, "S", v.now) and not v.x.bust(99, "S", v.now)
    assert brief(v.new(0), "match", "reason", "cl") == [("B", match, "S", "mine")]
    assert brief(v.new(1), "match") == [("B", match)]
    assert c.kinds(v.feed()) == "B"
    for port in (0, 1):
        s = v.x.summary(port)
        assert (s["bought"], s["sold"], s["cash_ticks"], s["fees_ticks"]) == (0, 0, 0, 0)
    assert brief(v.send(0, c.cancel(1)), "qty") == [("C", 40)]  # the order is not reopened


def test_the_drop_copy_sees_its_firms_orders_executions_and_breaks_and_may_not_trade(v):
    (a,) = v.send(0, c.enter(1, "S", 100, 1_000_000))
    match = v.send(1, c.enter(1, "B", 60, 1_000_000))[1]["match"]
    copied, e = v.new(2)
    assert copied == a
    assert (e["type"], e["urn"], e["qty"], e["tags"][2]) == ("E", 1, 60, b"AAAA")
    assert int.from_bytes(e["tags"][1], "big") == a["ref"]
    v.x.bust(match, "E", v.now)
    assert brief(v.new(2), "match") == [("B", match)]
    assert v.send(2, c.enter(1, "B", 100, 990_000)) == []
    u = v.send(0, c.replace(1, 2, 200, 1_000_100))[-1]
    (other,) = v.send(3, c.enter(1, "S", 10, 1_000_200))  # another port of the firm
    assert v.new(2) == [u, other]


def test_what_the_firms_hold_is_told_at_the_start_and_added_up_at_the_end():
    v = Venue(open_market=False, holdings={"AAAA": {"PRGN": -56, "GONE": 10}, "BBBB": {}})
    first, *told = [c.decode_ouch(m) for m in v.x.ouch_messages(2, 1)]
    assert first["type"] == "S" and {m["type"] for m in told} == {"p"}
    assert [(m["firm"], m["symbol"], m["lots"], m["left"]) for m in told] == [("AAAA", "FLCN", 0, 2), ("AAAA", "GONE", 10, 1), ("AAAA", "PRGN", -56, 0)]
    assert [m[:1] for port in (0, 1, 3) for m in v.x.ouch_messages(port, 1)] == [b"S"] * 3
    v.x.set_session_state("open", v.now)
    v.send(0, c.enter(1, "S", 100, 1_000_000))
    v.send(1, c.enter(1, "B", 60, 1_000_000))
    match = v.send(1, c.enter(2, "B", 30, 1_000_000))[1]["match"]
    assert v.x.holdings() == {"AAAA": {"PRGN": -146, "GONE": 10}, "BBBB": {"PRGN": 90}}
    v.x.bust(match, "E", v.now)
    assert v.x.holdings() == {"AAAA": {"PRGN": -116, "GONE": 10}, "BBBB": {"PRGN": 60}}
    assert Venue().x.holdings() == {} and [m[:1] for m in Venue().x.ouch_messages(2, 1)] == [b"S"]


# ---- halts and session states

def test_a_halted_symbol_takes_cancels_only_and_resumes(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.feed()
    v.x.halt(0, "H", "T1", v.now)
    (h,) = v.feed()
    assert h[:1] == b"H" and h[19:20] == b"H" and h[21:25] == b"T1  "
    assert brief(v.send(1, c.enter(1, "S", 100, 990_000)), "reason") == [("J", 7)]
    assert brief(v.send(1, c.enter(2, "B", 100, 990_000, symbol="FLCN"))) == [("A",)]
    v.x.halt(0, "T", "", v.now)
    assert brief(v.send(1, c.enter(3, "S", 100, 990_000)), "qty") == [("A", 100), ("E", 100)]


def test_quotation_only_lets_orders_rest_that_do_not_cross(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.x.halt(0, "Q", "", v.now)
    assert brief(v.send(1, c.enter(1, "S", 100, 990_000)), "reason") == [("J", 18)]
    assert brief(v.send(1, c.enter(2, "S", 100, 1_000_000))) == [("A",)]


def test_before_the_open_orders_rest_uncrossed_and_nothing_executes():
    v = Venue(open_market=False)
    assert brief(v.send(0, c.enter(1, "B", 100, 990_000))) == [("A",)]
    assert brief(v.send(1, c.enter(1, "S", 100, 990_000)), "reason") == [("J", 18)]
    assert brief(v.send(1, c.enter(2, "S", 100, 990_000, tif="3")), "reason") == [("J", 2)]
    v.x.set_session_state("open", v.now)
    assert brief(v.send(1, c.enter(3, "S", 100, 990_000)), "qty") == [("A", 100), ("E", 100)]


def test_the_close_cancels_what_rests_and_ends_the_day(v):
    v.send(0, c.enter(1, "B", 100, 990_000))
    v.x.background_enter(v.now, side="B", price_ticks=980_000, qty=50)
    v.feed()
    v.x.set_session_state("closed", v.now)
    assert brief(v.new(0), "qty", "reason", "code") == [("C", 100, "E"), ("S", "E")]
    assert c.kinds(v.feed()) == "SDD"
    assert brief(v.send(0, c.enter(2, "B", 100, 990_000)), "reason") == [("J", 2)]
    v.x.set_session_state("ended", v.now)
    assert [m[11:12] for m in v.feed()] == [b"E", b"C"]
    v.x.set_session_state("open", v.now)
    assert v.feed() == []


def test_an_opening_cross_trades_what_was_collected_at_one_price_and_prints_it_once():
    v = Venue(open_market=False, open_cross=True)
    v.send(0, c.enter(1, "B", 100, 1_010_000))
    v.send(1, c.enter(1, "S", 60, 990_000))
    v.send(1, c.enter(2, "S", 20, 1_000_000))
    before = v.feed()
    v.x.set_session_state("open", v.now)
    feed = v.feed()
    assert c.kinds([m for m in feed if m[2] != 2]) == "SCCCCQ"  # 2 is the other symbol's own empty cross
    executions = [r for r in v.new(0) if r["type"] == "E"]
    assert sum(e["qty"] for e in executions) == 80 and {e["liquidity"] for e in executions} == {"O"}
    assert len({e["price"] for e in executions}) == 1 and v.x.summary(0)["fees_ticks"] == 0
    book = c.rebuild(before + feed)
    assert book.volume == 80 and [row[1] for row in book.side("B")] == [20] and book.side("S") == []


def test_an_exchange_driven_twice_alike_says_the_same_bytes():
    def run() -> Any:
        v = Venue()
        flow = _venue.Flow({"seed": 3}, v.x)
        flow.seed_books(v.now)
        flow.begin(v.now)
        for i in range(1, 40):
            flow.step(20)
            v.now = flow.next_ns
            v.send(0, c.enter(2 * i, "BS"[i % 2], 50, 1_000_000 + 100 * (i % 7)))
            v.send(0, c.replace(2 * i, 2 * i + 1, 60, 1_000_000 + 100 * (i % 5)))
        return v.x.state_hash(), v.x.itch_messages(), v.x.ouch_messages(0)

    assert run() == run()
