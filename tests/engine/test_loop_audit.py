"""No allocation, no lock, and no system call but the sockets' in the loop of a live engine; and proof that one is noticed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

import loop_audit  # noqa: E402
from thread_stop import permitted  # noqa: E402

pytestmark = pytest.mark.skipif(bool(permitted()), reason=f"children cannot be traced here: {permitted()}")


def test_the_loop_of_a_trading_engine_asks_nothing_of_allocator_locks_or_kernel_but_its_sockets():
    found = loop_audit.audit(3.0)
    assert found["work"]["orders"] > 10 and found["work"]["fills"] > 0 and found["work"]["decisions"] > 100, found["work"]
    assert found["traced_work"]["orders"] > 0, found["traced_work"]
    assert found["before_the_loop"]["malloc"] > 1000, "the interposer never saw this thread"
    assert loop_audit.offences(found) == {}
    assert set(found["system_calls"]) <= loop_audit.ALLOWED
    assert found["system_calls"]["recvmmsg"] > 100 and found["system_calls"]["sendto"] > 0


@pytest.mark.parametrize(("thread", "calls"), [
    ("shard-0", set()), ("feed", {"recvmmsg", "recvfrom"}), ("session", {"recvfrom", "sendto"}),
])  # fmt: skip
def test_no_thread_of_a_pipelined_engine_asks_for_more_than_its_sockets(thread, calls):
    """The thread that trades has none: it never enters the kernel at all."""
    found = loop_audit.audit(1.5, {"engine.topology": "pipelined", "engine.cores": {"engine": None}}, thread=thread)
    assert found["work"]["orders"] > 0, found["work"]
    assert loop_audit.offences(found) == {}
    assert set(found["system_calls"]) <= calls, found["system_calls"]


@pytest.mark.parametrize(("signal", "offence"), [
    ("allocates", "malloc"),
    pytest.param("locks", "pthread_mutex_lock", marks=pytest.mark.slow),
    pytest.param("calls_the_kernel", "system call getppid", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_users_signal_that_does_so_is_noticed(signal, offence):
    if importlib.util.find_spec("numba") is None:
        pytest.skip("numba compiles signals: the [signals] extra")
    found = loop_audit.audit(1.0, {"policies.signal": f"greedy_signals:{signal}"}, python_path=HERE)
    assert loop_audit.offences(found).get(offence, 0) > 10, found


@pytest.mark.slow
def test_a_loop_that_sleeps_or_yields_enters_the_kernel_for_that_only():
    for idle, call in (("sleep", "poll"), ("yield", "sched_yield")):
        found = loop_audit.audit(1.0, {"engine.idle": idle})
        names = {name.removeprefix("system call ") for name in loop_audit.offences(found)}
        assert names - {"restart_syscall"} == {call}, found  # the tracer's own interruption of a poll


@pytest.mark.slow
def test_lost_connections_and_gaps_add_only_the_calls_that_connect():
    found = loop_audit.audit(2.5, fault="disconnect=300ms,loss=3%,reorder=1%,dup=1%", least={"socket": 2})
    assert found["reconnects"] >= 2
    assert {k: n for k, n in loop_audit.offences(found).items() if k in loop_audit.ALLOCATION or k.startswith(("pthread", "sem"))} == {}
    connecting = {"socket", "connect", "setsockopt", "getsockopt", "poll", "close"}
    assert set(found["system_calls"]) <= loop_audit.ALLOWED | connecting, found
    assert found["system_calls"]["socket"] >= 2


@pytest.mark.slow
def test_the_tool_prints_what_it_counted():
    result = subprocess.run([sys.executable, str(ROOT / "tools/loop_audit.py"), "--seconds", "1", "--json"],
                            capture_output=True, text=True, timeout=300)  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["offences"] == {}
