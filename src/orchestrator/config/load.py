"""Where a configuration comes from: a file, a shipped profile, and what the command line changes in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

from orchestrator.config.models import Config
from orchestrator.config.problems import ConfigError, Problem
from orchestrator.config.validate import shown, validate
from orchestrator.config.yaml_tree import Path, Tree, dotted, parse, scalar

PROFILES = ("laptop", "pinned", "replay")


def load_profile(name: str, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Config:
    """A shipped profile, changed by `overrides` ({"risk.max_loss_units": 5} or ["risk.max_loss_units=5"]).

    Raises ConfigError (exit code 78) with every problem at once.
    """
    return _finish(_profile_tree(name), overrides, f"profile {name}")


def load_file(path: FilePath | str, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Config:
    """A configuration file; `extends: laptop` in it begins from that profile. Raises ConfigError."""
    path = FilePath(path)
    return _finish(_file_tree(path), overrides, str(path))


def check_file(path: FilePath | str) -> list[Problem]:
    """Every problem of a file; an empty list when it is good. Raises ConfigError only when it cannot be read."""
    tree = _file_tree(FilePath(path))
    _, problems = validate(tree.value, tree) if tree.value is not None else (None, [])
    return sorted([*tree.problems, *problems], key=lambda p: p.line or 0)


def profile_text(name: str) -> str:
    """The YAML of a shipped profile."""
    if name not in PROFILES:
        raise ConfigError(
            [Problem("extends", shown(name), f"one of {', '.join(PROFILES)}", "these ship with Peregrine")]
        )
    return (resources.files("orchestrator.config") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")


def effective(config: Config) -> dict[str, Any]:
    """Everything the run depends on as a JSON-able dict: defaults filled in, keys in the models' order.

    It goes into the journal's header. It holds no secret: a configuration never does, only where one is found.
    """
    return config.model_dump(mode="json")


def from_effective(value: Mapping[str, Any]) -> Config:
    """The Config of a journal header; the inverse of `effective`. Raises ConfigError."""
    config, problems = validate(dict(value))
    if config is None:
        raise ConfigError(problems, "journal header")
    return config


def canonical(config: Config) -> str:
    """`effective` as one line of JSON with sorted keys, equal for equal configurations."""
    return json.dumps(effective(config), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def config_hash(config: Config) -> str:
    """SHA-256 of `canonical`, in hex: two runs with the same one were configured alike."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()


def _finish(tree: Tree, overrides: Mapping[str, Any] | Sequence[str], source: str) -> Config:
    problems = list(tree.problems)
    if tree.value is None and problems:  # no YAML at all: nothing else can be said about it
        raise ConfigError(problems, source)
    for path, value in _override_items(overrides, problems):
        _apply(tree, path, value, problems)
    config, found = validate(tree.value, tree)
    problems += found
    if config is None or problems:
        raise ConfigError(problems, source)
    return config


def _profile_tree(name: str) -> Tree:
    tree = parse(profile_text(name))
    tree.lines.clear()  # lines are told only for files a person wrote
    return tree


def _file_tree(path: FilePath) -> Tree:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as err:
        raise ConfigError(
            [Problem("", f"byte {err.start} is no UTF-8", "YAML text in UTF-8", "save it as UTF-8")], str(path)
        ) from err
    except OSError as err:
        raise ConfigError(
            [Problem("", err.strerror or str(err), "a readable file", "check the path")], str(path)
        ) from err
    tree = parse(text)
    if isinstance(tree.value, dict) and "extends" in tree.value:
        name = tree.value.pop("extends")
        if name in PROFILES:
            tree.value = _merged(_profile_tree(name).value, tree.value)
        else:
            tree.problems.append(
                Problem("extends", shown(name), f"one of {', '.join(PROFILES)}", "", tree.line_of(("extends",)))
            )
    return tree


def _merged(base: Any, over: Any) -> Any:
    """Mappings merge key by key; anything else, and a mapping of another `kind`, replaces."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    if "kind" in over and over["kind"] != base.get("kind"):
        return over
    return {**base, **{k: _merged(base[k], v) if k in base else v for k, v in over.items()}}


def _override_items(overrides: Mapping[str, Any] | Sequence[str], problems: list[Problem]) -> list[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    items = []
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path:
            problems.append(Problem("--set", shown(text), "path=value", "for example --set risk.max_long_lots=500"))
            continue
        if value.startswith(("[", "{", '"', "'")):
            inner = parse(value)
            problems += [Problem(f"--set {path}", p.found, p.expected, p.hint) for p in inner.problems]
            items.append((path, inner.value))
        else:
            items.append((path, scalar(value)))
    return items


def _apply(tree: Tree, dotted_path: str, value: Any, problems: list[Problem]) -> None:
    path: Path = tuple(int(p) if p.isdigit() else p for p in dotted_path.replace("[", ".").replace("]", "").split("."))
    here = tree.value
    for i, part in enumerate(path):
        last = i == len(path) - 1
        if isinstance(here, list) and isinstance(part, int) and part < len(here):
            if last:
                here[part] = value
            else:
                here = here[part]
        elif isinstance(here, dict) and isinstance(part, str):
            if last:
                here[part] = value
            else:
                here = here.setdefault(part, {})
        else:
            have = f"a list of {len(here)}" if isinstance(here, list) else "no such place"
            problems.append(
                Problem(f"--set {dotted_path}", f"{have} at `{dotted(path[:i])}`", "a path that exists", "")
            )
            return
    for known in [known for known in tree.lines if known[: len(path)] == path]:
        del tree.lines[known]  # what the command line set has no line in the file
