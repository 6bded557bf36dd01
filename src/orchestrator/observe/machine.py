"""What a result was measured on: said beside every number."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

#: CPU flags that change what Peregrine runs or how well its clock works.
FLAGS_OF_INTEREST = (
    "sse4_2", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "movdir64b", "constant_tsc",
    "nonstop_tsc", "rdtscp", "hypervisor",
)  # fmt: skip


class Probe:
    """Reads the kernel's files below `root`; tests hand it a folder of their own."""

    def __init__(self, root: Path | str = "/") -> None:
        self.root = Path(root)

    def text(self, path: str) -> str | None:
        """The stripped content of a file, None when it is not there or not readable."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted; empty when it is not there."""
        try:
            return sorted(entry.name for entry in (self.root / path.lstrip("/")).iterdir())
        except OSError:
            return []

    def target(self, path: str) -> str:
        """Where a symbolic link leads, "" when it is none."""
        try:
            return str((self.root / path.lstrip("/")).readlink())
        except OSError:
            return ""

    def number(self, path: str) -> int | None:
        """The content as an integer, None when it is none."""
        text = self.text(path)
        try:
            return int(text.split()[0]) if text else None
        except ValueError:
            return None

    def cpu_field(self, name: str) -> str:
        """A field of the first processor in /proc/cpuinfo, "" when it is not there."""
        for line in (self.text("/proc/cpuinfo") or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
        return ""

    def memory_mb(self, name: str) -> int | None:
        """A field of /proc/meminfo in MiB."""
        for line in (self.text("/proc/meminfo") or "").splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) // 1024
        return None


def describe(probe: Probe | None = None) -> dict[str, Any]:
    """The machine as a JSON-able dict: processor, cores, kernel and its settings, compiler, versions, commit."""
    probe = probe or Probe()
    flags = set((probe.cpu_field("flags") or probe.cpu_field("Features")).split())
    return {
        "cpu": probe.cpu_field("model name") or platform.machine(),
        "flags": [flag for flag in FLAGS_OF_INTEREST if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "cores_online": os.cpu_count(),
        "smt": probe.text("/sys/devices/system/cpu/smt/active") == "1",
        "memory_mb": probe.memory_mb("MemTotal"),
        "kernel": platform.release(),
        "clock_source": probe.text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "governor": probe.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "isolated": probe.text("/sys/devices/system/cpu/isolated") or "",
        "python": platform.python_version(),
        "compiler": compiler(),
        "version": version(),
        "commit": commit(),
    }


def compiler() -> str | None:
    """The compiler the engine was built with, None when it does not say."""
    try:
        from hotpath import _core
    except ImportError:
        return None
    build_info = getattr(_core, "build_info", None)
    return build_info()["compiler"] if build_info else None


def version() -> str | None:
    """Version of the compiled engine, None when it is not built."""
    try:
        from hotpath import _core
    except ImportError:
        return None
    return _core.__version__


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit of the checkout this package runs from, `+` when it was changed since; None elsewhere."""
    here = Path(__file__).resolve().parent
    if not any((parent / ".git").exists() for parent in here.parents):
        return None
    try:
        git = ["git", "-C", str(here)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=5)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else None


def one_line(machine: dict[str, Any]) -> str:
    """The machine in a line for people."""
    parts = [
        str(machine.get("cpu") or "unknown cpu"),
        f"{machine.get('cores')} cores",
        f"kernel {machine.get('kernel')}",
        str(machine.get("compiler") or "unknown compiler"),
    ]
    if machine.get("commit"):
        parts.append(f"commit {machine['commit']}")
    return " · ".join(parts)
