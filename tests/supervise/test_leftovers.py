"""What dead processes left in shared memory is put away; what is a living one's, or another engine's, stays."""

from __future__ import annotations

import os
import subprocess
import sys

from orchestrator.observe.segment import FOLDER
from orchestrator.supervise.leftovers import put_away


def test_a_ring_half_made_by_a_dead_process_goes_and_that_of_a_living_one_stays(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    name = f"left-{os.getpid()}"
    gone = [FOLDER / f"{name}-{done.pid}.pgr.new", FOLDER / f"{name}-{done.pid}-03.pgr.new"]
    kept = [FOLDER / f"{name}-{os.getpid()}.pgr.new", FOLDER / f"{name}-more-{done.pid}.pgr.new", FOLDER / f"{name}-{done.pid}.pgr"]
    try:
        for path in [*gone, *kept]:
            path.touch()
        put_away(name, tmp_path, None)
        assert [p for p in [*gone, *kept] if p.exists()] == kept
    finally:
        for path in [*gone, *kept]:
            path.unlink(missing_ok=True)
