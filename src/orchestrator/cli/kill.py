"""`peregrine kill`: stop an engine's trading, now, whatever its control plane is doing."""

from __future__ import annotations

import json
import os
import signal as signals
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli._control import Options, controlled

ORDER = 45
TELL_S = 4.0  # in two halves, each longer than the server takes to say that the engine does not answer
NOBODY_S = 5.0  # for a supervisor that is just coming


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Set the kill word: no new order from the next input on, everything at the venue is cancelled.")
    @controlled(changes=True)
    def kill(
        options: Options,
        engine: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the engine; not needed when one is running.")] = None,
        flatten: Annotated[
            bool, typer.Option("--flatten", help="Also close the position, with reducing orders only.")
        ] = False,
        signal: Annotated[bool, typer.Option("--signal", help="Send SIGUSR1 instead of writing the word.")] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask; without a terminal nothing is asked anyway.")] = False,
    ) -> None:
        from orchestrator.cli._engines import pick_engine
        from orchestrator.cli._errors import CliError

        if signal and flatten:
            raise CliError("--signal with --flatten", hint="a signal carries no level: leave one of the two out")
        if signal and options.remote:
            raise CliError("--signal with --remote", hint="a signal reaches this machine only: leave one of the two out")
        level = "flatten" if flatten else "cancel"
        if options.remote:
            confirm(f"kill the engine at {options.remote}", yes)
            options.why = options.why or "not given"
            options.change("kill", {"level": level})
            return
        named = engine or options.name
        chosen = _between_two_lives(named) or pick_engine(named)
        confirm(f"kill {chosen}", yes)
        # The word first: it needs nobody's help. Then the supervisor is told, so that the journal says who and why.
        try:
            pid = _act(chosen, level, signal)
        except CliError:
            pid, how, told = 0, "no engine runs just now", _owed(options, chosen, level)
            if not told:
                raise
        else:
            how = "SIGUSR1 sent" if signal else "kill word set" + (", flattening" if flatten else "")
            told = _tell(options, chosen, level)
        if options.as_json:
            typer.echo(json.dumps({"name": chosen, "pid": pid, "how": how, "journaled": told}))
        else:
            typer.echo(f"{chosen} (pid {pid}): {how}" if pid else f"{chosen}: {how}")
            if told:
                typer.echo(told, err=not told.startswith(("journaled", "its supervisor", "neither")))


def confirm(what: str, yes: bool) -> None:
    """On a terminal, unless --yes was given, a person says it again."""
    if not yes and sys.stdin.isatty():
        typer.confirm(f"{what}?", abort=True, err=True)


def _act(name: str, level: str, signal: bool) -> int:
    """Word or signal; the engine's pid. Raises CliError."""
    from orchestrator.cli._errors import EXIT_UNAVAILABLE, CliError
    from orchestrator.control.kill_word import set_kill_word
    from orchestrator.observe.segment import Segment, SegmentError, process_start_ticks

    pid = 0
    try:
        with Segment(name) as segment:
            pid = segment.status().pid
        if signal:
            os.kill(pid, signals.SIGUSR1)
        elif problem := set_kill_word(name, level):
            raise OSError(problem)
    except (SegmentError, OSError) as err:
        gone = process_start_ticks(pid) == 0
        hint = "nothing of it trades now; `peregrine up` may start it again: `peregrine down` first" if gone else "as the user that runs it?"
        raise CliError(f"{name} could not be killed: {err}", hint=hint, code=EXIT_UNAVAILABLE) from err
    return pid


def _between_two_lives(name: str | None) -> str:
    """The engine meant, where its supervisor is here and it is just not running; "" where it runs, or nobody is here."""
    from orchestrator.control.doors import SOCKET
    from orchestrator.observe.segment import running
    from orchestrator.supervise import paths

    here = {n for n in paths.names() if (paths.runtime_dir(n) / SOCKET).exists() or _goes_on(paths.runtime_dir(n))}
    living = {status.name for status in running()}
    if name is not None:
        return name if name in here - living else ""
    return here.pop() if len(here | living) == 1 and not living else ""


def _goes_on(folder: Path) -> bool:
    """Is there a tree that nobody has taken down, whoever lives?"""
    from orchestrator.supervise import state_file

    try:
        return state_file.read(folder).state != "stopped"
    except state_file.StateFileError:
        return False


def _owed(options: Options, name: str, level: str) -> str:
    """The kill for the engine that is started next: with its supervisor, or in the state that the next one begins with. What was
    done in words, "" where nothing is to be started."""
    from orchestrator.control.client import ControlClient
    from orchestrator.control.errors import ControlError
    from orchestrator.observe.segment import KILL_LEVELS
    from orchestrator.supervise.nobody import SomebodyThere, owe_kill

    until = time.monotonic() + NOBODY_S
    while True:
        with suppress(ControlError), ControlClient.local(name, options.timeout_s) as client:
            reply = client.call("kill", {"level": level}, why=options.why or "", who=options.person())
            if isinstance(reply.data, dict) and reply.data.get("kill_word") is True:
                return "its supervisor has the kill: the engine it starts next gets it before it may trade"
        try:
            written = owe_kill(name, KILL_LEVELS[level])
            return f"neither its supervisor: whatever is started next as {name} is killed before it may trade" if written else ""
        except OSError:
            return ""
        except SomebodyThere:
            if time.monotonic() > until:
                return ""
        time.sleep(0.05)


def _tell(options: Options, name: str, level: str) -> str:
    """Tell its supervisor, where it has one; what came of it in words."""
    from orchestrator.control.client import ControlClient
    from orchestrator.control.doors import SOCKET
    from orchestrator.control.errors import ControlError
    from orchestrator.supervise import paths

    if not (paths.runtime_dir(name) / SOCKET).exists():
        return ""
    try:
        with ControlClient.local(name, TELL_S) as client:
            reply = client.call("kill", {"level": level}, why=options.why or "", who=options.person())
    except ControlError as err:
        return f"the supervisor could not be told, so the journal does not say who or why: {err.message}"
    if isinstance(reply.data, dict) and (why := reply.data.get("not_journaled")):
        return f"not journaled, or not yet; its supervisor knows who and why: {why}"
    return "journaled by " + ", ".join(f"shard {e.shard} at {e.seq}" for e in reply.effects) if reply.effects else "told"
