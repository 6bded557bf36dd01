"""Finds the machines that the tests of this folder share."""

from __future__ import annotations

import sys
from pathlib import Path

OBSERVE = str(Path(__file__).resolve().parents[1] / "observe")
if OBSERVE not in sys.path:
    sys.path.insert(0, OBSERVE)
