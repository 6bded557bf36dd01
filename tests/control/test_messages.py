"""Every byte string ends as a request or as a refusal; roles allow what the table says and nothing more."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control import arguments
from orchestrator.control.admission import MAX_AGE_NS, REASONS, Admission, Refused, content_of
from orchestrator.control.messages import COMMANDS, INCLUDES, MAX_REQUEST_BYTES, Caller, Request, may
from orchestrator.control.rates import Rates
from orchestrator.control.refusals import LINES_A_SECOND, Refusals
from orchestrator.control.replies import MAX_WAITERS, Replies

NOW_NS = 1_700_000_000_000_000_000
ROLES = st.sampled_from(sorted(INCLUDES))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def admission():
    return Admission(Rates(10**9))


def admit(payload, role="admin", via="tcp"):
    return admission().admit(payload, Caller("anna", role, via), NOW_NS)


def refused(payload, **how):
    with pytest.raises(Refused) as found:
        admit(payload, **how)
    problem = found.value.problem()
    assert found.value.reason in REASONS and problem.message and msgspec.msgpack.encode(problem)
    return found.value.reason


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_refused(payload):
    try:
        assert admit(payload).cmd in COMMANDS
    except Refused as err:
        assert err.reason in REASONS


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["v", "id", "cmd", "who", "why", "when_ns", "args", "x"]), VALUES))
def test_any_map_with_the_names_of_a_request_is_a_request_or_refused(fields):
    try:
        request = admit(msgspec.msgpack.encode(fields))
    except Refused as err:
        assert err.reason in REASONS and len(err.request_id) <= 64
    else:
        assert request.cmd in COMMANDS and arguments.problems(request.cmd, request.args) == []


@settings(max_examples=100, deadline=None)
@given(cmd=st.sampled_from(sorted(COMMANDS)), args=st.dictionaries(st.sampled_from(["symbol", "shard", "all", "slot", "limits", "weights", "text", "on", "x"]), VALUES), role=ROLES)
def test_what_is_admitted_has_good_arguments_and_a_role_that_may(cmd, args, role):
    try:
        admit(msgspec.msgpack.encode(Request(cmd=cmd, args=args, why="w", when_ns=NOW_NS)), role)
    except Refused as err:
        assert err.reason in ("role", "arguments") and (err.reason != "role" or not may(role, cmd))
    else:
        assert may(role, cmd) and not arguments.problems(cmd, args)


@given(cmd=st.sampled_from(sorted(COMMANDS)), role=ROLES)
def test_a_role_may_what_is_listed_for_it_or_for_a_role_it_includes(cmd, role):
    listed = set(COMMANDS[cmd].roles)
    assert may(role, cmd) == (role == "admin" or bool(listed & set(INCLUDES[role])))
    assert may(role, cmd + "x") is False


def test_a_viewer_changes_nothing_and_only_risk_loosens_risk():
    assert not [c for c, entry in COMMANDS.items() if entry.changes and may("viewer", c)]
    for cmd in ("limits.set", "revive", "rearm"):
        assert [r for r in INCLUDES if may(r, cmd)] == ["risk", "admin"]


@pytest.mark.parametrize(("payload", "reason"), [
    (b"", "garbage"), (b"\xc1", "garbage"), (b"\x91" * 100_000, "garbage"), (b"\x80", "form"),
    (bytes(MAX_REQUEST_BYTES + 1), "oversized"), (msgspec.msgpack.encode({"v": 2, "cmd": "status"}), "version"),
    (msgspec.msgpack.encode({"cmd": "status", "sudo": 1}), "form"), (msgspec.msgpack.encode({"cmd": "halt"}), "command"),
    (msgspec.msgpack.encode({"cmd": "status", "id": "x" * 65}), "form"), (msgspec.msgpack.encode({"cmd": "status", "id": ""}), "form"),
    (msgspec.msgpack.encode({"cmd": "stop"}), "form"), (msgspec.msgpack.encode({"cmd": "stop", "why": "\x1b[2J"}), "form"),
    (msgspec.msgpack.encode({"cmd": "stop", "why": "x" * 161}), "form"), (msgspec.msgpack.encode({"cmd": "note", "why": "x"}), "arguments"),
    (msgspec.msgpack.encode({"cmd": "status", "when_ns": NOW_NS - MAX_AGE_NS - 1}), "stale"),
])  # fmt: skip
def test_each_kind_of_bad_request_has_its_reason(payload, reason):
    assert refused(payload) == reason


def test_a_command_nearly_named_is_suggested():
    with pytest.raises(Refused) as found:
        admit(msgspec.msgpack.encode({"cmd": "limit.get"}))
    assert "limits.get" in found.value.hint


def test_content_is_the_same_whatever_the_stamp_and_the_order_of_arguments():
    anna = Caller("anna", "risk", "tcp")
    one = Request(cmd="note", args={"a": 1, "b": 2}, when_ns=1)
    two = Request(cmd="note", args={"b": 2, "a": 1}, when_ns=2)
    assert content_of(one, anna) == content_of(two, anna)
    assert content_of(one, anna) != content_of(one, Caller("bob", "risk", "tcp"))
    assert content_of(one, anna) != content_of(msgspec.structs.replace(one, why="x"), anna)


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from("abc")), max_size=200), st.integers(1, 20))
def test_nobody_passes_more_than_the_rate_and_a_pause_and_nobody_is_held_up_by_others(steps, per_s):
    now = [0.0]
    rates = Rates(per_s, clock=lambda: now[0])
    passed = dict.fromkeys("abc", 0)
    for wait_s, name in steps:
        now[0] += wait_s / 10
        first = passed[name] == 0
        if rates.take(name):
            passed[name] += 1
        else:
            assert not first
    for n in passed.values():
        assert n <= per_s + per_s * now[0] + 1


@given(st.lists(st.tuples(st.sampled_from(["key", "role", "garbage"]), st.floats(0, 0.4)), max_size=200))
def test_the_counts_of_all_lines_are_the_attempts_and_the_lines_are_few(attempts):
    now, lines = [0.0], []
    refusals = Refusals(lines.append, clock=lambda: now[0])
    for reason, wait_s in attempts:
        now[0] += wait_s
        refusals.add(reason)
    refusals.flush(whole=True)
    assert sum(line["count"] for line in lines) == len(attempts) == sum(refusals.counts().values())
    assert len(lines) <= (int(now[0]) + 1) * 3 * (LINES_A_SECOND + 1)


def test_kept_replies_are_bounded_and_those_on_their_way_are_never_dropped():
    from orchestrator.control.messages import Reply

    replies = Replies(most=3)
    assert all(replies.begin(str(i), b"") for i in range(3)) and not replies.begin("3", b"")
    replies.finish("1", Reply(id="1", ok=True))
    assert replies.begin("3", b"") and replies.find("1", b"") is None and replies.find("0", b"") is not None
    entry = replies.find("0", b"")
    assert all(replies.wait(entry, i) for i in range(MAX_WAITERS)) and not replies.wait(entry, "one more")
    assert replies.finish("0", Reply(id="0", ok=True)) == list(range(MAX_WAITERS))
    with pytest.raises(KeyError):
        replies.find("0", b"other")
