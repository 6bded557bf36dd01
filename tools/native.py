"""Build and run the C++ test programs of tests/native against all engine sources, plain or under a sanitizer.

    python tools/native.py --flavour release|tsan|asan [--only NAME] [-- ARGS]

A program's name says where it runs: *_tsan.cpp under ThreadSanitizer, *_asan.cpp under AddressSanitizer with
UndefinedBehaviorSanitizer, *_both.cpp under either; `release` runs all of them optimised. ARGS go to each
program. One line for each program; exit code 1 when any fails, 64 when none matches.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402

PROGRAMS = cxx.ROOT / "tests" / "native"
SUFFIXES = {"release": ("tsan", "asan", "both"), "tsan": ("tsan", "both"), "asan": ("asan", "both")}
FLAGS = {
    "release": [],
    # gcc copies small blocks inline without telling ThreadSanitizer; as calls it sees them.
    "tsan": ["-O1", "-fsanitize=thread", "-fno-omit-frame-pointer", "-fno-builtin"],
    "asan": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
}
OPTIONS = {
    "release": {},
    "tsan": {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66:second_deadlock_stack=1"},
    "asan": {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:exitcode=66",
             "UBSAN_OPTIONS": "print_stacktrace=1"},
}


def programs(flavour: str, only: str | None = None) -> list[Path]:
    """The sources of `flavour`, by name; `only` keeps those whose name contains it."""
    found = [p for p in sorted(PROGRAMS.glob("*.cpp")) if p.stem.rpartition("_")[2] in SUFFIXES[flavour]]
    return [p for p in found if only is None or only in p.stem]


def build(flavour: str, sources: list[Path], *, verbose: bool = True) -> list[Path]:
    """Compile the engine and `sources` with the flavour's flags; returns the executables.

    Raises RuntimeError with the compiler's own words when a unit fails.
    """
    tc = cxx.Toolchain(build_dir=cxx.ROOT / "build" / f"native-{flavour}", flags=FLAGS[flavour], verbose=verbose)
    version = tomllib.loads((cxx.ROOT / "pyproject.toml").read_text())["project"]["version"]
    define = [f'-DPEREGRINE_VERSION="{version}"']
    with cxx.sole_user(tc.build_dir):
        core = tc.archive(tc.compile(cxx.core_sources(), define), "peregrine_core")
        drivers = tc.archive(tc.compile(cxx.driver_sources()), "peregrine_drivers")
        fakes = sorted((cxx.ROOT / "tests" / "drivers").glob("*.cpp"))
        include = [f"-I{cxx.ROOT / 'drivers'}"]
        fake = tc.archive(tc.compile(fakes, [*define, *include]), "peregrine_fakes")
        objects = tc.compile(sources, [*define, *include])
        return [tc.link([o, fake, drivers, core], tc.build_dir / s.stem, shared=False)
                for s, o in zip(sources, objects, strict=True)]


def run(program: Path, flavour: str, args: list[str]) -> tuple[int, float, str]:
    """Run one program; returns its exit code, the seconds it took and its output (both streams)."""
    began = time.monotonic()
    result = subprocess.run([str(program), *args], env={**os.environ, **OPTIONS[flavour]}, text=True, errors="replace",
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            preexec_fn=_fixed_addresses if flavour == "tsan" else None)
    return result.returncode, time.monotonic() - began, result.stdout


def _fixed_addresses() -> None:
    # gcc 12's ThreadSanitizer refuses to start where the kernel randomises more address bits than it knows of.
    addr_no_randomize = 0x0040000
    ctypes.CDLL(None).personality(addr_no_randomize)


def main(argv: list[str]) -> int:
    """The command line above."""
    args: list[str] = []
    if "--" in argv:
        at = argv.index("--")
        argv, args = argv[:at], argv[at + 1:]
    parser = argparse.ArgumentParser(description="build and run tests/native")
    parser.add_argument("--flavour", choices=sorted(SUFFIXES), required=True)
    parser.add_argument("--only", help="programs whose name contains this")
    options = parser.parse_args(argv)
    sources = programs(options.flavour, options.only)
    if not sources:
        print(f"no program in {PROGRAMS} for flavour {options.flavour}"
              + (f" with '{options.only}' in its name" if options.only else ""), file=sys.stderr)
        return 64
    failed = 0
    for program in build(options.flavour, sources):
        code, seconds, output = run(program, options.flavour, args)
        print(f"{options.flavour} {program.name}: {'ok' if code == 0 else f'FAILED (exit {code})'}, {seconds:.1f} s",
              flush=True)
        if output.strip():
            print("  " + output.rstrip().replace("\n", "\n  "), flush=True)
        failed += code != 0
    if failed:
        print(f"{failed} of {len(sources)} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
