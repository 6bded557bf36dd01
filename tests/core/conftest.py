"""Shared pieces of the core tests."""

import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests/oracles

_numbers = count()


@pytest.fixture
def segment_name() -> Iterator[str]:
    """A segment name of this test's own, removed at the end."""
    from hotpath import _core

    name = f"test-{os.getpid()}-{next(_numbers)}"
    yield name
    _core.Segment.unlink(name)
