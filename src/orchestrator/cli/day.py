"""`peregrine day …`: open with carried positions, reconcile, carry over, archive and verify."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
from orchestrator.cli._named import Desk, Environment, Settings

ORDER = 75
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Run = Annotated[Path, typer.Argument(help="Folder of a run.")]
DropCopyAt = Annotated[str | None, typer.Option("--drop-copy", metavar="HOST:PORT", help="Order-entry address of the venue; logs in with --user.")]
User = Annotated[str, typer.Option("--user", help="Drop-copy account.")]
PasswordEnv = Annotated[str, typer.Option("--password-env", help="Environment variable that holds its password.")]
OtherPorts = Annotated[bool, typer.Option("--other-ports", help="The firm trades elsewhere too: fills this run does not know are not its own.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The trading day: positions carried in, checked with the venue, and put away.")
    group.command("open", help="Take carried positions and limits into a configuration; writes the day's own file.")(open_day)
    group.command(help="Compare a run with the venue's drop copy, execution by execution; exit code 75 when they differ.")(reconcile)
    group.command(help="Write what the next day starts with: positions at the close of a run.")(carry)
    group.command(help="Put a run away: compressed, with a manifest that shows any change.")(archive)
    group.command(help="Read every byte of an archive and compare; exit code 69 when one differs.")(verify)
    group.command(help="Write an archived run out again, as it was.")(restore)
    app.add_typer(group, name="day")


def open_day(
    positions: Annotated[Path, typer.Argument(help="Carry-over file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the day's configuration goes: give it to `up -c`.")],
    config: Annotated[str | None, typer.Option("-c", "--config", help="File, folder, or FOLDER#ENVIRONMENT/DESK.")] = None,
    environment: Environment = None,
    desk: Desk = None,
    overrides: Settings = None,
    edited: Annotated[bool, typer.Option("--edited", help="The file was changed by hand, and that is meant.")] = False,
    unreconciled: Annotated[bool, typer.Option("--unreconciled", help="Open on positions no venue has confirmed.")] = False,
    as_json: AsJson = False,
) -> None:
    """The start of the day."""
    from orchestrator.cli._named import view_of
    from orchestrator.config import ConfigError, View, effective, from_effective
    from orchestrator.config.origin import merged_text
    from orchestrator.config.overrides import apply_overrides
    from orchestrator.config.yaml_tree import Tree
    from orchestrator.day.positions import opening_overrides, opening_problems, read_carry
    from orchestrator.run.plan import today

    view = view_of(config, environment, desk, overrides or ())
    now = effective(view.config)
    found, problems = read_carry(positions)
    problems = [p for p in problems if not (edited and p.path == "sha256")]
    if found is not None:
        problems += [p for p in opening_problems(found, now, today().isoformat(), str(positions)) if not (unreconciled and p.path == "reconciled")]
    if found is None or problems:
        raise ConfigError(problems, str(positions))
    tree = Tree(value=json.loads(json.dumps(now)))
    apply_overrides(tree, opening_overrides(found, now))
    opened = from_effective(tree.value)
    out.write_text(f"# {view.source}, opened with {positions} ({found.session_date})\n" + merged_text(View(opened, tree, "")), encoding="utf-8")
    lots = {symbol: n for symbol, n in opened.account.start_position_lots.items() if n}
    report = {"configuration": view.source, "out": str(out), "positions": lots, "limits": found.limits, "reconciled": found.reconciled}
    typer.echo(json.dumps(report) if as_json else f"{out}: {len(lots)} positions of {found.session_date}"
               + (f", {len(found.limits)} limits" if found.limits else "") + f"; next: peregrine up -c {out}")  # fmt: skip


def reconcile(run: Run, drop_copy: DropCopyAt, user: User = "DROP01", password_env: PasswordEnv = "PEREGRINE_DROP_COPY_PASSWORD",
              other_ports: OtherPorts = False, as_json: AsJson = False) -> None:
    """Our journals against the venue's record."""
    with _errors():
        found = _reconciled(run, str(drop_copy), user, password_env, other_ports)[1]
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    elif found.agreed:
        typer.echo(f"{found.fills} fills agree with the venue's drop copy")
    if not found.agreed:
        if as_json:
            raise typer.Exit(EXIT_TRY_AGAIN)
        raise CliError(f"{len(found.problems)} differences with the venue:\n  " + "\n  ".join(found.problems[:50]),
                       hint="do not trade on these positions: ask the venue", code=EXIT_TRY_AGAIN)  # fmt: skip


