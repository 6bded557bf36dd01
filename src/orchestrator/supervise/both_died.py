"""Engine and supervisor both died, at an exchange that is not ours: what `peregrine up` does about the run they left.

    none     on a terminal as `ask`, else (a service manager, a script: nobody is there to be asked) as `cancel`
    ask      refuses (69) and says the two ways on; nothing is touched until somebody chooses
    cancel   recovers the run, cancels all that works, and stays held with the reason until somebody resumes
    resume   recovers the run and trades on, as after the engine's death alone: reconciled first, persons' holds kept

Nobody was there, so nobody knows what else has changed: `resume` is `cancel` where the tree was being stopped, where the
configuration is another by now, where the run's day is over by the calendar, and where both had died within
`supervise.restart.window_s` before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
from orchestrator.config import config_hash
from orchestrator.config.models import Config
from orchestrator.run import plan
from orchestrator.run.journals import JournalUnreadable, read_header
from orchestrator.run.shards import folders
from orchestrator.supervise import state_file
from orchestrator.supervise.engine_main import PLAN, Plan, read
from orchestrator.supervise.link import own_request
from orchestrator.supervise.run_copy import last_run
from orchestrator.supervise.state_file import TreeState
from orchestrator.supervise.stopping import read_result
from orchestrator.supervise.tree import Tree

S = 1_000_000_000


@dataclass(frozen=True)
class Recovery:
    """How the run is taken up again. `why`: for the journal, the state file and whoever looks."""

    how: Literal["resume", "cancel"]
    why: str

    def prepare(self, tree: Tree) -> None:
        """Before its engine is started: what is cancelled is drained as by a command, and stands until a resume."""
        tree.both_died_ns = time.time_ns()
        if self.how == "resume":
            return
        drained = {hold.shard for hold in tree.holds.listed() if hold.kind == "drain"}
        for shard in set(range(tree.cfg.engine.shards)) - drained:
            tree.holds.taken(tree.holds.given("drain", shard, own_request("drain", self.why)), None)


def remember(cfg: Config, runtime: Path) -> None:
    """After a reboot the runtime folder is empty: fill in what the run's own folder has of its tree.

    Raises CliError (75) when that tree's supervisor lives: somebody has taken the folder away from under it.
    """
    if (runtime / state_file.FILE).exists() or (state := last_run(cfg)) is None:
        return
    if state.supervisor_alive():
        raise CliError(f"{state.name} is supervised already by process {state.supervisor_pid}, which had another runtime folder, or this one before it was emptied",
                       hint=f"end it: kill {state.supervisor_pid}", code=EXIT_TRY_AGAIN)  # fmt: skip
    if not state.over():
        state_file.write(runtime, state)


def is_one(found: TreeState, living: dict[str, tuple[int, int]]) -> bool:
    """Has a tree of `up` at an external exchange lost its engine as well, with something to be recovered? One that was being
    stopped has where its engine had not come to its end, and so has one that was ended without it (`unsettled`)."""
    if found.foreground or (found.state == "draining" and read_result(Path(found.run)) is not None):
        return False
    return engine_gone(found, living)


def engine_gone(found: TreeState, living: dict[str, tuple[int, int]]) -> bool:
    """Has a tree at an external exchange, of `up` or of `run`, no engine any more, and a journal to recover it from?"""
    if "engine" in living or any(p.role == "venue" for p in found.processes):
        return False
    return any(True for folder in folders(Path(found.run)) for _ in folder.glob("journal-*.pgj"))


def choose(cfg: Config, found: TreeState, *, attended: bool) -> Recovery:
    """What is to be done about it; `attended`: a person waits for the answer. Raises CliError (69) for `ask`."""
    chosen = cfg.supervise.after_both_died or ("ask" if attended else "cancel")
    ended = f"the run had not ended in order ({found.reason})" if found.unsettled else "engine and supervisor had both died"
    said = f"{ended}; supervise.after_both_died: {chosen}"
    if chosen == "ask":
        raise asks(found)
    if read(Path(found.run) / PLAN, Plan) is None:
        raise CliError(f"{Path(found.run) / PLAN}, by which the engine of {found.name} could be recovered, cannot be read",
                       hint=f"ask the venue what is open; then close that run: peregrine down {found.name} --books-only", code=EXIT_UNAVAILABLE)  # fmt: skip
    if chosen == "cancel":
        return Recovery("cancel", said)
    held = _not_to_be_resumed(cfg, found)
    return Recovery("cancel", f"{said}, but {held}") if held else Recovery("resume", said)


def asks(found: TreeState) -> CliError:
    """What is raised to ask."""
    what = f"whether orders of {found.name} are open is not known ({found.reason})" if found.unsettled else f"the engine of {found.name} died without a supervisor"
    return CliError(f"{what}, in {found.run}",
                    hint=f"recover it and trade on: peregrine up --take-over --name {found.name}; or recover it, cancel all and stay held: this "
                    f"`up` with --set supervise.after_both_died=cancel; or cancel all and end it: peregrine down {found.name}",
                    code=EXIT_UNAVAILABLE)  # fmt: skip


def _not_to_be_resumed(cfg: Config, found: TreeState) -> str:
    window_s, today = cfg.supervise.restart.window_s, plan.today().isoformat()
    if found.unsettled:
        return "after its supervisor had given it up or stopped it"
    if found.state == "draining":
        return "while it was being stopped"
    if found.config_sha256 != config_hash(cfg):
        return "with another configuration than this"
    if (began := _began(Path(found.run))) < today:
        return f"the run is of {began or 'a day that its journal does not tell'}"
    if 0 < time.time_ns() - found.both_died_ns < window_s * S:
        return f"for the second time within {window_s} s"
    return ""


def _began(run: Path) -> str:
    """The session date of a run, empty where its journal does not tell."""
    try:
        return str(read_header(folders(run)[0])[0].session_date)
    except (JournalUnreadable, OSError, ValueError):
        return ""
