"""Makes `recordings`, `oracles` and this room's own client importable from its tests."""

import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parents[1])
for folder in (TESTS, str(Path(__file__).resolve().parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)
