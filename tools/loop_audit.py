"""What the engine's loop asks of the allocator, of locks and of the kernel: counted while a live engine trades.

    python tools/loop_audit.py --seconds 5

A venue and an engine (`idle: spin`) run as processes. Into the engine an interposer is preloaded that counts, for each
thread, calls that allocate, lock or enter the kernel; then a tracer counts the system calls of the engine's thread by
the kernel's own word (ptrace). Prints a table and, with --json, the numbers; exit code 1 when anything is counted that
has no place in the loop, 69 when the kernel does not let a child be traced.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chaos_world import PATIENCE_S, ROOT, EngineRun, VenueRun, until  # noqa: E402
from thread_stop import permitted, thread_of  # noqa: E402

import cxx  # noqa: E402

SOURCES = ROOT / "tests" / "native"
BUILD = ROOT / "build" / "audit"
THREADS = 256
#: system calls of the loop: packets in, packets out
ALLOWED = {"recvmmsg", "recvfrom", "recvmsg", "sendto", "sendmsg"}
#: of its work each count holds so much at least, however long that takes
WORK = {"orders": 11, "fills": 1, "decisions": 101}
ALLOCATION = {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"}


def kinds() -> list[str]:
    """The interposer's kinds, in its order."""
    text = (SOURCES / "interposer.cpp").read_text()
    body = text[text.index("#define KINDS(X)") : text.index("enum Kind")]
    return [k for k in re.findall(r"X\((\w+)\)", body) if k != "X"]


def system_call_names() -> dict[int, str]:
    """Numbers to names on this machine, as the compiler knows them."""
    out = subprocess.run([*cxx.default_cxx(), "-E", "-dM", "-include", "sys/syscall.h", "-x", "c++", "/dev/null"],
                         capture_output=True, text=True, check=True).stdout  # fmt: skip
    return {int(n): name for name, n in re.findall(r"#define __NR_(\w+) (\d+)", out)}


def build() -> tuple[Path, Path]:
    """The interposer and the tracer, as shared objects."""
    tc = cxx.Toolchain(build_dir=BUILD, verbose=False)
    out = []
    for name in ("interposer", "syscall_tracer"):
        objects = tc.compile([SOURCES / f"{name}.cpp"], ["-fvisibility=default"])
        out.append(tc.link(objects, BUILD / f"{name}.so", shared=True))
    return out[0], out[1]


def counts_of(path: Path, tid: int) -> dict[str, int]:
    """What the interposer has counted for thread `tid`."""
    names, data = kinds(), path.read_bytes()
    magic, n = struct.unpack_from("<QQ", data)
    assert magic == 0x31544944554150 and n == len(names), "another interposer wrote this file"
    row = struct.Struct(f"<q{n}Q")
    for i in range(THREADS):
        tid_there, *values = row.unpack_from(data, 16 + i * row.size)
        if tid_there == tid:
            return dict(zip(names, values, strict=True))
    raise LookupError(f"thread {tid} was never seen by the interposer")


def system_calls(tracer: Path, tid: int, seconds: float) -> dict[str, int]:
    """What the kernel counted for thread `tid`, by name. Raises OSError when it may not be traced."""
    library = ctypes.CDLL(str(tracer))
    numbers = (ctypes.c_uint64 * 1024)()
    code = library.trace_system_calls(ctypes.c_int(tid), ctypes.c_double(seconds), numbers, ctypes.c_uint64(1024))
    if code != 0:
        raise OSError(-code, f"tracing thread {tid}: {os.strerror(-code)}")
    names = system_call_names()
    return {names.get(i, f"system call {i}"): n for i, n in enumerate(numbers) if n}


