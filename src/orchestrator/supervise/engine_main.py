"""The engine process of a supervised tree: `python -m orchestrator.supervise.engine_main PLAN`.

The plan is a file in the run's folder, written by the supervisor: configuration, where the venue is, what to hold. A run
that has begun is continued, one that has not is begun; which it is the journal says, so that the same plan serves after a
crash. Every shard is paused by a journaled command before it consumes anything else of weight: no order leaves until the
supervisor, once all is ready, sends a journaled `resume`.

    RUN/plan.json       written by the supervisor before each start
    RUN/engine.json     written here once the engine is made: pid, what it recovered, which shards were held
    RUN/result.json     written here at a clean end: what the run came to
    RUN/problem.json    written here when it cannot start or go on: exit code, message, hint
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_UNAVAILABLE, EXIT_USAGE, CliError
from orchestrator.control.bodies import KINDS, origin
from orchestrator.control.messages import Request
from orchestrator.observe import log
from orchestrator.supervise.files import replace_whole
from orchestrator.supervise.holds import words
from orchestrator.supervise.link import own_request
from orchestrator.supervise.once import when_input_ends
from orchestrator.supervise.placement import Placement, apply
from orchestrator.supervise.state_file import Hold

PLAN, MADE, RESULT, PROBLEM = "plan.json", "engine.json", "result.json", "problem.json"


class Plan(msgspec.Struct, kw_only=True):
    """What the engine process is to do."""

    config: dict[str, Any]  # as config.effective gives it
    folder: str  # of the run, absolute
    runtime: str  # runtime folder of the name
    venue_ready: str = ""  # file that gets the ready line of the embedded exchange
    hold: bool = True  # no orders until resumed
    placement: Placement | None = None
    resume: bool = False  # a run that has not begun is not begun here
    use_snapshots: bool = True
    cut_damaged_tail: bool = False
    ends_with_supervisor: bool = False  # standard input is a pipe from it
    drained: list[Hold] = []  # by persons, in an earlier life of this engine: they are again
    held_before: list[int] = []  # shards whose pause, if the journal has them paused, was the supervisor's and not a person's


class Made(msgspec.Struct, kw_only=True):
    """What came of the plan, before the first input."""

    pid: int
    resumed: bool
    held: list[int]  # paused here: to be resumed once ready
    paused_before: list[int]  # a person had paused them: they stay so
    drained: list[int] = []  # as persons had them in an earlier life
    recovery_ns: int = 0  # reading the journal back
    replayed_inputs: int = 0


class Ended(msgspec.Struct, kw_only=True):
    """Why the process could not start or go on."""

    code: int
    message: str
    hint: str = ""


def read(path: Path, kind: type[Any]) -> Any:
    """One of the files above, None when it is not there or not whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def write(path: Path, value: msgspec.Struct) -> None:
    """Replace one of them. Raises OSError."""
    replace_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=1))


def has_begun(folder: Path, shards: int) -> bool:
    """Does every shard of the run have a journal?"""
    from orchestrator.run.journals import JournalUnreadable, read_header
    from orchestrator.run.shards import folder_of

    try:
        for shard in range(shards):
            read_header(folder_of(folder, shards, shard))
    except (JournalUnreadable, OSError, ValueError):
        return False
    return True


def run(plan: Plan) -> None:
    """Trade by the plan until stopped; the result goes to its file. Raises what `run.live.host` raises."""
    from orchestrator.config import from_effective
    from orchestrator.config.models import EmbeddedVenue
    from orchestrator.control.engine_agent import EngineAgent
    from orchestrator.observe.vitals import Vitals
    from orchestrator.run.addresses import of_embedded, of_external
    from orchestrator.run.live import Run, host
    from orchestrator.run.venue_process import accounts_of

    import_module("hotpath._core")  # like all the above while the exchange still gets ready
    cfg, folder = from_effective(plan.config), Path(plan.folder)
    if isinstance(cfg.venue, EmbeddedVenue):
        addresses = of_embedded(ready_line(Path(plan.venue_ready), cfg.supervise.ready_timeout_s), accounts_of(cfg))
    else:
        addresses = of_external(cfg.venue)
    resume = plan.resume or has_begun(folder, cfg.engine.shards)
    account = apply(plan.placement) if plan.placement else None
    log.logger().info("placed", line=account.line if account else "", problems=account.problems if account else ())
    with ExitStack() as beside:

        def made(engine_run: Run) -> None:
            write(folder / MADE, hold(engine_run.engine, plan, resumed=resume))
            agent = EngineAgent(engine_run.engine, Path(plan.runtime), account=engine_run.account_breaker)
            agent.start()
            beside.callback(agent.stop)
            beside.enter_context(Vitals(Path(plan.runtime), "engine"))

        result = host(cfg, addresses, folder=folder, resume=folder if resume else None, use_snapshots=plan.use_snapshots,
                      cut_damaged_tail=plan.cut_damaged_tail, before_run=made, supervised=True, recovers=not plan.resume)
    replace_whole(folder / RESULT, msgspec.json.encode(result))


