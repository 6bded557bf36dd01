"""YAML to plain values with the line of every key, by the few rules a configuration needs.

Only `true`/`false` are booleans, so that a symbol may be called ON or NO; no tags, no anchors' surprises:
a key given twice is a problem, not the later value.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from orchestrator.config.problems import Problem

Path = tuple[str | int, ...]

_INT = re.compile(r"^[-+]?[0-9][0-9_]*$")
_HEX = re.compile(r"^0x[0-9a-fA-F_]+$")
_FLOAT = re.compile(r"^[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9][0-9_]*)([eE][-+]?[0-9]+)?$")
_TAGS = {"str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq"}
_MAX_DEPTH = 32
MAX_VALUES = 250_000  # aliases counted out: a few lines of them can stand for billions


@dataclass
class Tree:
    """Parsed values, the line (from 1) of every path, and what was wrong on the way; of a merge the origins too."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    origins: dict[Path, Any] = field(default_factory=dict)  # layers.Origin
    problems: list[Problem] = field(default_factory=list)
    values: int = 0  # built so far

    def line_of(self, path: Path) -> int | None:
        """Line of the path, or of the nearest parent that has one."""
        if self._told(path):
            return None
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def source_of(self, path: Path) -> str:
        """The file that `line_of` counts in, or what else set the path; "" when there is only one."""
        if self._told(path):
            return str(self.origins[path].text())
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                origin = self.origins.get(path[:end])
                return origin.source if origin is not None else ""
        return ""

    def _told(self, path: Path) -> bool:
        return path in self.origins and self.origins[path].kind in ("variable", "set")


def parse(text: str) -> Tree:
    """Read one YAML document; syntax errors, duplicate keys and tags become problems with their line."""
    tree = Tree()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        line = mark.line + 1 if mark else None
        tree.problems.append(
            Problem("", str(err.problem), "YAML", "check the indentation and quotes around this line", line)
        )
        return tree
    except RecursionError:
        tree.problems.append(Problem("", "nesting without end", f"at most {_MAX_DEPTH} levels", "remove the brackets"))
        return tree
    except yaml.YAMLError as err:  # bytes that are no text
        tree.problems.append(Problem("", str(err).splitlines()[0], "YAML text in UTF-8", "save the file as UTF-8"))
        return tree
    if node is not None:
        tree.value = _build(node, (), tree, frozenset())
    if tree.value is None and not tree.problems:
        tree.value = {}  # a document with nothing in it is an empty mapping, however it is written
    return tree


def scalar(text: str) -> Any:
    """The value a bare word stands for: null, boolean, integer, float, or the word itself."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    with contextlib.suppress(ValueError):  # thousands of digits, or `0x_`: a word after all
        if _INT.match(text):
            return int(text.replace("_", ""))
        if _HEX.match(text):
            return int(text.replace("_", ""), 16)
        if _FLOAT.match(text):
            return float(text.replace("_", ""))
    return text


def _build(node: yaml.Node, path: Path, tree: Tree, above: frozenset[int]) -> Any:
    line = node.start_mark.line + 1
    tree.lines.setdefault(path, line)
    tree.values += 1
    if tree.values > MAX_VALUES:
        if tree.values == MAX_VALUES + 1:
            expected = f"at most {MAX_VALUES} values, those of aliases counted"
            tree.problems.append(Problem(dotted(path), "more than that", expected, "remove the aliases", line))
        return None
    if id(node) in above or len(path) > _MAX_DEPTH:
        tree.problems.append(Problem(dotted(path), "nesting without end", "a plain value", "remove the alias", line))
        return None
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
        tree.problems.append(Problem(dotted(path), f"the tag {node.tag}", "a plain value", "remove the tag", line))
        return None
    above = above | {id(node)}
    if isinstance(node, yaml.ScalarNode):
        return scalar(node.value) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_build(child, (*path, i), tree, above) for i, child in enumerate(node.value) if tree.values <= MAX_VALUES]
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if tree.values > MAX_VALUES:
            break
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        key_line = key_node.start_mark.line + 1
        if key is None:
            tree.problems.append(Problem(dotted(path), "a key that is no word", "a word", "", key_line))
            continue
        child_path = (*path, key)
        if key in out:
            first = tree.lines[child_path]
            tree.problems.append(
                Problem(
                    dotted(child_path),
                    f"the key twice (lines {first} and {key_line})",
                    "each key once",
                    "remove one of the two",
                    key_line,
                )
            )
            continue
        tree.lines[child_path] = key_line
        out[key] = _build(value_node, child_path, tree, above)
    return out


def dotted(path: Path) -> str:
    """`risk.max_loss_units`, `instruments[0].symbol`: a path as people write it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text
