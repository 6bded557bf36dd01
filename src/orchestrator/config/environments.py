"""A configuration in layers: what is common, what an environment changes, what a desk changes.

    FOLDER/
      base.yaml                    what all have in common; may begin with `extends: PROFILE`
      environments/NAME.yaml       development, staging, production, or a name of yours that states `environment:`
      desks/NAME.yaml              a desk's own symbols, limits, policies

    the later wins:  profile < base < environment < desk < PEREGRINE__… variables < --set

Wherever a configuration is named, `FOLDER#ENVIRONMENT` or `FOLDER#ENVIRONMENT/DESK` names one merged view of it; a plain
FILE is one too. In `environments` and `desks`, `extends: NAME` begins from another file of the same folder.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

from orchestrator.config.layers import Layer, Node, Origin, layer_of, merge, tree_of
from orchestrator.config.problems import ConfigError, Problem
from orchestrator.config.regular import read
from orchestrator.config.validate import shown
from orchestrator.config.yaml_tree import Tree, parse

PROFILES = ("laptop", "pinned", "replay")
ENVIRONMENTS = ("development", "staging", "production")
BASE = "base.yaml"
FOLDERS = {"environment": "environments", "desk": "desks"}
_MAX_CHAIN = 8
MAX_BYTES = 8 << 20  # of one file: a device named by mistake ends too


@dataclass(frozen=True)
class Name:
    """A configuration as a person names it."""

    path: FilePath
    environment: str | None = None
    desk: str | None = None
    regular: bool = False  # only regular files: nothing is waited for. A person's own command line may name a pipe

    def text(self) -> str:
        """The one-word form, `FOLDER#ENVIRONMENT/DESK`."""
        if self.environment is None:
            return str(self.path)
        return f"{self.path}#{self.environment}" + (f"/{self.desk}" if self.desk else "")

    def absolute(self) -> Name:
        """The same from any folder."""
        return replace(self, path=self.path.absolute())


def parse_name(text: FilePath | str, environment: str | None = None, desk: str | None = None) -> Name:
    """Take `FILE`, `FOLDER` or `FOLDER#ENVIRONMENT/DESK` apart; the arguments fill what the text leaves out.

    Raises ConfigError when text and arguments name different ones.
    """
    path, mark, rest = str(text).rpartition("#")
    if not mark or FilePath(text).exists():
        return Name(FilePath(text), environment, desk)
    told_environment, _, told_desk = rest.partition("/")
    for word, told, given in (("environment", told_environment, environment), ("desk", told_desk, desk)):
        if told and given and told != given:
            raise ConfigError([Problem("", f"{word} {told} in `{text}`, {given} as option", f"one {word}", "name it once")], path)
    return Name(FilePath(path), told_environment or environment, told_desk or desk)


def layered(name: Name) -> bool:
    """Is it a folder of layers? A path that is not there at all counts as a file."""
    return name.path.is_dir()


def environments(folder: FilePath) -> list[str]:
    """Environments a folder has, sorted."""
    return _names(folder, "environment")


def desks(folder: FilePath) -> list[str]:
    """Desks a folder has, sorted."""
    return _names(folder, "desk")


def profile_text(name: str) -> str:
    """The YAML of a shipped profile. Raises ConfigError."""
    if name not in PROFILES:
        raise ConfigError([Problem("extends", shown(name), f"one of {', '.join(PROFILES)}", "these ship with Peregrine")])
    return (resources.files("orchestrator.config") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")


def profile_tree(name: str) -> Tree:
    """A shipped profile, merged with nothing. Raises ConfigError."""
    return tree_of(_profile(name), [])


def name_tree(name: Name) -> Tree:
    """The merged view of a file or folder, not yet validated. Raises ConfigError when it cannot be read or chosen."""
    if not layered(name):
        if name.environment or name.desk:
            raise ConfigError(
                [Problem("", f"{name.path}, no folder", "a folder of layers for an environment or desk", "`peregrine config init FOLDER` makes one")],
                str(name.path),
            )
        return _single(name)
    return _folder(name)


def _single(name: Name) -> Tree:
    path = name.path
    layer = _read(path, name.regular)
    base, problems = _extended(layer, str(path))
    root = layer.root if base is None else merge(base, layer, lists=False)
    tree = tree_of(root, [*layer.problems, *problems])
    if not layer.root.value and layer.problems:
        tree.value = None  # no YAML at all: nothing else can be said about it
    return tree


def _folder(name: Name) -> Tree:
    folder = name.path
    if not (folder / BASE).is_file():
        raise ConfigError(
            [Problem("", f"no {BASE} in the folder", f"{BASE}, environments/ and desks/", f"`peregrine config init {folder}` writes them")], str(folder)
        )
    if name.environment is None:
        known = environments(folder)
        example = f"--env {known[0]}, or {folder}#{known[0]}" if known else f"write {folder}/environments/production.yaml"
        raise ConfigError([Problem("", "no environment chosen", f"one of {', '.join(known)}", example)], str(folder))
    base_layer = _read(folder / BASE, name.regular)
    base, problems = _extended(base_layer, str(folder / BASE))
    problems = [*base_layer.problems, *problems]
    if isinstance(base_layer.root.value, dict) and "environment" in base_layer.root.value:
        problems.append(_misplaced(base_layer, "the base"))
    root = base_layer.root if base is None else merge(base, base_layer, lists=False)
    chosen = [("environment", name.environment), *([("desk", name.desk)] if name.desk else [])]
    for kind, which in chosen:
        for file in _chain(folder, kind, which, problems):
            layer = _read(file, name.regular)
            if isinstance(layer.root.value, dict):
                layer.root.value.pop("extends", None)
                if kind == "environment":
                    _state_environment(layer, file.stem, problems)
                elif "environment" in layer.root.value:
                    problems.append(_misplaced(layer, "a desk"))
            root = merge(root, layer, lists=True)
            problems += layer.problems
    return tree_of(root, problems)


def _chain(folder: FilePath, kind: str, which: str, problems: list[Problem]) -> list[FilePath]:
    """The file of that name and those it extends, the deepest first."""
    files: list[FilePath] = []
    asked = Origin("file", str(folder), None)
    while which is not None:
        file = folder / FOLDERS[kind] / f"{which}.yaml"
        known = _names(folder, kind)
        if which not in known:
            close = difflib.get_close_matches(which, known, n=1, cutoff=0.6)
            hint = f"did you mean `{close[0]}`?" if close else f"write {file}"
            problem = Problem("extends" if files else "", f"no {kind} called {which}", f"one of {', '.join(known) or 'none yet'}",
                              hint, asked.line, asked.source)  # fmt: skip
            if files:
                problems.append(problem)
                break
            raise ConfigError([problem], str(folder))
        if file in files or len(files) >= _MAX_CHAIN:
            problems.append(Problem("extends", f"{which} again", "a chain that ends", "remove one of them", asked.line, asked.source))
            break
        files.insert(0, file)
        told = _read(file, regular=True).root
        below = told.value.get("extends") if isinstance(told.value, dict) else None
        if below is None:
            break
        asked = below.origin
        if not isinstance(below.value, str):
            problems.append(Problem("extends", shown(below.value), f"the name of {kind}s' file", "", asked.line, asked.source))
            break
        which = below.value
    return files


def _state_environment(layer: Layer, stem: str, problems: list[Problem]) -> None:
    """The name of the file says which environment it is, or the file does."""
    told = layer.root.value.get("environment")
    origin = layer.root.origin
    if told is None and stem in ENVIRONMENTS:
        layer.root.value["environment"] = Node(stem, Origin("file", origin.source))  # by its name: no line says so
    elif told is None:
        problems.append(
            Problem("environment", "nothing", f"one of {', '.join(ENVIRONMENTS)}",
                    f"{stem} is none of them by name: say in the file as which it counts", origin.line or 1, origin.source)
        )
    elif stem in ENVIRONMENTS and told.value != stem:
        problems.append(
            Problem("environment", shown(told.value), stem, "the file's name says it already", told.origin.line, told.origin.source)
        )


def _misplaced(layer: Layer, what: str) -> Problem:
    origin = layer.root.value.pop("environment").origin
    return Problem("environment", f"in {what}", "in a file of environments/", "remove the line", origin.line, origin.source)


def _names(folder: FilePath, kind: str) -> list[str]:
    return sorted(p.stem for p in (folder / FOLDERS[kind]).glob("*.yaml") if p.is_file() and not p.name.startswith("."))


def _profile(name: str) -> Node:
    return layer_of(parse(profile_text(name)), "profile", name).root


def _extended(layer: Layer, source: str) -> tuple[Node | None, list[Problem]]:
    """The profile that a file's `extends` names, and what was wrong with that."""
    told: Any = layer.root.value.pop("extends", None) if isinstance(layer.root.value, dict) else None
    if told is None:
        return None, []
    if isinstance(told.value, str) and told.value in PROFILES:
        return _profile(told.value), []
    found = shown(told.value)
    close = difflib.get_close_matches(str(told.value), PROFILES, n=1, cutoff=0.6)
    hint = f"did you mean `{close[0]}`?" if close else ""
    return None, [Problem("extends", found, f"one of {', '.join(PROFILES)}", hint, told.origin.line, source)]


def _read(path: FilePath, regular: bool) -> Layer:
    source = str(path)
    try:
        data = read(path, MAX_BYTES, regular=regular)
        if len(data) > MAX_BYTES:
            raise ConfigError([Problem("", f"more than {MAX_BYTES >> 20} MiB", "a configuration", "check the path")], source)
        text = data.decode("utf-8")
    except UnicodeDecodeError as err:
        raise ConfigError(
            [Problem("", f"byte {err.start} is no UTF-8", "YAML text in UTF-8", "save it as UTF-8")], source
        ) from err
    except OSError as err:
        raise ConfigError([Problem("", err.strerror or str(err), "a readable file", "check the path")], source) from err
    return layer_of(parse(text), "file", source)
