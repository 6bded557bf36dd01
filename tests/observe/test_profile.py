"""What /proc tells of a process: against children that do one thing each, and against trees written by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from orchestrator.observe.profile import (
    ProcessGone,
    between,
    machine_steal_ns,
    parse_cpu_list,
    read_process,
)

MIB = 1 << 20


@pytest.fixture
def child():
    """Runs Python that prints a line when it is ready and goes on when it is sent one; ended after the test."""
    running: list[subprocess.Popen] = []

    def start(code: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def go_on(process: subprocess.Popen) -> None:
    """One line in, one line back."""
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()


STEP = "import sys, time, mmap, threading, os\nprint('ready', flush=True)\ninput()\n{}\nprint('done', flush=True)\ninput()\n"


def before_and_after(child, body: str):
    """A profile before and after a child's one deed, and their difference."""
    process = child(STEP.format(body))
    before = read_process(process.pid)
    go_on(process)
    after = read_process(process.pid)
    return before, after, between(before, after)


def test_memory_that_a_child_takes_and_touches_is_its_own_and_costs_a_minor_fault_a_page(child):
    before, after, delta = before_and_after(child, "m = mmap.mmap(-1, 32 << 20, flags=34)\nm.madvise(15)\nfor i in range(0, 32 << 20, 4096): m[i] = 1")
    assert 30 * MIB < after.anonymous_bytes - before.anonymous_bytes < 40 * MIB
    assert after.rss_bytes - before.rss_bytes > 30 * MIB
    assert delta.total("minor_faults") >= 8192
    assert before.total("minor_faults") + delta.total("minor_faults") == after.total("minor_faults")


def test_shared_memory_that_a_child_touches_is_no_memory_of_its_own(child):
    before, after, _ = before_and_after(child, "m = mmap.mmap(-1, 32 << 20)\nfor i in range(0, 32 << 20, 4096): m[i] = 1")
    assert after.shared_bytes - before.shared_bytes == 32 * MIB
    assert after.anonymous_bytes - before.anonymous_bytes < 8 * MIB


def test_a_child_that_sleeps_switches_by_itself_and_one_that_computes_uses_time(child):
    _, _, slept = before_and_after(child, "for _ in range(100): time.sleep(0.001)")
    _, _, spun = before_and_after(child, "end = time.thread_time() + 0.2\nwhile time.thread_time() < end: pass")
    assert slept.total("voluntary_switches") >= 50  # a sleep that is over before the core was given up is none
    assert spun.total("voluntary_switches") < 20
    assert spun.total("run_ns") >= 190_000_000
    assert spun.total("user_ns") + spun.total("system_ns") >= 150_000_000


def test_two_spinning_children_on_one_core_wait_for_it_and_are_pushed_off(child, tmp_path):
    core, over = min(os.sched_getaffinity(0)), tmp_path / "over"
    spin = (f"import os\nos.sched_setaffinity(0, {{{core}}})\nprint('ready', flush=True)\ninput()\n"
            f"while not os.path.exists({str(over)!r}):\n    for _ in range(10_000): pass\nprint('done', flush=True)\ninput()\n")
    pair = [child(spin), child(spin)]
    before = [read_process(p.pid) for p in pair]
    for process in pair:
        process.stdin.write("\n")
        process.stdin.flush()

    def deltas():
        return [between(b, read_process(p.pid)) for b, p in zip(before, pair, strict=True)]

    def seen() -> bool:
        return max(d.total("run_delay_ns") for d in deltas()) > 100_000_000 and sum(d.total("involuntary_switches") for d in deltas()) >= 2

    until = time.monotonic() + 60  # they spin until it shows: with one core between them it must
    while not seen():
        assert time.monotonic() < until, deltas()
        time.sleep(0.05)
    over.touch()
    for process in pair:
        process.stdout.readline()
    assert all(t.allowed_cpus == (core,) and t.cpu == core for d in deltas() for t in d.threads)


def test_threads_are_listed_with_their_names_and_a_new_one_counts_from_its_start(child):
    body = "t = threading.Thread(target=lambda: time.sleep(30), daemon=True)\nt.start()"
    before, after, delta = before_and_after(child, body)
    assert len(after.threads) == len(before.threads) + 1
    new = {t.tid for t in after.threads} - {t.tid for t in before.threads}
    assert {t.tid for t in delta.threads} >= new
    assert after.pid in {t.tid for t in after.threads}
    assert all(t.name for t in after.threads)


def test_a_stopped_child_is_in_state_t(child):
    process = child(STEP.format("pass"))
    process.send_signal(19)
    until = time.monotonic() + 60
    while read_process(process.pid).state != "T":
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(18)


def test_pss_is_read_only_when_asked_for_and_is_no_more_than_rss(child):
    process = child(STEP.format("pass"))
    assert read_process(process.pid).pss_bytes is None
    found = read_process(process.pid, pss=True)
    assert found.pss_bytes is not None and 0 < found.pss_bytes <= found.rss_bytes


def test_a_process_that_is_not_there_is_gone_and_never_another_error(child):
    process = child(STEP.format("pass"))
    process.kill()
    process.wait()
    with pytest.raises(ProcessGone):
        read_process(process.pid)


