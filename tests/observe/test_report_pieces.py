"""The report's pieces one by one: orders from the venue's messages, commands in words, exact numbers, escaped text."""

from __future__ import annotations

import struct
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath.execution.wire import encode_ouch
from orchestrator.observe.report_html.commands import NO_INSTRUMENT, CommandReader
from orchestrator.observe.report_html.html import data, el
from orchestrator.observe.report_html.latency import LatencyOverTime, read_hgrm
from orchestrator.observe.report_html.numbers import MINUS, Format, duration, signed
from orchestrator.observe.report_html.orders import INTENT, OrderTracker
from orchestrator.observe.report_html.sections import shards_of, together

CL = {"cl_ord_id": "0001"}


class Told:
    """A tracker with lists of what it told."""

    def __init__(self) -> None:
        self.orders: list[dict] = []
        self.fills: list[dict] = []
        self.latency: list[tuple[str, int, int]] = []
        self.tracker = OrderTracker(0, ["PRGN"], (-20, 30), {"PRGN": 0}, on_order=self.orders.append, on_fill=self.fills.append,
                                    on_latency=lambda *x: self.latency.append(x))  # fmt: skip
        self.seq = 0

    def intent(self, kind: int, urn: int, *, orig: int = 0, side: int = 0, price: int = 100, qty: int = 100, ts: int = 0) -> None:
        """One intent."""
        self.seq += 1
        self.tracker.intent(self.seq, ts, INTENT.pack(kind, side, 1, ord("0"), urn, orig, 0, price, qty, 7, 9))

    def answer(self, kind: str, ts: int = 0, **fields) -> dict | None:
        """One message of the venue."""
        self.seq += 1
        blank = {"ts_ns": 0, "side": "B", "quantity": 100, "symbol": "PRGN", "price_ticks": 100, "time_in_force": "0", "display": "Y",
                 "order_ref": 1, "capacity": "P", "iso": "N", "cross_type": "N", "state": "L", "liquidity": "A", "match": 1,
                 "reason": "U", "firm": "DEM1", **CL}  # fmt: skip
        return self.tracker.answer(self.seq, ts, encode_ouch({"type": kind, **blank, **fields}, from_host=True))


def test_an_order_filled_in_two_parts_has_its_average_and_its_answer_time():
    t = Told()
    t.intent(1, 5, ts=1000)
    t.answer("A", 1700, user_ref_num=5)
    t.answer("E", 2000, user_ref_num=5, quantity=40, price_ticks=99, match=1)
    assert not t.orders
    t.answer("E", 3000, user_ref_num=5, quantity=60, price_ticks=98, liquidity="R", match=2)
    (order,) = t.orders
    assert order["state"] == "filled" and order["answer_ns"] == 700 and order["done_ns"] == 3000
    assert order["filled_ticks_lots"] == 40 * 99 + 60 * 98
    assert [(f["liquidity"], f["fee_units"], f["position_lots"]) for f in t.fills] == [("maker", -800, 40), ("taker", 1800, 100)]
    assert ("order_to_answer", 1700, 700) in t.latency


def test_a_cancel_that_was_asked_for_is_ours_and_is_timed():
    t = Told()
    t.intent(1, 5)
    t.answer("A", user_ref_num=5)
    t.intent(3, 6, orig=5, ts=100)
    t.answer("C", 350, user_ref_num=5, quantity=100)
    assert t.orders[0]["state"] == "cancelled" and t.orders[0]["reason"] == "our cancel"
    assert ("cancel_to_answer", 350, 250) in t.latency


def test_a_replace_that_is_accepted_ends_the_old_order_and_counts_what_it_had_filled():
    t = Told()
    t.intent(1, 5, qty=100)
    t.answer("A", user_ref_num=5)
    t.answer("E", user_ref_num=5, quantity=30)
    t.intent(2, 6, orig=5, qty=100)
    t.answer("U", orig_user_ref_num=5, user_ref_num=6, quantity=70)
    t.answer("E", user_ref_num=6, quantity=70, match=2)
    assert [(o["order"], o["state"]) for o in t.orders] == [(5, "replaced"), (6, "filled")]
    assert not t.tracker.open


def test_a_replace_whose_order_was_filled_first_never_worked():
    t = Told()
    t.intent(1, 5)
    t.answer("A", user_ref_num=5)
    t.intent(2, 6, orig=5)
    t.answer("E", user_ref_num=5, quantity=100)
    assert [(o["order"], o["state"]) for o in t.orders] == [(6, "never worked"), (5, "filled")]


def test_an_order_of_before_a_crash_that_the_venue_does_not_know_never_worked():
    t = Told()
    t.intent(1, 5)
    t.answer("X", user_ref_num=9, symbol="")
    assert [(o["order"], o["state"]) for o in t.orders] == [(5, "never worked")]


def test_a_broken_trade_is_taken_out_of_the_position_and_told():
    t = Told()
    t.intent(1, 5)
    t.answer("A", user_ref_num=5)
    t.answer("E", user_ref_num=5, quantity=100, match=77)
    assert t.answer("B", user_ref_num=5, match=77) == {"order": 5, "what": "broken trade", "match": 77}
    assert t.tracker.position["PRGN"] == 0


def test_orders_that_are_open_at_the_end_are_listed_as_they_are():
    t = Told()
    t.intent(1, 5)
    t.intent(1, 6)
    t.answer("A", user_ref_num=6)
    t.tracker.finish()
    assert [(o["order"], o["state"]) for o in t.orders] == [(5, "unknown"), (6, "open")]


# ---- commands

LIMITS = {NO_INSTRUMENT: {"max_order_lots": 200, "max_loss": 5_000}}


