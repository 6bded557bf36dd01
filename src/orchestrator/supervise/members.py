"""Who looks after each process of the tree: notices its death, decides what then, and tells its life."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_UNAVAILABLE
from orchestrator.observe import log
from orchestrator.supervise.tree import Member, Tree

_log = log.logger()


class Failure(Exception):
    """The tree cannot go on, or is asked not to: the reason in a line, an exit code, and the way out."""

    def __init__(self, why: str, code: int = EXIT_UNAVAILABLE, hint: str = "") -> None:
        super().__init__(why)
        self.code, self.hint = code, hint


def last_words(path: Path) -> str:
    """The last line of a log that says something."""
    with suppress(OSError):
        for line in reversed(path.read_text(errors="replace").splitlines()[-40:]):
            if line.strip() and not line.startswith(("hint:", " ")):
                return line.strip()
    return "its log is empty"


class Keeper(ABC):
    """What all of them share: deaths, waits, starts again."""

    def __init__(self, tree: Tree, member: Member) -> None:
        self.tree, self.member = tree, member
        self.started_ns = 0  # monotonic

    def start(self, now_ns: int) -> None:
        """Start the process, unless one lives there already (taken over)."""
        self.started_ns = now_ns
        if self.member.alive():
            return
        if self.member.life.state in ("failed", "stopped"):
            self.member.life.move("starting")
        elif self.member.life.state != "starting":  # it died while nobody watched
            self.member.life.move("failed", "it was gone when the supervisor came")
            self.member.life.move("starting")
        try:
            self.member.start(self.tree.runtime)
        except OSError as err:
            raise Failure(f"{self.member.spec.name} could not be started: {err}", EXIT_INTERNAL) from err
        self.tree.save()

    def look(self, now_ns: int, *, started: bool) -> None:
        """One round. Raises Failure when the tree cannot go on. `started`: has the tree been ready once."""
        member = self.member
        if member.due_ns and now_ns >= member.due_ns:
            member.due_ns = 0
            member.restarts += 1
            self.start(now_ns)
        elif member.process is not None and not member.alive():
            words = member.process.end_words()
            member.process.close()
            member.process = None
            self.died(now_ns, words, started=started)

    @abstractmethod
    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        """It is gone and was not asked to go."""

    def again(self, now_ns: int, why: str) -> bool:
        """Have it started again after the policy's wait; False when the policy gives it up."""
        member = self.member
        member.died_ns = member.died_ns or now_ns
        wait_ns = member.restart.next_wait_ns(now_ns)
        if member.life.state != "failed":
            member.life.move("failed", why)
        if wait_ns is None:
            return False
        member.due_ns = now_ns + wait_ns
        _log.warning(f"{member.spec.name} is started again", wait_ms=wait_ns // 1_000_000, reason=why)
        return True


    def ready_line(self) -> dict[str, Any] | None:
        """What it printed once it served; None before that is whole."""
        try:
            line, newline, _ = (self.member.spec.out or Path()).read_text().partition("\n")
        except OSError:
            return None
        found = json.loads(line) if newline else None
        return found if isinstance(found, dict) else None


class VenueKeeper(Keeper):
    """The embedded exchange. Its day ends with its process: a new one would know neither orders nor executions of the
    old, so the tree ends with it and says so."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, tree.members["venue"])

    def look(self, now_ns: int, *, started: bool) -> None:
        """One round: it is ready once it has said where it listens."""
        super().look(now_ns, started=started)
        if self.member.life.state == "starting" and self.ready_line() is not None:
            self.member.life.move("syncing", "its sockets are open")
            self.member.life.move("ready", "it takes orders")

    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        """The tree cannot go on without its exchange."""
        said = last_words(self.member.spec.log)
        self.member.life.move("failed", f"{words}: {said}")
        if started:
            raise Failure(f"the embedded exchange {words}: its trading day, and what was open in it, ended with it",
                          EXIT_UNAVAILABLE, "peregrine up begins a new day")  # fmt: skip
        raise Failure(f"the embedded exchange did not start: {said}", EXIT_UNAVAILABLE, f"its log: {self.member.spec.log}")


class TelemetryKeeper(Keeper):
    """The process that shows the engine to others. Nothing waits for it but the start, and orders do not know of it."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, tree.members["telemetry"])

    def look(self, now_ns: int, *, started: bool) -> None:
        """One round: it is ready once it has said where it serves."""
        super().look(now_ns, started=started)
        if self.member.life.state == "starting" and self.member.alive() and (line := self.ready_line()) is not None:
            self.tree.addresses.update({key: line[key] for key in ("metrics", "telemetry")})
            self.member.life.move("syncing", "it is up")
            held = f"it publishes; {self.tree.cfg.observe.metrics} is another process's, and is tried for again" if not line["metrics"] else ""
            self.member.life.move("ready", held or "it answers")
            self.member.died_ns = 0

    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        """Again after a wait, and given up without ending the tree."""
        said = f"telemetry {words}: {last_words(self.member.spec.log)}"
        if not started:
            self.member.life.move("failed", said)
            raise Failure(said.replace("telemetry ", "telemetry did not start: it ", 1), EXIT_UNAVAILABLE,
                          "observe.metrics is its address (port 0 takes a free one, null leaves it out)")  # fmt: skip
        if not self.again(now_ns, said):
            _log.error("telemetry is given up; the engine goes on without it", reason=said)