def carry(run: Run, out: Annotated[Path, typer.Option("-o", "--out", help="The carry-over file.")], drop_copy: DropCopyAt = None,
          user: User = "DROP01", password_env: PasswordEnv = "PEREGRINE_DROP_COPY_PASSWORD", other_ports: OtherPorts = False,
          as_json: AsJson = False) -> None:
    """The end of the day."""
    from orchestrator.day.fills import read_day
    from orchestrator.day.positions import carry_of

    with _errors():
        if drop_copy is None:
            day, agreed = read_day(run), False
        else:
            day, result = _reconciled(run, drop_copy, user, password_env, other_ports)
            if not result.agreed:
                raise CliError(f"{len(result.problems)} differences with the venue, nothing written:\n  " + "\n  ".join(result.problems[:50]),
                               hint="peregrine day reconcile says more", code=EXIT_TRY_AGAIN)  # fmt: skip
            agreed = True
    found = carry_of(day, reconciled=agreed)
    out.write_text(found.text(), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"out": str(out), "positions": found.positions, "reconciled": agreed, "session_date": found.session_date}))
        return
    open_ = ", ".join(f"{symbol} {lots:+}" for symbol, lots in found.positions.items() if lots) or "flat"
    typer.echo(f"{out}: {found.session_date}, {open_}, {'agreed with the venue' if agreed else 'NOT compared with the venue'}")


def archive(run: Run, out: Annotated[Path | None, typer.Option("-o", "--out", help="The archive's folder; without it RUN.archive.")] = None,
            as_json: AsJson = False) -> None:
    """Put a run away."""
    from orchestrator.day.archive import archive as put_away
    from orchestrator.day.fills import read_day

    with _errors():
        day = read_day(run)
        to = out or run.resolve().with_name(f"{run.resolve().name}.archive")
        facts = {"run": run.resolve().name, "session_date": day.session_date, "engine": day.effective["engine"]["name"],
                 "configuration": day.effective["name"], "fills": len(day.fills), "positions_lots": day.close_lots()}  # fmt: skip
        manifest = put_away(run, to, facts)
    size, packed = (sum(row[key] for row in manifest["files"]) for key in ("bytes", "compressed_bytes"))
    if as_json:
        typer.echo(json.dumps({"archive": str(to), "files": len(manifest["files"]), "bytes": size, "compressed_bytes": packed, "chain": manifest["chain"]}))
        return
    typer.echo(f"{to}: {len(manifest['files'])} files, {size:,} bytes in {packed:,}\nchain {manifest['chain']}")


def verify(folder: Annotated[Path, typer.Argument(help="An archive.")],
           chain: Annotated[str | None, typer.Option("--chain", help="The last chain as it was printed: pins the whole.")] = None,
           as_json: AsJson = False) -> None:
    """Is it as it was put away?"""
    from orchestrator.day.archive import verify as check

    with _errors():
        found = check(folder)
    if chain is not None and chain != found.chain:
        found.problems.append(f"the last chain is {found.chain[:12]}…, not {chain[:12]}…: another archive than the one that was meant")
    if as_json:
        typer.echo(json.dumps({"ok": not found.problems, "files": found.files, "bytes": found.bytes, "chain": found.chain, "problems": found.problems}))
        raise typer.Exit(EXIT_UNAVAILABLE if found.problems else 0)
    if found.problems:
        raise CliError(f"{folder} is damaged:\n  " + "\n  ".join(found.problems), hint="fetch another copy", code=EXIT_UNAVAILABLE)
    typer.echo(f"{folder}: whole, {found.files} files, {found.bytes:,} bytes\nchain {found.chain}")


def restore(folder: Annotated[Path, typer.Argument(help="An archive.")], to: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """As it was."""
    from orchestrator.day.archive import restore as write_out

    with _errors():
        write_out(folder, to)
    typer.echo(f"{to}: written; peregrine verify {to} replays it")


def _reconciled(run: Path, address: str, user: str, password_env: str, other_ports: bool) -> tuple[Any, Any]:
    from orchestrator.day.drop_copy import read_drop_copy
    from orchestrator.day.fills import read_day
    from orchestrator.day.reconcile import reconcile as compare

    password = os.environ.get(password_env, "")
    if not password:
        raise CliError(f"{password_env} is not set", hint=f"export {password_env}=…, or --password-env")
    day = read_day(run)
    return day, compare(day, read_drop_copy(address, user, password), whole_firm=not other_ports)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    from orchestrator.cli._run import journal_errors
    from orchestrator.day.archive import ArchiveError
    from orchestrator.day.drop_copy import DropCopyError

    with journal_errors():
        try:
            yield
        except (ArchiveError, DropCopyError) as err:
            raise CliError(str(err), hint=err.hint, code=EXIT_UNAVAILABLE) from err
