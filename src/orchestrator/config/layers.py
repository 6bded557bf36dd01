"""Several YAML documents laid over each other, each value knowing where it came from.

One rule for each shape, the same everywhere:

    mapping                   merges key by key; one of another `kind` (a venue, a latency) replaces
    instruments               merge by symbol                        order: those below, then new ones
    policies.members          merge by slot
    venue.shard_logins        merge by username
    any other list, a value   replaces what lies below

Two words at the top of an overlay change that, for the places they list: `replace: [instruments]` takes this file's value
whole, `remove: [instruments[WIDE], risk.by_symbol.WIDE]` takes something away. Over a shipped profile every list replaces:
its one instrument is an example, not something to add to.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestrator.config.paths import KEYED, parse_path, step
from orchestrator.config.problems import Problem
from orchestrator.config.yaml_tree import MAX_VALUES, Path, Tree, dotted

_DEEP, _SHALLOW = 64, 4

OriginKind = Literal["file", "profile", "variable", "set", "default"]


@dataclass(frozen=True)
class Origin:
    """Where a value came from. `source`: the file, the profile's name, the variable's name; `line` from 1."""

    kind: OriginKind
    source: str = ""
    line: int | None = None

    def text(self) -> str:
        """`desks/rates.yaml:4`, `profile laptop:12`, `PEREGRINE__RISK__MAX_LONG_LOTS`, `--set`, `default`."""
        if self.kind == "default":
            return "default"
        where = {"profile": f"profile {self.source}", "set": "--set"}.get(self.kind, self.source)
        return f"{where}:{self.line}" if self.line else where

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return {"kind": self.kind, "source": self.source, "line": self.line}


@dataclass
class Node:
    """A value and its origin; a mapping or list holds nodes."""

    value: Any
    origin: Origin


@dataclass
class Layer:
    """One document on its way into the merge."""

    root: Node
    replace: set[Path] = field(default_factory=set)
    remove: list[tuple[Path, Origin]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def layer_of(tree: Tree, kind: OriginKind, source: str) -> Layer:
    """A parsed document as a layer; `replace` and `remove` at its top become instructions."""
    depth = _DEEP if tree.values <= MAX_VALUES else _SHALLOW  # told as a problem: what lies deeper is of no use
    root = _nodes(tree.value, (), tree, kind, source, depth)
    layer = Layer(root, problems=[p if p.source else replace(p, source=source) for p in tree.problems])
    if isinstance(root.value, dict):
        for word in ("replace", "remove"):
            told = root.value.pop(word, None)
            if told is not None:
                _instructions(layer, word, told)
    return layer


def merge(base: Node, layer: Layer, *, lists: bool) -> Node:
    """Lay `layer` over `base`; `lists`: keyed lists merge by their key, else they replace too. Finds go to `layer.problems`."""
    merged = _merged(base, layer.root, (), layer.replace, lists)
    for path, origin in layer.remove:
        _remove(merged, path, origin, layer.problems)
    return merged


def tree_of(root: Node, problems: list[Problem]) -> Tree:
    """Plain values again, with the line and origin of every place."""
    tree = Tree(problems=problems)

    def plain(node: Node, path: Path) -> Any:
        tree.origins[path] = node.origin
        if node.origin.kind == "file" and node.origin.line:
            tree.lines[path] = node.origin.line
        if isinstance(node.value, dict):
            return {key: plain(child, (*path, key)) for key, child in node.value.items()}
        if isinstance(node.value, list):
            return [plain(child, (*path, i)) for i, child in enumerate(node.value)]
        return node.value

    tree.value = plain(root, ())
    return tree


def node_of(value: Any, origin: Origin) -> Node:
    """Plain values as nodes, all of one origin."""
    if isinstance(value, dict):
        return Node({str(key): node_of(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, list):
        return Node([node_of(child, origin) for child in value], origin)
    return Node(value, origin)


def _nodes(value: Any, path: Path, tree: Tree, kind: OriginKind, source: str, depth: int) -> Node:
    origin = Origin(kind, source, tree.line_of(path))
    if len(path) >= depth and isinstance(value, dict | list):
        return Node(type(value)(), origin)
    if isinstance(value, dict):
        return Node({key: _nodes(child, (*path, key), tree, kind, source, depth) for key, child in value.items()}, origin)
    if isinstance(value, list):
        return Node([_nodes(child, (*path, i), tree, kind, source, depth) for i, child in enumerate(value)], origin)
    return Node(value, origin)


def _merged(base: Node, over: Node, path: Path, replace: set[Path], lists: bool) -> Node:
    if path in replace:
        return over
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        kind = over.value.get("kind")
        if kind is not None and ("kind" not in base.value or base.value["kind"].value != kind.value):
            return over
        out = dict(base.value)
        for key, child in over.value.items():
            out[key] = _merged(out[key], child, (*path, key), replace, lists) if key in out else child
        return Node(out, over.origin)
    if lists and path in KEYED and isinstance(base.value, list) and isinstance(over.value, list):
        return Node(_merged_list(base.value, over.value, path, replace), over.origin)
    return over


def _merged_list(base: list[Node], over: list[Node], path: Path, replace: set[Path]) -> list[Node]:
    key = KEYED[path]
    out, taken = list(base), set()
    for child in over:
        at = next((i for i in _places(base, key, child) if i not in taken), None)
        if at is None:
            out.append(child)  # new, or the same again: the checks say so
        else:
            taken.add(at)
            out[at] = _merged(base[at], child, (*path, at), replace, True)
    return out


def _places(items: list[Node], key: str, wanted: Node) -> Iterator[int]:
    value = _key(wanted, key)
    return (i for i, item in enumerate(items) if value is not None and _key(item, key) == value)


def _key(node: Node, key: str) -> Any:
    return node.value[key].value if isinstance(node.value, dict) and key in node.value else None


def _instructions(layer: Layer, word: str, told: Node) -> None:
    items = told.value if isinstance(told.value, list) else None
    if items is None or not all(isinstance(item.value, str) for item in items):
        layer.problems.append(
            Problem(word, "no list of places", "a list of places", f"{word}: [instruments, risk.by_symbol.PRGN]",
                    told.origin.line, told.origin.source)
        )
        return
    for item in items:
        path = parse_path(item.value)
        if word == "remove":
            layer.remove.append((path, item.origin))
            continue
        here: Node | None = layer.root
        for part in path:
            here = step(here, part, path) if here is not None else None
        if here is None:
            layer.problems.append(
                Problem("replace", f"{item.value}, which this file does not have", "a place this file gives a value",
                        "what is not given cannot take another's place; to take it away: remove", item.origin.line, item.origin.source)
            )
        else:
            layer.replace.add(path)


def _remove(root: Node, path: Path, origin: Origin, problems: list[Problem]) -> None:
    here: Node = root
    for i, part in enumerate(path):
        child = step(here, part, path[:i])
        if child is None:
            known = [str(k) for k in here.value] if isinstance(here.value, dict) else _names(here, path[:i])
            close = difflib.get_close_matches(str(part), known, n=1, cutoff=0.5)
            hint = f"did you mean `{close[0]}`?" if close else ("there are: " + ", ".join(known[:12]) if known else "")
            problems.append(
                Problem("remove", f"{dotted(path)}, which no layer below has", "something to remove", hint, origin.line, origin.source)
            )
            return
        if i == len(path) - 1:
            if isinstance(here.value, dict):
                del here.value[part]
            else:
                here.value[:] = [c for c in here.value if c is not child]
        here = child


def _names(node: Node, path: Path) -> list[str]:
    if not isinstance(node.value, list) or path not in KEYED:
        return []
    return [str(_key(item, KEYED[path])) for item in node.value]
