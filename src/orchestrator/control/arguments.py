"""What each command takes: names, types and ranges, in one table that checks requests and writes their documentation.

A check tells every problem of a request at once. Text that reaches a log or a terminal is printable, so that nobody can
draw on an operator's screen.
"""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.control.breakers import BITS

MAX_SHARDS = 16
MAX_VALUE = 2**62
MAX_NOTE_BYTES = 400
#: of weights that are all 0, which the configuration refuses too
NOBODY_DECIDES = "expected at least one above 0: nobody could ever decide; to stop trading: peregrine pause or drain"
MAX_CONFIG_BYTES = 248 * 1024  # what a request has room for


class Arg(msgspec.Struct, frozen=True):
    """One argument."""

    kind: str  # text, symbol, integer, flag, bytes, weights, limits
    what: str
    required: bool = False
    low: int = 0
    high: int = MAX_VALUE
    one_of: tuple[str, ...] = ()


_SYMBOL = Arg("symbol", "one symbol")
_SHARD = Arg("integer", "one shard, by number", high=MAX_SHARDS - 1)
_ALL = Arg("flag", "every shard")
_WHERE = {"shard": _SHARD, "all": _ALL}
_TARGET = {"symbol": _SYMBOL, **_WHERE}

#: The arguments of every command.
ARGUMENTS: dict[str, dict[str, Arg]] = {
    "status": {},
    "limits.get": {"symbol": _SYMBOL},
    "commands": {
        "since_ns": Arg("integer", "only those after this moment"),
        "limit": Arg("integer", "how many, the newest; 1000 without it", low=1, high=10_000),
    },
    "start": {"restart": Arg("flag", "also start the engine again when it runs")},
    "stop": {},
    "pause": {**_TARGET, "keep": Arg("flag", "leave what works at the venue; not of one symbol")},
    "resume": _TARGET,
    "drain": _WHERE,
    "limits.set": {
        "limits": Arg("limits", "name of a limit to its new value", required=True),
        "symbol": Arg("symbol", "of one symbol; without it of the account"),
    },
    "active_symbols": {"count": Arg("integer", "symbols of each shard", required=True, high=4096), **_WHERE},
    "policy.load": {
        "slot": Arg("integer", "place in the policy set", required=True, high=7),
        "path": Arg("text", "artifact's file, on the engine's machine"),
        "data": Arg("bytes", "the artifact itself"),
    },
    "policy.swap": {
        "slot": Arg("integer", "place in the policy set", required=True, high=7),
        "back": Arg("flag", "put the artifact that stood there before to work again"),
        "shard": _SHARD,
    },
    "weights": {"weights": Arg("weights", "weight of each slot, 1 to 8 of them, not all 0; the rest get 0", required=True)},
    "move": {
        "shard": Arg("integer", "shard to move", required=True, high=MAX_SHARDS - 1),
        "thread": Arg("integer", "thread that runs it from now on", required=True, high=MAX_SHARDS - 1),
    },
    "kill": {"level": Arg("text", "cancel (without it) or flatten", one_of=("cancel", "flatten"))},
    "flatten": _WHERE,
    "reduce_only": {"on": Arg("flag", "true: only reducing orders pass; false: all do", required=True), **_WHERE},
    "revive": {"token": Arg("text", "what the first of the two requests was given")},
    "rearm": {"breaker": Arg("text", "one of them; without it all that tripped", one_of=tuple(BITS)), **_WHERE},
    "snapshot": _WHERE,
    "log_level": {"level": Arg("text", "how much is logged", required=True, one_of=("debug", "info", "warning", "error"))},
    "deploy": {
        "config": Arg("bytes", "the configuration itself, whole, as YAML or JSON", high=MAX_CONFIG_BYTES),
        "path": Arg("text", "its file or FOLDER#ENVIRONMENT/DESK, on the engine's machine"),
        "source": Arg("text", "with `config`: what its sender calls it, for the history", high=1024),
        "rollback": Arg("integer", "what ran before that deploy; 0: before the last good one, or what was cut off", high=9999),
        "abort": Arg("flag", "take back the deploy that is under way"),
        "window_ms": Arg("integer", "how long the engine is watched afterwards; 10,000 without it", low=100, high=600_000),
        "over_drift": Arg("flag", "even where limits were set by hand since"),
        "dry_run": Arg("flag", "only tell what would be done; `deploy.status` has it as `plan`"),
        "restart": Arg("flag", "down and up again where a change needs it: the next supervisor answers `deploy.status` then"),
    },
    "deploy.status": {
        "id": Arg("text", "of the request that began it; without it the newest one"),
        "after": Arg("integer", "lines from this number on"),
    },
    "note": {"text": Arg("text", "what to say", required=True, high=MAX_NOTE_BYTES)},
}

