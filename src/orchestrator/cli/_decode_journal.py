"""Records of a journal segment (layout: journal/record.h), for `peregrine decode`.

Shows what is there; whether it is whole is `peregrine verify`'s to say, which checks every CRC and the chain.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from orchestrator.cli._decode_sources import Line, Warnings, itch_line
from orchestrator.control.bodies import ACCOUNT
from orchestrator.control.breakers import BREAKERS

SEGMENT_HEADER_BYTES = 128
HEADER = struct.Struct("<IHHQqII")  # length type pad seq ts_ns generation crc32c
MAX_RECORD_BYTES = 64 << 20

TYPES = {0: "padding", 1: "header", 2: "trailer", 16: "feed", 17: "snapshot", 18: "feed_state", 19: "session",
         20: "session_state", 21: "command", 22: "timer", 23: "control", 24: "device", 25: "signal",
         26: "send_result", 27: "recovered", 28: "feed_ref", 64: "intent", 65: "decision", 66: "state_hash"}
LINES = ("A", "B", "retransmission", "snapshot", "file")
FEED_STATES = ("down", "recovering", "live", "gapped", "stale", "ended")
FEED_REASONS = ("start", "gap", "silence", "recovered", "end_of_session", "snapshot_failed", "overrun")
INTENTS = ("", "enter", "replace", "cancel", "mass_cancel", "account_query")
DEVICE_OUTCOMES = ("answered", "late", "corrupt", "refused", "busy", "breaker_open", "loading", "no_device", "broken")
COMMANDS = ("", "limits", "weights", "bank_swap", "pause", "resume", "drain", "kill", "flatten", "lease_grant",
            "lease_return", "pause_symbol", "resume_symbol", "revive", "reduce_only", "rearm", "active_symbols", "move", "note")

# Fixed payloads: type -> (struct format, field names; '' = reserved).
FIXED: dict[str, tuple[str, tuple[str, ...]]] = {
    "session_state": ("<BB2xI", ("up", "reason", "connection")),
    "timer": ("<I4xq", ("timer", "due_ns")),
    "control": ("<B7xQ", ("control", "value")),
    "signal": ("<QiB3x", ("decision", "value", "status")),
    "send_result": ("<QIi", ("last_intent_seq", "bytes_asked", "result")),
    "recovered": ("<IIQQ", ("epoch", "last_user_ref_num", "last_intent_seq", "venue_seq")),
    "state_hash": ("<QQQ", ("after_input_seq", "state_hash", "order_hash")),
}


def journal_files(path: Path) -> list[Path]:
    """The segments of a journal directory in order (of a run of several shards: shard by shard), or the one file given."""
    if not path.is_dir():
        return [path]
    return sorted(path.glob("journal-*.pgj")) or sorted(path.glob("shard-[0-9][0-9]/journal-*.pgj"))


def journal_lines(path: Path, warnings: Warnings) -> Iterator[Line]:
    """Every record of a journal directory or of one segment file, with its byte offset."""
    n = 0
    for file in journal_files(path):
        data = file.read_bytes()
        of_shard = {"shard": int(file.parent.name[6:])} if path.is_dir() and file.parent != path else {}
        at = SEGMENT_HEADER_BYTES
        while at < len(data):
            if not any(data[at:at + HEADER.size]):
                break  # space allocated ahead
            if len(data) - at < HEADER.size:
                warnings.append(f"{file}: truncated at byte {at} after {n} records")
                break
            length, kind, pad, seq, ts_ns, generation, crc = HEADER.unpack_from(data, at)
            if length < HEADER.size or length % 8 or length > MAX_RECORD_BYTES or pad > 7 or pad > length - HEADER.size:
                warnings.append(f"{file}: no record at byte {at} (length {length}); `peregrine verify` says more")
                break
            if length > len(data) - at:
                warnings.append(f"{file}: truncated at byte {at} after {n} records")
                break
            payload = data[at + HEADER.size:at + length - pad]
            name = TYPES.get(kind, f"type_{kind}")
            n += 1
            if name != "padding":
                yield {"n": n, "offset": at, "record": name, "journal_seq": seq, "rx_ns": ts_ns,
                       "generation": generation, **of_shard, **payload_fields(name, payload)}
            at += length


def payload_fields(name: str, payload: bytes) -> Line:
    """The payload of one record by type; hex when it is too short for its type or has no layout here."""
    try:
        if name in FIXED:
            layout, names = FIXED[name]
            return dict(zip(names, struct.unpack_from(layout, payload), strict=True))
        decoder = {"header": _header, "feed": _feed, "snapshot": _feed, "feed_state": _feed_state,
                   "session": _session, "command": _command, "intent": _intent, "decision": _decision,
                   "device": _device, "feed_ref": _feed_ref, "trailer": _trailer}.get(name)
        return decoder(payload) if decoder else {"hex": payload.hex()}
    except (struct.error, IndexError, ValueError) as err:
        return {"error": f"malformed: {err}", "hex": payload.hex()}


def _device(p: bytes) -> Line:
    decision, version, cycles, outcome, answered, actions, attempts = struct.unpack_from("<QQIBBBB", p)
    slots = [s for s in range(8) if answered >> s & 1]
    logits = struct.unpack_from(f"<{len(slots) * actions}i", p, 24)
    return {"decision": decision, "outcome": _pick(DEVICE_OUTCOMES, outcome), "policy_version": f"{version:016x}",
            "cycles": cycles, "attempts": attempts,
            "logits": {str(s): list(logits[i * actions:(i + 1) * actions]) for i, s in enumerate(slots)}}


def _pick(names: tuple[str, ...], i: int) -> str | int:
    return names[i] if i < len(names) else i


def _header(p: bytes) -> Line:
    size = struct.unpack_from("<I", p)[0]
    return {"header": json.loads(p[4:4 + size]), "artifact_bytes": max(0, len(p) - 4 - size)}


def _feed(p: bytes) -> Line:
    seq, line = struct.unpack_from("<QB", p)
    return {"feed_seq": seq, "line": _pick(LINES, line), **itch_line(p[16:])}


def _feed_state(p: bytes) -> Line:
    state, reason, first, last = struct.unpack_from("<BB6xQQ", p)
    return {"state": _pick(FEED_STATES, state), "reason": _pick(FEED_REASONS, reason), "from_seq": first, "to_seq": last}


def _session(p: bytes) -> Line:
    from orchestrator.cli._decode_sources import soup_line

    return soup_line(chr(p[0]), p[1:])


def _command(p: bytes) -> Line:
    key, kind, origin, size = struct.unpack_from("<QHHI", p)
    line = {"command": _pick(COMMANDS, kind), "idempotency_key": key, "body_hex": p[16:16 + size].hex()}
    if origin:
        from orchestrator.control.bodies import parse_origin

        line["origin"] = parse_origin(p[16 + size:16 + size + origin])
    return line


def _intent(p: bytes) -> Line:
    from hotpath.execution.wire import decode_ouch

    kind, side, action, tif, urn, orig, ix, price, qty, decision, version = struct.unpack_from("<4B3I2q2Q", p)
    message = decode_ouch(p[48:], from_host=False)
    return {"intent": _pick(INTENTS, kind), "side": "BS"[side & 1], "action": action, "tif": chr(tif),
            "user_ref_num": urn, "orig_ref_num": orig, "instrument": ix, "price_ticks": price, "qty_lots": qty,
            "decision": decision, "policy_version": version, "message": message or {"hex": p[48:].hex()}}


def _decision(p: bytes) -> Line:
    head = struct.unpack_from("<3QI4B2q", p)
    names = ("decision", "feed_seq", "policy_version", "instrument", "action", "risk_reason", "n_features", "n_logits",
             "risk_observed", "risk_limit")
    out: Line = dict(zip(names, head, strict=True))
    features, logits = out.pop("n_features"), out.pop("n_logits")
    if out["instrument"] == ACCOUNT:
        bits = [name for bit, name in BREAKERS.items() if out["decision"] & bit]
        what = "tripped" if out["risk_reason"] else "armed again"
        return {"breaker": bits[0] if bits else out["decision"], "what": what, "observed": out["risk_observed"], "limit": out["risk_limit"]}
    values = struct.unpack_from(f"<{features + logits}i", p, 48)
    return out | {"features": list(values[:features]), "logits": list(values[features:])}


def _feed_ref(p: bytes) -> Line:
    first, count = struct.unpack_from("<QQ", p, 32)
    return {"sha256": p[:32].hex(), "first_message": first, "messages": count}


def _trailer(p: bytes) -> Line:
    records, first, last = struct.unpack_from("<3Q", p)
    return {"records": records, "first_seq": first, "last_seq": last, "sha256": p[24:56].hex()}
