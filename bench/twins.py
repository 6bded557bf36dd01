"""What others wrote for the same job, measured beside our rows in the same run: hftbacktest and ONNX Runtime.

    python bench/twins.py        (or: make twins)

installs them from PyPI into a virtual environment of their own, build/twins (their numpy and numba are not ours), and
is not needed again until that folder goes. `make bench` measures beside whatever it finds there and says what is not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RIVALS = ROOT / "bench" / "rivals"
HOME = ROOT / "build" / "twins"
PACKAGES = ("hftbacktest==2.4.4", "onnx>=1.17", "onnxruntime>=1.20")
HINT = "not installed (make twins)"


def interpreter() -> Path | None:
    """The Python that has them, None before `make twins`."""
    python = HOME / "bin" / "python"
    return python if (HOME / "installed").exists() and python.exists() else None


def beside(program: str, rows: list[dict[str, Any]], folder: Path, seconds: float) -> None:
    """Measure the twins of what `program` has just measured and put their figures into its rows.

    `folder` is the program's scratch folder. A twin that cannot be measured is named with the reason.
    """
    if program == "policy_inference":
        found = _run("policy_runtimes.py", [str(seconds / 4)], json.dumps(_network()), interpreter() or Path(sys.executable))
        _into(rows[0], found)
    elif program == "virtual_time":
        row = next(r for r in rows if r["name"] == "virtual_time_recorded")
        python = interpreter()
        if python is None:
            _into(row, {"twins": [], "skipped": [f"hftbacktest: {HINT}"]})
            return
        wake_ns = row["working_set"]["decision_interval_ns"]
        _into(row, _run("virtual_hftbacktest.py", [str(folder / "recording.itch"), str(seconds), str(wake_ns)], "", python))


def _into(row: dict[str, Any], found: dict[str, Any]) -> None:
    row.setdefault("twins", []).extend(found["twins"])
    row.setdefault("twins_skipped", []).extend(found["skipped"])


def _run(script: str, arguments: list[str], stdin: str, python: Path) -> dict[str, Any]:
    command = [str(python), str(RIVALS / script), *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=240)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError) as err:
        return {"twins": [], "skipped": [f"{script}: it did not give a figure ({type(err).__name__})"]}
    return found


def _network() -> dict[str, Any]:
    """The network of the native bench (driver.spec_text), as lists."""
    import numpy as np

    from hotpath.policy.random_network import random_network
    from hotpath.signal import schema

    net = random_network(np.random.default_rng(11), [16, 64, 32, 32, 5], len(schema.NAMES))
    return {
        "features": len(schema.NAMES), "index": net.feature_index.tolist(), "m": net.quant_m.tolist(),
        "s": net.quant_s.tolist(),
        "layers": [{"weights": la.weights.tolist(), "bias": la.bias.tolist(), "relu": bool(la.relu),
                    "shift": None if la.shift is None else la.shift.tolist()} for la in net.layers],
    }  # fmt: skip


def main() -> int:
    """Make the environment; 69 when PyPI cannot be reached."""
    if interpreter() is not None:
        print(f"{HOME}: there already")
        return 0
    print(f"installing {', '.join(PACKAGES)} into {HOME}")
    venv.create(HOME, with_pip=True, clear=True)
    done = subprocess.run([HOME / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES])
    if done.returncode != 0:
        print("bench twins: pip could not install them; hint: is PyPI reachable?", file=sys.stderr)
        return 69
    (HOME / "installed").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
