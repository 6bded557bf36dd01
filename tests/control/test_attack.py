"""Bad attempts by the thousand: none is accepted, every one is counted and logged, and who may ask is still answered.

`make attack N=100000` makes more of them (PEREGRINE_ATTACK).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from control_rig import Rig, ask, until

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from control_attack import CONNECTED, CONNECTING, attack  # noqa: E402

from orchestrator.control.messages import Request  # noqa: E402

ATTEMPTS = int(os.environ.get("PEREGRINE_ATTACK", "10000"))


@pytest.mark.slow
def test_of_thousands_of_bad_attempts_none_is_accepted_and_a_good_client_is_answered_all_along(make_rig, recorder, folder):
    rig: Rig = make_rig(recorder, tcp=True, max_requests_per_s=1_000_000)
    found, waits, over = {}, [], threading.Event()

    def hurt():
        found.update(attack(f"tcp://{rig.port}", rig.server_key.public, rig.keys["viewer"], ATTEMPTS))
        over.set()

    attacker = threading.Thread(target=hurt)
    good = rig.dealer("operator")
    attacker.start()
    while not over.is_set():
        began = time.monotonic()
        assert ask(good, Request(cmd="note", why="still here", args={"text": "x"})).ok
        waits.append(time.monotonic() - began)
        over.wait(0.05)
    attacker.join()

    made = found["made"]
    assert sum(made.values()) == ATTEMPTS and found["accepted"] == 0, found
    assert {r.cmd for r, _ in recorder.seen} == {"note"} and len(recorder.seen) == len(waits)
    assert {caller.name for _, caller in recorder.seen} == {"a-operator"} and rig.killed == []

    # Every attempt is counted: by its reason where it had a connection, at the handshake where it got none.
    refused = rig.refused()
    assert found["answered"] == sum(made[kind] for kind in CONNECTED), (found, refused)
    assert refused["oversized"] == made["oversized"]
    assert refused["version"] == made["wrong version"]
    assert refused["role"] == made["wrong role"] + made["replayed"]
    assert refused["form"] + refused["garbage"] == sum(made[k] for k in ("garbage", "unknown fields", "deep nesting", "many frames"))
    until(lambda: rig.refused().get("key", 0) == made["unknown key"])
    least = made["no key"] + made["wrong server key"]
    until(lambda: rig.refused().get("handshake", 0) >= least)
    assert rig.refused()["handshake"] <= sum(made[kind] for kind in CONNECTING)

    # And logged: the counts of all lines together are the counts, in far fewer lines.
    rig.server.refusals.flush(whole=True)
    refused = rig.refused()
    rig.server.audit.close()
    lines = [json.loads(line) for line in (folder / "control.log").read_text().splitlines()]
    told = [line for line in lines if line["event"] == "refused"]
    assert sum(line["count"] for line in told) == sum(refused.values())
    assert len(told) < sum(refused.values())
    assert all(len(json.dumps(line)) < 1000 for line in told)


def test_a_connection_without_curve_or_with_a_key_nobody_knows_never_gets_an_answer(make_rig, recorder):
    from orchestrator.control import keys

    rig = make_rig(recorder, tcp=True)
    stranger = keys.make("stranger")
    rig.keys["stranger"] = stranger
    s = rig.dealer("stranger")
    s.send(msgspec.msgpack.encode(Request(cmd="status")))
    plain = rig.context.socket(__import__("zmq").DEALER)
    plain.linger = 0
    plain.connect(rig.server.addresses()["control_tcp"])
    plain.send(msgspec.msgpack.encode(Request(cmd="kill")))
    until(lambda: rig.refused().get("key", 0) >= 1 and rig.refused().get("handshake", 0) >= 1)
    assert not s.poll(200) and not plain.poll(200) and recorder.seen == [] and rig.killed == []


def test_the_same_bytes_again_by_the_same_caller_are_not_done_again(make_rig, recorder):
    rig = make_rig(recorder, tcp=True)
    data = msgspec.msgpack.encode(Request(cmd="note", why="once", args={"text": "x"}))
    first, again = ask(rig.dealer("operator"), data), ask(rig.dealer("operator"), data)
    assert first.ok and again.duplicate and len(recorder.seen) == 1
    stolen = ask(rig.dealer("risk"), data)
    assert stolen.error.code == "conflict" and len(recorder.seen) == 1