#: Exactly one of these must be given; the others of a command with `shard` and `all` take neither as every shard.
EXACTLY_ONE: dict[str, tuple[str, ...]] = {
    "pause": ("symbol", "shard", "all"),
    "resume": ("symbol", "shard", "all"),
    "drain": ("shard", "all"),
    "policy.load": ("path", "data"),
    "deploy": ("config", "path", "rollback", "abort"),
}
AT_MOST_ONE: dict[str, tuple[str, ...]] = dict.fromkeys(("active_symbols", "flatten", "reduce_only", "rearm", "snapshot"), ("shard", "all"))


def problems(command: str, args: dict[str, Any]) -> list[str]:
    """Everything wrong with the arguments of a known command; empty when they are good."""
    known = ARGUMENTS[command]
    found = [f"`{_shown(name)}` is no argument of {command}{_known(known)}" for name in args if name not in known]
    for name, arg in known.items():
        if name not in args:
            if arg.required:
                found.append(f"`{name}` is missing: {arg.what}")
        elif wrong := _wrong(arg, args[name]):
            found.append(f"`{name}`: {wrong}")
    given = {name for name in args if args[name] is not False}
    if (names := EXACTLY_ONE.get(command)) and len(given & set(names)) != 1:
        found.append(f"exactly one of {_listed(names)} is needed")
    if (names := AT_MOST_ONE.get(command)) and len(given & set(names)) > 1:
        found.append(f"at most one of {_listed(names)} can be given")
    return found


def _known(known: dict[str, Arg]) -> str:
    return f", which takes {_listed(tuple(known))}" if known else ", which takes none"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return text[:32] if text.isprintable() else "…"


def _wrong(arg: Arg, value: Any) -> str:
    """What is wrong with one value, or nothing."""
    if arg.kind == "flag":
        return "" if isinstance(value, bool) else "expected true or false"
    if arg.kind == "integer":
        return _wrong_integer(value, arg.low, arg.high)
    if arg.kind == "bytes":
        if not isinstance(value, bytes) or not value:
            return "expected bytes"
        return f"longer than {arg.high} bytes" if len(value) > arg.high else ""
    if arg.kind == "weights":
        if not isinstance(value, list) or not 1 <= len(value) <= 8:
            return "expected a list of 1 to 8 integers"
        wrong = next((w for v in value if (w := _wrong_integer(v, 0, 32767))), "")
        return wrong or ("" if any(value) else NOBODY_DECIDES)
    if arg.kind == "limits":
        return _wrong_limits(value)
    if not isinstance(value, str) or not value or not value.isprintable():
        return "expected printable text"
    if arg.one_of and value not in arg.one_of:
        return f"found {value[:32]!r}, expected one of {', '.join(arg.one_of)}"
    if arg.kind == "symbol" and (len(value) > 8 or not value.isascii()):
        return "expected a symbol of 1 to 8 characters"
    most = arg.high if arg.high < MAX_VALUE else 4096
    return f"longer than {most} bytes" if len(value.encode("utf-8", "replace")) > most else ""


def _wrong_integer(value: Any, low: int, high: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return "expected an integer"
    return "" if low <= value <= high else f"found {value}, expected {low} to {high}"


def _wrong_limits(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return "expected a map of limits, such as {max_order_lots: 100}"
    if bad := [k for k in value if not isinstance(k, str) or not k.isprintable() or len(k) > 64]:
        return f"{len(bad)} names that are no text"
    wrong = [f"{name}: {w}" for name, v in value.items() if (w := _wrong_integer(v, 0, MAX_VALUE))]
    return "; ".join(wrong)
