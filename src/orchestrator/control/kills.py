"""Kills of a run, out of its journals: by what, when it was seen, what still left, when the cancels were out.

A kill is an input of the shard (a control word, a command, the loss of the supervisor) or the consequence of one (a loss,
a drawdown). From its record on the journal holds no new order; the times below say how soon the last one and the cancels
were really handed to the socket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator.control import bodies

COMMAND, CONTROL, SEND_RESULT, INTENT, DECISION = 21, 23, 26, 64, 65
ENTER, REPLACE, CANCEL, MASS_CANCEL = 1, 2, 3, 4
KILL_WORD, SUPERVISOR_LOST = 1, 2
LOSS_POLICY_KILL = 3
JUDGED = {4: "loss", 8: "drawdown"}  # breakers that kill
_COMMAND = struct.Struct("<QHHI")
_CONTROL = struct.Struct("<B7xQ")
_SEND = struct.Struct("<QIi")
_DECISION = struct.Struct("<QQQIBBBBqq")


def history(records: Iterable[tuple[int, int, int, int, bytes]], *, lost_supervisor_kills: bool = False) -> list[dict[str, Any]]:
    """Kills in a journal's records (type, seq, ts_ns, generation, payload), in order, repeated ones left out.

    Each is {by, who, why, asked_ns, seen_seq, seen_ns, last_order_ns, new_after, reducing_after, first_cancel_ns, cancels, cancels_sent_ns,
    lifted_seq}: `asked_ns` is None where the journal does not know it; `last_order_ns` is when the last order made before
    it was handed to the socket, `new_after` the number made after it (none, ever; reducing ones asked for by a flattening are
    counted apart, in `reducing_after`); `cancels_sent_ns` when the last byte of
    the first cancels was taken by the socket, None while it was not.
    """
    out: list[dict[str, Any]] = []
    now: dict[str, Any] | None = None
    last_order_seq = last_order_ns = 0
    order_waits = reducing = False
    for kind, seq, ts_ns, _, payload in records:
        cause = _cause(kind, payload, lost_supervisor_kills)
        if cause is not None and now is None:
            now = {**cause, "seen_seq": seq, "seen_ns": ts_ns, "last_order_ns": last_order_ns or None, "new_after": 0, "reducing_after": 0,
                   "first_cancel_ns": None, "cancels": 0, "cancels_sent_ns": None, "lifted_seq": None,
                   "_cancel_seq": 0}  # fmt: skip
            out.append(now)
            reducing = _reduces(kind, payload)
        elif cause is not None and now is not None and now["by"].startswith("word") and not now["who"]:
            now["who"], now["why"] = cause["who"], cause["why"]  # a word has no name: the command behind it says whose it was
            reducing = reducing or _reduces(kind, payload)
        elif now is not None and _lifts(kind, payload):
            now["lifted_seq"] = seq
            now = None
        elif now is not None and _reduces(kind, payload):
            reducing = True
        elif kind == INTENT:
            if payload[0] in (ENTER, REPLACE):
                last_order_seq, last_order_ns, order_waits = seq, ts_ns, True
                if now is not None:
                    now["reducing_after" if reducing else "new_after"] += 1
            elif now is not None and payload[0] in (CANCEL, MASS_CANCEL) and now["cancels_sent_ns"] is None:
                now["cancels"] += 1
                now["first_cancel_ns"] = now["first_cancel_ns"] or ts_ns
                now["_cancel_seq"] = seq
        elif kind == SEND_RESULT:
            upto, asked, result = _SEND.unpack_from(payload)
            whole = result == asked
            if order_waits and whole and upto >= last_order_seq:
                order_waits, last_order_ns = False, ts_ns
                if now is not None and last_order_seq < now["seen_seq"]:
                    now["last_order_ns"] = ts_ns
            if now is not None and whole and now["_cancel_seq"] and upto >= now["_cancel_seq"] and now["cancels_sent_ns"] is None:
                now["cancels_sent_ns"] = ts_ns
    for kill in out:
        del kill["_cancel_seq"]
    return out


def _cause(kind: int, payload: bytes, lost_supervisor_kills: bool) -> dict[str, Any] | None:
    if kind == CONTROL:
        what, value = _CONTROL.unpack_from(payload)
        if what == KILL_WORD and value > 0:
            return _by("word or signal" if value == 1 else "word, flattening")
        if what == SUPERVISOR_LOST and lost_supervisor_kills:
            return _by("lost supervisor")
    elif kind == COMMAND:
        _, number, said, size = _COMMAND.unpack_from(payload)
        if number == bodies.KINDS["kill"]:
            origin = bodies.parse_origin(payload[_COMMAND.size + size :][:said]) if said else {}
            return _by("command", origin.get("who", ""), origin.get("why", ""), origin.get("when_ns") or None)
    elif kind == DECISION:
        bit, _, _, instrument, _, reason, _, _, _, _ = _DECISION.unpack_from(payload)
        if instrument == bodies.ACCOUNT and reason and bit in JUDGED:
            return _by(f"breaker: {JUDGED[bit]}")
    return None


def _reduces(kind: int, payload: bytes) -> bool:
    """Does this let reducing orders pass from here on?"""
    if kind == COMMAND:
        return _COMMAND.unpack_from(payload)[1] in (bodies.KINDS["flatten"], bodies.KINDS["reduce_only"])
    return kind == CONTROL and _CONTROL.unpack_from(payload) == (KILL_WORD, 2)


def _by(how: str, who: str = "", why: str = "", asked_ns: int | None = None) -> dict[str, Any]:
    return {"by": how, "who": who, "why": why, "asked_ns": asked_ns}


def _lifts(kind: int, payload: bytes) -> bool:
    if kind == COMMAND:
        return _COMMAND.unpack_from(payload)[1] == bodies.KINDS["revive"]
    return kind == CONTROL and _CONTROL.unpack_from(payload) == (KILL_WORD, 0)


def history_of(folder: Path) -> list[dict[str, Any]]:
    """Kills in every journal of a run's folder, in time's order, each with its `shard`. Raises what the reader raises."""
    from hotpath import _core
    from orchestrator.run.journals import read_header
    from orchestrator.run.shards import folders

    found = []
    for shard, own in enumerate(folders(folder)):
        spec = read_header(own)[0].config["shard"]
        policy = spec.get("supervisor_loss", LOSS_POLICY_KILL if spec.get("kill_on_supervisor_loss") else 0)
        records = ((r[0], r[1], r[2], r[3], bytes(r[4])) for r in _core.journal.Reader(str(own)))
        found += [{"shard": shard, **kill} for kill in history(records, lost_supervisor_kills=policy == LOSS_POLICY_KILL)]
    return sorted(found, key=lambda kill: kill["seen_ns"])
