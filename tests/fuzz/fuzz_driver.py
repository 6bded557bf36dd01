"""Runs a Python fuzz target: under atheris (coverage-guided), or under this project's own seeded mutator.

A target is a module with `one_input(data: bytes) -> None`, which raises on a finding, and `seeds() -> list[bytes]`. The own
mutator is no coverage-guided fuzzer: it changes seeds and known-good pieces at random, by seed, and says so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
TOKENS = [b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"-1", b"0", b"1e400", b"9" * 40, b"null", b"true",
          b"[]", b"{}", b'""', b"[" * 60, b"\xed\xa0\x80", b"\xe2\x80\xae", b"&a ", b"*a", b"!!python/object", b"\n", b": "]


def mutate(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to four changes of the own mutator."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(7):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at % len(out)] = rng.randrange(256)
            case 2:
                del out[at : at + rng.randint(1, 16)]
            case 3:
                out[at:at] = rng.choice(TOKENS)
            case 4:
                end = at + rng.randint(1, 8)
                out[at:end] = rng.choice(TOKENS)
            case 5:
                other = rng.choice(others)
                begin = rng.randrange(len(other) + 1)
                out[at:at] = other[begin : begin + rng.randint(1, 64)]
            case _:
                piece = out[at : at + rng.randint(1, 32)]
                out[at:at] = piece
    return bytes(out[:4096])


def seeds_of(target: str, module: ModuleType) -> list[bytes]:
    """The target's own seeds, its corpus and its regressions."""
    folders = [HERE / kind / target for kind in ("corpus", "regressions")]
    return [*module.seeds(), *(f.read_bytes() for d in folders if d.is_dir() for f in sorted(d.iterdir()))]


def run_own(module: ModuleType, target: str, seconds: float, found: Path, seed: int = 1) -> int:
    """The own mutator for `seconds`; prints what it did as JSON. 1 when something was found."""
    rng, pool = random.Random(seed), seeds_of(target, module)
    began, executions, code = time.monotonic(), 0, 0
    while time.monotonic() - began < seconds:
        data = mutate(rng, rng.choice(pool), pool) if executions >= len(pool) else pool[executions]
        executions += 1
        try:
            module.one_input(data)
        except Exception:
            traceback.print_exc()
            (found / f"crash-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            code = 1
            break
    print(json.dumps({"executions": executions, "seconds": time.monotonic() - began}))
    return code


def main(load: Callable[[], ModuleType]) -> int:
    """The command line of a target; `load` imports it, so that atheris can instrument what it imports."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=("atheris", "own"), required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--found", type=Path, required=True)
    options = parser.parse_args()
    target = Path(sys.argv[0]).stem
    if options.engine == "own":
        return run_own(load(), target, options.seconds, options.found)
    import atheris

    with atheris.instrument_imports(include=["orchestrator", "hotpath"]):
        module = load()
    for data in seeds_of(target, module):
        (options.work / f"seed-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
    atheris.Setup([sys.argv[0], f"-max_total_time={max(1, round(options.seconds))}", "-print_final_stats=1", "-timeout=20",
                   "-max_len=4096", "-rss_limit_mb=3000", f"-artifact_prefix={options.found}/", str(options.work)], module.one_input)
    atheris.Fuzz()
    return 0
