"""Journals again: replayed through the same engine, verified byte for byte, explained where they differ."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from orchestrator.observe import machine
from orchestrator.observe.result import RunResult
from orchestrator.run import plan
from orchestrator.run.results import apply_shards, combined_hash
from orchestrator.run.shards import folders

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
    """The inputs of a run through fresh engines; the result as `run` reports it (stage times are not replayed)."""
    replays = [_replay(own) for own in folders(folder)]
    parsed, policies, _, _ = replays[0]
    raws = [raw for _, _, raw, _ in replays]
    effective = parsed.config["effective"]
    result = RunResult(
        mode="replay",
        config_name=effective.get("name", ""),
        duration_ns=max(raw["last_ts_ns"] for raw in raws) - min(raw["first_ts_ns"] for raw in raws),
        stopped_by="feed end",
        currency=effective["account"]["currency"],
        units_per_currency=effective["account"]["units_per_currency"],
        journal=str(folder),
        machine=machine.describe(),
    )
    apply_shards(result, [{**raw["summary"], "journal_records": raw["records"]} for raw in raws], policies)
    for i, raw in enumerate(raws):
        if not raw["identical"]:
            which = f"the replay of shard {i}" if len(raws) > 1 else "the replay"
            result.warnings.append(f"{which} differs from the journal: peregrine verify shows the first difference")
    return result


_SUMMED = ("records", "inputs", "orders", "state_hashes", "recoveries", "never_sent", "snapshots", "snapshots_differ")


def verify_journal(folder: Path, *, from_snapshot: bool = False) -> dict[str, Any]:
    """`records`, `orders`, `identical`; on a difference `divergence`: the first order or hash that is not the same.

    Snapshots found on the way are held against the state the replay has come to there. With `from_snapshot` the
    replay begins at the newest one, and `from_seq` says with which record. Of a run of several shards each journal is
    verified: the counts are sums, `identical` says it of all, `shards` has each one's own verdict, and the hashes are
    those of the shards' hashes.
    """
    own = folders(folder)
    if own == [folder]:
        return _verify(folder, from_snapshot)[0]
    verdicts, order_hashes, state_hashes = [], [], []
    for path in own:
        verdict, summary = _verify(path, from_snapshot)
        verdicts.append(verdict)
        order_hashes.append(summary["order_hash"])
        state_hashes.append(summary["state_hash"])
    out: dict[str, Any] = {"journal": str(folder), **{name: sum(v[name] for v in verdicts) for name in _SUMMED}}
    out["identical"] = all(v["identical"] for v in verdicts)
    out["from_seq"] = max(v["from_seq"] for v in verdicts)
    out["notes"] = [f"shard {i}: {note}" for i, v in enumerate(verdicts) for note in v["notes"]]
    out["order_hash"] = f"{combined_hash(order_hashes):016x}"
    out["state_hash"] = f"{combined_hash(state_hashes):016x}"
    out["shards"] = verdicts
    for i, verdict in enumerate(verdicts):
        if "divergence" in verdict:
            out["divergence"] = {"shard": i, **verdict["divergence"]}
            break
    return out


def _verify(folder: Path, from_snapshot: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    _, _, raw, _ = _replay(folder, from_snapshot=from_snapshot)
    out = {
        "journal": str(folder),
        "records": raw["records"],
        "inputs": raw["inputs"],
        "orders": raw["orders"],
        "state_hashes": raw["state_hashes"],
        "recoveries": raw["recoveries"],
        "never_sent": raw["unsent"],
        "identical": raw["identical"] and raw["snapshots_differ"] == 0,
        "from_seq": raw["from_seq"],
        "snapshots": raw["snapshots"],
        "snapshots_differ": raw["snapshots_differ"],
        "notes": raw["notes"],
        "order_hash": f"{raw['summary']['order_hash']:016x}",
        "state_hash": f"{raw['summary']['state_hash']:016x}",
    }
    if "divergence" in raw:
        out["divergence"] = explain(raw["divergence"])
    return out, raw["summary"]


def _replay(folder: Path, *, from_snapshot: bool = False) -> tuple[Any, list[plan.LoadedPolicy], dict[str, Any], Any]:
    from hotpath import _core

    parsed, _ = read_header(folder)
    require_semantics(parsed, folder)
    policies = plan.policies_of_header(parsed)
    engine = _core.ReplayEngine(
        shard=parsed.config["shard"], policies=[p.spec for p in policies], quorum=parsed.config["quorum"], stage=_stage
    )
    try:
        raw = engine.run(str(folder), from_snapshot=from_snapshot)
    except (ValueError, RuntimeError) as err:
        raise JournalUnreadable(f"{folder}: {err}", hint=CORRUPT_HINT) from err
    return parsed, policies, raw, engine


def _stage(slot: int, data: bytes) -> dict[str, Any]:
    return plan.bank_spec(slot, data)


def explain(d: dict[str, Any]) -> dict[str, Any]:
    """A divergence for people: what the journal says and what the replay made, decision by decision.

    The two sides may be records of different types (an order where the other decided nothing), so each is read as its own.
    """
    return {
        "input_seq": d["input_seq"],
        "record_seq": d["record_seq"],
        "what": _TYPE_NAMES.get(d["type"], str(d["type"])),
        "reason": d["reason"],
        "input": {"type": d["input_type"], "bytes": bytes(d["input"]).hex()},
        "order": {"journal": _output(d["type"], d["journaled"]), "replay": _output(d["replayed_type"], d["replayed"])},
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
