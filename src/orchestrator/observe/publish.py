"""telemetry.sock: readings published to whoever subscribes, at no cost to us when they do not listen.

Two frames: the topic b"snapshot", then a MessagePack map

    {v: 1, ts_ns, engine: what `peregrine top --json` shows, and rejects, limits | nil, problem, tree: TreeState | nil}

ZeroMQ PUB over ipc. Each subscriber has a queue of HIGH_WATER messages; one that hangs loses the newest beyond that, and
nobody else notices. Nothing is kept for subscribers that come later.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import zmq

from orchestrator.observe.reading import Reading
from orchestrator.observe.telemetry import LIMIT_DTYPE

TOPIC = b"snapshot"
VERSION = 1
HIGH_WATER = 4  # messages a subscriber may lag
SOCKET = "telemetry.sock"


def message(reading: Reading) -> bytes:
    """The second frame."""
    return msgspec.msgpack.encode(
        {
            "v": VERSION,
            "ts_ns": reading.taken_ns,
            "engine": _engine(reading),
            "heartbeat_age_s": reading.heartbeat_age_s,
            "problem": reading.problem,
            "tree": reading.tree,
        }
    )


def _engine(reading: Reading) -> dict[str, Any] | None:
    from orchestrator.cli.top import to_json  # the one shape of a reading; typer is there in any case

    whole = reading.whole()
    if whole is None:
        return None
    shown = to_json(reading.status, whole)
    shown["rejects"] = {name: n for name, n in whole.rejects.items() if n and name != "pass"}
    shown["limits"] = [{name: int(row[name]) for name in LIMIT_DTYPE.names or ()} for row in whole.limits]
    return shown


class Publisher:
    """Binds the socket file; `send` never waits. Use as a context manager. Raises zmq.ZMQError when it cannot bind."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / SOCKET
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDTIMEO, 0)
        try:
            self._socket.bind(f"ipc://{self.path}")
            self.path.chmod(0o600)
        except BaseException:
            self.close()
            raise

    def send(self, reading: Reading) -> None:
        """To every subscriber that keeps up."""
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart([TOPIC, message(reading)], zmq.NOBLOCK)

    def close(self) -> None:
        """Unbind and remove the socket file."""
        self._socket.close(0)
        self._context.term()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