def test_reading_processes_that_end_all_the_time_gives_a_profile_or_gone():
    seen = {"read": 0, "gone": 0}
    for _ in range(30):
        with subprocess.Popen(["true"]) as process:
            over = False
            while not over:  # until it is looked at once after it was waited for
                over = process.poll() is not None
                try:
                    read_process(process.pid)
                    seen["read"] += 1
                except ProcessGone:
                    seen["gone"] += 1
                    break
    assert seen["read"] > 0 and seen["gone"] > 0


def test_profiles_of_two_processes_have_no_difference(child):
    a, b = read_process(child(STEP.format("pass")).pid), read_process(child(STEP.format("pass")).pid)
    with pytest.raises(ValueError, match="two processes"):
        between(a, b)


def write_proc(root, tid: int, *, name: str = "worker", counts: tuple[int, ...] = (0,) * 8, pid: int = 7) -> None:
    """A thread of process 7 as the kernel shows it: minor, major, user, system, voluntary, involuntary, run, delay."""
    minor, major, user, system, voluntary, involuntary, run, delay = counts
    stat = f"{tid} ({name}) S 1 1 1 0 -1 0 {minor} 0 {major} 0 {user} {system} 0 0 20 0 1 0 555 1 2 " + "0 " * 14 + "3 0 0 0\n"
    assert stat.rpartition(")")[2].split()[36] == "3"
    status = (f"Name:\t{name}\nState:\tS (sleeping)\nVmRSS:\t 2048 kB\nRssAnon:\t 1024 kB\nVmSwap:\t 512 kB\nVmLck:\t 64 kB\n"
              f"Cpus_allowed_list:\t0-2,5\nvoluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{involuntary}\n")
    for folder in (root / str(pid), root / str(pid) / "task" / str(tid)):
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == str(tid) or tid == pid:
            (folder / "stat").write_text(stat)
            (folder / "status").write_text(status)
            (folder / "schedstat").write_text(f"{run} {delay} 9\n")


def test_a_tree_by_hand_is_read_field_by_field(tmp_path):
    write_proc(tmp_path, 7, name="a) b (c", counts=(11, 2, 3, 4, 5, 6, 70, 80))
    (tmp_path / "stat").write_text("cpu  1 2 3 4 5 6 7 30 0 0\ncpu0 1 2 3 4 5 6 7 10 0 0\ncpu1 1 2 3 4 5 6 7 20 0 0\nintr 5\n")
    found = read_process(7, proc=tmp_path)
    (thread,) = found.threads
    assert (found.name, found.state, found.start_ticks) == ("a) b (c", "S", 555)
    assert (found.rss_bytes, found.anonymous_bytes, found.locked_bytes, found.swap_bytes) == (2 * MIB, 3 * MIB // 2, 65536, 524288)
    assert (thread.minor_faults, thread.major_faults, thread.user_ns, thread.system_ns) == (11, 2, 30_000_000, 40_000_000)
    assert (thread.voluntary_switches, thread.involuntary_switches, thread.run_ns, thread.run_delay_ns) == (5, 6, 70, 80)
    assert (thread.cpu, thread.allowed_cpus, thread.timeslices) == (3, (0, 1, 2, 5), 9)
    assert found.steal_ns == {0: 100_000_000, 1: 200_000_000}


def test_a_thread_number_used_again_does_not_make_a_negative_count(tmp_path):
    write_proc(tmp_path, 7)
    write_proc(tmp_path, 8, counts=(100, 0, 0, 0, 100, 0, 1000, 0))
    before = read_process(7, proc=tmp_path)
    write_proc(tmp_path, 8, counts=(3, 0, 0, 0, 4, 0, 50, 0))
    delta = between(before, read_process(7, proc=tmp_path))
    (thread,) = [t for t in delta.threads if t.tid == 8]
    assert (thread.minor_faults, thread.voluntary_switches, thread.run_ns) == (3, 4, 50)


def test_a_thread_that_vanishes_between_listing_and_reading_is_left_out(tmp_path):
    write_proc(tmp_path, 7)
    (tmp_path / "7/task/9").mkdir()
    assert [t.tid for t in read_process(7, proc=tmp_path).threads] == [7]


def test_a_process_without_schedstat_or_steal_is_read_with_zeros(tmp_path):
    write_proc(tmp_path, 7)
    (tmp_path / "7/task/7/schedstat").unlink()
    found = read_process(7, proc=tmp_path)
    assert (found.threads[0].run_ns, found.steal_ns) == (0, {})
    assert machine_steal_ns(tmp_path) == {}


@pytest.mark.parametrize(("text", "cpus"), [("0-3,8", (0, 1, 2, 3, 8)), ("", ()), ("5", (5,)), ("(null)", ()), ("1-,x", ())])
def test_a_cpu_list_is_read_as_the_kernel_writes_it(text, cpus):
    assert parse_cpu_list(text) == cpus


def test_a_profile_survives_json():
    import json

    out = json.loads(json.dumps(read_process(os.getpid()).to_json()))
    # anywhere among them: numbers of processes begin anew at some point, so a thread may have a lower one than its process
    assert out["pid"] == os.getpid() and os.getpid() in [t["tid"] for t in out["threads"]]
