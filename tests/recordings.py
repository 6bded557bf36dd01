"""Where the real recordings are, for tests of every room; a test that needs one is skipped when it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_root() -> Path | None:
    """Folder of the recordings: $PEREGRINE_DATA, else `shared/data` beside or above the checkout; None = absent."""
    env = os.environ.get("PEREGRINE_DATA")
    if env:
        return Path(env) if Path(env).is_dir() else None
    for parent in Path(__file__).resolve().parents:
        candidate = parent / "shared" / "data"
        if candidate.is_dir():
            return candidate
    return None


def recording(name: str) -> Path:
    """Path of a recording such as `itch/aapl_20200130_first6000.itch`; skips the test when it is not there."""
    root = data_root()
    if root is None:
        pytest.skip("no recordings here: set PEREGRINE_DATA to the folder that holds itch/ and wire/")
    path = root / name
    if not path.exists():
        pytest.skip(f"recording {name} is not in {root}")
    return path


def read_recording(name: str) -> bytes:
    """Bytes of a recording, decompressed when its name ends in .zst or .gz."""
    from hotpath.market.files import read_bytes

    return read_bytes(recording(name))