def audit(seconds: float = 3.0, changes: dict[str, Any] | None = None, python_path: Path | None = None,
          fault: str = "", thread: str = "engine", least: dict[str, int] | None = None) -> dict[str, Any]:
    """Runs venue and engine, and counts: `calls` by the interposer, `system_calls` by the kernel, each while it traded.

    `changes` are settings of the engine, `fault` is the venue's option; `python_path` is where a user's signal is found;
    `thread` is the one that is watched: `engine` when inline; `feed`, `shard-0` … or `session` when pipelined. It is traced
    until an order was sent and each system call named in `least` was seen so often.
    """
    interposer, tracer = build()
    with tempfile.TemporaryDirectory(prefix="peregrine-audit-") as temporary:
        folder = Path(temporary)
        table = folder / "counts"
        # Neither the venue nor the engine ends a connection because the machine let one of them wait: connecting is not the loop.
        venue = VenueRun(folder, 7, 2000, False, ("--silence", "20s", *(("--fault", fault) if fault else ())))
        engine: EngineRun | None = None
        try:
            venue.start()
            wide = {"journal.ring_mb": 64, "engine.idle": "spin", "execution.session.silence_ns": 15_000_000_000,
                    "feed.silence_ns": 15_000_000_000, "execution.session.heartbeat_ns": 200_000_000}  # fmt: skip
            engine = EngineRun(folder, f"audit{os.getpid()}", venue, {**wide, **(changes or {})})
            preload = {"LD_PRELOAD": str(interposer), "PEREGRINE_AUDIT_FILE": str(table)}
            if python_path is not None:
                preload["PYTHONPATH"] = f"{python_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}{os.pathsep}{ROOT / 'src'}{os.pathsep}{ROOT / 'sim'}"
            engine.start(preload=preload)
            until(engine.ready, "an engine that may trade")
            time.sleep(1.0)  # whatever happens once has happened
            tid = until(lambda: thread_of(engine.pid, thread), "the engine's thread")
            before, loaded = counts_of(table, tid), engine.counters()
            time.sleep(seconds)
            begun = engine
            until(lambda: all(begun.counters()[name] >= loaded[name] + n for name, n in WORK.items()), "work in its loop")
            after, now = counts_of(table, tid), engine.counters()
            calls = {name: after[name] - before[name] for name in after}
            work = {name: now[name] - loaded[name] for name in ("inputs", "events", "decisions", "orders", "fills", "journal_seq")}
            traced: Counter[str] = Counter()
            end = time.monotonic() + PATIENCE_S
            enough = False
            while not enough and time.monotonic() < end:
                sent = engine.counters()["orders"]
                traced.update(system_calls(tracer, tid, seconds))
                enough = engine.counters()["orders"] > sent and all(traced[name] >= n for name, n in (least or {}).items())
            traced_work = {name: engine.counters()[name] - now[name] for name in work}
            at_start = {name: before[name] for name in before if before[name]}
            report = engine.finish()
        finally:
            with contextlib.suppress(Exception):
                if engine is not None:
                    engine.clean_up()
            venue.kill()
    return {"seconds": seconds, "calls": calls, "work": work, "system_calls": dict(traced), "traced_work": traced_work,
            "before_the_loop": at_start, "reconnects": report["reconnects"]}  # fmt: skip


def offences(found: dict[str, Any]) -> dict[str, int]:
    """What has no place in the loop."""
    return {
        **{name: n for name, n in found["calls"].items() if n},
        **{f"system call {name}": n for name, n in found["system_calls"].items() if name not in ALLOWED},
    }


def tell(found: dict[str, Any]) -> None:
    """The table."""
    calls, work = found["calls"], found["work"]
    groups = {
        "allocation (malloc, calloc, realloc, free, aligned)": sum(calls[k] for k in ALLOCATION),
        "locks (mutex, condition, rwlock, semaphore)": sum(n for k, n in calls.items() if k.startswith(("pthread_", "sem_"))),
        "libc's other system-call wrappers": sum(n for k, n in calls.items() if k not in ALLOCATION and not k.startswith(("pthread_", "sem_"))),
    }  # fmt: skip
    print(f"{found['seconds']:.0f} s of the engine's thread, by interposition: {work['inputs']} inputs, {work['decisions']} decisions, "
          f"{work['orders']} orders, {work['fills']} fills, {work['journal_seq']} journal records")  # fmt: skip
    for name, n in groups.items():
        print(f"  {name:56}{n:12d}")
    work = found["traced_work"]
    print(f"{found['seconds']:.0f} s more, by the kernel's count (ptrace): {work['inputs']} inputs, {work['orders']} orders")
    for name, n in sorted(found["system_calls"].items(), key=lambda x: -x[1]):
        print(f"  {name:56}{n:12d}{'' if name in ALLOWED else '   <- not a socket call'}")
    for name, n in offences(found).items():
        print(f"FOUND: {name}: {n}")
    print("nothing but socket calls" if not offences(found) else f"{len(offences(found))} kinds of calls that do not belong in the loop")


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="count what the engine's loop asks of allocator, locks and kernel")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if why := permitted():
        print(f"error: no child process can be traced here: {why}\nhint: allow ptrace of own children", file=sys.stderr)
        return 69
    found = audit(options.seconds)
    if options.json:
        print(json.dumps({**found, "offences": offences(found)}))
    else:
        tell(found)
    return 1 if offences(found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
