"""What the commands that talk to a supervisor have in common: where it is, who asks and why, how an answer is shown."""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, EXIT_USAGE, CliError

if TYPE_CHECKING:
    from orchestrator.control.client import ControlClient
    from orchestrator.control.messages import Reply

EXIT_CODES = {
    "usage": EXIT_USAGE, "conflict": EXIT_USAGE, "denied": EXIT_UNAVAILABLE, "unavailable": EXIT_UNAVAILABLE,
    "refused": EXIT_UNAVAILABLE, "busy": EXIT_TRY_AGAIN, "timeout": EXIT_TRY_AGAIN, "internal": EXIT_INTERNAL,
}  # fmt: skip

_REACH: dict[str, Any] = {
    "name": Annotated[str | None, typer.Option("--name", help="Name of the engine; not needed when one is supervised here.")],
    "remote": Annotated[str | None, typer.Option("--remote", metavar="HOST:PORT", help="A supervisor on another machine.")],
    "key": Annotated[Path | None, typer.Option("--key", metavar="FILE", help="With --remote: your key file.")],
    "server_key": Annotated[
        str | None, typer.Option("--server-key", metavar="KEY|FILE", help="With --remote: the server's public key.")
    ],
    "timeout_s": Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long to wait.")],
    "as_json": Annotated[bool, typer.Option("--json", help="Print JSON.")],
}
_WHY: dict[str, Any] = {
    "why": Annotated[str | None, typer.Option("--why", help="The reason; it stands in the journal.")],
    "who": Annotated[str | None, typer.Option("--who", help="Who asks; without it the login name.")],
}
_DEFAULTS = {"timeout_s": 5.0, "as_json": False}


@dataclass
class Options:
    """The options all these commands take."""

    name: str | None = None
    remote: str | None = None
    key: Path | None = None
    server_key: str | None = None
    timeout_s: float = 5.0
    as_json: bool = False
    why: str | None = None
    who: str | None = None

    def client(self) -> ControlClient:
        """Connected, as far as that can be known. Raises CliError."""
        from orchestrator.control.client import ControlClient
        from orchestrator.control.errors import ControlError

        try:
            if self.remote is None:
                if self.key is not None or self.server_key is not None:
                    raise CliError("--key or --server-key without --remote", hint="name the machine: --remote HOST:PORT")
                return ControlClient.local(self.name or _only_one(), self.timeout_s)
            return ControlClient.remote(self.remote, *self._keys(), self.timeout_s)
        except ControlError as err:
            raise cli_error(err) from err

    def _keys(self) -> tuple[Any, str]:
        from orchestrator.control import keys

        if self.key is None or self.server_key is None or self.name is not None:
            raise CliError("--remote needs --key and --server-key, and no --name", hint="`peregrine keys new` makes a key")
        if not (self.remote or "").rpartition(":")[2].isdigit():
            raise CliError(f"--remote {self.remote}: expected HOST:PORT")
        try:
            return keys.read(self.key), keys.public_key(self.server_key)
        except keys.KeyFileError as err:
            raise CliError(str(err)) from err

    def ask(self, cmd: str, args: dict[str, Any] | None = None, *, change: bool = False) -> Reply:
        """Ask once. Raises CliError with the problem's words and the exit code that belongs to it."""
        from orchestrator.control.errors import ControlError

        why = self.reason() if change else ""
        with self.client() as client:
            try:
                return client.call(cmd, args, why=why, who=self.person())
            except ControlError as err:
                raise cli_error(err) from err

    def change(self, cmd: str, args: dict[str, Any] | None = None) -> None:
        """Ask for a change and say what came of it."""
        show(self.ask(cmd, args, change=True), cmd, self.as_json)

    def reason(self) -> str:
        """--why, or what a person types. Raises CliError where nobody can be asked."""
        if self.why:
            return self.why
        if not sys.stdin.isatty():
            raise CliError("--why is missing: a change needs a reason", hint='--why "news in PRGN"')
        self.why = str(typer.prompt("why", err=True))
        return self.why

    def person(self) -> str:
        """--who, or the login name."""
        import getpass

        if self.who is None:
            try:
                self.who = getpass.getuser()
            except (OSError, KeyError):
                self.who = ""
        return self.who


def controlled(changes: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options above; its function gets them as `Options` in its first argument."""

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        hints = typing.get_type_hints(function, include_extras=True)
        added = {**_REACH, **(_WHY if changes else {})}

        def call(**given: Any) -> None:
            options = Options(**{n: given.pop(n) for n in added})
            function(options, **given)

        call.__doc__ = function.__doc__
        call.__name__ = function.__name__
        call.__annotations__ = {p.name: hints[p.name] for p in own} | added
        more = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(n), annotation=a) for n, a in added.items()]
        first = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name]) for p in own]
        call.__signature__ = inspect.Signature(first + more)  # type: ignore[attr-defined]
        return call

    return wrap


def target(symbol: str | None, shard: int | None, everything: bool) -> dict[str, Any]:
    """One symbol, one shard or all, as arguments of a command. Raises CliError when it is not exactly one."""
    given = {"symbol": symbol, "shard": shard, "all": everything or None}
    found = {name: value for name, value in given.items() if value is not None}
    if len(found) != 1:
        raise CliError("name a symbol, or --shard N, or --all", hint="exactly one of the three")
    return found


def shard_or_all(shard: int | None) -> dict[str, Any]:
    """One shard, or all of them."""
    return {"all": True} if shard is None else {"shard": shard}


def show(reply: Reply, cmd: str, as_json: bool) -> None:
    """What came of a change."""
    import msgspec

    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(reply, str_keys=True, builtin_types=())))
        return
    where = ", ".join(f"shard {e.shard} at {e.seq}" for e in reply.effects)
    begun = isinstance(reply.data, dict) and reply.data.get("state") == "under way"
    typer.echo(f"{cmd}: {'begun' if begun else 'done'}" + (f"; journaled by {where}" if where else "") + (" (it was done before)" if reply.duplicate else ""))
    if isinstance(reply.data, dict):
        for name, value in reply.data.items():
            typer.echo(f"  {name}: {value if not isinstance(value, dict) else json.dumps(value)}")
    if begun:
        typer.echo(f"hint: peregrine ask {cmd}.status says how far it is", err=True)


def cli_error(error: Any) -> CliError:
    """A ControlError as the command line tells it."""
    done = ", ".join(f"shard {e.shard} at {e.seq}" for e in error.effects)
    message = error.message + (f"; done by {done}" if done else "")
    return CliError(message, hint=error.hint, code=EXIT_CODES.get(error.code, EXIT_INTERNAL))


def _only_one() -> str:
    from orchestrator.control.doors import SOCKET
    from orchestrator.supervise import paths

    base = paths.base_dir()
    found = sorted(p.name for p in base.iterdir() if (p / SOCKET).exists()) if base.is_dir() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise CliError("more than one engine is supervised here", hint="--name one of: " + ", ".join(found), code=EXIT_UNAVAILABLE)
    raise CliError("no supervisor is here", hint="start one with `peregrine up`", code=EXIT_UNAVAILABLE)
