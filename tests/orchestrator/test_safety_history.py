"""Histories of breakers and kills, from records made by hand: every field from the record that says it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from orchestrator.control import bodies, breakers, kills
from orchestrator.control.messages import Request
from orchestrator.run.watch import AccountBreaker

COMMAND, TIMER, CONTROL, SEND_RESULT, INTENT, DECISION = 21, 22, 23, 26, 64, 65
NOBODY = 0xFFFFFFFF


class Journal:
    """Records one after the other, a millisecond apart."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int, int, int, bytes]] = []

    def add(self, kind: int, payload: bytes) -> int:
        seq = len(self.records) + 1
        self.records.append((kind, seq, seq * 1_000_000, 1, payload))
        return seq

    def breaker(self, bit: int, tripped: bool, value: int = 0, limit: int = 0) -> int:
        return self.add(DECISION, struct.pack("<QQQIBBBBqq", bit, 9, 0, NOBODY, 255, 39 if tripped else 0, 0, 0, value, limit))

    def decision(self, reason: int = 0) -> int:
        return self.add(DECISION, struct.pack("<QQQIBBBBqq", 4, 9, 0, 0, 1, reason, 0, 0, 0, 0))

    def command(self, kind: str, who: str = "", why: str = "", when_ns: int = 0, body: bytes = b"") -> int:
        said = bodies.origin(Request(cmd=kind, who=who, why=why, when_ns=when_ns)) if who else b""
        return self.add(COMMAND, bodies.command(kind, body, 7, said))

    def control(self, kind: int, value: int) -> int:
        return self.add(CONTROL, struct.pack("<B7xQ", kind, value))

    def intent(self, kind: int) -> int:
        return self.add(INTENT, bytes([kind]) + bytes(47))

    def sent(self, upto: int, asked: int, result: int) -> int:
        return self.add(SEND_RESULT, struct.pack("<QIi", upto, asked, result))

    def ns(self, seq: int) -> int:
        return self.records[seq - 1][2]


def test_a_trip_ends_with_the_arming_that_follows_it_and_names_who_did_it() -> None:
    j = Journal()
    j.decision(39)  # the gate's own refusal of an order, of an instrument: no trip
    tripped = j.breaker(1, True, 31, 30)
    j.command("note", "bob")
    j.breaker(2, True, 4, 3)
    given = j.command("rearm", "ada", "looked at it", body=bodies.number(1))
    armed = j.breaker(1, False)
    j.add(TIMER, bytes(16))
    alone = j.breaker(2, False)
    j.breaker(8, True, 500, 400)
    found = breakers.history(j.records)
    assert found == [
        {"breaker": "message_rate", "seq": tripped, "ts_ns": j.ns(tripped), "value": 31, "limit": 30,
         "rearmed_seq": armed, "rearmed_ns": j.ns(armed), "rearmed_by": "ada", "why": "looked at it"},
        {"breaker": "reject_rate", "seq": 4, "ts_ns": j.ns(4), "value": 4, "limit": 3,
         "rearmed_seq": alone, "rearmed_ns": j.ns(alone), "rearmed_by": "cooldown", "why": ""},
        {"breaker": "drawdown", "seq": 9, "ts_ns": j.ns(9), "value": 500, "limit": 400,
         "rearmed_seq": None, "rearmed_ns": None, "rearmed_by": None, "why": None},
    ]  # fmt: skip
    assert given == armed - 1


def test_breakers_by_name_are_bits_and_a_wrong_name_is_told() -> None:
    assert breakers.bits(["loss", "message_rate"]) == 5 and breakers.bits([]) == 15 and breakers.names(10) == ["reject_rate", "drawdown"]
    with pytest.raises(ValueError, match="no such breaker: los; there are message_rate, reject_rate, loss, drawdown"):
        breakers.bits(["los"])