def command(kind: int, body: bytes = b"", key: int = 0, origin: bytes = b"") -> bytes:
    """A command record's payload: journal::CommandHead, body, origin."""
    return struct.pack("<QHHI", key, kind, len(origin), len(body)) + body + origin


def test_a_command_says_who_why_and_when_where_the_journal_does():
    reader = CommandReader(1, ["PRGN", "FLCN"], LIMITS)
    origin = msgspec.msgpack.encode({"id": "a1", "who": "kim", "why": "news", "when_ns": 123, "cmd": "pause"})
    row = reader.command(9, 456, command(11, struct.pack("<I", 1), 3, origin))
    assert (row["command"], row["detail"], row["who"], row["why"], row["when_ns"], row["seq"]) == ("pause symbol", "FLCN", "kim", "news", 123, 9)
    old = reader.command(10, 457, command(4))
    assert old["who"] is None and old["command"] == "pause"


def test_the_same_of_several_shards_is_one_row_with_the_record_of_the_first():
    second = 10**9
    rows = [(1, 0, 70, "killed", "alive", "killed"), (2, 1, 60, "killed", "alive", "killed"), (3, 2, 9, "paused", "trading", "paused"),
            (4, 2, 50, "killed", "alive", "killed"), (5, 1, 61, "killed", "alive", "killed"), (2 * second, 0, 99, "killed", "alive", "killed")]  # fmt: skip
    assert [(at, shards, seq) for at, shards, seq, *_ in together(rows)] == [(1, [0, 1, 2], 70), (3, [2], 9), (5, [1], 61), (2 * second, [0], 99)]
    assert [shards_of(s) for s in ([3], [1, 0], [2, 0, 1], [5, 0, 2])] == ["3", "0, 1", "0 to 2", "0, 2, 5"]


def test_a_repeated_command_is_shown_as_one_that_did_nothing():
    reader = CommandReader(0, [], LIMITS)
    assert reader.command(1, 0, command(4, key=8))["repeated"] == 0
    again = reader.command(2, 0, command(4, key=8))
    assert again["repeated"] == 1 and "nothing done" in again["detail"]


def test_changed_limits_are_told_from_those_before():
    reader = CommandReader(0, ["PRGN"], LIMITS)
    body = bytearray(256)
    struct.pack_into("<II", body, 0, 1, NO_INSTRUMENT)
    struct.pack_into("<q", body, 24, 150)
    struct.pack_into("<q", body, 160, 5_000)
    assert "max_order_lots 200 → 150" in reader.command(1, 0, command(1, bytes(body)))["detail"]
    struct.pack_into("<q", body, 24, 90)
    assert reader.command(2, 0, command(1, bytes(body)))["detail"] == "account: max_order_lots 150 → 90"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=64))
def test_no_bytes_in_a_commands_place_bring_the_report_down(tail):
    reader = CommandReader(0, ["PRGN"], LIMITS)
    for kind in range(20):
        reader.command(1, 0, command(kind, tail[:40], 0, tail[40:]))


# ---- numbers and text

@given(st.integers(-(2**62), 2**62), st.sampled_from([100, 10_000, 1_000_000]))
def test_money_is_shown_to_the_last_unit(units, per):
    text = Format("USD", per, "UTC").money(units)
    assert Decimal(text.replace(",", "").replace(MINUS, "-")) * per == units


def test_numbers_read_as_people_write_them():
    fmt = Format("USD", 10_000, "America/New_York")
    assert fmt.money(15_501_550) == "+1,550.1550" and fmt.price(999_800) == "99.9800" and fmt.money(-1) == f"{MINUS}0.0001"
    assert fmt.clock(1_795_294_223_650_413_499) == "15:50:23.650413" and fmt.clock(None) == "-"
    assert [signed(v) for v in (5, 0, -1_200)] == ["+5", "0", f"{MINUS}1,200"]
    assert [duration(v) for v in (740, 12_300, 4_560_000, 1_200_000_000, 245_000_000_000, 23_400_000_000_000, None)] == [
        "740 ns", "12.3 µs", "4.56 ms", "1.20 s", "4 min 05 s", "6 h 30 min", "-"]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_text_from_outside_never_becomes_markup(text):
    assert "<" not in el("td", text, title=text).removeprefix("<td title=").removesuffix("</td>").replace(">", "", 1).replace('"', "")
    assert "<" not in data("x", {"rows": [text]}).removeprefix('<script type="application/json" id="x">').removesuffix("</script>")


def test_latencies_fall_into_the_span_in_which_they_were_known():
    over = LatencyOverTime(1_000, 1_999, 10)
    for at, value in ((1_000, 5), (1_099, 7), (1_100, 9), (1_999, 11), (5_000, 13)):
        over.record("order_to_answer", at, value)
    assert [(row, s["count"], s["max"]) for row, s in over.over_time("order_to_answer")] == [(0, 2, 7), (1, 1, 9), (9, 2, 13)]
    assert over.whole("order_to_answer")["count"] == 5 and over.edges(0) == (1_000, 1_099)


def test_a_histogram_file_is_read_back_as_it_was_written(tmp_path):
    from hotpath._core import Histogram

    h = Histogram()
    (tmp_path / "empty.hgrm").write_text(h.hgrm(1.0))
    for value in range(1, 1001):
        h.record(value * 1000)
    (tmp_path / "full.hgrm").write_text(h.hgrm(1.0))
    found = read_hgrm(tmp_path / "full.hgrm")
    assert found["count"] == 1000 and found["max"] == 1_000_000 and found["p50"] == pytest.approx(500_000, rel=0.005)
    assert read_hgrm(tmp_path / "empty.hgrm")["count"] == 0
