"""How a supervisor comes to be: with a new tree, or by taking over what a dead one left running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.cli._errors import EXIT_CONFIG, EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
from orchestrator.config import config_hash, from_effective
from orchestrator.config.cores import resolve_cores
from orchestrator.config.models import Config, EmbeddedVenue
from orchestrator.observe import log, traces
from orchestrator.run.live import new_run_folder
from orchestrator.run.resuming import check_resume
from orchestrator.supervise import both_died
from orchestrator.supervise.both_died import Recovery
from orchestrator.supervise.engine_main import PLAN, RESULT, Plan, read
from orchestrator.supervise.leftovers import put_away
from orchestrator.supervise.lock import Locked, SupervisorLock
from orchestrator.supervise.once import Once
from orchestrator.supervise.paths import RuntimeFolderError, runtime_dir
from orchestrator.supervise.process import Process
from orchestrator.supervise.state_file import Role, TreeState
from orchestrator.supervise.stopping import read_result
from orchestrator.supervise.supervisor import Supervisor
from orchestrator.supervise.takeover import Takeover, TakeoverRefused, end_all
from orchestrator.supervise.tree import LOGS, Tree
from orchestrator.supervise.view import read_view

OnRound = Callable[[Supervisor], None]
END_WAIT_S = 5.0  # for an engine whose `run` was killed: it cancels, flushes, logs out


def launch(cfg: Config, *, config_file: str = "", on_round: OnRound | None = None, once: Once | None = None,
           attended: bool = True) -> Supervisor:
    """A supervisor for `cfg`, ready to `run`: of the tree that runs under that name without one, else of a new tree.
    With `once` always of a new one, which ends with this process. `attended`: a person is there to be asked (both_died.py).

    Raises CliError: 75 when the name has a supervisor, 69 when what is left of an earlier tree wants a decision.
    """
    runtime = _runtime(cfg.engine.name)
    takeover = Takeover(runtime)
    lock = _lock(takeover)
    try:
        if not isinstance(cfg.venue, EmbeddedVenue):
            both_died.remember(cfg, runtime)
        found = _found(takeover)
        if found is not None and not found.over():
            living = takeover.check()
            if both_died.is_one(found, living):
                if once is not None:
                    raise both_died.asks(found)
                return _taken(takeover, lock, on_round, both_died.choose(cfg, found, attended=attended))
            if _worth_taking(cfg, found, living, once.resume if once is not None else None):
                if once is not None:
                    raise CliError(f"{cfg.engine.name} runs without a supervisor", hint="take it over as it runs: peregrine up --take-over; "
                                   "or end it first: peregrine down", code=EXIT_UNAVAILABLE)  # fmt: skip
                if found.config_sha256 != config_hash(cfg):
                    raise CliError(f"{cfg.engine.name} runs without a supervisor, and with another configuration than this",
                                   hint="take it over as it runs: peregrine up --take-over; or end it first: peregrine down",
                                   code=EXIT_UNAVAILABLE)  # fmt: skip
                return _taken(takeover, lock, on_round)
        owed = _kill_that_stands(found)
        end_all(runtime)  # of a tree that was being stopped, or whose exchange has died: nothing to be continued
        run = Path(found.run) if found is not None and found.run else None
        notes = put_away(cfg.engine.name, runtime, run)
        supervisor = _fresh(cfg, runtime, lock, config_file, notes, on_round, once)
        supervisor.tree.kill_owed = owed
        return supervisor
    except BaseException:
        lock.close()
        raise


def take_over(name: str, *, on_round: OnRound | None = None) -> Supervisor:
    """A supervisor for the tree called `name`, which has lost its own. Raises CliError (69) when there is none to take
    over, (75) when it has a supervisor."""
    runtime = _runtime(name)
    takeover = Takeover(runtime)
    lock = _lock(takeover)
    try:
        found = takeover.read()
        takeover.check()
        if found.over() and not takeover.living:
            raise takeover.refuse(f"{name} is {found.state}: {found.reason}", "start it: peregrine up")
        return _taken(takeover, lock, on_round)
    except TakeoverRefused as err:
        lock.close()
        raise CliError(str(err), hint=err.hint, code=EXIT_UNAVAILABLE) from err
    except BaseException:
        lock.close()
        raise


def recover_to_end(name: str, why: str, *, on_round: OnRound) -> Supervisor:
    """A supervisor that recovers the run of a tree without engine and supervisor, to cancel what is open at its exchange and no
    more: `on_round` ends it. It stays unsettled until `tree.settling` is taken back. Raises CliError as `take_over`."""
    runtime = _runtime(name)
    takeover = Takeover(runtime)
    lock = _lock(takeover)
    try:
        found = takeover.read()
        (Path(found.run) / RESULT).unlink(missing_ok=True)  # of an engine that ended in order and left something open
        end_all(runtime)  # what showed the engine to others, or watched it
        takeover.check()
        supervisor = _taken(takeover, lock, on_round, Recovery("cancel", why), without=("telemetry", "reconciler"))
        supervisor.tree.settling = True
        return supervisor
    except TakeoverRefused as err:
        lock.close()
        raise CliError(str(err), hint=err.hint, code=EXIT_UNAVAILABLE) from err
    except BaseException:
        lock.close()
        raise


def _runtime(name: str) -> Path:
    try:
        return runtime_dir(name, make=True)
    except (RuntimeFolderError, OSError) as err:
        raise CliError(f"the runtime folder of {name} cannot be used: {err}", code=EXIT_UNAVAILABLE) from err


def _lock(takeover: Takeover) -> SupervisorLock:
    try:
        return takeover.lock()
    except Locked as err:
        raise CliError(str(err), hint=f"peregrine down {takeover.folder.name} ends it; peregrine status says how it is",
                       code=EXIT_TRY_AGAIN) from err  # fmt: skip


def _found(takeover: Takeover) -> TreeState | None:
    try:
        return takeover.read()
    except TakeoverRefused:
        return None


def _kill_that_stands(found: TreeState | None) -> int:
    """Level of a kill in a run that nobody has taken down: it holds in the one begun after it too."""
    if found is None or found.state == "stopped":
        return 0
    seen = read_view(found.name)
    return max(found.kill_owed, seen.kill_level if seen is not None else 0)


def _worth_taking(cfg: Config, found: TreeState, living: dict[str, tuple[int, int]], resume: Path | None = None) -> bool:
    """Is there something to be continued? A tree on its way down is not, nor is one whose embedded exchange has died, nor
    one of `run`, which ends by itself."""
    if found.state == "draining":
        return False
    if found.foreground:
        return _left_behind(found, living, resume)
    if isinstance(cfg.venue, EmbeddedVenue):
        return "venue" in living
    return "engine" in living


def _left_behind(found: TreeState, living: dict[str, tuple[int, int]], resume: Path | None) -> bool:
    """The remains of a `run` whose process was killed: False once its engine has ended in order. Raises CliError."""
    ended = _ended(living.get("engine"), END_WAIT_S)
    result = read_result(Path(found.run))
    embedded = any(p.role == "venue" for p in found.processes)
    if ended and (embedded or not found.has_traded or (resume is not None and resume.resolve() == Path(found.run)) or (result is not None and not result.working_orders)):
        return False
    raise CliError(f"the engine of {found.name} died without a supervisor, in {found.run}" if ended else
                   f"the engine of {found.name} has not ended yet, though its supervisor is gone",
                   hint=f"close that run: peregrine down {found.name}; or trade on in it: peregrine run --resume {found.run}", code=EXIT_UNAVAILABLE)  # fmt: skip


def _ended(process: tuple[int, int] | None, wait_s: float) -> bool:
    if process is None:
        return True
    try:
        found = Process.adopt(*process)
    except ProcessLookupError:
        return True
    ended = found.wait(wait_s)
    found.close()
    return ended


def _trace(cfg: Config) -> None:
    try:
        traces.configure(cfg.observe.otlp, "supervisor", engine=cfg.engine.name)
    except traces.TracesError as err:
        raise CliError(str(err), hint=traces.EXTRA_HINT, code=EXIT_CONFIG) from err


def _fresh(cfg: Config, runtime: Path, lock: SupervisorLock, config_file: str, notes: list[str], on_round: OnRound | None,
           once: Once | None) -> Supervisor:  # fmt: skip
    resolve_cores(cfg.engine)  # what cannot be placed leaves no folder either
    if (resume := once.resume if once is not None else None) is not None:
        check_resume(cfg, resume.resolve())
    run = resume.resolve() if resume is not None else new_run_folder(Path(cfg.journal.dir).resolve(), cfg.name)
    (run / LOGS).mkdir(exist_ok=True)
    log.configure("supervisor", path=run / LOGS / "supervisor.log", level=cfg.observe.log_level)
    _trace(cfg)
    for note in notes:
        log.logger().warning("left by an earlier tree", what=note)
    return Supervisor(Tree(cfg, runtime, run, config=config_file, once=once), lock, on_round=on_round)


def _taken(takeover: Takeover, lock: SupervisorLock, on_round: OnRound | None, recovery: Recovery | None = None,
           without: tuple[Role, ...] = ()) -> Supervisor:  # fmt: skip
    found = takeover.found
    assert found is not None
    run = Path(found.run)
    plan = read(run / PLAN, Plan)
    if plan is None:
        raise takeover.refuse(f"{run / PLAN} is not there: the tree died before its engine began", f"peregrine down {found.name}")
    log.configure("supervisor", path=run / LOGS / "supervisor.log", level=from_effective(plan.config).observe.log_level)
    _trace(from_effective(plan.config))
    tree = Tree(from_effective(plan.config), takeover.folder, run, config=found.config, generation=found.generation + 1)
    tree.leave_out(*without)
    tree.started_ns, tree.trading_enabled, tree.has_traded = found.started_ns, found.trading_enabled, found.has_traded
    tree.both_died_ns = found.both_died_ns
    tree.life.state, tree.life.reason, tree.life.since_ns = found.state, found.reason, found.started_ns
    tree.holds.restore(found.holds)
    tree.kill_owed = found.kill_owed
    for process in found.processes:
        if (member := tree.get(process.role)) is not None:
            member.restore(process)
    if (found.state == "draining" or found.unsettled) and "engine" not in takeover.living:  # not ended in order: recovered first
        tree.life.state = "syncing"
        for member in tree.members.values():
            if member.spec.name not in takeover.living:
                member.life.state = "failed"
    if found.unsettled:
        (run / RESULT).unlink(missing_ok=True)  # of an engine that ended in order and left something open: not the end of the run
    if recovery is not None:
        log.logger().warning("the run is taken up again", how=recovery.how, why=recovery.why)
        recovery.prepare(tree)
    return Supervisor(tree, lock, takeover=takeover, on_round=on_round)
