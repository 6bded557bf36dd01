"""What the engine was told, out of its journals: the truth about commands, however many supervisors came and went.

Each shard's journal is read once from its beginning and then followed; records that are neither header, command nor control
are passed over inside the compiled reader. The newest `MAX_LINES` commands are kept, and the limits they add up to.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.control import bodies
from orchestrator.control.errors import ControlError
from orchestrator.run.shards import folders

HEADER, COMMAND, CONTROL = 1, 21, 23
KILL_WORD = 1
CONTROLS = {1: "kill word", 2: "supervisor lost", 3: "lease change", 4: "journal unhealthy", 5: "journal healthy", 6: "supervisor back"}
MAX_LINES = 10_000
_HEAD = struct.Struct("<QHHI")


class Shard:
    """One shard's journal as far as it was read."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.last_seq = 0
        self.header: dict[str, Any] = {}
        self.account: dict[str, int] = {}
        self.own: dict[int, dict[str, int]] = {}  # instrument → limits of its own
        self.paused: set[int] = set()  # instruments paused one by one: a resume of the shard does not lift that
        self._reader: Any = None
        self._generation = (0, 0)
        self._keys: deque[int] = deque(maxlen=256)  # as the shard remembers them: what came again was not done again

    def refresh(self, lines: deque[dict[str, Any]]) -> None:
        """Read what is new. Raises ControlError when the journal cannot be read."""
        from hotpath import _core

        try:
            if self._reader is None or self._ring_is_another():
                self._reader = _core.journal.Reader(str(self.folder), verify_chain=False, from_seq=max(1, self.last_seq + 1))
            while (record := self._reader.find([HEADER, COMMAND, CONTROL])) is not None:
                kind, seq, ts_ns, _, payload = record
                if seq <= self.last_seq:
                    continue
                self.last_seq = seq
                if line := self._line(kind, payload):
                    lines.append({"shard": self.number, "seq": seq, "ts_ns": ts_ns, **line})
        except (ValueError, OSError, RuntimeError) as err:
            self._reader = None
            raise ControlError("unavailable", f"{self.folder}: {err}", "peregrine verify says whether it is whole") from err

    def _ring_is_another(self) -> bool:
        """Has the engine been started again? Then what it appends goes into another ring."""
        try:
            stat = (self.folder / "ring.path").stat()
        except OSError:
            return False
        before, self._generation = self._generation, (stat.st_ino, stat.st_mtime_ns)
        return before != self._generation

    def _line(self, kind: int, payload: bytes) -> dict[str, Any] | None:
        if kind == HEADER:
            self._begin(payload)
            return None
        if kind == CONTROL:
            what, value = payload[0], int.from_bytes(payload[8:16], "little")
            return {"kind": CONTROLS.get(what, f"control {what}"), "value": value}
        key, number, origin_bytes, body_bytes = _HEAD.unpack_from(payload)
        body = payload[16 : 16 + body_bytes]
        origin = payload[16 + body_bytes : 16 + body_bytes + origin_bytes]
        repeated = key != 0 and key in self._keys
        if key and not repeated:
            self._keys.append(key)
        name = bodies.KIND_NAMES.get(number, f"command {number}")
        if name == "limits" and not repeated:
            self._apply(body)
        if name in ("pause_symbol", "resume_symbol") and not repeated and len(body) == 4:
            (self.paused.add if name == "pause_symbol" else self.paused.discard)(int.from_bytes(body, "little"))
        return {"kind": name, **(bodies.parse_origin(origin) if origin else {}), **_told_by(name, body),
                **({"duplicate": True} if repeated else {})}  # fmt: skip

    def _begin(self, payload: bytes) -> None:
        from hotpath.journal.header import parse_header

        spec = parse_header(payload).config["shard"]
        self.header = spec
        known = [name for name in bodies.LIMIT_FIELDS if name]
        self.account = {name: spec["limits"].get(name, 0) for name in known}
        self.own = {ix: dict(i["limits"]) for ix, i in enumerate(spec["instruments"]) if i["limits"] is not None}

    def _apply(self, body: bytes) -> None:
        try:
            instrument, values = bodies.parse_limits(body)
        except ValueError:
            return
        if instrument == bodies.ACCOUNT:
            self.account = values
        else:
            self.own[instrument] = {name: values[name] for name in bodies.INSTRUMENT_FIELDS}


def _told_by(name: str, body: bytes) -> dict[str, Any]:
    """A body in words, where it has any."""
    if name == "note":
        return {"text": body.decode("utf-8", "replace")}
    if name == "limits":
        try:
            instrument, values = bodies.parse_limits(body)
        except ValueError:
            return {}
        return {"instrument": None if instrument == bodies.ACCOUNT else instrument, "limits": values}
    if name == "bank_swap" and len(body) >= 4:
        return {"slot": int.from_bytes(body[:4], "little"), "artifact_bytes": max(0, len(body) - 8)}
    if name == "weights" and len(body) == 16:
        return {"weights": list(struct.unpack("<8h", body))}
    return {"value": int.from_bytes(body, "little")} if len(body) == 4 else {}


class Told:
    """All shards of the run that `run()` names. Threads may share it."""

    def __init__(self, run: Callable[[], str]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._folder = ""
        self._shards: list[Shard] = []
        self._lines: deque[dict[str, Any]] = deque(maxlen=MAX_LINES)

    def shards(self, wanted: dict[int, int] | None = None, timeout_s: float = 2.0) -> list[Shard]:
        """The shards as they are now, read at least up to the numbers in `wanted` (shard → seq). Raises ControlError."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                self._refresh()
                late = [s for s in self._shards if s.last_seq < (wanted or {}).get(s.number, 0)]
                if not late:
                    return list(self._shards)
            if time.monotonic() > deadline:
                raise ControlError("timeout", f"the journal of shard {late[0].number} does not show the last command yet", "ask again")
            time.sleep(0.01)

    def listed(self, since_ns: int, limit: int) -> dict[str, Any]:
        """Commands after `since_ns`, the newest `limit` of them, in order of time."""
        self.shards()
        with self._lock:
            found = [line for line in self._lines if line["ts_ns"] > since_ns]
        found.sort(key=lambda line: (line["ts_ns"], line["shard"], line["seq"]))
        return {"run": self._folder, "commands": found[-limit:], "left_out": max(0, len(found) - limit)}

    def _refresh(self) -> None:
        run = self._run()
        if not run:
            raise ControlError("unavailable", "no run has begun")
        if run != self._folder or not self._shards:
            self._folder = run
            self._lines.clear()
            self._shards = [Shard(folder, number) for number, folder in enumerate(folders(Path(run)))]
        for shard in self._shards:
            shard.refresh(self._lines)
