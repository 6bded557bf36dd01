"""A decision device that goes wrong when it is told to, in an engine that trades: built here, opened in place of `cpu`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cxx

ROOT = Path(__file__).resolve().parents[2]
#: read by every Python that starts with our folder on its path: the engine then opens our library
_HOOK = """
import os
if "PEREGRINE_WAYWARD" in os.environ:
    import orchestrator.run.device as device
    device.library_of = lambda backend: os.environ["PEREGRINE_WAYWARD_LIBRARY"]
"""


class Wayward:
    """`answer()`, `fall_silent()`, `lie()`; engines started after `__init__` have this device behind `device.backend: cpu`."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._switch = folder / "switch"
        self._switch.write_bytes(b"0" * 4096)
        sources = [Path(__file__).with_name("wayward_device.c"), ROOT / "drivers/cpu/cpu.c",
                   *(p for p in sorted((ROOT / "drivers/core").glob("*.c")) if p.name != "backends.c")]  # fmt: skip
        library = folder / "wayward.so"
        subprocess.run([*cxx.default_cc(), *cxx.C_FLAGS, "-shared", f"-I{ROOT / 'drivers'}", f"-I{ROOT / 'drivers/include'}",
                        *map(str, sources), "-o", str(library)], check=True)  # fmt: skip
        (folder / "sitecustomize.py").write_text(_HOOK)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.setenv("PEREGRINE_WAYWARD", str(self._switch))
        monkeypatch.setenv("PEREGRINE_WAYWARD_LIBRARY", str(library))

    def answer(self) -> None:
        """As it should."""
        self._set(b"0")

    def fall_silent(self) -> None:
        """No answer comes any more: every deadline passes."""
        self._set(b"1")

    def lie(self) -> None:
        """Answers in time, with another logit and the action it gives."""
        self._set(b"2")

    def _set(self, mode: bytes) -> None:
        with self._switch.open("r+b") as file:
            file.write(mode)
