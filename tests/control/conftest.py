"""What the tests of the control API share."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import control_rig as rigs  # noqa: E402

_count = itertools.count()


@pytest.fixture
def folder(monkeypatch):
    """A short runtime folder (a socket's path has little room), gone afterwards."""
    base = Path(tempfile.mkdtemp(prefix="prg"))
    monkeypatch.setenv("PEREGRINE_RUNTIME_DIR", str(base))
    yield base / f"e{os.getpid()}x{next(_count)}"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def recorder():
    return rigs.Recorder()


@pytest.fixture
def make_rig(folder):
    """Starts servers: `make_rig(handler, tcp=True, …)`; all are stopped at the end."""
    started = []

    def make(handler, **settings):
        made = rigs.Rig(folder, handler, **settings)
        made.__enter__()
        started.append(made)
        return made

    yield make
    for made in started:
        if (gate := getattr(made.handler, "gate", None)) is not None:
            gate.set()  # of a test that failed while its handler hung
        made.__exit__()
