"""What was deployed to an engine: a folder for each time, with both configurations, who, why, when and what came of it.

    STATE/NAME/deploys/
        lock                     held while a deploy runs: two at once cannot be
        0007/
            manifest.json        replaced whole at each step, so that a deploy cut off anywhere can be taken back
            before.json          the effective configuration the engine ran with
            after.json           the one it was given
            sources/             the files it was merged from, as they were
            said                 of one by restart: how it went, a line each

`STATE` is `$PEREGRINE_STATE_DIR`, else `$XDG_STATE_HOME/peregrine`, else `~/.local/state/peregrine`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from orchestrator.supervise.files import replace_whole

VARIABLE = "PEREGRINE_STATE_DIR"
SAID = "said"
State = Literal["applying", "verifying", "good", "rolled back", "failed"]


class HistoryError(Exception):
    """The history cannot be used; the text says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StepDone(msgspec.Struct, kw_only=True):
    """One command of a deploy: written before it is sent, completed when it was answered."""

    cmd: str
    args: dict[str, Any]
    says: str
    undo: list[tuple[str, dict[str, Any]]] = []
    id: str = ""
    state: Literal["sent", "done", "refused", "undone"] = "sent"
    effects: list[dict[str, int]] = []
    error: str = ""


class Manifest(msgspec.Struct, kw_only=True):
    """One deploy."""

    number: int
    engine: str
    who: str
    why: str
    when_ns: int
    configuration: str  # as it was named
    before_sha256: str
    after_sha256: str
    run: str = ""  # folder of the run it was made to
    restart: bool = False
    state: State = "applying"
    steps: list[StepDone] = []
    health: list[str] = []  # what was wrong; empty when nothing was
    restored: int = 0  # number of the deploy this one takes back, 0 = none
    id: str = ""  # of the request it came by, where it came by the control API


def state_dir(engine: str) -> Path:
    """Where an engine's deploys are kept; it need not exist yet."""
    if named := os.environ.get(VARIABLE):
        base = Path(named)
    elif state := os.environ.get("XDG_STATE_HOME"):
        base = Path(state) / "peregrine"
    else:
        base = Path.home() / ".local/state/peregrine"
    return base / engine / "deploys"


class History:
    """The deploys of one engine."""

    def __init__(self, engine: str, folder: Path | None = None) -> None:
        self.engine = engine
        self.folder = folder or state_dir(engine)

    def all(self) -> list[Manifest]:
        """Every deploy, the oldest first. Raises HistoryError for a manifest that cannot be read."""
        if not self.folder.is_dir():
            return []
        return [self.get(int(p.name)) for p in sorted(self.folder.glob("[0-9][0-9][0-9][0-9]")) if (p / "manifest.json").exists()]

    def get(self, number: int) -> Manifest:
        """One of them. Raises HistoryError."""
        path = self._at(number) / "manifest.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except OSError as err:
            raise HistoryError(f"no deploy {number} of {self.engine}", f"`peregrine config history {self.engine}` lists them") from err
        except msgspec.MsgspecError as err:
            raise HistoryError(f"{path} is no manifest: {err}", "restore it from a backup, or move its folder away") from err

    def view(self, number: int, which: Literal["before", "after"]) -> dict[str, Any]:
        """The effective configuration before or after a deploy. Raises HistoryError when it is not what the manifest says."""
        manifest = self.get(number)
        path = self._at(number) / f"{which}.json"
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError) as err:
            raise HistoryError(f"{path}: {err}", "the backup is damaged") from err
        if digest(value) != (manifest.before_sha256 if which == "before" else manifest.after_sha256):
            raise HistoryError(f"{path} is not what the manifest says", "somebody changed the backup")
        return dict(value)

    def path_of(self, number: int, which: Literal["before", "after"]) -> Path:
        """The file of such a configuration: it can be given to `-c`."""
        return self._at(number) / f"{which}.json"

    def begin(self, manifest: Manifest, before: dict[str, Any], after: dict[str, Any], sources: list[Path]) -> Manifest:
        """Make the folder of a new deploy; its number is set here."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        numbers = [int(p.name) for p in self.folder.glob("[0-9][0-9][0-9][0-9]")]
        manifest.number = max(numbers, default=0) + 1
        at = self._at(manifest.number)
        at.mkdir()
        for name, value in (("before", before), ("after", after)):
            replace_whole(at / f"{name}.json", json.dumps(value, indent=1).encode())
        (at / "sources").mkdir()
        self.keep(manifest.number, sources)
        self.save(manifest)
        return manifest

    def keep(self, number: int, sources: list[Path]) -> None:
        """Copy files that a deploy's configuration was merged from beside it; the merged views are the backup, these say how."""
        folder = self._at(number) / "sources"
        first = sum(1 for _ in folder.glob("*"))
        for i, source in enumerate(sources, first):
            with contextlib.suppress(OSError):  # gone since it was read
                shutil.copyfile(source, folder / f"{i:02}-{source.name}")

    def save(self, manifest: Manifest) -> None:
        """Replace a manifest, whole and on the disk."""
        replace_whole(self._at(manifest.number) / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=1))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Held for the length of a deploy. Raises HistoryError when another one is under way."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as err:
                raise HistoryError(f"another deploy to {self.engine} is under way", "wait for it") from err
            yield

    def by_id(self, request_id: str = "") -> Manifest | None:
        """The newest deploy with the id of that request, or the newest at all. Raises HistoryError."""
        return next((m for m in reversed(self.all()) if request_id in ("", m.id)), None)

    def tell(self, number: int, line: str) -> None:
        """Another line of how a deploy by restart goes."""
        with (self._at(number) / SAID).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def told(self, number: int) -> list[str]:
        """The lines so far; none of a deploy that its supervisor told of itself."""
        try:
            return (self._at(number) / SAID).read_text(encoding="utf-8").splitlines()
        except OSError:
            return []

    def under_way(self) -> bool:
        """Does anybody deploy just now?"""
        try:
            with self.locked():
                return False
        except HistoryError:
            return True

    def unfinished(self) -> Manifest | None:
        """A deploy that was cut off, or whose rollback failed, with nothing good after it."""
        found = self.all()
        return found[-1] if found and found[-1].state in ("applying", "verifying", "failed") else None

    def now(self, run: str) -> tuple[dict[str, Any] | None, set[str]]:
        """What deploys made of a run: its configuration now, None when none touched it, and symbols given own limits."""
        view: dict[str, Any] | None = None
        own: set[str] = set()
        for manifest in self.all():
            if manifest.run != run:
                continue
            own |= {step.args["symbol"] for step in manifest.steps if step.cmd == "limits.set" and "symbol" in step.args}
            if manifest.state in ("good", "rolled back"):
                view = self.view(manifest.number, "after" if manifest.state == "good" else "before")
        return view, own

    def _at(self, number: int) -> Path:
        return self.folder / f"{number:04}"


def digest(effective: dict[str, Any]) -> str:
    """SHA-256 of an effective configuration, as `config_hash` makes it."""
    text = json.dumps(effective, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
