"""Starting a supervisor that outlives the command that asked for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from orchestrator.cli._errors import EXIT_INTERNAL, CliError
from orchestrator.supervise.daemon import Order


def start_daemon(order: Order, on_stage: Callable[[str], None] | None = None) -> tuple[dict[str, Any], float]:
    """Start it and wait for its last word: the tree's state when it is ready, and the seconds that took.

    A Ctrl-C meanwhile ends the tree, cleanly; one that is taken over is left to its new supervisor. Raises CliError with the
    supervisor's own reason when it does not get ready.
    """
    daemon = subprocess.Popen([sys.executable, "-m", "orchestrator.supervise.daemon"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    assert daemon.stdin and daemon.stdout and daemon.stderr
    try:
        daemon.stdin.write(msgspec.json.encode(order))
        daemon.stdin.close()
        for line in daemon.stdout:
            said = json.loads(line)
            if "stage" in said and on_stage:
                on_stage(said["stage"])
            if "ready" in said:
                return said["ready"], said["seconds"]
            if "waits" in said:
                raise CliError(said["waits"], hint=said["hint"], code=said["code"])
            if "failed" in said:
                daemon.wait(60)
                notes = "".join(f"\n  {note}" for note in said.get("notes", []))
                raise CliError(said["failed"] + notes, hint=said["hint"], code=said["code"])
        words = daemon.stderr.read().decode(errors="replace").strip().splitlines()
        raise CliError(f"the supervisor ended without a word: {words[-1] if words else 'nothing on stderr'}", code=EXIT_INTERNAL)
    except KeyboardInterrupt:
        if not order.take_over:
            daemon.terminate()
            daemon.wait(60)
        raise
    finally:
        daemon.stdout.close()
        daemon.stderr.close()
        daemon.returncode = daemon.poll() or 0  # it lives on, and is not waited for
