"""Entry point of the `peregrine` command: every module of this package that has `register` adds its command."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import typer

import orchestrator.cli
from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE, CliError


def build_app() -> typer.Typer:
    """The whole command tree, commands in the order of their `ORDER` attribute."""
    app = typer.Typer(
        name="peregrine",
        help="Run, replay and inspect the Peregrine trading engine.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def root() -> None:
        """Run, replay and inspect the Peregrine trading engine."""

    modules = [
        importlib.import_module(f"orchestrator.cli.{info.name}")
        for info in pkgutil.iter_modules(orchestrator.cli.__path__)
        if not info.name.startswith("_") and info.name != "main"
    ]
    for module in sorted(modules, key=lambda m: (getattr(m, "ORDER", 100), m.__name__)):
        module.register(app)
    return app


def main(argv: list[str] | None = None) -> None:
    """Run the command line; errors go to stderr with their fix, never as a traceback a user cannot read."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")  # a terminal that has no `→` gets a `?`
    try:
        result = typer.main.get_command(build_app()).main(args=argv, prog_name="peregrine", standalone_mode=False)
        sys.stdout.flush()
        if result == EXIT_INTERRUPTED:
            print("interrupted", file=sys.stderr)
        sys.exit(result if isinstance(result, int) else 0)
    except CliError as err:
        print(f"error: {err}", file=sys.stderr)
        if err.hint:
            print(f"hint: {err.hint}", file=sys.stderr)
        sys.exit(err.code)
    except typer.Exit as err:
        sys.exit(err.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        _nobody_reads()
    except SystemExit:
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":  # how the parser leaves, with 1, when a write found no reader
            _nobody_reads()
        raise
    except Exception as err:
        if hasattr(err, "format_message"):  # the parser's own errors: typer carries its click privately
            print(f"error: {err.format_message() or 'a command is missing'}", file=sys.stderr)
            print("hint: add --help to see what the command takes", file=sys.stderr)
            sys.exit(EXIT_USAGE)
        traceback.print_exc()
        print("hint: this is a defect in Peregrine; the lines above say where", file=sys.stderr)
        sys.exit(EXIT_INTERNAL)


def _nobody_reads() -> NoReturn:
    """Leave well: whoever read our output has had enough of it, as `| head` has."""
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (what is still to be written goes nowhere)
    sys.exit(0)


if __name__ == "__main__":
    main()
