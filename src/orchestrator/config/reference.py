"""The table of every setting, made from the models: `python -m orchestrator.config.reference` prints it."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic_core import PydanticUndefined

from orchestrator.config.base import Section
from orchestrator.config.models import Config

HEAD = "| setting | type | default | meaning |\n|---|---|---|---|\n"


def reference() -> str:
    """Markdown: a heading and a table for each section, in the order of a file."""
    parts = []
    top = [(name, info) for name, info in Config.model_fields.items() if not _sections(info.annotation)]
    parts.append("### top level\n\n" + HEAD + "".join(_row(name, info) for name, info in top))
    for name, info in Config.model_fields.items():
        for section in _sections(info.annotation):
            parts += _tables(name, section)
    return "\n" + "\n".join(parts) + "\n"


def _tables(path: str, section: type[Section]) -> list[str]:
    doc = (section.__doc__ or "").strip().splitlines()[0]
    kind = typing.get_args(section.model_fields["kind"].annotation)[0] if "kind" in section.model_fields else ""
    title = f"### {path}" + (f", kind {kind}" if kind else "")
    rows, below = "", []
    for name, info in section.model_fields.items():
        inner = _sections(info.annotation)
        if name != "kind" and (not inner or len(inner) > 1):
            rows += _row(name, info)
        for child in inner:
            if (path, name) != ("risk", "by_symbol"):  # it repeats the limits above
                below += _tables(f"{path}.{name}", child)
    if section.__name__ == "Risk":
        rows += _row("by_symbol", section.model_fields["by_symbol"])
    if len(set(below)) < len(below):
        below = list(dict.fromkeys(below))
    if path.startswith("virtual."):
        return [f"{title}\n\n{doc}\n\n{HEAD}{rows}"] if path == "virtual.feed_latency" else []
    return [f"{title}\n\n{doc}\n\n{HEAD}{rows}", *below]


def _row(name: str, info: Any) -> str:
    default = "required" if info.default is PydanticUndefined else _shown(info.default)
    return f"| `{name}` | {_type(info.annotation, info)} | {default} | {info.description or ''} |\n"


def _shown(value: Any) -> str:
    if isinstance(value, Section):
        return "see below"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}".replace(",", "_")
    return f"`{value}`" if value not in ("", [], {}) else "empty"


def _type(annotation: Any, info: Any = None) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        return _type(typing.get_args(annotation)[0])
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (typing.Union, types.UnionType):
        named = [_type(a) for a in args if a is not type(None)]
        return " or ".join(dict.fromkeys(named))
    if origin is list:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return f"{_type(args[0])} to {_type(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "mapping"
    return {int: "integer", str: "text", bool: "true or false"}.get(annotation, str(annotation))


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for a in typing.get_args(annotation) for s in _sections(a)]


if __name__ == "__main__":
    print(reference(), end="")
