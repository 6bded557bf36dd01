"""`peregrine ops`: what Prometheus, Alertmanager and Grafana need to watch an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ORDER = 62


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Write the Prometheus, Alertmanager and Grafana files that watch an engine.")
    def ops(
        out: Annotated[Path, typer.Argument(help="Folder to write into; made when it is not there.")] = Path("ops"),
        config: Annotated[str, typer.Option("-c", "--config", help="File or profile whose thresholds and address are taken.")] = "laptop",
        alertmanager: Annotated[str, typer.Option(help="host:port of Alertmanager, as Prometheus reaches it.")] = "127.0.0.1:9093",
        webhook: Annotated[str, typer.Option(help="Where Alertmanager posts; each receiver's name is added.")] = "http://127.0.0.1:9465/",
    ) -> None:
        from orchestrator.cli._errors import EXIT_UNAVAILABLE, CliError
        from orchestrator.config import PROFILES, load_file, load_profile
        from orchestrator.observe.ops_files import ops_files, write

        cfg = load_profile(config) if config in PROFILES else load_file(config)
        targets = (cfg.observe.metrics,) if cfg.observe.metrics else ()
        if not targets:
            raise CliError("observe.metrics is off: there is nothing to scrape", hint="give it an address, host:port")
        files = ops_files(cfg.observe.alerts, leak_mb_per_hour=cfg.supervise.leak_mb_per_hour, targets=targets,
                          alertmanager=alertmanager, webhook=webhook)  # fmt: skip
        try:
            for path in write(out, files):
                typer.echo(path)
        except OSError as err:
            raise CliError(f"{out} cannot be written: {err}", hint="name another folder", code=EXIT_UNAVAILABLE) from err
