"""Where the screen's readings come from, and whom it asks to pause and to kill."""

from __future__ import annotations

import getpass
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from orchestrator.observe.screen.reading import CommandRow, ScreenReading, of_json, of_snapshot
from orchestrator.observe.segment import KILL_LEVELS, Segment, SegmentError
from orchestrator.observe.shards import read_engine
from orchestrator.observe.telemetry import TelemetryError
from orchestrator.supervise import paths, state_file

WHY = "by hand, from top"


class SourceError(Exception):
    """A reading that cannot be had, or a command that was not done; `hint` says what can be."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Source(Protocol):
    """What the screen needs. Called from threads of the screen's, one call at a time of each kind."""

    where: str

    def read(self) -> ScreenReading:
        """One reading. Raises SourceError."""
        ...

    def pause(self, *, symbol: str = "", shard: int = -1) -> str:
        """No new orders of a symbol or a shard; what was done, in a line. Raises SourceError."""
        ...

    def resume(self, *, symbol: str = "", shard: int = -1) -> str:
        """Lift it. Raises SourceError."""
        ...

    def kill(self) -> str:
        """No new order from the next input on, cancel all. Raises SourceError."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class SharedMemorySource:
    """An engine on this machine: read from its shared segment, commanded through its supervisor or, without one, directly."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.where = "shared memory"
        self._segment: Segment | None = None

    def read(self) -> ScreenReading:
        """Read all regions. After a restart of the engine its new segment is found by itself."""
        try:
            if self._segment is None or self._segment.superseded():
                self.close()
                self._segment = Segment(self.name)
            snapshot = read_engine(self._segment)
            return of_snapshot(self._segment.status(), snapshot, time.time_ns(), answers(self._segment), self._tree())
        except (SegmentError, TelemetryError) as err:
            raise SourceError(str(err), "it may be starting, or have ended") from err

    def pause(self, *, symbol: str = "", shard: int = -1) -> str:
        """As Source.pause."""
        return self._command("pause", symbol, shard)

    def resume(self, *, symbol: str = "", shard: int = -1) -> str:
        """As Source.resume."""
        return self._command("resume", symbol, shard)

    def kill(self) -> str:
        """Write the kill word: it needs neither the supervisor nor Python of the engine."""
        try:
            with Segment(self.name, write=True) as segment:
                segment.kill(KILL_LEVELS["cancel"])
        except (SegmentError, OSError) as err:
            raise SourceError(f"{self.name} could not be killed: {err}", "as the user that runs it?") from err
        return "kill word set: cancel all"

    def close(self) -> None:
        """Let the mapping go."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _tree(self) -> str:
        try:
            tree = state_file.read(paths.runtime_dir(self.name))
        except (state_file.StateFileError, OSError):
            return ""
        if not tree.supervisor_alive():
            return "supervisor gone"
        return f"supervisor {tree.supervisor_pid}, {tree.state}" + ("" if tree.trading_enabled else ", trading off")

    def _command(self, kind: str, symbol: str, shard: int) -> str:
        from orchestrator.control import bodies
        from orchestrator.control.engine_link import EngineLink, EngineLinkError
        from orchestrator.control.messages import Request

        if (asked := _by_supervisor(self.name, kind, symbol, shard)) is not None:
            return asked
        request = Request(cmd=kind, who=getpass.getuser(), why=WHY)
        try:
            with EngineLink(self.name) as link:
                if symbol:
                    place, ix = link.instruments[symbol]
                    effect = link.send(f"{kind}_symbol", shard=place, body=bodies.number(ix), request=request)
                else:
                    effect = link.send(kind, shard=shard, request=request)
        except EngineLinkError as err:
            raise SourceError(err.message, err.hint) from err
        except KeyError:
            raise SourceError(f"no symbol {symbol} in {self.name}") from None
        return f"{kind} {symbol or f'shard {shard}'}: took effect at record {effect.seq:,} of shard {effect.shard}"


class ControlSource:
    """An engine behind a control API: here by its socket, or on another machine."""

    def __init__(self, client: Any, where: str) -> None:
        self.where = where
        self._client = client
        self._lock = threading.Lock()

    def read(self) -> ScreenReading:
        """Ask for `status` and `commands`."""
        status = self._call("status", {})
        if not status.get("engine"):
            raise SourceError("; ".join(status.get("problems", [])) or "no engine runs", "peregrine status says what became of it")
        commands = [
            CommandRow(c["shard"], c["seq"], c["ts_ns"], c["kind"], "repeated" if c.get("duplicate") else "applied", c.get("who", ""), c.get("why", ""))
            for c in _listed(self._call("commands", {"limit": 200}))
        ]  # fmt: skip
        tree = status.get("tree") or {}
        said = f"{tree['state']}" + ("" if tree.get("trading_enabled") else ", trading off") if tree else ""
        return of_json(status["engine"], status.get("ts_ns", time.time_ns()), commands, said)

    def pause(self, *, symbol: str = "", shard: int = -1) -> str:
        """As Source.pause."""
        return self._do("pause", symbol, shard)

    def resume(self, *, symbol: str = "", shard: int = -1) -> str:
        """As Source.resume."""
        return self._do("resume", symbol, shard)

    def kill(self) -> str:
        """Ask for a kill; the server sets the word before it journals who asked."""
        return self._do("kill", "", -1)

    def close(self) -> None:
        """Let go."""
        self._client.close()

    def _do(self, kind: str, symbol: str, shard: int) -> str:
        args: dict[str, Any] = {"symbol": symbol} if symbol else {"shard": shard} if shard >= 0 else {}
        effects = self._reply(kind, args).effects
        at = ", ".join(f"record {e.seq:,} of shard {e.shard}" for e in effects)
        return f"{kind} {symbol or (f'shard {shard}' if shard >= 0 else 'all')}" + (f": took effect at {at}" if at else "")

    def _call(self, cmd: str, args: dict[str, Any]) -> Any:
        return self._reply(cmd, args).data

    def _reply(self, cmd: str, args: dict[str, Any]) -> Any:
        from orchestrator.control.errors import ControlError

        with self._lock:  # the client is not for several threads, and a key may be pressed while a reading is under way
            try:
                return self._client.call(cmd, args, why=WHY if cmd not in ("status", "commands") else "", who=getpass.getuser())
            except ControlError as err:
                raise SourceError(err.message, err.hint) from err


def _listed(answer: Any) -> list[dict[str, Any]]:
    found = answer.get("commands", []) if isinstance(answer, dict) else answer
    return list(found or [])


def _by_supervisor(name: str, kind: str, symbol: str, shard: int) -> str | None:
    """Ask the engine's supervisor, which holds the command ring; None where there is none to ask."""
    if not (paths.runtime_dir(name) / "control.sock").exists():
        return None
    from orchestrator.control.client import ControlClient
    from orchestrator.control.errors import ControlError

    try:
        source = ControlSource(ControlClient.local(name), "supervisor")
    except ControlError:
        return None  # its socket has just gone
    try:
        return source.pause(symbol=symbol, shard=shard) if kind == "pause" else source.resume(symbol=symbol, shard=shard)
    finally:
        source.close()


