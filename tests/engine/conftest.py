"""What the tests of the whole engine share: a venue in this process as judge, the engine in a process of its own."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from pathlib import Path

import pytest

TESTS = str(Path(__file__).resolve().parents[1])
for folder in (TESTS, str(Path(__file__).resolve().parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from rig import Engine, Venue, call  # noqa: E402


@pytest.fixture
def engine_name() -> str:
    """A name no other test uses: engines share /dev/shm."""
    return f"t{os.getpid()}-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def venue():
    """Starts simulated venues in this process; they end with the test."""
    started: list[Venue] = []

    def start(**options) -> Venue:
        started.append(Venue(**options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def engine(tmp_path, engine_name):
    """Starts `peregrine run` against a venue; what still runs at the end is killed, rings left behind are removed."""
    started: list[Engine] = []

    def start(venue: Venue | None = None, **options) -> Engine:
        started.append(Engine(tmp_path, engine_name, venue, **options))
        return started[-1]

    yield start
    for one in started:
        one.end()
    for leftover in Path("/dev/shm").glob(f"*{engine_name}*"):
        with contextlib.suppress(OSError):
            leftover.unlink()


@pytest.fixture
def peregrine(tmp_path):
    """Runs the command line to its end in the test's folder: `peregrine("verify", …)` → CompletedProcess."""

    def run(*args: str, code: int | None = 0, timeout: float = 240):
        return call(tmp_path, *args, code=code, timeout=timeout)

    return run
