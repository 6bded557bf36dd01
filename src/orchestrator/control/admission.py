"""From bytes to a request that may be handled: form, version, who asks, what for, how old, how often.

Every byte string ends either as a `Request` or as `Refused`, whose reason is one of `REASONS`; nothing else comes out.
`kill` is let through where a mistake of form would cost time: without a reason given, however old, however often. Each of the
other commands that stop something has a budget of its own: all programs of this machine are one caller, and a flood of
questions by one of them must not make a person's `pause` wait.
"""

from __future__ import annotations

import difflib
import hashlib
from typing import Any

import msgspec

from orchestrator.control import arguments
from orchestrator.control.messages import (
    COMMANDS,
    MAX_REQUEST_BYTES,
    MAX_WHO_CHARS,
    MAX_WHY_CHARS,
    STOPPING,
    VERSION,
    Caller,
    Problem,
    Request,
    may,
)  # fmt: skip
from orchestrator.control.rates import Rates

MAX_ID_CHARS = 64
MAX_ORIGIN_BYTES = 400  # id, who and why together, as UTF-8: they stand in the journal behind the command
MAX_AGE_NS = 300 * 10**9  # a request from over the network may be this far from our clock

#: Why something was refused → the code its sender is told.
REASONS = {
    "oversized": "usage",
    "garbage": "usage",
    "version": "usage",
    "command": "usage",
    "form": "usage",
    "arguments": "usage",
    "role": "denied",
    "key": "denied",
    "stale": "denied",
    "rate": "busy",
    "queue": "busy",
    "conflict": "conflict",
}


class Refused(Exception):
    """A request that is not handled: the reason (of `REASONS`), what its sender is told, and its id where it has one."""

    def __init__(self, reason: str, message: str, hint: str = "", request_id: str = "", command: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint
        self.request_id = request_id
        self.command = command

    def problem(self) -> Problem:
        """As it goes into a reply."""
        return Problem(REASONS[self.reason], self.message, self.hint)


class _Loose(msgspec.Struct):
    """What can be read of a request that is no good one, to answer it in its own terms."""

    v: Any = None
    id: Any = ""
    cmd: Any = ""


def decode(payload: bytes) -> Request:
    """The request in these bytes. Raises Refused."""
    if len(payload) > MAX_REQUEST_BYTES:
        raise Refused("oversized", f"a request has at most {MAX_REQUEST_BYTES} bytes, this one {len(payload)}")
    try:
        request = msgspec.msgpack.decode(payload, type=Request)
    except Exception as err:  # whatever bytes can make a decoder raise: RecursionError and MemoryError too
        raise _not_a_request(payload, err) from None
    if request.v != VERSION:
        raise _other_version(request.v, request.id, request.cmd)
    if not 1 <= len(request.id) <= MAX_ID_CHARS or not request.id.isascii() or not request.id.isprintable():
        raise Refused("form", f"`id` is 1 to {MAX_ID_CHARS} printable ASCII characters")
    return request


def _not_a_request(payload: bytes, error: BaseException) -> Refused:
    try:
        loose = msgspec.msgpack.decode(payload, type=_Loose)
    except Exception:
        return Refused("garbage", "that is no MessagePack map of a request", "docs/formats-control.md has a worked example")
    request_id = loose.id if isinstance(loose.id, str) and len(loose.id) <= MAX_ID_CHARS and loose.id.isprintable() else ""
    command = loose.cmd if isinstance(loose.cmd, str) and loose.cmd in COMMANDS else ""
    if isinstance(loose.v, int) and loose.v != VERSION:
        return _other_version(loose.v, request_id, command)
    return Refused("form", f"no request of version {VERSION}: {str(error)[:200]}", "", request_id, command)


def _other_version(found: int, request_id: str, command: str) -> Refused:
    hint = "use the client of the engine's own release"
    return Refused("version", f"version {found}, this server speaks {VERSION}", hint, request_id[:MAX_ID_CHARS], command)


class Admission:
    """Decides about requests; used by one thread."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def admit(self, payload: bytes, caller: Caller, now_ns: int) -> Request:
        """The request, fit to be handled, its `who` settled. `now_ns` is the wall clock's. Raises Refused."""
        request = decode(payload)
        refuse = _Refuser(request)
        if request.cmd not in COMMANDS:
            near = difflib.get_close_matches(request.cmd[:64], COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "`docs/formats-control.md` lists them"
            raise refuse("command", f"no command {_printable(request.cmd)!r}", hint)
        kill = request.cmd == "kill"
        if not may(caller.role, request.cmd):
            roles = " or ".join(COMMANDS[request.cmd].roles)
            raise refuse("role", f"{caller.name} is {caller.role}: {request.cmd} needs {roles}")
        if not kill and not self._rates.take(caller.name, request.cmd if request.cmd in STOPPING else ""):
            raise refuse("rate", f"more than {self._rates.per_s} requests a second of {caller.name}", "try again in a moment")
        settle_who(request, caller)
        if wrong := _form(request, kill):
            raise refuse("form", "; ".join(wrong))
        if wrong := arguments.problems(request.cmd, request.args):
            raise refuse("arguments", "; ".join(wrong), "docs/formats-control.md has the arguments of each command")
        if caller.via == "tcp" and not kill and abs(now_ns - request.when_ns) > MAX_AGE_NS:
            raise refuse("stale", f"`when_ns` is {(now_ns - request.when_ns) / 1e9:+.0f} s from this machine's clock",
                         f"at most {MAX_AGE_NS // 10**9} s: set the clocks right")  # fmt: skip
        return request


class _Refuser:
    def __init__(self, request: Request) -> None:
        self._request = request

    def __call__(self, reason: str, message: str, hint: str = "") -> Refused:
        return Refused(reason, message, hint, self._request.id, _printable(self._request.cmd))


def _printable(text: str) -> str:
    return text[:32] if text.isprintable() else "…"


def settle_who(request: Request, caller: Caller) -> None:
    """Over TCP the name that belongs to the key stands for whatever the request says; else the socket's user fills a gap."""
    if caller.via == "tcp" or not request.who:
        request.who = caller.name


def _form(request: Request, kill: bool) -> list[str]:
    wrong = []
    for name, text, most in (("who", request.who, MAX_WHO_CHARS), ("why", request.why, MAX_WHY_CHARS)):
        if len(text) > most or not text.isprintable():
            if kill:
                setattr(request, name, "".join(c for c in text[:most] if c.isprintable()))
            else:
                wrong.append(f"`{name}` is at most {most} printable characters")
    if COMMANDS[request.cmd].changes and not kill and not request.why.strip():
        wrong.append("`why` is missing: a change needs a reason")
    if not -(2**63) <= request.when_ns < 2**63:
        if kill:
            request.when_ns = 0
        else:
            wrong.append("`when_ns` does not fit 64 bits")
    if sum(len(t.encode("utf-8", "replace")) for t in (request.id, request.who, request.why)) > MAX_ORIGIN_BYTES:
        if kill:
            request.who, request.why = _cut(request.who, 96), _cut(request.why, 192)
        else:
            wrong.append(f"`id`, `who` and `why` together have more than {MAX_ORIGIN_BYTES} bytes")
    return wrong


def _cut(text: str, most_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:most_bytes].decode("utf-8", "ignore")


def content_of(request: Request, caller: Caller) -> bytes:
    """What must be the same when an id comes again: all but the stamp, and by the same caller."""
    whole = (caller.via, caller.name, request.cmd, request.who, request.why, request.args)
    return hashlib.sha256(msgspec.msgpack.encode(whole, order="deterministic")).digest()
