"""A supervisor of its own process: `python -m orchestrator.supervise.daemon`, as `peregrine up --detach` starts it.

Standard input carries an Order, standard output a line of JSON for each stage and one that is the last:

    {"stage": "books"} …   {"ready": TreeState, "seconds": 1.9}   or   {"failed": …, "code": 69, "hint": …}
                                                                  or   {"waits": …, "code": 69, "hint": …}

After the last one it says nothing any more; it has ended after `failed`, and lives on after the others.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_UNAVAILABLE, CliError
from orchestrator.config import from_effective
from orchestrator.supervise.launch import launch, take_over
from orchestrator.supervise.supervisor import Supervisor


class Order(msgspec.Struct, kw_only=True):
    """What to supervise: a configuration, or what runs under a name."""

    config: dict[str, Any] | None = None
    config_file: str = ""
    take_over: str = ""
    attended: bool = False  # a person waits for the answer


class _Teller:
    """Tells the stages, then readiness, then lets standard output go: nobody reads it any more."""

    def __init__(self) -> None:
        self.stage = ""
        self.told = False

    def __call__(self, supervisor: Supervisor) -> None:
        if self.told:
            return
        if supervisor.startup.done and supervisor.ready_s:
            self.last({"ready": msgspec.to_builtins(supervisor.state()), "seconds": supervisor.ready_s})
        elif waits := supervisor.overdue():
            hint = f"it is supervised and goes on: peregrine status --name {supervisor.tree.name} says how it is"
            self.last({"waits": waits, "code": EXIT_UNAVAILABLE, "hint": hint})
        elif supervisor.startup.stage != self.stage:
            self.stage = supervisor.startup.stage
            self._say({"stage": self.stage})

    def _say(self, what: dict[str, Any]) -> None:
        try:
            os.write(1, msgspec.json.encode(what) + b"\n")
        except OSError:
            self.told = True  # who asked has gone; the tree is wanted all the same

    def last(self, what: dict[str, Any]) -> None:
        """The last line."""
        if self.told:
            return
        self._say(what)
        self.told = True
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)


def main() -> int:
    """Entry point; returns the exit code."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    tell = _Teller()
    try:
        if order.take_over:
            supervisor = take_over(order.take_over, on_round=tell)
        else:
            supervisor = launch(from_effective(order.config or {}), config_file=order.config_file, on_round=tell, attended=order.attended)
        report = supervisor.run()
    except CliError as err:
        tell.last({"failed": str(err), "code": err.code, "hint": err.hint})
        return err.code
    except Exception as err:
        tell.last({"failed": f"{type(err).__name__}: {err}", "code": EXIT_INTERNAL, "hint": ""})
        raise
    tell.last({"failed": report.reason, "code": report.code or EXIT_INTERNAL, "hint": report.hint, "notes": report.notes})
    return report.code


if __name__ == "__main__":
    sys.exit(main())
