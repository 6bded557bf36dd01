"""What the gateware's tests share: where its sources and tools lie, and a skip that says what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "hdl", ROOT / "tools", ROOT / "tests" / "hdl"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def toolchain() -> None:
    """Skips where the wheels of the [hdl] extra are not installed."""
    import hdl_model

    if text := hdl_model.missing():
        pytest.skip(f"the hardware toolchain is {text}")
