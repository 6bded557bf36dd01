"""How commands take a configuration: a file, a folder with `--env` and `--desk`, or `FOLDER#ENVIRONMENT/DESK`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli._errors import CliError

if TYPE_CHECKING:
    from orchestrator.config import Name, View

VARIABLE = "PEREGRINE_CONFIG"
BASE = "base.yaml"

Environment = Annotated[
    str | None, typer.Option("--env", metavar="NAME", help="Environment of a folder: development, staging, production.")
]
Desk = Annotated[str | None, typer.Option("--desk", metavar="NAME", help="Desk overlay of a folder.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a setting; may be repeated.")]


def name_of(text: str | None, environment: str | None, desk: str | None) -> Name:
    """What was named; without a text `$PEREGRINE_CONFIG`, else `.` or `config` where a base.yaml lies there."""
    from orchestrator.config import parse_name

    if text is None:
        text = os.environ.get(VARIABLE)
    if text is None:
        text = next((folder for folder in (".", "config") if (Path(folder) / BASE).is_file()), None)
    if text is None:
        raise CliError("no configuration named", hint=f"name a file or folder, or set {VARIABLE}")
    return parse_name(text, environment, desk)


def view_of(text: str | None, environment: str | None, desk: str | None, overrides: Any = ()) -> View:
    """The merged view with its origins: a shipped profile's name where no such file is there, else a file or folder."""
    from orchestrator.config import PROFILES, load_view

    if text in PROFILES and not Path(str(text)).exists() and environment is None and desk is None:
        return load_view(None, overrides, profile=str(text), environ=os.environ)
    return load_view(name_of(text, environment, desk), overrides, environ=os.environ)