def remote_source(host_port: str, key_file: Path, server_key: str) -> ControlSource:
    """An engine on another machine, over the encrypted control API. Raises SourceError."""
    from orchestrator.control import keys
    from orchestrator.control.client import ControlClient

    try:
        return ControlSource(ControlClient.remote(host_port, keys.read(key_file), keys.public_key(server_key)), host_port)
    except keys.KeyFileError as err:
        raise SourceError(str(err)) from err


def answers(segment: Segment) -> list[CommandRow]:
    """What became of the newest commands, from the shards' tables of answers, oldest first."""
    from orchestrator.control.bodies import KIND_NAMES
    from orchestrator.control.engine_link import ACKS_DTYPE, ACKS_MAGIC, ACKS_SLOTS_AT, STATUSES
    from orchestrator.observe.shards import numbered

    regions, out, shard = set(segment.region_names()), [], 0
    while (name := numbered("acks", shard)) in regions:
        table = segment.region(name)
        if int.from_bytes(table[:8], "little") == ACKS_MAGIC:
            slots = np.frombuffer(table, ACKS_DTYPE, offset=ACKS_SLOTS_AT, count=(len(table) - ACKS_SLOTS_AT) // ACKS_DTYPE.itemsize)
            for row in np.sort(slots[slots["number"] > 0], order="number"):
                status = int(row["status"])
                outcome = STATUSES[status] if status < len(STATUSES) else str(status)
                out.append(CommandRow(shard, int(row["seq"]), int(row["ts_ns"]), KIND_NAMES.get(int(row["kind"]), str(row["kind"])), outcome))
        shard += 1
    return sorted(out, key=lambda c: (c.ts_ns, c.shard))
