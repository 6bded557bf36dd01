"""For every setting of a configuration: its value, and which file and line, profile, variable or option it came from."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

import yaml

from orchestrator.config.layers import Origin
from orchestrator.config.load import View, effective
from orchestrator.config.paths import flat
from orchestrator.config.problems import ConfigError, Problem
from orchestrator.config.yaml_tree import Path, Tree, scalar

DEFAULT = Origin("default")


@dataclass(frozen=True)
class Setting:
    """One setting with its printed place."""

    place: str
    value: Any
    origin: Origin


def settings(view: View) -> list[Setting]:
    """Every setting in the models' order, defaults included."""
    return [
        Setting(place, value, origin_of(view.tree, path)) for place, (path, value) in flat(effective(view.config)).items()
    ]


def origin_of(tree: Tree, path: Path) -> Origin:
    """Where the value at `path` came from; the default where no layer says anything about it."""
    found = tree.origins.get(path)
    return found if isinstance(found, Origin) else DEFAULT


def merged_text(view: View) -> str:
    """The merged view as one YAML file with every default written out; loading it gives the same configuration."""
    return yaml.dump(copy.deepcopy(effective(view.config)), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def shown_value(value: Any) -> str:
    """A value as it would stand in a file, on one line."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("\n...\n").strip()


class _Dumper(yaml.SafeDumper):
    """Plain YAML in which a text that this reader would take for a number stands in quotes."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if scalar(value) == value and value else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def write_template(folder: FilePath) -> list[FilePath]:
    """Write the commented template: base, environments, a desk. Raises ConfigError when something is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError([Problem("", f"{folder} is not empty", "a new or empty folder", "choose another name")], str(folder))
    written: list[FilePath] = []
    root = resources.files("orchestrator.config") / "template"
    for name in ("base.yaml", "environments/development.yaml", "environments/staging.yaml", "environments/production.yaml", "desks/rates.yaml"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((root / name).read_text(encoding="utf-8"), encoding="utf-8")
        written.append(file)
    return written
