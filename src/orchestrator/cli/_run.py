"""What the commands that run the engine have in common."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli._errors import EXIT_UNAVAILABLE, CliError


def runner() -> Any:
    """The module that drives the compiled engine; exit code 69 where it is not part of the build."""
    try:
        return importlib.import_module("orchestrator.runner")
    except ModuleNotFoundError as err:
        if err.name not in ("orchestrator.runner", "hotpath._core", "hotpath._venue"):
            raise
        raise CliError(
            f"the engine is not built: {err.name} is missing",
            hint="make build, or reinstall the wheel",
            code=EXIT_UNAVAILABLE,
        ) from err


def load_config(profile: str | None, file: Path | None, overrides: list[str], default: str = "laptop",
                environment: str | None = None, desk: str | None = None) -> Any:
    """The configuration the options name: a file or folder, else a profile, with variables and overrides applied."""
    from orchestrator.cli._named import name_of
    from orchestrator.config import load_profile, load_view

    if profile and file:
        raise CliError("--profile and --config together", hint="put `extends: PROFILE` into the file")
    if file or environment or desk:
        return load_view(name_of(str(file) if file else None, environment, desk), overrides, environ=os.environ).config
    return load_profile(profile or default, overrides, os.environ)


@contextmanager
def journal_errors() -> Iterator[None]:
    """A journal that cannot be read or trusted, or a device that cannot be opened: an error a person can act on (exit code 69)."""
    from orchestrator.run.device import DeviceUnusable
    from orchestrator.run.journals import JournalUnreadable

    try:
        yield
    except JournalUnreadable as err:
        raise CliError(f"the journal cannot be used: {err}", hint=err.hint, code=EXIT_UNAVAILABLE) from err
    except DeviceUnusable as err:
        raise CliError(str(err), hint=err.hint, code=EXIT_UNAVAILABLE) from err


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGUSR1 count as Ctrl-C while Python holds the thread; a running engine has handlers of its own."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show_result(result: Any, as_json: bool) -> None:
    """The result on stdout: the object, or the report."""
    if as_json:
        typer.echo(json.dumps(result.to_json()))
        return
    from orchestrator.observe.console import stdout
    from orchestrator.observe.report import print_report

    print_report(result, stdout())
