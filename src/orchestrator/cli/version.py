"""`peregrine version`."""

from __future__ import annotations

import typer

ORDER = 999


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Print the version of the package and of the compiled engine.")
    def version() -> None:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as package_version

        from hotpath import _core

        try:
            package = package_version("peregrine-engine")
        except PackageNotFoundError:
            package = "from a checkout"
        typer.echo(f"peregrine-engine {package} (compiled {_core.__version__})")
