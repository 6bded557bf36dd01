"""Settings from outside the files: `PEREGRINE__RISK__MAX_LONG_LOTS=500` in the environment, and `--set path=value`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.config.layers import Origin
from orchestrator.config.paths import index_of, parse_path
from orchestrator.config.problems import Problem
from orchestrator.config.validate import shown
from orchestrator.config.yaml_tree import Path, Tree, dotted, parse, scalar

PREFIX = "PEREGRINE__"


def apply_variables(tree: Tree, environ: Mapping[str, str]) -> None:
    """Put every `PEREGRINE__A__B=value` at `a.b`; case follows what is there, so a symbol keeps its capitals."""
    for name in sorted(n for n in environ if n.startswith(PREFIX)):
        path = _spelled(tree.value, name.removeprefix(PREFIX).split("__"))
        value = _value(environ[name], name, tree.problems)
        _put(tree, path, value, name, Origin("variable", name))


def apply_overrides(tree: Tree, overrides: Mapping[str, Any] | Sequence[str]) -> None:
    """Put every `path=value`, or every item of a mapping {path: value}, where it belongs."""
    if isinstance(overrides, Mapping):
        items = list(overrides.items())
    else:
        items = []
        for text in overrides:
            path, equals, value = text.partition("=")
            if not equals or not path:
                tree.problems.append(Problem("--set", shown(text), "path=value", "for example --set risk.max_long_lots=500"))
                continue
            items.append((path, _value(value, f"--set {path}", tree.problems)))
    for path, value in items:
        _put(tree, parse_path(path), value, f"--set {path}", Origin("set"))


def _value(text: str, where: str, problems: list[Problem]) -> Any:
    if not text.startswith(("[", "{", '"', "'")):
        return scalar(text)
    inner = parse(text)
    problems += [Problem(where, p.found, p.expected, p.hint) for p in inner.problems]
    return inner.value


def _spelled(value: Any, words: list[str]) -> Path:
    """The words of a variable's name as the path they mean."""
    path: list[str | int] = []
    for word in words:
        known = list(value) if isinstance(value, dict) else []
        part: str | int = int(word) if word.isdigit() else next((k for k in known if k.upper() == word.upper()), word.lower())
        if isinstance(value, list):
            at = index_of(value, word if not word.isdigit() else int(word), tuple(path))
            part = at if at is not None else part
            value = value[at] if at is not None else None
        else:
            value = value.get(str(part)) if isinstance(value, dict) else None
        path.append(part)
    return tuple(path)


def _put(tree: Tree, path: Path, value: Any, where: str, origin: Origin) -> None:
    here = tree.value
    told: list[str | int] = []  # the path with positions in place of keys
    for i, part in enumerate(path):
        last = i == len(path) - 1
        at = index_of(here, part, path[:i]) if isinstance(here, list) else None
        if isinstance(here, list) and at is not None:
            told.append(at)
            if last:
                here[at] = value
            else:
                here = here[at]
        elif isinstance(here, dict) and isinstance(part, str):
            told.append(part)
            if last:
                here[part] = value
            else:
                if part not in here:
                    tree.origins[tuple(told)] = origin
                here = here.setdefault(part, {})
        else:
            have = f"a list of {len(here)}" if isinstance(here, list) else "no such place"
            tree.problems.append(Problem(where, f"{have} at `{dotted(path[:i])}`", "a path that exists", ""))
            return
    whole = tuple(told)
    for known in [known for known in tree.lines if known[: len(whole)] == whole]:
        del tree.lines[known]  # what was set from outside has no line in a file
    for known in [known for known in tree.origins if known[: len(whole)] == whole]:
        del tree.origins[known]
    _mark(tree, whole, value, origin)


def _mark(tree: Tree, path: Path, value: Any, origin: Origin) -> None:
    tree.origins[path] = origin
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        _mark(tree, (*path, key), child, origin)
