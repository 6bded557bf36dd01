"""How people write the place of a setting: `risk.max_loss_units`, `instruments[PRGN].multiplier`, `policies.members[slot 2].weight`.

An element of a list is told by its position, `[0]` or `.0`, or, where the list has a key, by the key's value: `[PRGN]`, or
with the key's name where the value is a number: `[slot 2]`. Printed places use the key, so that they stay true when an
element is put before it.
"""

from __future__ import annotations

import re
from typing import Any

from orchestrator.config.yaml_tree import Path

#: lists whose elements have a name: where, and which of their settings it is
KEYED: dict[Path, str] = {
    ("instruments",): "symbol",
    ("policies", "members"): "slot",
    ("venue", "shard_logins"): "username",
}

_PART = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")


def parse_path(text: str) -> Path:
    """The parts of a place as written; digits become positions."""
    parts = [a if a else b for a, b in _PART.findall(text)]
    return tuple(int(p) if p.isdigit() and len(p) <= 9 else p for p in parts)


def index_of(items: list[Any], part: str | int, path: Path) -> int | None:
    """Position of the element of the list at `path` that `part` tells; None when there is none.

    The elements may be plain mappings, or have them in `.value`, as those of a layer do.
    """
    if isinstance(part, int):
        return part if part < len(items) else None
    key = KEYED.get(path)
    if key is None:
        return None
    wanted = part.removeprefix(f"{key} ")
    for i, item in enumerate(items):
        inner = getattr(item, "value", item)
        found = inner.get(key) if isinstance(inner, dict) else None
        if str(getattr(found, "value", found)) == wanted and found is not None:
            return i
    return None


def step(node: Any, part: str | int, path: Path) -> Any:
    """The child of a layer's node that `part` tells, or None; `path` is where the node stands."""
    if isinstance(node.value, dict):
        return node.value.get(str(part))
    if isinstance(node.value, list):
        at = index_of(node.value, part, path)
        return None if at is None else node.value[at]
    return None


def flat(value: Any, path: Path = (), named: str = "") -> dict[str, tuple[Path, Any]]:
    """Every value of a tree by its printed place: {place: (path with positions, value)}; an empty list or mapping is one."""
    if isinstance(value, dict) and value:
        out: dict[str, tuple[Path, Any]] = {}
        for key, child in value.items():
            text = f"{named}[{key}]" if "." in key else (f"{named}.{key}" if named else key)
            out |= flat(child, (*path, key), text)
        return out
    if isinstance(value, list) and value and any(isinstance(child, dict | list) for child in value):
        out = {}
        for i, child in enumerate(value):
            out |= flat(child, (*path, i), f"{named}[{element(child, i, path)}]")
        return out
    return {named: (path, value)}


def element(child: Any, position: int, path: Path) -> str:
    """What stands between the brackets for an element of the list at `path`."""
    key = KEYED.get(path)
    if key is None or not isinstance(child, dict) or key not in child:
        return str(position)
    return f"{key} {child[key]}" if isinstance(child[key], int) else str(child[key])
