"""What a journal says of commands and controls, in words: what was asked for, by whom, why and when.

The origin (who, why, when, id) stands behind the body of a command's record as a MessagePack map; journals of before that
have none, and `who` is then None.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

HEAD = struct.Struct("<QHHI")  # journal::CommandHead: key, kind, origin_bytes, body_bytes
LIMITS_BYTES = 256
NO_INSTRUMENT = 0xFFFFFFFF

COMMANDS = {
    1: "limits", 2: "weights", 3: "policy swap", 4: "pause", 5: "resume", 6: "drain", 7: "kill", 8: "flatten",
    9: "lease grant", 10: "lease return", 11: "pause symbol", 12: "resume symbol", 13: "revive", 14: "reduce only",
    15: "re-arm breakers", 16: "active symbols", 17: "move", 18: "note",
}  # fmt: skip
BREAKERS = ("messages", "rejects", "loss", "drawdown")  # risk/breakers.h: bits
CONTROLS = {1: "kill word", 2: "supervisor lost", 3: "lease changed", 4: "journal not writable", 5: "journal writable again", 6: "supervisor back"}

#: risk/limits.h: 8 bytes each from byte 8
_OF_INSTRUMENT = ("collar_ticks", "collar_bps", "max_order_lots", "max_order_notional", "max_working_orders", "max_working_notional",
                  "max_long_lots", "max_short_lots", "max_executions", "execution_window_ns", "duplicate_window_ns",
                  "max_quote_age_ns")  # fmt: skip
_OF_ACCOUNT = ("max_account_orders", "max_account_notional", "max_gross", "max_credit", "max_loss", "max_drawdown", "max_messages",
               "message_window_ns", "cancel_reserve", "soft_permille")  # fmt: skip


class CommandReader:
    """Reads one shard's commands in order; remembers limits and keys, so that it can say what a command changed."""

    def __init__(self, shard: int, symbols: list[str], limits: dict[int, dict[str, int]]) -> None:
        self.shard = shard
        self.symbols = symbols
        self._limits = {scope: dict(values) for scope, values in limits.items()}
        self._keys: set[int] = set()

    def command(self, seq: int, ts_ns: int, payload: bytes) -> dict[str, Any]:
        """The row of one command record."""
        key, kind, origin_bytes, size = HEAD.unpack_from(payload)
        body = payload[HEAD.size:HEAD.size + size]
        origin = _origin(payload[HEAD.size + size:HEAD.size + size + origin_bytes])
        name = COMMANDS.get(kind, f"command {kind}")
        repeated = key != 0 and key in self._keys
        if key:
            self._keys.add(key)
        return {
            "shard": self.shard, "seq": seq, "ts_ns": ts_ns, "command": name, "detail": self._detail(kind, body, repeated),
            "who": origin.get("who"), "why": origin.get("why"), "when_ns": origin.get("when_ns"), "id": origin.get("id"),
            "key": f"{key:016x}" if key else "", "repeated": int(repeated),
        }  # fmt: skip

    def control(self, seq: int, ts_ns: int, payload: bytes) -> dict[str, Any]:
        """The row of a control: the kill word or the supervisor's silence, seen by the engine itself."""
        kind, value = struct.unpack_from("<B7xQ", payload)
        name = CONTROLS.get(kind, f"control {kind}")
        detail = {0: "lifted", 1: "cancel all", 2: "cancel all and flatten"}.get(value, str(value)) if kind == 1 else ""
        who = "written in shared memory" if kind == 1 else "seen by the engine"
        return {"shard": self.shard, "seq": seq, "ts_ns": ts_ns, "command": name, "detail": detail, "who": who, "repeated": 0}

    def _detail(self, kind: int, body: bytes, repeated: bool) -> str:
        said = self._said(kind, body)
        return f"{said} (repeated: nothing done)".strip() if repeated else said

    def _said(self, kind: int, body: bytes) -> str:
        if kind == 1 and len(body) == LIMITS_BYTES:
            return self._changed_limits(body)
        if kind == 2 and body:
            return "weights " + " ".join(str(v) for v in struct.unpack(f"<{len(body) // 2}h", body[:len(body) // 2 * 2]))
        if kind in (9, 10) and len(body) >= 24:
            epoch, notional, lots = struct.unpack_from("<Qqq", body)
            return f"epoch {epoch}: {notional:,} units, {lots:,} lots"
        if kind == 18:
            return body.decode("utf-8", "replace")
        if len(body) < 4:
            return ""
        number = struct.unpack_from("<I", body)[0]
        if kind == 3:
            return f"slot {number}" + (f", artifact of {len(body) - 8:,} bytes" if len(body) > 8 else ", the bank it had before")
        if kind in (11, 12):
            return self.symbols[number] if number < len(self.symbols) else f"instrument {number}"
        if kind in (4, 5):
            return {4: "orders cancelled", 5: "a drain is lifted too"}[kind] if number & 1 else ""
        if kind == 15:
            return ", ".join(name for bit, name in enumerate(BREAKERS) if number >> bit & 1)
        return {14: "on" if number else "off", 16: f"{number} a shard", 17: f"thread {number}"}.get(kind, "")

    def _changed_limits(self, body: bytes) -> str:
        scope = struct.unpack_from("<I", body, 4)[0]
        names = _OF_INSTRUMENT if scope != NO_INSTRUMENT else _OF_INSTRUMENT + _OF_ACCOUNT
        values = dict(zip(_OF_INSTRUMENT, struct.unpack_from(f"<{len(_OF_INSTRUMENT)}q", body, 8), strict=True))
        values |= dict(zip(_OF_ACCOUNT, struct.unpack_from(f"<{len(_OF_ACCOUNT)}q", body, 128), strict=True))
        before = self._limits.get(scope) or self._limits.get(NO_INSTRUMENT, {})
        changed = [f"{n} {before.get(n, 0):,} → {values[n]:,}" for n in names if values[n] != before.get(n)]
        self._limits[scope] = values
        where = "account" if scope == NO_INSTRUMENT else self.symbols[scope] if scope < len(self.symbols) else f"instrument {scope}"
        return f"{where}: " + (", ".join(changed) or "nothing changed")


def _origin(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    try:
        found = msgspec.msgpack.decode(data)
    except msgspec.MsgspecError:
        return {"who": "unreadable"}
    return found if isinstance(found, dict) else {}
