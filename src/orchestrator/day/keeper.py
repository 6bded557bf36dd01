"""Who looks after the reconciler in a supervised tree: started before trading is let, started again when it dies."""

from __future__ import annotations

from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE
from orchestrator.observe import log
from orchestrator.supervise.members import Failure, Keeper, last_words
from orchestrator.supervise.tree import Tree

_log = log.logger()


class ReconcilerKeeper(Keeper):
    """The tree's own reconciler. Trading waits for its first word; without one that can be kept it does not go on."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, tree.members["reconciler"])

    def look(self, now_ns: int, *, started: bool) -> None:
        """One round: it is ready once it has said that both sides agree."""
        super().look(now_ns, started=started)
        if self.member.life.state == "starting" and self.member.alive() and self.ready_line() is not None:
            self.member.life.move("syncing", "it reads both records")
            self.member.life.move("ready", "it compares the two")
            self.member.died_ns = 0

    def died(self, now_ns: int, words: str, *, started: bool) -> None:
        """Again after a wait; before the first trade its last words are why there is none."""
        said = last_words(self.member.spec.log)
        if not started:
            self.member.life.move("failed", said)
            code = EXIT_TRY_AGAIN if "disagrees" in said else EXIT_UNAVAILABLE
            raise Failure(said, code, "docs/runbooks/drop-copy-disagrees.md; day.reconcile.on_break: tell trades all the same")
        if not self.again(now_ns, f"the reconciler {words}: {said}"):
            _log.error("the reconciler is given up", reason=said)
            if self.tree.cfg.day.reconcile.on_lost != "tell":
                raise Failure(f"the reconciler is given up: {said}", EXIT_UNAVAILABLE, f"its log: {self.member.spec.log}")
