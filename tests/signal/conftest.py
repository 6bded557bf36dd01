"""Puts the tests folder on the path, so that `recordings` is found however pytest imports."""

import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parents[1])
if TESTS not in sys.path:
    sys.path.insert(0, TESTS)
