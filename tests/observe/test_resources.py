"""What a process costs, as the metrics show it: threads of one name added up."""

from __future__ import annotations

import os
import subprocess
import sys

from orchestrator.observe import resources


def test_threads_of_one_name_are_added_up_and_memory_is_that_of_the_process():
    code = "import threading, time\nfor _ in range(3): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nwhile time.process_time() < 0.1: pass\ntime.sleep(0.01)\nprint(1, flush=True)\ntime.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        found = resources.read(child.pid)
        assert found.thread_count == 4 and len(found.threads) == 1, "named alike"
        (use,) = found.threads.values()
        assert use.user_ns + use.system_ns > 0 and use.minor_faults > 0 and use.voluntary_switches > 0
        assert 1 << 20 < found.anonymous_bytes <= found.resident_bytes + found.swap_bytes
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_process_that_is_gone_is_none():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert resources.read(child.pid) is None and resources.read(os.getpid()) is not None
