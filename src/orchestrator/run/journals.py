"""Journals again: replayed through the same engine, verified byte for byte, explained where they differ."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from orchestrator.observe import machine
from orchestrator.observe.result import RunResult
from orchestrator.run import plan
from orchestrator.run.results import apply_summary

HEADER_TYPE = 1
DECISION_TYPE = 65
_DECISION = struct.Struct("<QQQIBBBBqq")  # journal::DecisionHead
_INTENT = struct.Struct("<BBBBIIIqqQQ")  # journal::IntentHead
_TYPE_NAMES = {64: "intent", 65: "decision", 66: "state_hash"}
_INTENT_KINDS = {1: "enter", 2: "replace", 3: "cancel", 4: "mass_cancel", 5: "account_query"}


class JournalUnreadable(Exception):
    """The folder holds no journal, or one that cannot be read; the text says where, `hint` what can be done."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


CORRUPT_HINT = "nothing of it is replayed: take the folder from a backup; the records before the place are whole"
NO_JOURNAL_HINT = "name the folder of one run, as its report does: runs/latest"


def read_header(folder: Path) -> tuple[Any, bytes]:
    """The parsed header of the journal in `folder`, and its payload bytes. Raises JournalUnreadable."""
    from hotpath import _core
    from hotpath.journal.header import HeaderError, parse_header

    try:
        for record in _core.journal.Reader(str(folder)):
            kind, payload = record[0], bytes(record[4])
            if kind == HEADER_TYPE:
                return parse_header(payload), payload
            break
    except (ValueError, OSError, RuntimeError, HeaderError) as err:
        raise JournalUnreadable(f"{folder}: {err}", hint=CORRUPT_HINT) from err
    raise JournalUnreadable(f"{folder}: no journal with a header record in it", hint=NO_JOURNAL_HINT)


def require_semantics(parsed: Any, folder: Path) -> None:
    """Refuse a journal whose inputs this engine would answer differently. Raises JournalUnreadable, which names the one that would not."""
    from hotpath import _core

    here = _core.journal.SEMANTICS_VERSION
    if parsed.semantics_version == here:
        return
    wrote = parsed.machine.get("version")
    by = f"Peregrine {wrote}" if wrote else "the release that wrote it"
    raise JournalUnreadable(
        f"{folder}: semantics version {parsed.semantics_version}, written by {by}; this is Peregrine {_core.__version__}, "
        f"semantics version {here}: it would decide differently on the same inputs",
        hint=f"replay it, and go on with it, only with {by}; `peregrine decode` reads it here",
    )


def replay_journal(folder: Path) -> RunResult:
    """The journal's inputs through a fresh engine; the result as `run` reports it (stage times are not replayed)."""
    parsed, policies, raw, _ = _replay(folder)
    effective = parsed.config["effective"]
    result = RunResult(
        mode="replay",
        config_name=effective.get("name", ""),
        duration_ns=raw["last_ts_ns"] - raw["first_ts_ns"],
        stopped_by="feed end",
        currency=effective["account"]["currency"],
        units_per_currency=effective["account"]["units_per_currency"],
        journal=str(folder),
        machine=machine.describe(),
    )
    apply_summary(result, raw["summary"], policies)
    result.journal_records = raw["records"]
    if not raw["identical"]:
        result.warnings.append("the replay differs from the journal: peregrine verify shows the first difference")
    return result


def verify_journal(folder: Path) -> dict[str, Any]:
    """`records`, `orders`, `identical`; on a difference `divergence`: the first order or hash that is not the same."""
    parsed, _, raw, _ = _replay(folder)
    out = {
        "journal": str(folder),
        "records": raw["records"],
        "inputs": raw["inputs"],
        "orders": raw["orders"],
        "state_hashes": raw["state_hashes"],
        "recoveries": raw["recoveries"],
        "never_sent": raw["unsent"],
        "identical": raw["identical"],
        "order_hash": f"{raw['summary']['order_hash']:016x}",
        "state_hash": f"{raw['summary']['state_hash']:016x}",
    }
    if "divergence" in raw:
        out["divergence"] = explain(raw["divergence"])
    return out


def _replay(folder: Path) -> tuple[Any, list[plan.LoadedPolicy], dict[str, Any], Any]:
    from hotpath import _core

    parsed, _ = read_header(folder)
    require_semantics(parsed, folder)
    policies = plan.policies_of_header(parsed)
    engine = _core.ReplayEngine(
        shard=parsed.config["shard"], policies=[p.spec for p in policies], quorum=parsed.config["quorum"], stage=_stage
    )
    try:
        raw = engine.run(str(folder))
    except (ValueError, RuntimeError) as err:
        raise JournalUnreadable(f"{folder}: {err}", hint=CORRUPT_HINT) from err
    return parsed, policies, raw, engine


def _stage(slot: int, data: bytes) -> dict[str, Any]:
    return plan.bank_spec(slot, data)


def explain(d: dict[str, Any]) -> dict[str, Any]:
    """A divergence for people: what the journal says and what the replay made, decision by decision."""
    return {
        "input_seq": d["input_seq"],
        "record_seq": d["record_seq"],
        "what": _TYPE_NAMES.get(d["type"], str(d["type"])),
        "reason": d["reason"],
        "input": {"type": d["input_type"], "bytes": bytes(d["input"]).hex()},
        "order": {"journal": _output(d["type"], d["journaled"]), "replay": _output(d["type"], d["replayed"])},
        "decision": {
            "journal": _output(DECISION_TYPE, d["decision_journaled"]),
            "replay": _output(DECISION_TYPE, d["decision_replayed"]),
        },
    }


def _output(kind: int, payload: bytes) -> Any:
    payload = bytes(payload)
    if not payload:
        return None
    if kind == DECISION_TYPE and len(payload) >= _DECISION.size:
        decision, feed_seq, version, instrument, action, risk, n_features, n_logits, observed, limit = _DECISION.unpack_from(payload)
        numbers = struct.unpack_from(f"<{n_features + n_logits}i", payload, _DECISION.size)
        return {
            "decision": decision, "feed_seq": feed_seq, "policy_version": f"{version:016x}", "instrument": instrument,
            "action": action, "risk_reason": risk, "risk_observed": observed, "risk_limit": limit,
            "features": list(numbers[:n_features]), "logits": list(numbers[n_features:]),
        }  # fmt: skip
    if kind == 64 and len(payload) >= _INTENT.size:
        what, side, action, tif, urn, orig, instrument, price, qty, decision, version = _INTENT.unpack_from(payload)
        return {
            "kind": _INTENT_KINDS.get(what, what), "side": "sell" if side else "buy", "action": action, "tif": chr(tif),
            "user_ref_num": urn, "orig_ref_num": orig, "instrument": instrument, "price_ticks": price, "qty_lots": qty,
            "decision": decision, "policy_version": f"{version:016x}", "bytes": payload[_INTENT.size :].hex(),
        }  # fmt: skip
    return payload.hex()