def ready_line(path: Path, timeout_s: float) -> dict[str, Any]:
    """What the exchange says once it can be traded on. Raises CliError when it has not said it in time."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        with suppress(FileNotFoundError):
            line, newline, _ = path.read_text().partition("\n")
            if newline:
                found: dict[str, Any] = json.loads(line)
                return found
        time.sleep(0.005)
    raise CliError("the embedded exchange has not opened its sockets", hint="supervise.ready_timeout_s is the wait", code=EXIT_UNAVAILABLE)


def hold(engine: Any, plan: Plan, *, resumed: bool) -> Made:
    """Pause what is not paused by a person, drain what one has drained; on the engine made, before its loop.

    One command a shard is all that can wait for the loop, and either of them keeps every order back. Held, and to be
    resumed, is what is paused by nobody else: a drained shard only where its pause is of an earlier hold.
    """
    shards = engine.summary()["shards"]
    drained = {drain.shard: drain for drain in plan.drained}
    paused = [i for i, s in enumerate(shards) if s["paused"] and i not in plan.held_before]
    held = [i for i, s in enumerate(shards) if i not in paused and (s["paused"] or i not in drained)] if plan.hold else []
    for shard in range(len(shards)):
        if shard in drained:
            _command(engine, "drain", shard, own_request("drain", f"still {words(drained[shard])}"))
        elif shard in held:
            _command(engine, "pause", shard, own_request("pause", "held until the tree is ready"))
    return Made(pid=os.getpid(), resumed=resumed, held=held, paused_before=paused, drained=[i for i in range(len(shards)) if i in drained],
                recovery_ns=sum(s["recovery_ns"] for s in shards), replayed_inputs=sum(s["recovered_inputs"] for s in shards))  # fmt: skip


def _command(engine: Any, kind: str, shard: int, request: Request) -> None:
    if not engine.command(KINDS[kind], b"", request.key(), None, shard, origin(request)):
        raise RuntimeError(f"shard {shard} did not take its first command")


def problem_of(err: BaseException) -> Ended:
    """An exception as exit code, message and hint."""
    from orchestrator.run.device import DeviceUnusable
    from orchestrator.run.journals import JournalUnreadable

    if isinstance(err, CliError):
        return Ended(code=err.code, message=str(err), hint=err.hint)
    if isinstance(err, JournalUnreadable):
        return Ended(code=EXIT_UNAVAILABLE, message=f"the journal cannot be used: {err}", hint=err.hint)
    if isinstance(err, DeviceUnusable):
        return Ended(code=EXIT_UNAVAILABLE, message=str(err), hint=err.hint)
    if isinstance(err, ValueError):  # the compiled engine's own words
        return Ended(code=EXIT_UNAVAILABLE, message=str(err), hint="peregrine doctor looks at this machine")
    return Ended(code=EXIT_INTERNAL, message=f"{type(err).__name__}: {err}", hint="a defect: the engine's log has the lines")


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    if len(arguments) != 1 or (plan := read(Path(arguments[0]), Plan)) is None:
        print("error: one argument, the plan a supervisor wrote", file=sys.stderr)
        return EXIT_USAGE
    folder = Path(plan.folder)
    log.configure("engine", level=plan.config.get("observe", {}).get("log_level", "info"))
    for name in (MADE, RESULT, PROBLEM):
        (folder / name).unlink(missing_ok=True)
    if plan.ends_with_supervisor:
        when_input_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        run(plan)
    except BaseException as err:
        ended = problem_of(err)
        traceback.print_exc()
        write(folder / PROBLEM, ended)
        return ended.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
