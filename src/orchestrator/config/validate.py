"""Plain values to a Config, with every problem found in one go.

Each section is validated by itself, so that a slip in one does not hide those in another, and the checks
across sections (`checks.py`) run over whatever is sound.
"""

from __future__ import annotations

import difflib
import types
import typing
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

from orchestrator.config.base import Section
from orchestrator.config.checks import CHECKS
from orchestrator.config.models import Config
from orchestrator.config.problems import NOTHING, UNKNOWN, Problem
from orchestrator.config.yaml_tree import Path, Tree, dotted

_SECRET_WORDS = ("password", "secret", "token", "passphrase", "api_key")
_SHOWN = 60
_KEYS = 12  # of a mapping, in a message


def validate(value: Any, tree: Tree | None = None) -> tuple[Config | None, list[Problem]]:
    """Check parsed values against the models. Returns the Config, or None with at least one problem.

    `tree` gives the lines of the file the values came from; paths that stand in no file get no line.
    """
    lines = tree or Tree()
    if not isinstance(value, dict):
        return None, [Problem("", shown(value), "a mapping of sections", "begin with `version: 1`", lines.line_of(()), lines.source_of(()))]
    problems: list[Problem] = []
    sections: dict[str, Any] = {}
    for name in value:
        if name not in Config.model_fields:
            problems.append(_unknown_key((name,), value[name], Config, lines))
    for name, info in Config.model_fields.items():
        if name not in value:
            if info.default is PydanticUndefined:
                problems.append(_missing((name,), lines))
            else:
                sections[name] = info.default
            continue
        annotation: Any = (
            typing.Annotated[info.annotation, info] if info.metadata or info.discriminator else info.annotation
        )
        try:
            sections[name] = TypeAdapter(annotation).validate_python(value[name])
        except ValidationError as err:
            problems += [_problem((name, *e["loc"]), e, lines) for e in err.errors(include_url=False)]
    for needs, check in CHECKS:
        if all(n in sections for n in needs):
            for path, found, expected, hint in check(*(sections[n] for n in needs)):
                problems.append(Problem(dotted(path), found, expected, hint, lines.line_of(path), lines.source_of(path)))
    if problems:
        return None, sorted(problems, key=lambda p: (p.source, p.line or 0))
    return Config(**sections), []


def shown(value: Any, path: Path = ()) -> str:
    """A value for an error message: short, and never a secret."""
    last = next((p for p in reversed(path) if isinstance(p, str)), "")
    if any(word in last for word in _SECRET_WORDS) and not last.endswith(("_env", "_file")):
        return "(not shown)"
    if isinstance(value, dict):
        keys = ", ".join(_clipped(str(key)) for key in [*value][:_KEYS])
        more = f", and {len(value) - _KEYS:,} more" if len(value) > _KEYS else ""
        return f"a mapping with the keys {keys}{more}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    kind = {bool: "truth value", int: "number", float: "number with a point", str: "text"}.get(type(value), "value")
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return f"{_clipped(text)} ({kind})"


def _clipped(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _problem(loc: Path, error: Any, lines: Tree) -> Problem:
    path, model, description = _walk(loc)
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(path, error["input"], model, lines)
    if kind == "missing":
        return _missing(path, lines, description)
    found = shown(error["input"], path)
    expected, hint = _expected(kind, error.get("ctx", {}), error["msg"])
    if kind == "union_tag_not_found":
        found = "no `kind`"
    elif kind == "union_tag_invalid":
        path, found = (*path, "kind"), shown(error["ctx"]["tag"])
        hint = _nearest(error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "").split(", ")) or hint
    elif kind in ("literal_error", "enum") and isinstance(error["input"], str):
        hint = (
            _nearest(error["input"], [w.strip("' ") for w in error["ctx"]["expected"].replace(" or ", ", ").split(",")])
            or hint
        )
    return Problem(dotted(path), found, expected, hint or description, lines.line_of(path), lines.source_of(path))


