"""Where a configuration comes from: a file, a folder of layers, a shipped profile, and what the command line changes in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from orchestrator.config.environments import Name, layered, name_tree, parse_name, profile_tree
from orchestrator.config.models import Config
from orchestrator.config.overrides import apply_overrides, apply_variables
from orchestrator.config.problems import ConfigError, Problem
from orchestrator.config.production import refusals
from orchestrator.config.validate import validate
from orchestrator.config.yaml_tree import Tree

Overrides = Mapping[str, Any] | Sequence[str]


@dataclass(frozen=True)
class View:
    """One merged configuration and where each of its values came from."""

    config: Config
    tree: Tree
    source: str  # as a person would name it


def load_profile(name: str, overrides: Overrides = (), environ: Mapping[str, str] | None = None) -> Config:
    """A shipped profile, changed by `overrides` ({"risk.max_loss_units": 5} or ["risk.max_loss_units=5"]).

    `environ`: variables `PEREGRINE__…` that count too. Raises ConfigError (exit code 78) with every problem at once.
    """
    return load_view(None, overrides, profile=name, environ=environ).config


def load_file(path: FilePath | str, overrides: Overrides = (), *, environment: str | None = None, desk: str | None = None,
              environ: Mapping[str, str] | None = None) -> Config:
    """A file, or a merged view of a folder: `FOLDER#ENVIRONMENT/DESK`, or with the two as arguments. Raises ConfigError."""
    return load_view(parse_name(path, environment, desk), overrides, environ=environ).config


def load_view(name: Name | None, overrides: Overrides = (), *, profile: str = "",
              environ: Mapping[str, str] | None = None) -> View:
    """A configuration with its origins: the one `name` tells, or the shipped `profile`. Raises ConfigError."""
    tree = name_tree(name) if name is not None else profile_tree(profile)
    source = name.text() if name is not None else f"profile {profile}"
    config, problems = _finished(tree, overrides, environ)
    if config is None or problems:
        raise ConfigError(problems, source, layered=name is not None and layered(name))
    return View(config, tree, source)


def check_file(path: FilePath | str | Name, overrides: Overrides = (), environ: Mapping[str, str] | None = None) -> list[Problem]:
    """Every problem of a file or merged view; an empty list when it is good. Raises ConfigError when it cannot be read."""
    tree = name_tree(path if isinstance(path, Name) else parse_name(path))
    return _finished(tree, overrides, environ)[1]


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


def _finished(tree: Tree, overrides: Overrides, environ: Mapping[str, str] | None) -> tuple[Config | None, list[Problem]]:
    if tree.value is None and tree.problems:  # no YAML at all: nothing else can be said about it
        return None, tree.problems
    apply_variables(tree, environ or {})
    apply_overrides(tree, overrides)
    config, found = validate(tree.value, tree)
    problems = [*tree.problems, *found]
    if config is not None and config.environment == "production":
        problems += refusals(config, tree)
    return config, sorted(problems, key=lambda p: (p.source, p.line or 0))
