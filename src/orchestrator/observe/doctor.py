"""Is this machine fit to trade on? One finding a question, each with its fix."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.observe.clock_sync import read_clock
from orchestrator.observe.machine import Probe
from orchestrator.observe.topology import quota_cores

Status = Literal["ok", "warn", "fail"]
CPU = "/sys/devices/system/cpu"


@dataclass(frozen=True)
class Finding:
    """One answer: what was looked at, how it stands, what was found, and what to do about it."""

    name: str
    status: Status
    found: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


@dataclass(frozen=True)
class Needs:
    """What the configuration asks of the machine."""

    ring_mb: int = 64
    memory_mb: int = 512
    pools_mb: int = 0
    journal_dir: str = "runs"
    hot_threads: int = 1
    pinned: bool = False
    memlock_bytes: int | None = None
    device_address: str = ""
    device_needed: bool = False  # the configuration cannot trade without it


def examine(needs: Needs | None = None, probe: Probe | None = None) -> list[Finding]:
    """Every finding, in the order of `CHECKS`. Reads only; takes a few milliseconds."""
    needs, probe = needs or Needs(), probe or Probe()
    return [finding for check in CHECKS for finding in check(needs, probe)]


def _engine(needs: Needs, probe: Probe) -> Iterator[Finding]:
    try:
        from hotpath import _core
    except ImportError as err:
        yield Finding(
            "engine", "fail", f"the compiled engine is not there: {err}", "make build, or reinstall the wheel"
        )
        return
    yield Finding("engine", "ok", f"compiled engine {_core.__version__}")


def _cores(needs: Needs, probe: Probe) -> Iterator[Finding]:
    allowed = len(os.sched_getaffinity(0))
    enough = needs.hot_threads + 1
    if allowed >= enough:
        yield Finding("cores", "ok", f"{allowed} cores for {needs.hot_threads} hot and the helper threads")
    else:
        fix = "give the process more cores (taskset, docker --cpuset-cpus), or use --profile laptop"
        shared = f"; {needs.hot_threads} hot threads will share them" if allowed < needs.hot_threads else ""
        yield Finding("cores", "fail" if needs.pinned else "warn", f"{allowed}, {enough} wanted{shared}", fix)
    share = quota_cores(probe)
    if share is not None:
        yield Finding(
            "cpu_quota",
            "warn",
            f"the control group allows {share:g} cores' worth of time",
            "a spinning thread will be paused when it is used up: lift the quota and pin instead",
        )


def _isolation(needs: Needs, probe: Probe) -> Iterator[Finding]:
    status: Status = "warn" if needs.pinned else "ok"
    for name, what in (("isolated", "isolcpus"), ("nohz_full", "nohz_full")):
        cores = probe.text(f"{CPU}/{name}")
        if cores and cores != "(null)":
            yield Finding(what, "ok", f"cores {cores}")
        else:
            yield Finding(what, status, "no core set apart", f"boot with {what}=<the engine's core> for quieter tails")


def _governor(needs: Needs, probe: Probe) -> Iterator[Finding]:
    governor = probe.text(f"{CPU}/cpu0/cpufreq/scaling_governor")
    if governor is None:
        yield Finding("governor", "ok", "not shown by this kernel (a virtual machine, or fixed)")
    elif governor == "performance":
        yield Finding("governor", "ok", governor)
    else:
        yield Finding("governor", "warn", governor, "sudo cpupower frequency-set -g performance")


def _smt(needs: Needs, probe: Probe) -> Iterator[Finding]:
    if probe.text(f"{CPU}/smt/active") == "1":
        fix = "leave the engine core's sibling idle, or echo off | sudo tee /sys/devices/system/cpu/smt/control"
        yield Finding("smt", "warn" if needs.pinned else "ok", "two threads share each core", fix)
    else:
        yield Finding("smt", "ok", "off")


def _memory(needs: Needs, probe: Probe) -> Iterator[Finding]:
    available = probe.memory_mb("MemAvailable")
    if available is not None and available < needs.memory_mb:
        yield Finding(
            "memory", "fail", f"{available} MiB free, {needs.memory_mb} wanted", "lower engine.memory_budget_mb"
        )
    else:
        pools = f"; the pools come to {needs.pools_mb} of {needs.memory_mb} MiB" if needs.pools_mb else ""
        yield Finding("memory", "ok", f"{available} MiB free{pools}")
    swaps = (probe.text("/proc/swaps") or "").splitlines()[1:]
    if swaps:
        yield Finding("swap", "warn", f"{len(swaps)} in use", "sudo swapoff -a, or keep engine.mlock on")
    else:
        yield Finding("swap", "ok", "off")
    thp = probe.text("/sys/kernel/mm/transparent_hugepage/enabled") or ""
    chosen = thp.partition("[")[2].partition("]")[0] or "not shown"
    if chosen == "always":
        fix = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"
        yield Finding(
            "transparent_hugepages", "warn" if needs.pinned else "ok", "always: compaction can stall a thread", fix
        )
    else:
        yield Finding("transparent_hugepages", "ok", chosen)
    huge = probe.number("/proc/sys/vm/nr_hugepages") or 0
    yield Finding("hugepages", "ok", f"{huge} reserved", "" if huge else "optional: sudo sysctl vm.nr_hugepages=256")


def _memlock(needs: Needs, probe: Probe) -> Iterator[Finding]:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] if needs.memlock_bytes is None else needs.memlock_bytes
    wanted = (needs.ring_mb + 64) << 20
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        yield Finding("memlock", "ok", "unlimited" if limit == resource.RLIM_INFINITY else f"{limit >> 20} MiB")
    else:
        fix = "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit; without it the kernel may page the engine out"
        yield Finding("memlock", "warn", f"{limit >> 10} KiB may be locked, {wanted >> 20} MiB wanted", fix)


def _shared_memory(needs: Needs, probe: Probe) -> Iterator[Finding]:
    try:
        free = shutil.disk_usage(probe.root / "dev/shm").free >> 20
    except OSError:
        yield Finding("shared_memory", "fail", "/dev/shm is not there", "mount -t tmpfs tmpfs /dev/shm")
        return
    wanted = needs.ring_mb + 32
    if free < wanted:
        fix = f"docker run --shm-size={2 * wanted}m, mount -o remount,size={2 * wanted}m /dev/shm, or a smaller journal.ring_mb"
        yield Finding("shared_memory", "fail", f"{free} MiB free in /dev/shm, {wanted} wanted", fix)
    else:
        yield Finding("shared_memory", "ok", f"{free} MiB free in /dev/shm")


def _scheduler(needs: Needs, probe: Probe) -> Iterator[Finding]:
    runtime = probe.number("/proc/sys/kernel/sched_rt_runtime_us")
    period = probe.number("/proc/sys/kernel/sched_rt_period_us") or 1_000_000
    if runtime is None or runtime < 0:
        yield Finding("rt_throttling", "ok", "off" if runtime is not None else "not shown")
    else:
        pause = max(0, period - runtime) // 1000
        yield Finding(
            "rt_throttling",
            "ok",
            f"a SCHED_FIFO thread would be paused {pause} ms in each {period // 1000} ms; Peregrine does not use it",
            "sudo sysctl kernel.sched_rt_runtime_us=-1, only on a machine that is the engine's alone",
        )


def _network(needs: Needs, probe: Probe) -> Iterator[Finding]:
    rmem = probe.number("/proc/sys/net/core/rmem_max")
    wanted = 4 << 20
    if rmem is not None and rmem < wanted:
        fix = f"sudo sysctl net.core.rmem_max={wanted}: a burst would overflow the feed's socket"
        yield Finding("socket_buffer", "warn", f"{rmem >> 10} KiB at most, {wanted >> 10} wanted", fix)
    else:
        yield Finding("socket_buffer", "ok", "not shown" if rmem is None else f"up to {rmem >> 10} KiB")


def _clock(needs: Needs, probe: Probe) -> Iterator[Finding]:
    flags = set(probe.cpu_field("flags").split())
    if {"constant_tsc", "nonstop_tsc"} <= flags:
        yield Finding("tsc", "ok", "invariant")
    elif flags:
        yield Finding(
            "tsc", "warn", "not stated to be invariant", "the engine falls back to the kernel's clock: slower stamps"
        )
    else:
        yield Finding("tsc", "warn", "no x86 time stamp counter", "the engine uses the kernel's clock")
    source = probe.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    good = source in (None, "tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
    yield Finding(
        "clock_source",
        "ok" if good else "warn",
        source or "not shown",
        "" if good else "reading it costs a system call: boot with tsc=reliable if the hardware allows",
    )


def _time(needs: Needs, probe: Probe) -> Iterator[Finding]:
    clock = read_clock(root=probe.root)
    fix = "" if clock.synchronised else "apt install chrony: without it stamps of this machine cannot be compared with the venue's"
    yield Finding("clock_sync", "ok" if clock.synchronised else "warn", clock.line(), fix)


def _cpu(needs: Needs, probe: Probe) -> Iterator[Finding]:
    flags = set(probe.cpu_field("flags").split())
    kernel = policy_kernel(flags)
    fix = "" if kernel != "scalar" else "no AVX2: policies run several times slower, with the same bits"
    yield Finding("policy_kernel", "ok" if kernel != "scalar" else "warn", kernel, fix)


def _device(needs: Needs, probe: Probe) -> Iterator[Finding]:
    try:
        from hotpath.device import probe as probe_device
    except ImportError as err:
        yield Finding("device", "warn", f"the compiled drivers are not there: {err}", "make build, or reinstall the wheel")
        return
    # no card is no fault: what is in the way stands here for those who have one
    why = probe_device("vfio", **({"address": needs.device_address} if needs.device_address else {}))
    if needs.device_address:
        if why is None:
            yield Finding("device", "ok", f"the PCIe card at {needs.device_address} can be driven")
        else:
            status: Status = "fail" if needs.device_needed else "warn"
            yield Finding("device", status, f"the PCIe card at {needs.device_address} cannot be driven: {why.found}", why.hint)
    elif why is None or why.found == "no device named":
        yield Finding("device", "ok", "a PCIe card could be driven: peregrine device info --backend vfio --address …")
    else:
        yield Finding("device", "ok", f"no PCIe card can be driven: {why.found} (fix: {why.hint})", why.hint)


def _tools(needs: Needs, probe: Probe) -> Iterator[Finding]:
    found = next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
    fix = "" if found else "only needed to build from source: apt install g++"
    yield Finding("compiler", "ok", found or "none", fix)
    numba = importlib.util.find_spec("numba") is not None
    fix = "" if numba else "only needed for your own signals: pip install 'peregrine-engine[signals]'"
    yield Finding("numba", "ok", "present" if numba else "not installed", fix)


def _disk(needs: Needs, probe: Probe) -> Iterator[Finding]:
    folder = Path(needs.journal_dir).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free >> 20
    if not os.access(folder, os.W_OK):
        yield Finding("disk", "fail", f"{folder} cannot be written", "--journal with a folder of yours")
    elif free < 1024:
        fix = "free some, or --journal on another disk; a full one stops new orders"
        yield Finding("disk", "fail" if free < 128 else "warn", f"{free} MiB free for the journal", fix)
    else:
        yield Finding("disk", "ok", f"{free >> 10} GiB free for the journal")


def policy_kernel(flags: set[str]) -> str:
    """The kernel policies run on: what the engine itself says, else what the CPU's flags allow."""
    try:
        from hotpath import _core

        return str(_core.best_kernel())
    except (ImportError, AttributeError):
        pass  # not built: the flags tell
    if {"avx512_vnni", "avx512bw", "avx512vl"} <= flags:
        return "avx512vnni"
    return "avx2" if "avx2" in flags else "scalar"


#: The questions, in the order they are shown.
CHECKS: tuple[Callable[[Needs, Probe], Iterator[Finding]], ...] = (
    _engine, _cores, _isolation, _governor, _smt, _memory, _memlock, _shared_memory, _scheduler, _network, _clock, _time,
    _cpu, _device, _tools, _disk,
)  # fmt: skip
