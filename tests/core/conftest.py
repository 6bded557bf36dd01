"""Shared pieces of the core tests."""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests/oracles


@pytest.fixture
def segment_name() -> Iterator[str]:
    """A segment name of this test's own, removed at the end."""
    from hotpath import _core

    name = f"test-{os.getpid()}-{uuid.uuid4().hex[:10]}"  # a number used again may find what a killed run has left
    yield name
    _core.Segment.unlink(name)
