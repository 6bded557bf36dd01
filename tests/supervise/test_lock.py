"""One supervisor a name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orchestrator.supervise import lock
from orchestrator.supervise.lock import Locked, SupervisorLock


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path):
    first = SupervisorLock(tmp_path)
    with pytest.raises(Locked) as refused:
        SupervisorLock(tmp_path)
    assert refused.value.pid == os.getpid() and str(os.getpid()) in str(refused.value)
    assert lock.held(tmp_path)
    first.close()
    assert not lock.held(tmp_path)
    SupervisorLock(tmp_path).close()


def test_a_lock_dies_with_its_process(tmp_path):
    code = "import sys; from pathlib import Path; from orchestrator.supervise.lock import SupervisorLock\nL = SupervisorLock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, text=True)  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
    with pytest.raises(Locked):
        SupervisorLock(tmp_path)
    holder.kill()
    holder.communicate()
    SupervisorLock(tmp_path).close()
