"""The last word of a run's reconciler."""

from __future__ import annotations

from orchestrator.day.reconciler import read_status
from orchestrator.supervise.tree import Tree


def verdict(tree: Tree) -> list[str]:
    """What its last word says against the run, a line each; after it has ended."""
    if tree.get("reconciler") is None:
        return []
    status = read_status(tree.run)
    if status is None:
        return ["the reconciler left no verdict: peregrine day reconcile compares this run with the venue"]
    if status.state == "lost":
        return [f"not reconciled to the end: {status.problem}"]
    return [f"the venue disagrees: {line}" for line in status.standing[:20]]
