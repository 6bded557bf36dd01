"""Policies on their way into the engine: checked and kept here until they are swapped in."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

from orchestrator.control.errors import ControlError

MAX_ARTIFACT_BYTES = 8 << 20


class Policies:
    """One loaded artifact a slot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[int, Any] = {}  # slot → run.plan.LoadedPolicy

    def load(self, args: dict[str, Any]) -> dict[str, Any]:
        """Check an artifact (`data`, or the file `path`) and keep it for `slot`. Raises ControlError."""
        from orchestrator.run.plan import BUILTIN_POLICY, builtin_policy_path, policy_from_bytes

        slot, data, name = args["slot"], args.get("data"), "the artifact sent"
        if data is None:
            path = builtin_policy_path() if args["path"] == BUILTIN_POLICY else Path(args["path"])
            data, name = _file(path), path.stem
        member = {"slot": slot, "weight": 1, "role": "trader", "veto_actions": [], "forced_action": 0}
        try:
            policy = policy_from_bytes(data, name, member)
        except ValueError as err:
            raise ControlError("refused", f"policy refused: {err}", "peregrine policy verify FILE says more") from err
        with self._lock:
            self._loaded[slot] = policy
        return {"slot": slot, "name": policy.name, "sha256": policy.sha256, "bytes": len(data)}

    def slots(self) -> set[int]:
        """Slots something was loaded for."""
        with self._lock:
            return set(self._loaded)

    def loaded(self, slot: int) -> Any:
        """What waits for a slot. Raises ControlError when nothing does."""
        with self._lock:
            policy = self._loaded.get(slot)
        if policy is None:
            raise ControlError("refused", f"nothing is loaded for slot {slot}", "policy.load first: peregrine swap does both")
        return policy


def _file(path: Path) -> bytes:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a pipe is not waited for
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ControlError("usage", f"{path} is no regular file", "a file on the engine's machine")
            if len(data := file.read(MAX_ARTIFACT_BYTES + 1)) > MAX_ARTIFACT_BYTES:
                raise ControlError("usage", f"{path} has more than {MAX_ARTIFACT_BYTES} bytes")
        return data
    except OSError as err:
        raise ControlError("usage", f"{path}: {err.strerror}", "a file on the engine's machine") from err