def one(found: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(found) == 1, found
    return found[0]


def test_a_kill_tells_when_the_order_before_it_and_its_cancels_were_handed_over() -> None:
    j = Journal()
    order = j.intent(1)
    j.sent(order, 50, 20)  # the socket takes a part
    seen = j.control(1, 1)
    cancel = j.intent(4)
    j.control(1, 1)  # seen again: the same kill
    flushed = j.sent(cancel, 45, 45)
    kill = one(kills.history(j.records))
    assert (kill["by"], kill["seen_seq"], kill["seen_ns"]) == ("word or signal", seen, j.ns(seen))
    assert kill["last_order_ns"] == kill["cancels_sent_ns"] == j.ns(flushed) and kill["first_cancel_ns"] == j.ns(cancel)
    assert (kill["new_after"], kill["cancels"], kill["lifted_seq"]) == (0, 1, None)


def test_cancels_that_the_socket_has_not_taken_are_not_out() -> None:
    j = Journal()
    j.sent(j.intent(1), 50, 50)
    j.control(1, 1)
    j.sent(j.intent(4), 25, 10)
    assert one(kills.history(j.records))["cancels_sent_ns"] is None


def test_an_order_after_a_kill_is_counted_and_a_reducing_one_apart() -> None:
    j = Journal()
    j.control(1, 1)
    j.intent(1)
    assert one(kills.history(j.records))["new_after"] == 1
    j = Journal()
    j.control(1, 2)
    j.intent(1)
    kill = one(kills.history(j.records))
    assert (kill["by"], kill["new_after"], kill["reducing_after"]) == ("word, flattening", 0, 1)
    j = Journal()
    j.control(1, 1)
    j.command("flatten")
    j.intent(1)
    assert (one(kills.history(j.records))["reducing_after"], one(kills.history(j.records))["new_after"]) == (1, 0)


def test_a_lifted_kill_makes_room_for_the_next() -> None:
    j = Journal()
    j.command("kill", "ada", "why not", when_ns=500)
    lifted = j.command("revive", "ada")
    j.intent(1)
    j.breaker(8, True, 5, 4)
    back = j.control(1, 0)
    j.control(2, 0)
    first, second = kills.history(j.records)
    assert (first["by"], first["who"], first["why"], first["asked_ns"], first["lifted_seq"]) == ("command", "ada", "why not", 500, lifted)
    assert (second["by"], second["lifted_seq"], second["new_after"]) == ("breaker: drawdown", back, 0)


def test_the_command_behind_a_word_says_whose_kill_it_was_and_the_first_to_say_so_counts() -> None:
    j = Journal()
    seen = j.control(1, 1)
    j.command("kill", "ada", "it looks wrong", when_ns=5)
    j.command("kill", "bob", "to be sure", when_ns=6)
    kill = one(kills.history(j.records))
    assert (kill["by"], kill["who"], kill["why"], kill["seen_seq"], kill["asked_ns"]) == ("word or signal", "ada", "it looks wrong", seen, None)

    j = Journal()
    j.breaker(4, True, 4, 3)
    j.command("kill", "bob", "to be sure")
    assert one(kills.history(j.records))["who"] == "", "a breaker's kill is nobody's"


def test_a_lost_supervisor_is_a_kill_only_where_that_is_the_policy() -> None:
    j = Journal()
    j.control(2, 0)
    assert kills.history(j.records) == []
    assert one(kills.history(j.records, lost_supervisor_kills=True))["by"] == "lost supervisor"


def test_a_breaker_that_counts_is_no_kill() -> None:
    j = Journal()
    j.breaker(1, True, 31, 30)
    assert kills.history(j.records) == []


def test_the_accounts_breaker_keeps_its_history_and_is_armed_by_a_person_within_the_limit() -> None:
    b = AccountBreaker(1000, 600)
    assert not b.tripped_by(500) and b.tripped_by(-200) and not b.tripped_by(-900)
    assert {k: b.history[0][k] for k in ("breaker", "value", "limit", "rearmed_by")} == {
        "breaker": "account_drawdown", "value": 700, "limit": 600, "rearmed_by": None}
    assert not b.rearm("ada", "", 5, -1000), "the loss is at its limit"
    assert b.rearm("ada", "looked", 7, -200)
    assert (b.history[0]["rearmed_by"], b.history[0]["why"], b.history[0]["rearmed_ns"]) == ("ada", "looked", 7)
    assert not b.tripped_by(-700), "the drawdown counts from where it was armed"
    assert b.tripped_by(-1000) and b.history[1]["breaker"] == "account_loss"
