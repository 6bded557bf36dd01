"""Policies on their way into the engine: checked and kept here until they are swapped in."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from orchestrator.config.regular import NotRegular, read
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Caller
from orchestrator.observe import log


class Policies:
    """One loaded artifact a slot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[int, Any] = {}  # slot → run.plan.LoadedPolicy

    def load(self, args: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Check an artifact (`data`, or the file `path`) and keep it for `slot`. Raises ControlError; over the network it is the
        same one whatever is wrong with a path, so that nobody learns there which files this machine has."""
        try:
            return self._load(args)
        except ControlError as err:
            if caller.via != "tcp" or args.get("data") is not None:
                raise
            log.logger(who=caller.name).warning("policy not loaded", slot=args["slot"], path=args["path"], reason=err.message)
            raise ControlError("refused", "no artifact that can be used is at that path",
                               "the supervisor's log says why; or send the artifact itself, as `data`") from None  # fmt: skip

    def _load(self, args: dict[str, Any]) -> dict[str, Any]:
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
    from orchestrator.run.plan import MAX_ARTIFACT_BYTES

    try:
        if len(data := read(path, MAX_ARTIFACT_BYTES)) > MAX_ARTIFACT_BYTES:
            raise ControlError("usage", f"{path} has more than {MAX_ARTIFACT_BYTES} bytes")
        return data
    except NotRegular as err:
        raise ControlError("usage", f"{path} is no regular file", "a file on the engine's machine") from err
    except (OSError, ValueError) as err:  # ValueError: a path with a NUL in it
        raise ControlError("usage", f"{path}: {getattr(err, 'strerror', None) or err}", "a file on the engine's machine") from err
