"""Placement of threads, and what the CPU is said to be."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import _core


def in_thread(work):
    """Run `work` in a thread of its own, so that this one keeps its CPUs; returns what it returned."""
    result = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join()
    assert result, "the thread failed"
    return result[0]


def test_a_pinned_thread_runs_where_it_was_put_and_the_list_says_so():
    cpu = _core.allowed_cpus()[-1]

    def work():
        _core.name_this_thread("a-very-long-thread-name")
        _core.pin_this_thread(cpu)
        _core.verify_pinned(cpu)
        tid = _core.this_thread_id()
        return next(t for t in _core.thread_placements() if t["tid"] == tid)

    placement = in_thread(work)
    assert placement["cpus"] == [cpu]
    assert placement["last_cpu"] == cpu
    assert placement["name"] == "a-very-long-thr"
    assert placement["policy"] == os.SCHED_OTHER


def test_an_unpinned_thread_fails_verification():
    cpus = _core.allowed_cpus()
    if len(cpus) < 2:
        pytest.skip("one CPU only: every thread is pinned")
    with pytest.raises(RuntimeError, match=rf"expected {cpus[0]} only"):
        _core.verify_pinned(cpus[0])


@pytest.mark.parametrize("cpu", [-1, 1023, 1024])
def test_a_cpu_that_is_not_there_is_refused(cpu):
    if cpu in _core.allowed_cpus():
        pytest.skip("this machine has it")
    before = _core.allowed_cpus()
    with pytest.raises(RuntimeError, match="CPU"):
        _core.pin_this_thread(cpu)
    assert _core.allowed_cpus() == before


def test_all_threads_are_listed():
    stop, started = threading.Event(), threading.Barrier(4)

    def wait():
        started.wait()
        stop.wait()

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    listed = {t["tid"] for t in _core.thread_placements()}
    stop.set()
    for thread in threads:
        thread.join()
    assert {thread.native_id for thread in threads} | {threading.get_native_id()} <= listed


def test_the_topology_covers_the_cpus_we_may_use():
    places = {p["cpu"]: p for p in _core.cpu_topology()}
    assert set(_core.allowed_cpus()) <= set(places)
    for cpu, place in places.items():
        assert cpu in place["siblings"]
        assert place["core"] == min(place["siblings"])


def thread(tid, cpus, name="t"):
    return {"tid": tid, "name": name, "cpus": cpus}


FOUR_CPUS_TWO_CORES = [{"cpu": c, "core": c % 2} for c in range(4)]


@pytest.mark.parametrize(("hot", "threads", "complaints"), [
    ([(1, 0), (2, 1)], [thread(1, [0]), thread(2, [1])], []),
    ([(1, 0), (2, 1)], [thread(1, [0]), thread(2, [1]), thread(3, [2, 3], "helper")], []),
    ([(1, 0), (2, 0)], [thread(1, [0]), thread(2, [0])], ["share CPU 0"]),
    ([(1, 0), (2, 2)], [thread(1, [0]), thread(2, [2])], ["share one physical core"]),
    ([(1, 0)], [thread(1, [0, 1])], ["may run on CPU 0-1, expected 0 only"]),
    ([(1, 0)], [thread(1, [1])], ["expected 0 only"]),
    ([(1, 0)], [thread(1, [0]), thread(9, [0, 1], "helper")], ["thread 9 'helper' may run on CPU 0"]),
    ([(1, 0)], [], ["does not run"]),
])
def test_placement_faults_are_found(hot, threads, complaints):
    found = _core.placement_conflicts(hot, threads, FOUR_CPUS_TWO_CORES)
    assert len(found) == len(complaints)
    for text, complaint in zip(found, complaints, strict=True):
        assert complaint in text


def test_this_process_with_its_helpers_would_not_pass_as_pinned():
    cpus = _core.allowed_cpus()
    if len(cpus) < 2:
        pytest.skip("one CPU only")
    assert _core.placement_conflicts([(threading.get_native_id(), cpus[0])])


@given(st.sets(st.integers(0, 1023), max_size=40))
def test_cpu_lists_read_back_as_written(cpus):
    assert _core.parse_cpu_list(_core.cpu_list_text(sorted(cpus))) == sorted(cpus)


@pytest.mark.parametrize(("text", "cpus"), [
    ("", []), ("0-3,8", [0, 1, 2, 3, 8]), ("1,x", [1]), ("5-3", []), ("1022-99999999", [1022, 1023]), ("2-", [2]),
])
def test_odd_cpu_lists_do_no_harm(text, cpus):
    assert _core.parse_cpu_list(text) == cpus


def test_cpu_features_agree_with_the_kernel():
    info = Path("/proc/cpuinfo").read_text()
    flags = set(next((line for line in info.splitlines() if line.startswith("flags")), "").split())
    if not flags:
        pytest.skip("the kernel lists no flags on this architecture")
    kernel_names = {"sse4.2": "sse4_2", "pclmul": "pclmulqdq", "avxvnni": "avx_vnni", "avx512vnni": "avx512_vnni",
                    "invariant_tsc": "nonstop_tsc", "sha": "sha_ni"}
    for name, there in _core.cpu_features().items():
        assert there == (kernel_names.get(name, name) in flags), name
    assert _core.cpu_feature_names().split() == [n for n, there in _core.cpu_features().items() if there]
    assert f": {_core.cpu_model()}" in info


def test_liveness_tells_a_process_from_its_pid():
    me, start = os.getpid(), _core.process_start_ticks(os.getpid())
    assert _core.process_liveness(me, start) == "alive"
    assert _core.process_liveness(me, start + 1) == "reused"
    assert _core.process_liveness(2**31 - 1, start) == "dead"
    assert _core.process_liveness(0, start) == "dead"