def _expected(kind: str, ctx: dict[str, Any], message: str) -> tuple[str, str]:
    fixed = {
        "int_type": ("a whole number", "write it without quotes and without a point"),
        "int_from_float": ("a whole number", "settings are integers; choose a smaller unit"),
        "bool_type": ("true or false", ""),
        "string_type": ("text", "put it in quotes"),
        "list_type": ("a list", "write `[a, b]`, or a line beginning with `-` for each"),
        "dict_type": ("a mapping", "indent the keys below it"),
        "model_type": ("a mapping", "indent the keys below it"),
        "model_attributes_type": ("a mapping", "indent the keys below it"),
        "union_tag_not_found": ("`kind` to say which of the forms this is", ""),
    }
    if kind in fixed:
        return fixed[kind]
    bounds = {"greater_than": ("gt", "greater than"), "greater_than_equal": ("ge", "at least"),
              "less_than": ("lt", "less than"), "less_than_equal": ("le", "at most")}  # fmt: skip
    if kind in bounds:
        key, words = bounds[kind]
        return f"{words} {ctx[key]}", ""
    if kind in ("literal_error", "enum"):
        return f"one of {ctx['expected'].replace(' or ', ', ')}", ""
    if kind == "union_tag_invalid":
        return f"one of {ctx['expected_tags']}", ""
    if kind == "string_pattern_mismatch":
        return _pattern(ctx["pattern"]), ""
    if kind in ("too_short", "string_too_short"):
        return f"at least {ctx['min_length']}", ""
    if kind in ("too_long", "string_too_long"):
        return f"at most {ctx['max_length']}", ""
    return message[0].lower() + message[1:], ""


def _pattern(pattern: str) -> str:
    known = {
        r"^[^\s:]+:[0-9]{1,5}$": "host:port, for example 127.0.0.1:26400",
        r"^[\w.]+:\w+$": "module:function, for example my_signals:lean",
        r"^[a-z0-9][a-z0-9-]{0,31}$": "1 to 32 small letters, digits and `-`, not beginning with `-`",
        r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of an environment variable",
    }
    return known.get(pattern, f"text like {pattern}")


def _unknown_key(path: Path, value: Any, model: Any, lines: Tree) -> Problem:
    known = list(model.model_fields) if model is not None else []
    key = str(path[-1])
    if key in ("password", "secret"):
        hint = "passwords never stand here: use password_env or password_file"
    else:
        hint = _nearest(key, known) or ("known keys: " + ", ".join(known) if known else "remove it")
    return Problem(dotted(path), f"{UNKNOWN}, {shown(value, path)}", "a known key", hint, lines.line_of(path), lines.source_of(path))


def _missing(path: Path, lines: Tree, description: str = "") -> Problem:
    if not description and len(path) == 1:
        description = Config.model_fields[str(path[0])].description or ""
    return Problem(dotted(path), NOTHING, "a value", description, lines.line_of(path), lines.source_of(path))


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""


def _walk(loc: Path) -> tuple[Path, Any, str]:
    """The path without the tags pydantic puts in for unions, the innermost model, the setting's description."""
    path: list[str | int] = []
    here: Any = Config
    model: Any = Config
    description = ""
    for part in loc:
        here = _plain(here)
        if isinstance(here, list):  # a union of sections: `part` is the tag
            here = next((m for m in here if part in typing.get_args(m.model_fields["kind"].annotation)), None)
            model = here
            continue
        path.append(part)
        if isinstance(here, type) and issubclass(here, Section):
            model = here
            info = here.model_fields.get(str(part))
            description = (info.description or "") if info else ""
            here = info.annotation if info else None
        elif typing.get_origin(here) in (list, dict):
            here = typing.get_args(here)[-1]
        else:
            here = None
    return tuple(path), model, description


def _plain(annotation: Any) -> Any:
    """The annotation without Annotated and Optional; a list of classes for a union of sections."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [m for m in typing.get_args(annotation) if m is not type(None)]
        if len(members) == 1:
            return _plain(members[0])
        if all(isinstance(m, type) and issubclass(m, Section) for m in members):
            return members
    return annotation
