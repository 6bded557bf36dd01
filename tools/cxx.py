"""Incremental, parallel C++ compilation shared by setup.py, the sanitizer builds and the benches.

A translation unit is recompiled when its source, any header it included last time (read from the
compiler's own .d file), or the command line changed. Nothing else of a build system is needed, so
the sdist builds with only a compiler and pip.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CORE_ROOMS = ("core", "market", "signal", "policy", "risk", "execution", "journal", "engine")

WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
BASE_FLAGS = ["-std=c++20", "-O2", "-g1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-pthread"]
C_FLAGS = ["-std=gnu11", "-O2", "-g1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-pthread"]


@dataclass
class Toolchain:
    """A compiler with the flags of one build flavour; objects of each flavour live in their own folder."""

    build_dir: Path
    cxx: list[str] = field(default_factory=lambda: default_cxx())
    cc: list[str] = field(default_factory=lambda: default_cc())
    flags: list[str] = field(default_factory=list)
    link_flags: list[str] = field(default_factory=list)
    jobs: int = field(default_factory=lambda: int(os.environ.get("PEREGRINE_JOBS", os.cpu_count() or 1)))
    verbose: bool = True

    def command(self, source: Path, obj: Path, extra: list[str]) -> list[str]:
        """The full compile command of one translation unit."""
        include = [f"-I{ROOT / 'src' / 'hotpath'}", f"-I{ROOT / 'sim'}", f"-I{ROOT / 'drivers' / 'include'}"]
        if source.suffix == ".c":  # drivers see device.h and each other, nothing else
            include = [f"-I{ROOT / 'drivers'}", *include[2:]]
        compiler = [*self.cc, *C_FLAGS] if source.suffix == ".c" else [*self.cxx, *BASE_FLAGS]
        return [*compiler, *WARNINGS, *self.flags, *include, *extra,
                "-MMD", "-MF", str(obj.with_suffix(".d")), "-c", str(source), "-o", str(obj)]

    def object_for(self, source: Path) -> Path:
        """Where the object file of `source` goes: a path that mirrors the tree."""
        rel = source.resolve().relative_to(ROOT)
        return self.build_dir / rel.with_suffix(".o")

    def compile(self, sources: list[Path], extra: list[str] | None = None) -> list[Path]:
        """Compile what is stale, in parallel, with a progress line each; returns all object files.

        Raises RuntimeError with the compiler's own words when a unit fails.
        """
        extra = extra or []
        objects, stale = [], []
        for source in sources:
            obj = self.object_for(source)
            cmd = self.command(source, obj, extra)
            objects.append(obj)
            if _is_stale(source, obj, cmd) and not self._lent(source, obj, cmd):
                stale.append((source, obj, cmd))
        done = 0
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for source, result in pool.map(_run_unit, stale):
                done += 1
                if self.verbose:
                    print(f"  [{done}/{len(stale)}] {source.relative_to(ROOT)}", file=sys.stderr, flush=True)
                if result.stderr:
                    print(result.stderr, file=sys.stderr)
                if result.returncode != 0:
                    raise RuntimeError(f"compiling {source} failed\n{shlex.join(result.args)}\n{result.stderr}")
        return objects

    def _lent(self, source: Path, obj: Path, cmd: list[str]) -> bool:
        """Takes the object of the checkout named by $PEREGRINE_LENDER, where it was made by the same command of the same bytes.

        Every file its compiler read there must be here too, byte for byte: what is taken is what compiling would give.
        """
        lender = Path(os.environ.get("PEREGRINE_LENDER", ROOT))
        if lender == ROOT or ROOT not in obj.parents:
            return False
        theirs = lender / obj.relative_to(ROOT)
        if _is_stale(lender / source.relative_to(ROOT), theirs, [arg.replace(str(ROOT), str(lender)) for arg in cmd], lender):
            return False
        here = [ROOT / d.relative_to(lender) for d in _read_by(theirs, lender) if lender in d.parents]
        if not all(h.is_file() and h.read_bytes() == (lender / h.relative_to(ROOT)).read_bytes() for h in here):
            return False
        obj.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(theirs, obj)
        obj.with_suffix(".d").write_text(_read(theirs.with_suffix(".d")).replace(str(lender), str(ROOT)))
        obj.with_suffix(".cmd").write_text(_digest(cmd))
        return True

    def archive(self, objects: list[Path], name: str) -> Path:
        """A static library of `objects`."""
        out = self.build_dir / f"lib{name}.a"
        if out.exists() and all(o.stat().st_mtime <= out.stat().st_mtime for o in objects) \
                and _read(out.with_suffix(".list")) == "\n".join(map(str, objects)):
            return out
        out.unlink(missing_ok=True)
        subprocess.run(["ar", "rcs", str(out), *map(str, objects)], check=True)
        out.with_suffix(".list").write_text("\n".join(map(str, objects)))
        return out

    def link(self, inputs: list[Path], out: Path, *, shared: bool, first: list[Path] | None = None) -> Path:
        """Link an extension module (shared) or an executable.

        `first` are archives taken whole and before `inputs`: of an inline function that both have, theirs is kept.
        """
        first = first or []
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.exists() and all(i.stat().st_mtime <= out.stat().st_mtime for i in [*first, *inputs]):
            return out
        whole = ["-Wl,--whole-archive", *map(str, first), "-Wl,--no-whole-archive"] if first else []
        partial = out.with_suffix(out.suffix + ".tmp")
        cmd = [*self.cxx, *(["-shared"] if shared else []), *whole, *map(str, inputs), "-o", str(partial),
               "-pthread", "-lrt", "-ldl", *self.flags, *self.link_flags]
        result = subprocess.run(cmd, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"linking {out} failed\n{shlex.join(cmd)}\n{result.stderr}")
        partial.replace(out)
        return out


@contextlib.contextmanager
def sole_user(build_dir: Path) -> Iterator[None]:
    """Waits until no other process builds in this folder (tests run side by side and share objects)."""
    build_dir.mkdir(parents=True, exist_ok=True)
    with (build_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def default_cxx() -> list[str]:
    """The compiler: $CXX or g++, through ccache when it is installed."""
    cxx = shlex.split(os.environ.get("CXX", "g++"))
    return ["ccache", *cxx] if shutil.which("ccache") and cxx[0] != "ccache" else cxx


def default_cc() -> list[str]:
    """The C compiler: $CC, or the one beside $CXX, or gcc; through ccache when it is installed."""
    beside = {"g++": "gcc", "clang++": "clang"}.get(Path(shlex.split(os.environ.get("CXX", "g++"))[-1]).name, "cc")
    cc = shlex.split(os.environ.get("CC", beside))
    return ["ccache", *cc] if shutil.which("ccache") and cc[0] != "ccache" else cc


def core_sources() -> list[Path]:
    """Every C++ source of the engine's static library, in the order data flows."""
    return [p for room in CORE_ROOMS for p in sorted((ROOT / "src/hotpath" / room).rglob("*.cpp"))]


