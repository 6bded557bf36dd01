"""What the tests of the supervisor share."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
OBSERVE = str(Path(__file__).resolve().parents[1] / "observe")
if OBSERVE not in sys.path:  # the machines that tests of placement share
    sys.path.insert(0, OBSERVE)

from tree_rig import Rig  # noqa: E402


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for sockets, gone afterwards: the path of tmp_path may leave no room for a socket's name, depending on who runs it where."""
    base = Path(tempfile.mkdtemp(prefix="prg"))
    yield base
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator:
    """Makes trees under test: `make_rig({"engine.shards": "2"})`; what they leave behind fails the test."""
    made: list[Rig] = []

    def make(settings: dict[str, str] | None = None) -> Rig:
        made.append(Rig(tmp_path, settings))
        return made[-1]

    yield make
    left = [line for rig in made for line in rig.left()]
    for rig in made:
        rig.sweep()
    assert not left, left


@pytest.fixture
def rig(make_rig) -> Rig:
    """One tree under test."""
    return make_rig()
