"""The supervisor as deploys need it: its run, its configuration, and another one in its place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from orchestrator.config import effective
from orchestrator.config.models import Config
from orchestrator.deploy.hosted import Deploys
from orchestrator.supervise.engine_main import PLAN, Plan, read, write
from orchestrator.supervise.notify import SOCKET

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.supervise.supervisor import Supervisor
    from orchestrator.supervise.tree import Tree


class DeployHost:
    """deploy.hosted.Host of a supervisor; its methods may be called from any thread."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def run_folder(self) -> str:
        """Of the run there is now."""
        return str(self._supervisor.tree.run)

    def config(self) -> Config:
        """The configuration in force."""
        return self._supervisor.tree.cfg

    def take_config(self, cfg: Config) -> None:
        """This one from now on. Raises ControlError."""
        self._supervisor.take_config(cfg)

    def stays_down(self) -> str:
        """Why nobody could start the tree again: what systemd started ends with all that came of it."""
        return "its unit of systemd ends whatever would start it again" if os.environ.get(SOCKET) else ""


def take(tree: Tree, cfg: Config) -> None:
    """Another configuration for a tree: in the plan that a takeover reads, and in the state file's digest. On the loop's
    thread. Raises OSError."""
    plan = read(tree.run / PLAN, Plan)
    if plan is not None:
        plan.config = effective(cfg)
        write(tree.run / PLAN, plan)
    tree.cfg = cfg
    tree.save()


def deploys_of(supervisor: Supervisor, audit: Callable[[dict[str, Any]], None]) -> Deploys:
    """The deploys of its engine; `audit` takes a line of control.log."""
    return Deploys(supervisor.tree.name, DeployHost(supervisor), audit)
