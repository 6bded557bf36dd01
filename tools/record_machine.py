"""Write down what Peregrine reads of a machine, in one text file: for a test, or to show it to somebody.

    python tools/record_machine.py > machine.tree
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from orchestrator.config import load_profile  # noqa: E402
from orchestrator.observe.fix_plan import make_plan  # noqa: E402
from orchestrator.observe.machine import Probe  # noqa: E402


class Recorder(Probe):
    """A probe that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__("/")
        self.files: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.folders: dict[str, list[str]] = {}

    def text(self, path: str) -> str | None:
        """Read and keep; a program's own bytes are not kept, only that it is there."""
        found = super().text(path)
        if found is not None:
            self.files[path] = found if "\0" not in found else ""
        return found

    def names(self, path: str) -> list[str]:
        """List and keep."""
        found = super().names(path)
        if found:
            self.folders[path] = found
        return found

    def target(self, path: str) -> str:
        """Follow and keep."""
        found = super().target(path)
        if found:
            self.links[path] = found
        return found


def tree() -> str:
    """The recording: `@ path` before a file's text, `@ path -> name` for a link, `@ path/` for a folder with its names."""
    recorder = Recorder()
    for profile in ("laptop", "pinned"):
        make_plan(load_profile(profile), recorder)
    out = [f"@ {path}/\n" + "".join(f"{name}\n" for name in names) for path, names in sorted(recorder.folders.items())]
    out += [f"@ {path} -> {target}\n" for path, target in sorted(recorder.links.items())]
    out += [f"@ {path}\n{_shortened(path, text)}\n" for path, text in sorted(recorder.files.items())]
    return "".join(out)


def _shortened(path: str, text: str) -> str:
    """The first processor is enough, and no name of a machine need be told."""
    return text.partition("\n\n")[0] if path == "/proc/cpuinfo" else text


if __name__ == "__main__":
    sys.stdout.write(tree())
