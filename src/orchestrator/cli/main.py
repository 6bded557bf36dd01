"""Entry point of the `peregrine` command: every module of this package that has `register` adds its command."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback

import typer

import orchestrator.cli
from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_USAGE, CliError


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
    try:
        result = typer.main.get_command(build_app()).main(args=argv, prog_name="peregrine", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except CliError as err:
        print(f"error: {err}", file=sys.stderr)
        if err.hint:
            print(f"hint: {err.hint}", file=sys.stderr)
        sys.exit(err.code)
    except typer.Exit as err:
        sys.exit(err.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as err:
        if hasattr(err, "format_message"):  # the parser's own errors: typer carries its click privately
            print(f"error: {err.format_message() or 'a command is missing'}", file=sys.stderr)
            print("hint: add --help to see what the command takes", file=sys.stderr)
            sys.exit(EXIT_USAGE)
        traceback.print_exc()
        print("hint: this is a defect in Peregrine; the lines above say where", file=sys.stderr)
        sys.exit(EXIT_INTERNAL)


if __name__ == "__main__":
    main()
