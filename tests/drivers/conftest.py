"""The fixtures of the drivers' tests; what they are made of is in driver_rig.py, which has a name of its own to be imported by."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from driver_rig import fake_library, machine, rig  # noqa: E402, F401
