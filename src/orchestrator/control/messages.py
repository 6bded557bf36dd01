"""What stands on the wire of the control API: MessagePack maps with a version, checked on arrival.

A request is one of `COMMANDS`. Its `id` is the idempotency key: the same id again is not done again, and gets the reply
the first one got. `who` is who asks for it in their own words; over TCP the name that belongs to the caller's key
replaces it. The reply to what the engine consumed says at which journal sequence number of which shard.

    request  {v, id, cmd, who, why, when_ns, args}
    reply    {v, id, ok, effects: [{shard, seq, ts_ns}], data, error: {code, message, hint} | nil, duplicate}
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal, Protocol

import msgspec

VERSION = 1
MAX_REQUEST_BYTES = 256 * 1024  # a policy artifact goes by path or inside `args.data`, up to this
MAX_WHO_CHARS = 64
MAX_WHY_CHARS = 160

Role = Literal["viewer", "operator", "risk", "admin"]
#: What each role may do, besides what it is listed for itself.
INCLUDES: dict[Role, tuple[Role, ...]] = {
    "viewer": ("viewer",),
    "operator": ("viewer", "operator"),
    "risk": ("viewer", "risk"),
    "admin": ("viewer", "operator", "risk", "admin"),
}


class Command(msgspec.Struct, frozen=True):
    """One entry of the API: who may, whether it changes anything, what for."""

    roles: tuple[Role, ...]
    changes: bool
    what: str


#: Every command. `changes`: it needs a reason, is logged, and becomes a journaled input of the engine where it reaches it.
COMMANDS: dict[str, Command] = {
    "status": Command(("viewer",), False, "the process tree, shards, counters, positions against limits"),
    "limits.get": Command(("viewer",), False, "limits in force, of the account or one symbol, what is used of each now and what is left"),
    "commands": Command(("viewer",), False, "commands of this run: who, why, when, and where they took effect"),
    "start": Command(("operator",), True, "enable trading, or start the tree's engine again"),
    "stop": Command(("operator",), True, "stop new orders, cancel what works, flush, end the tree"),
    "pause": Command(("operator", "risk"), True, "no new orders of one symbol, one shard or all; their orders are cancelled"),
    "resume": Command(("operator",), True, "lift a pause; not a kill"),
    "drain": Command(("operator",), True, "cancel a shard's orders, no new ones until resumed"),
    "limits.set": Command(("risk",), True, "change limits of the account or one symbol"),
    "active_symbols": Command(("operator", "risk"), True, "how many symbols of each shard may open orders"),
    "policy.load": Command(("operator",), True, "check an artifact and keep it ready for a slot"),
    "policy.swap": Command(("operator",), True, "put the loaded artifact to work in its slot, or the one before it"),
    "weights": Command(("operator",), True, "consensus weights"),
    "move": Command(("operator",), True, "let another thread run a shard"),
    "kill": Command(("operator", "risk"), True, "no new order from the next input on; cancel all"),
    "flatten": Command(("operator", "risk"), True, "close positions with reducing orders only"),
    "reduce_only": Command(("operator", "risk"), True, "let only reducing orders pass, or lift that"),
    "revive": Command(("risk",), True, "resume after a kill: asked for once for a token, then with it"),
    "rearm": Command(("risk",), True, "arm a tripped breaker again"),
    "snapshot": Command(("operator",), True, "make a snapshot of the state now"),
    "log_level": Command(("operator",), True, "how much is logged"),
    "deploy": Command(("admin",), True, "begin to take a changed configuration, or to go back: validated, backed up, applied by journaled "
                      "commands, watched, taken back where it does not do well; `deploy.status` tells how far it is"),
    "deploy.status": Command(("viewer",), False, "how far a deploy is and what came of it, by the id of its request"),
    "note": Command(("operator", "risk"), True, "put a line of text into the journal"),
}


#: What takes risk away: none of it is told "busy" because somebody else under the same name asks too much.
STOPPING = frozenset({"stop", "pause", "drain", "limits.set", "flatten", "reduce_only"})


def may(role: Role, command: str) -> bool:
    """Is this role allowed this command?"""
    entry = COMMANDS.get(command)
    return entry is not None and any(r in INCLUDES[role] or role == "admin" for r in entry.roles)


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A command on its way in."""

    cmd: str
    v: int = VERSION
    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    who: str = ""
    why: str = ""
    when_ns: int = msgspec.field(default_factory=time.time_ns)
    args: dict[str, Any] = {}

    def key(self) -> int:
        """The 64-bit idempotency key of the journal: never 0, which would mean none."""
        import hashlib

        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:8], "little") or 1


class Effect(msgspec.Struct, frozen=True):
    """Where a command stands in a shard's journal."""

    shard: int
    seq: int
    ts_ns: int


class Problem(msgspec.Struct, frozen=True):
    """Why it was not done: a code for programs, a line and a way out for people."""

    code: str  # usage, denied, busy, unavailable, refused, conflict, timeout, internal
    message: str
    hint: str = ""


class Reply(msgspec.Struct, kw_only=True):
    """What came of it."""

    id: str
    ok: bool
    v: int = VERSION
    effects: list[Effect] = []
    data: Any = None
    error: Problem | None = None
    duplicate: bool = False


class Caller(msgspec.Struct, frozen=True):
    """Who really asks: by the permissions of the socket, or by the key of the connection."""

    name: str
    role: Role
    via: Literal["ipc", "tcp"]


class Handler(Protocol):
    """What the server hands requests to; called on threads of the server's, never on the engine's."""

    def handle(self, request: Request, caller: Caller) -> Reply:
        """Do it and say what came of it; an exception becomes an `internal` problem."""
        ...
