"""A command run inside the test's own process: what it prints and its exit code, without an interpreter's start."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from pathlib import Path
from unittest import mock


def inside(cwd: Path, *args: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """`peregrine ARGS`, as it would end in a shell."""
    from orchestrator.cli.main import main

    out, err, ended = io.StringIO(), io.StringIO(), 0
    with (contextlib.chdir(cwd), mock.patch.dict(os.environ, {"NO_COLOR": "1", **environment}),
          contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)):  # fmt: skip
        try:
            main(list(args))
        except SystemExit as end:
            ended = int(end.code or 0)
    assert ended == code, (args, ended, err.getvalue(), out.getvalue())
    return subprocess.CompletedProcess(args, ended, out.getvalue(), err.getvalue())
