"""What the supervisor hosts that others built: the control server and the way a configuration is deployed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.config.models import Config


def start_control(supervisor: Any, cfg: Config, runtime: Path) -> Any:
    """Serve the control API; None where this build has none."""
    if find_spec("orchestrator.control.server") is None or find_spec("orchestrator.control.dispatch") is None:
        return None
    from orchestrator.control.dispatch import Dispatcher
    from orchestrator.control.server import ControlServer

    server = ControlServer(cfg.control, Dispatcher(supervisor.link, supervisor), runtime)
    server.start()
    return server


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
