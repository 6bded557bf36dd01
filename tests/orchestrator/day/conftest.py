"""What the tests of the trading day share."""

from __future__ import annotations

import sys
from pathlib import Path

for room in ("supervise", "oracles"):
    folder = str(Path(__file__).resolve().parents[2] / room)
    if folder not in sys.path:
        sys.path.insert(0, folder)
sys.path.insert(0, str(Path(__file__).parent))
