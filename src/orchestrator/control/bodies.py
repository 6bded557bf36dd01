"""Commands as they stand in the ring and in the journal: head, body, origin (journal/record.h draws them).

    head    u64 idempotency key, u16 kind, u16 origin bytes, u32 body bytes; little-endian
    body    by kind
    origin  MessagePack map {id, who, why, when_ns, cmd}: who gave the command; the engine does not look at it
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from orchestrator.control.messages import MAX_WHO_CHARS, MAX_WHY_CHARS, Request

#: Kind of a command by its name, as journal/record.h numbers them.
KINDS: dict[str, int] = {
    "limits": 1, "weights": 2, "bank_swap": 3, "pause": 4, "resume": 5, "drain": 6, "kill": 7, "flatten": 8,
    "lease_grant": 9, "lease_return": 10, "pause_symbol": 11, "resume_symbol": 12, "revive": 13, "reduce_only": 14,
    "rearm": 15, "active_symbols": 16, "move": 17, "note": 18,
}  # fmt: skip
KIND_NAMES = {number: name for name, number in KINDS.items()}

MAX_COMMAND_BYTES = 1016
MAX_ORIGIN_BYTES = 512
MAX_NOTE_BYTES = 400
PAUSE_CANCELS = 1  # what works is cancelled too
RESUME_DRAINED = 1  # a drain is lifted too
RESUME_HELD = 2  # the pause alone is lifted: reduce-only and flattening stay

ACCOUNT = 0xFFFFFFFF
LIMITS_VERSION = 1
#: Fields of a limits body behind version and instrument, i64 each, as risk/limits.h draws them; "" is reserved.
LIMIT_FIELDS: tuple[str, ...] = (
    "collar_ticks", "collar_bps", "max_order_lots", "max_order_notional", "max_working_orders", "max_working_notional",
    "max_long_lots", "max_short_lots", "max_executions", "execution_window_ns", "duplicate_window_ns", "max_quote_age_ns",
    "", "", "",
    "max_account_orders", "max_account_notional", "max_gross", "max_credit", "max_loss", "max_drawdown", "max_messages",
    "message_window_ns", "cancel_reserve", "soft_permille", "", "", "",
    "max_positions", "soft_positions", "soft_positions_interval_ns",
)  # fmt: skip
INSTRUMENT_FIELDS = LIMIT_FIELDS[:12]
ACCOUNT_FIELDS = tuple(name for name in LIMIT_FIELDS[15:] if name)


class Origin(msgspec.Struct, kw_only=True):
    """Who gave a command, why and when."""

    id: str = ""
    who: str = ""
    why: str = ""
    when_ns: int = 0
    cmd: str = ""


def origin(request: Request) -> bytes:
    """The origin of a command that carries out `request`, at most MAX_ORIGIN_BYTES."""
    found = Origin(id=request.id[:64], who=request.who[:MAX_WHO_CHARS], why=request.why[:MAX_WHY_CHARS],
                   when_ns=request.when_ns, cmd=request.cmd)
    data = msgspec.msgpack.encode(found)
    while len(data) > MAX_ORIGIN_BYTES:  # characters of several bytes
        found.why = found.why[: len(found.why) // 2]
        found.who = found.who[:32]
        data = msgspec.msgpack.encode(found)
    return data


def parse_origin(data: bytes) -> dict[str, Any]:
    """What stands in a journal as origin; of bytes that are none, their hex under `unreadable`."""
    try:
        return msgspec.to_builtins(msgspec.msgpack.decode(data, type=Origin))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {"unreadable": data.hex()}


def command(kind: str, body: bytes, key: int, said: bytes) -> bytes:
    """A whole command for the ring. Raises ValueError when it is too long for a slot."""
    data = struct.pack("<QHHI", key, KINDS[kind], len(said), len(body)) + body + said
    if len(data) > MAX_COMMAND_BYTES:
        raise ValueError(f"{kind}: {len(data)} bytes, at most {MAX_COMMAND_BYTES} go through the ring")
    return data


def limits(values: Mapping[str, int], instrument: int = ACCOUNT) -> bytes:
    """Body of `limits`: every field of the scope; fields that are missing are 0, which passes nothing.

    Raises ValueError for a field that does not exist.
    """
    known = {name for name in LIMIT_FIELDS if name}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"no such limit: {', '.join(unknown)}")
    numbers = [values.get(name, 800 if name == "soft_permille" else 0) if name else 0 for name in LIMIT_FIELDS]
    return struct.pack(f"<II{len(LIMIT_FIELDS)}q", LIMITS_VERSION, instrument, *numbers)


def parse_limits(body: bytes) -> tuple[int, dict[str, int]]:
    """(instrument or ACCOUNT, fields) of a limits body. Raises ValueError when it is none."""
    if len(body) < 8 + 8 * len(LIMIT_FIELDS):
        raise ValueError(f"{len(body)} bytes are no limits")
    version, instrument, *numbers = struct.unpack_from(f"<II{len(LIMIT_FIELDS)}q", body)
    if version != LIMITS_VERSION:
        raise ValueError(f"limits of version {version}, this peregrine reads {LIMITS_VERSION}")
    return instrument, {name: n for name, n in zip(LIMIT_FIELDS, numbers, strict=True) if name}


def weights(values: Sequence[int]) -> bytes:
    """Body of `weights`: one int16 a slot, 8 of them. Raises ValueError."""
    if len(values) != 8 or not all(-32768 <= v <= 32767 for v in values):
        raise ValueError("weights: 8 numbers from -32768 to 32767, one a slot")
    return struct.pack("<8h", *values)


def number(value: int) -> bytes:
    """Body of one u32: pause_symbol, resume_symbol, reduce_only, rearm, active_symbols, move, the flags of pause and resume."""
    return struct.pack("<I", value)


def lease(epoch: int, notional_units: int, qty_lots: int) -> bytes:
    """Body of `lease_grant` and `lease_return`: levels, not increments; an epoch not higher than the last is refused."""
    return struct.pack("<Qqq", epoch, notional_units, qty_lots)


def note(text: str) -> bytes:
    """Body of `note`: UTF-8, cut at MAX_NOTE_BYTES."""
    return text.encode()[:MAX_NOTE_BYTES]