def venue_sources() -> list[Path]:
    """Every C++ source of the simulated exchange (its bindings left out)."""
    found = [*sorted((ROOT / "sim/venue").rglob("*.cpp")), ROOT / "sim/device/faulty_device.cpp"]
    return [p for p in found if not p.name.startswith("bind_")]


def driver_sources() -> list[Path]:
    """Every C source of the drivers' static library."""
    return [p for room in ("core", "cpu", "vfio") for p in sorted((ROOT / "drivers" / room).rglob("*.c"))]


def python_includes() -> list[str]:
    """Include flags of this interpreter and pybind11."""
    import pybind11

    return ["-isystem", sysconfig.get_paths()["include"], "-isystem", pybind11.get_include()]


def _run_unit(unit: tuple[Path, Path, list[str]]) -> tuple[Path, subprocess.CompletedProcess[str]]:
    source, obj, cmd = unit
    obj.parent.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(cmd, capture_output=True, text=True)
    if result.returncode == 0:
        obj.with_suffix(".cmd").write_text(_digest(cmd))
    else:
        obj.unlink(missing_ok=True)
    return source, result


def _is_stale(source: Path, obj: Path, cmd: list[str], root: Path = ROOT) -> bool:
    if not obj.exists() or _read(obj.with_suffix(".cmd")) != _digest(cmd):
        return True
    built = obj.stat().st_mtime
    deps = _read_by(obj, root)
    try:
        return not deps or any(d.stat().st_mtime > built for d in deps)
    except OSError:  # a header that is gone
        return True


def _read_by(obj: Path, root: Path) -> list[Path]:
    # what the compiler read, by its own word; ccache may have it relative to the checkout
    return [root / d for d in _read(obj.with_suffix(".d")).replace("\\\n", " ").partition(":")[2].split()]


def _digest(cmd: list[str]) -> str:
    return hashlib.sha256("\0".join(cmd).encode()).hexdigest()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
