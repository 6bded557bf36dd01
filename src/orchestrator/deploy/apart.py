"""A deploy by restart for a supervisor: it ends with the tree it takes down, so a process of its own does it.

    python -m orchestrator.deploy.apart FOLDER     job.json lies there, and what its configuration was read from

That process is no child of the tree: `down` leaves it alone. What it says is kept with the deploy (history.tell), where the
next supervisor finds it for `deploy.status`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, EXIT_USAGE
from orchestrator.deploy.flow import Job, Tools
from orchestrator.deploy.health import read
from orchestrator.deploy.history import History, HistoryError
from orchestrator.deploy.restart import NoDoor, deploy_by_restart

JOB, SAID = "job.json", "said"


def begin(job: Job, folder: Path, history: History) -> subprocess.Popen[bytes]:
    """Start it; `folder` must stay until the deploy is in the history. Raises OSError."""
    (folder / JOB).write_bytes(msgspec.json.encode({"job": job, "history": str(history.folder)}, enc_hook=str))
    with (folder / SAID).open("wb") as said:
        return subprocess.Popen([sys.executable, "-m", __name__, str(folder)], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})  # fmt: skip


def last_words(folder: Path) -> str:
    """What it said when it came to nothing."""
    try:
        lines = (folder / SAID).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


class _Asked(msgspec.Struct):
    job: Job
    history: str


def _decoded(kind: type, value: Any) -> Any:
    return kind(value)


def main(arguments: list[str]) -> int:
    """Entry point; exit code 0 when there is an outcome in the history, whichever."""
    if len(arguments) != 1:
        print("error: one argument, the folder a supervisor wrote", file=sys.stderr)
        return EXIT_USAGE
    try:
        asked = msgspec.json.decode((Path(arguments[0]) / JOB).read_bytes(), type=_Asked, dec_hook=_decoded)
    except (OSError, msgspec.MsgspecError) as err:
        print(f"error: {err}", file=sys.stderr)
        return EXIT_USAGE
    job, history = asked.job, History(asked.job.engine, Path(asked.history))

    def say(line: str) -> None:
        if (manifest := history.by_id(job.id)) is not None:
            history.tell(manifest.number, line)

    try:
        deploy_by_restart(job, Tools(NoDoor(), lambda: read(job.engine), history, say))
    except HistoryError as err:
        print(f"error: {err}", file=sys.stderr)
        return EXIT_TRY_AGAIN
    except OSError as err:
        print(f"error: {err}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
