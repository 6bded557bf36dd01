"""SoupBinTCP packets and OUCH 5.0 messages as tables: decode to a dict, encode back to the same bytes.

For people and tests (`peregrine decode`); the engine's own codecs are C++. A field is (name, kind): `uN` an unsigned
and `iN` a signed big-endian integer of N bits, `aN` text of N bytes padded with spaces on the right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Field = tuple[str, str]


@dataclass(frozen=True)
class Layout:
    """One message: fixed fields after the type byte, then `longer` fields and the appendage in the long form.

    `required`: the appendage length is always there; otherwise the frame's length tells the short form from the long.
    """

    name: str
    fields: tuple[Field, ...]
    required: bool = False
    longer: tuple[Field, ...] = ()


_URN = ("user_ref_num", "u32")
_TS = ("ts_ns", "u64")
_CL = ("cl_ord_id", "a14")

# Client to host, inside SoupBinTCP 'U' packets.
REQUESTS: dict[str, Layout] = {
    "O": Layout("enter_order", (
        _URN, ("side", "a1"), ("quantity", "u32"), ("symbol", "a8"), ("price_ticks", "u64"), ("time_in_force", "a1"),
        ("display", "a1"), ("capacity", "a1"), ("iso", "a1"), ("cross_type", "a1"), _CL), required=True),
    "U": Layout("replace_order", (
        ("orig_user_ref_num", "u32"), _URN, ("quantity", "u32"), ("price_ticks", "u64"), ("time_in_force", "a1"),
        ("display", "a1"), ("iso", "a1"), _CL), required=True),
    "X": Layout("cancel_order", (_URN, ("quantity", "u32"))),
    "M": Layout("modify_order", (_URN, ("side", "a1"), ("quantity", "u32"))),
    "Q": Layout("account_query", ()),
    "C": Layout("mass_cancel", (_URN, ("firm", "a4"), ("symbol", "a8"))),
    "D": Layout("disable_order_entry", (_URN, ("firm", "a4"))),
    "E": Layout("enable_order_entry", (_URN, ("firm", "a4"))),
}

# Host to client, inside SoupBinTCP 'S' packets.
RESPONSES: dict[str, Layout] = {
    "S": Layout("system_event", (_TS, ("code", "a1"))),
    "A": Layout("order_accepted", (
        _TS, _URN, ("side", "a1"), ("quantity", "u32"), ("symbol", "a8"), ("price_ticks", "u64"),
        ("time_in_force", "a1"), ("display", "a1"), ("order_ref", "u64"), ("capacity", "a1"), ("iso", "a1"),
        ("cross_type", "a1"), ("state", "a1"), _CL), required=True),
    "U": Layout("order_replaced", (
        _TS, ("orig_user_ref_num", "u32"), _URN, ("side", "a1"), ("quantity", "u32"), ("symbol", "a8"),
        ("price_ticks", "u64"), ("time_in_force", "a1"), ("display", "a1"), ("order_ref", "u64"), ("capacity", "a1"),
        ("iso", "a1"), ("cross_type", "a1"), ("state", "a1"), _CL), required=True),
    "C": Layout("order_canceled", (_TS, _URN, ("quantity", "u32"), ("reason", "a1"))),
    "D": Layout("aiq_canceled", (
        _TS, _URN, ("decrement", "u32"), ("reason", "a1"), ("quantity_prevented", "u32"), ("price_ticks", "u64"),
        ("liquidity", "a1")), longer=(("strategy", "a1"),)),
    "E": Layout("order_executed", (
        _TS, _URN, ("quantity", "u32"), ("price_ticks", "u64"), ("liquidity", "a1"), ("match", "u64")), required=True),
    "B": Layout("broken_trade", (_TS, _URN, ("match", "u64"), ("reason", "a1"), _CL)),
    "F": Layout("trade_correction", (
        _TS, _URN, ("quantity", "u32"), ("price_ticks", "u64"), ("liquidity", "a1"), ("match", "u64"),
        ("reason", "a1"), _CL)),
    "J": Layout("rejected", (_TS, _URN, ("reason", "u16"), _CL)),
    "P": Layout("cancel_pending", (_TS, _URN)),
    "I": Layout("cancel_reject", (_TS, _URN)),
    "T": Layout("priority_update", (_TS, _URN, ("price_ticks", "u64"), ("display", "a1"), ("order_ref", "u64"))),
    "M": Layout("order_modified", (_TS, _URN, ("side", "a1"), ("quantity", "u32"))),
    "R": Layout("order_restated", (_TS, _URN, ("reason", "a1")), required=True),
    "Q": Layout("account_query_response", (_TS, ("next_user_ref_num", "u32"))),
    "X": Layout("mass_cancel_response", (_TS, _URN, ("firm", "a4"), ("symbol", "a8"))),
    "G": Layout("disable_response", (_TS, _URN, ("firm", "a4"))),
    "K": Layout("enable_response", (_TS, _URN, ("firm", "a4"))),
}

# Optional values behind the appendage length: tag -> (name, kind).
TAGS: dict[int, Field] = {
    1: ("secondary_order_ref", "u64"), 2: ("firm", "a4"), 3: ("min_quantity", "u32"), 4: ("customer_type", "a1"),
    5: ("max_floor", "u32"), 6: ("price_type", "a1"), 7: ("peg_offset_ticks", "i32"),
    9: ("discretion_price_ticks", "u64"), 10: ("discretion_peg_type", "a1"), 11: ("discretion_offset_ticks", "i32"),
    12: ("post_only", "a1"), 13: ("random_reserves", "u32"), 14: ("route", "a4"), 15: ("expire_time_s", "u32"),
    16: ("trade_now", "a1"), 17: ("handle_inst", "a1"), 18: ("bbo_weight", "a1"), 19: ("reference_price_ticks", "u64"),
    20: ("reference_price_type", "a1"), 22: ("display_quantity", "u32"), 23: ("display_price_ticks", "u64"),
}

# SoupBinTCP packets with fields of their own; '+', 'S', 'U' carry free bytes and the rest nothing.
SOUP_NAMES = {"+": "debug", "L": "login_request", "A": "login_accepted", "J": "login_rejected", "S": "sequenced",
              "U": "unsequenced", "H": "server_heartbeat", "R": "client_heartbeat", "Z": "end_of_session",
              "O": "logout_request"}
SOUP_FIELDS: dict[str, tuple[Field, ...]] = {
    "L": (("username", "a6"), ("password", "a10"), ("session", "a10"), ("sequence", "a20")),
    "A": (("session", "a10"), ("sequence", "a20")),
    "J": (("reason", "a1"),),
}


def width(kind: str) -> int:
    """Bytes a field of this kind takes."""
    return int(kind[1:]) if kind[0] == "a" else int(kind[1:]) // 8


def layout_bytes(layout: Layout) -> int:
    """Length of the short form: type byte and fixed fields, without appendage length."""
    return 1 + sum(width(k) for _, k in layout.fields)


def _get(kind: str, raw: bytes) -> Any:
    if kind[0] == "a":
        return raw.decode("latin-1").rstrip(" ")
    return int.from_bytes(raw, "big", signed=kind[0] == "i")


def _put(name: str, kind: str, value: Any) -> bytes:
    n = width(kind)
    if kind[0] == "a":
        raw = str(value).encode("latin-1")
        if len(raw) > n:
            raise ValueError(f"{name}: {value!r} is longer than {n} bytes")
        return raw.ljust(n)
    try:
        return int(value).to_bytes(n, "big", signed=kind[0] == "i")
    except OverflowError as err:
        raise ValueError(f"{name}: {value} does not fit {kind}") from err


def _get_fields(fields: tuple[Field, ...], raw: bytes, at: int, out: dict[str, Any]) -> int:
    for name, kind in fields:
        out[name] = _get(kind, raw[at:at + width(kind)])
        at += width(kind)
    return at


def decode_appendage(raw: bytes) -> list[dict[str, Any]] | None:
    """Elements of an appendage: {tag, name, value}, or {tag, hex} for what the table does not know; None = malformed."""
    out: list[dict[str, Any]] = []
    at = 0
    while at < len(raw):
        n = raw[at]
        if n < 1 or at + 1 + n > len(raw):
            return None
        tag, value = raw[at + 1], raw[at + 2:at + 1 + n]
        known = TAGS.get(tag)
        if known and width(known[1]) == len(value):
            out.append({"tag": tag, "name": known[0], "value": _get(known[1], value)})
        else:
            out.append({"tag": tag, "hex": value.hex()})
        at += 1 + n
    return out


def encode_appendage(elements: list[dict[str, Any]]) -> bytes:
    """Bytes of an appendage given as `decode_appendage` gives it."""
    out = b""
    for e in elements:
        value = bytes.fromhex(e["hex"]) if "hex" in e else _put(*TAGS[e["tag"]], e["value"])
        out += bytes([1 + len(value), e["tag"]]) + value
    return out


def decode_ouch(raw: bytes, *, from_host: bool) -> dict[str, Any] | None:
    """An OUCH 5.0 message as {type, name, fields…, appendage: […] when it is the long form}.

    None when the type is unknown, or length or appendage do not fit 5.0 (damaged, or another dialect of OUCH).
    """
    layout = (RESPONSES if from_host else REQUESTS).get(chr(raw[0])) if raw else None
    if layout is None or len(raw) < layout_bytes(layout):
        return None
    out: dict[str, Any] = {"type": chr(raw[0]), "name": layout.name}
    at = _get_fields(layout.fields, raw, 1, out)
    if at == len(raw):
        return None if layout.required else out
    if len(raw) < at + sum(width(k) for _, k in layout.longer) + 2:
        return None
    at = _get_fields(layout.longer, raw, at, out)
    size = int.from_bytes(raw[at:at + 2], "big")
    elements = decode_appendage(raw[at + 2:]) if size == len(raw) - at - 2 else None
    if elements is None:
        return None
    out["appendage"] = elements
    return out


def encode_ouch(message: dict[str, Any], *, from_host: bool) -> bytes:
    """The bytes of a message given as `decode_ouch` gives it; ValueError or KeyError names what does not fit."""
    layout = (RESPONSES if from_host else REQUESTS)[message["type"]]
    out = message["type"].encode("latin-1")
    for name, kind in layout.fields:
        out += _put(name, kind, message[name])
    if "appendage" in message or layout.required:
        for name, kind in layout.longer:
            out += _put(name, kind, message[name])
        tail = encode_appendage(message.get("appendage", []))
        out += len(tail).to_bytes(2, "big") + tail
    return out


def decode_soup(packet_type: str, payload: bytes) -> dict[str, Any]:
    """A SoupBinTCP packet as {type, name, fields… or payload}: {'hex': …} for bytes that have no fields of their own."""
    out: dict[str, Any] = {"type": packet_type, "name": SOUP_NAMES.get(packet_type, "unknown")}
    fields = SOUP_FIELDS.get(packet_type)
    if fields and len(payload) == sum(width(k) for _, k in fields):
        _get_fields(fields, payload, 0, out)
        sequence = out.get("sequence")
        if sequence is not None and sequence.strip(" ").isdigit() and payload[-20:] == b"%20d" % int(sequence):
            out["sequence"] = int(sequence)  # the usual form: right-justified, no leading zeros
    elif payload or fields:
        out["hex"] = payload.hex()
    return out


def encode_soup(packet: dict[str, Any]) -> bytes:
    """The whole frame, length first, of a packet given as `decode_soup` gives it."""
    if "hex" in packet:
        payload = bytes.fromhex(packet["hex"])
    else:
        payload = b""
        for name, kind in SOUP_FIELDS.get(packet["type"], ()):
            value = packet[name]
            payload += b"%20d" % value if name == "sequence" and isinstance(value, int) else _put(name, kind, value)
    return (1 + len(payload)).to_bytes(2, "big") + packet["type"].encode("latin-1") + payload


class SoupFramer:
    """Cuts a byte stream into SoupBinTCP packets; keeps an unfinished one for the next call."""

    def __init__(self) -> None:
        self.rest = b""
        self.malformed = 0

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """(type, payload) of every packet that is now whole. A frame of length 0 has no type: counted and skipped."""
        self.rest += data
        at = 0
        while len(self.rest) - at >= 2:
            n = int.from_bytes(self.rest[at:at + 2], "big")
            if n == 0:
                self.malformed += 1
                at += 2
                continue
            if len(self.rest) - at - 2 < n:
                break
            frame = self.rest[at + 2:at + 2 + n]
            at += 2 + n
            yield chr(frame[0]), frame[1:]
        self.rest = self.rest[at:]
