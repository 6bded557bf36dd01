"""The tables of docs/formats-control.md, made from the code: `python -m orchestrator.control.reference` prints them."""

from __future__ import annotations

import msgspec

from orchestrator.control.admission import MAX_AGE_NS, MAX_ID_CHARS, MAX_ORIGIN_BYTES, REASONS
from orchestrator.control.arguments import ARGUMENTS, AT_MOST_ONE, EXACTLY_ONE, MAX_VALUE, Arg
from orchestrator.control.messages import (
    COMMANDS,
    INCLUDES,
    MAX_REQUEST_BYTES,
    MAX_WHO_CHARS,
    MAX_WHY_CHARS,
    VERSION,
    Effect,
    Reply,
    Request,
    Role,
    may,
)

#: The worked vector.
REQUEST = Request(cmd="pause", id="5f0c", who="anna", why="news", when_ns=1_767_623_400_000_000_000, args={"symbol": "PRGN"})
REPLY = Reply(id="5f0c", ok=True, effects=[Effect(shard=0, seq=4711, ts_ns=1_767_623_400_000_120_000)])


def reference() -> str:
    """Markdown: roles, commands with arguments, reasons, bounds, the worked vector."""
    return "\n" + "\n".join([_roles(), _commands(), _reasons(), _bounds(), _vector()]) + "\n"


def _roles() -> str:
    roles: list[Role] = list(INCLUDES)
    head = "| command | " + " | ".join(roles) + " |\n|---|" + ":-:|" * len(roles) + "\n"
    rows = "".join(f"| `{c}` | " + " | ".join("yes" if may(r, c) else "" for r in roles) + " |\n" for c in COMMANDS)
    return "### Roles\n\nWho comes by the socket file is admin.\n\n" + head + rows


def _commands() -> str:
    parts = ["### Commands\n"]
    for name, entry in COMMANDS.items():
        parts.append(f"#### `{name}`\n\n{entry.what[0].upper()}{entry.what[1:]}. {'A change: needs `why`.' if entry.changes else 'A question.'}\n")
        if ARGUMENTS[name]:
            rows = "".join(f"| `{a}` | {_kind(arg)} | {'yes' if arg.required else 'no'} | {arg.what} |\n" for a, arg in ARGUMENTS[name].items())
            parts.append("| argument | type | needed | meaning |\n|---|---|---|---|\n" + rows)
        if name in EXACTLY_ONE:
            parts.append(f"Exactly one of {_listed(EXACTLY_ONE[name])}.\n")
        if name in AT_MOST_ONE:
            parts.append(f"At most one of {_listed(AT_MOST_ONE[name])}; with neither, every shard.\n")
    return "\n".join(parts)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _kind(arg: Arg) -> str:
    if arg.one_of:
        return " or ".join(f"`{v}`" for v in arg.one_of)
    if arg.kind == "integer":
        return f"integer, {arg.low} to {arg.high}" if arg.high < MAX_VALUE else "integer"
    if arg.kind == "text" and arg.high < MAX_VALUE:
        return f"text, at most {arg.high} bytes"
    return {"flag": "true or false", "weights": "list of 1 to 8 integers", "limits": "map of name to integer",
            "symbol": "text, 1 to 8 characters"}.get(arg.kind, arg.kind)  # fmt: skip


def _reasons() -> str:
    what = {
        "oversized": "more bytes than a request may have", "garbage": "no MessagePack map of a request, or a message of more frames",
        "version": "another version", "command": "no such command", "form": "a field that is unknown, missing or not as it must be",
        "arguments": "arguments that are unknown, missing or out of range", "role": "the caller's role may not",
        "key": "no key of the list; nothing is answered", "stale": "`when_ns` too far from this machine's clock (TCP)",
        "rate": "more often than `control.max_requests_per_s`", "queue": "too much waits to be done",
        "conflict": "an id that came before with other content",
    }  # fmt: skip
    rows = "".join(f"| `{reason}` | `{code}` | {what[reason]} |\n" for reason, code in REASONS.items())
    extra = "| `mechanism` | | a connection that is not CURVE, as the list was asked |\n| `handshake` | | a connection that ended before it was any: no CURVE, wrong server key, other bytes |\n"
    return "### Why an attempt is refused\n\nCounted under these names, and so named in control.log.\n\n| reason | code | when |\n|---|---|---|\n" + rows + extra


def _bounds() -> str:
    rows = (
        ("bytes of a request", MAX_REQUEST_BYTES), ("characters of `id`, printable ASCII", MAX_ID_CHARS),
        ("characters of `who`, printable", MAX_WHO_CHARS), ("characters of `why`, printable", MAX_WHY_CHARS),
        ("bytes of `id`, `who` and `why` together", MAX_ORIGIN_BYTES), ("seconds of `when_ns` from the clock, over TCP", MAX_AGE_NS // 10**9),
    )  # fmt: skip
    return "### Bounds\n\n| what | at most |\n|---|--:|\n" + "".join(f"| {what} | {most:,} |\n" for what, most in rows)


def _vector() -> str:
    asked, told = msgspec.msgpack.encode(REQUEST), msgspec.msgpack.encode(REPLY)
    return (
        f"### A worked vector, version {VERSION}\n\nThe request\n\n```json\n{_json(REQUEST)}\n```\n\nis, as MessagePack,\n\n"
        f"```text\n{_hex(asked)}\n```\n\nIts idempotency key in the journal is {REQUEST.key()} (the first 8 bytes, little-endian, of the\nSHA-256 of the id). "
        f"The reply\n\n```json\n{_json(REPLY)}\n```\n\nis\n\n```text\n{_hex(told)}\n```\n"
    )


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _hex(data: bytes) -> str:
    return "\n".join(data[at : at + 32].hex(" ") for at in range(0, len(data), 32))


if __name__ == "__main__":
    print(reference(), end="")
