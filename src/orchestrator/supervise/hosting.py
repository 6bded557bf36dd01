"""What the supervisor hosts that others built: the control server and the way a configuration is deployed."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.config.models import Config


def start_control(supervisor: Any, cfg: Config, runtime: Path) -> Any:
    """Serve the control API; None where this build has none."""
    if find_spec("orchestrator.control.server") is None or find_spec("orchestrator.control.dispatch") is None:
        return None
    from orchestrator.control.audit import FILE
    from orchestrator.control.dispatch import Dispatcher
    from orchestrator.control.engine_agent import AgentClient
    from orchestrator.control.server import ControlServer

    run = supervisor.run_folder
    stats: list[Any] = []
    handler = Dispatcher(supervisor.link, supervisor, agent=lambda: AgentClient(runtime), server_stats=lambda: stats[0]())
    server = ControlServer(cfg.control, handler, runtime, audit_path=run / FILE)
    stats.append(server.stats)
    supervisor.tree.addresses.update(server.addresses())
    _point(runtime / FILE, run / FILE)
    server.start()
    return server


def _point(link: Path, to: Path) -> None:
    """The run keeps its audit log; the runtime folder leads to that of the run that goes on."""
    with contextlib.suppress(OSError):
        link.unlink(missing_ok=True)
        link.symlink_to(to)


def stop_control(server: Any) -> None:
    """Stop serving."""
    if server is not None:
        server.stop()


def deploy(supervisor: Any, request: Any) -> Any:
    """Take a changed configuration. Raises RuntimeError where this build cannot."""
    raise RuntimeError("this build deploys no configuration to a running tree: peregrine down, then up with the new one")


def encode(report: msgspec.Struct) -> bytes:
    """For a person to read too."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)
