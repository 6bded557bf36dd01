"""`peregrine day …`: open with carried positions, reconcile, carry over, archive and verify."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
from orchestrator.cli._named import Desk, Environment, Settings

if TYPE_CHECKING:
    from orchestrator.config.models import Config
    from orchestrator.day.drop_copy import DropCopy

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
    group.command(help="End the day: stop the tree in order, agree with the venue, write what is carried, put the run away.")(roll)
    group.command(help="How the reconciler beside a live engine stands; exit code 75 when a difference does.")(agreement)
    group.command(help="Compare a run with the venue's drop copy, execution by execution; exit code 75 when they differ.")(reconcile)
    group.command(help="Write what the next day starts with: positions at the close of a run.")(carry)
    group.command(help="Put a run away: compressed, with a manifest that shows any change.")(archive)
    group.command(help="Read every byte of an archive and compare; exit code 69 when one differs.")(verify)
    group.command(help="Write an archived run out again, as it was.")(restore)
    group.command(help="What trading cost: fees by liquidity flag, and markouts of the fills.")(tca)
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
    drop_copy: Annotated[str | None, typer.Option("--drop-copy", metavar="HOST:PORT", help="Where the venue says what we hold; default: the configuration's, where it has a reconciler.")] = None,
    user: User = "DROP01",
    password_env: PasswordEnv = "PEREGRINE_DROP_COPY_PASSWORD",
    despite: Annotated[str | None, typer.Option("--despite", metavar="WHY", help="Open although the venue says otherwise; who and why stand in the day's configuration and journal.")] = None,
    as_json: AsJson = False,
) -> None:
    """The start of the day."""
    from orchestrator.cli._named import view_of
    from orchestrator.config import ConfigError, Problem, View, effective, from_effective
    from orchestrator.config.origin import merged_text
    from orchestrator.config.overrides import apply_overrides
    from orchestrator.config.yaml_tree import Tree
    from orchestrator.day.opening import DATE, another_session, opened, venue_problems
    from orchestrator.day.positions import opening_overrides, opening_problems, read_carry
    from orchestrator.run.plan import today

    view = view_of(config, environment, desk, overrides or ())
    now = effective(view.config)
    with _errors():
        told = _venue_now(view.config, drop_copy, user, password_env)
    found, problems = read_carry(positions)
    problems = [p for p in problems if not (edited and p.path == "sha256")]
    if found is not None:
        problems += [p for p in opening_problems(found, now, today().isoformat(), str(positions))
                     if not (unreconciled and p.path == "reconciled") and not (p.path == DATE and another_session(found, told))]  # fmt: skip
    said = venue_problems(found, told, str(positions)) if found is not None and told is not None else []
    if told is None and view.config.environment == "production":
        said.append(Problem("venue", "not asked what we hold", "in production, its own word", "--drop-copy HOST:PORT, or day.reconcile in the configuration"))
    if found is None or problems or (said and not despite):
        raise ConfigError([*problems, *said], str(positions))
    tree = Tree(value=json.loads(json.dumps(now)))
    apply_overrides(tree, {**opening_overrides(found, now), **opened(str(positions), found, told, said, despite or "")})
    today_s = from_effective(tree.value)
    out.write_text(f"# {view.source}, opened with {positions} ({found.session_date})\n" + merged_text(View(today_s, tree, "")), encoding="utf-8")
    lots = {symbol: n for symbol, n in today_s.account.start_position_lots.items() if n}
    report = {"configuration": view.source, "out": str(out), "positions": lots, "limits": found.limits, "reconciled": found.reconciled,
              "venue_session": told.session if told else None, "overridden": today_s.day.opened.overridden}  # fmt: skip
    if said and not as_json:
        typer.echo("opened all the same:\n  " + "\n  ".join(today_s.day.opened.overridden), err=True)
    typer.echo(json.dumps(report) if as_json else f"{out}: {len(lots)} positions of {found.session_date}"
               + (f", {len(found.limits)} limits" if found.limits else "")
               + (f", as the venue has them in session {told.session}" if told and not said else "" if told else ", the venue was NOT asked") + f"; next: peregrine up -c {out}")  # fmt: skip


def roll(name: Annotated[str | None, typer.Argument(help="Name of the tree; not needed when one is up.")] = None,
         out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the carry-over file, the archive and the account of it.")] = Path("days"),
         drop_copy: DropCopyAt = None, user: User = "DROP01", password_env: PasswordEnv = "PEREGRINE_DROP_COPY_PASSWORD",
         other_ports: OtherPorts = False,
         unreconciled: Annotated[bool, typer.Option("--unreconciled", help="Go on although nobody has compared the run with the venue.")] = False,
         as_json: AsJson = False) -> None:
    """The end of the day, step by step; again after a step that did not come out goes on from there."""
    from orchestrator.cli._trees import pick_tree
    from orchestrator.day.roll import RollStopped
    from orchestrator.day.roll import roll as put_away
    from orchestrator.supervise import state_file
    from orchestrator.supervise.ending import bring_down
    from orchestrator.supervise.paths import runtime_dir

    chosen = pick_tree(name)
    state = state_file.read(runtime_dir(chosen))
    report = bring_down(chosen, by="peregrine day roll")
    before = [] if report is None else [{"step": "stop", "open_orders": report.open_orders, "orders": report.orders, "fills": report.fills, "notes": report.notes}]
    try:
        with _errors():
            found = put_away(Path(state.run), out, read_venue=_venue_reader(drop_copy, user, password_env), unreconciled=unreconciled,
                             whole_firm=not other_ports, before=before)  # fmt: skip
    except RollStopped as err:
        raise CliError(f"{chosen}: stopped at {err.step}: {err}", hint=err.hint, code=EXIT_TRY_AGAIN) from err
    if as_json:
        typer.echo(json.dumps({"name": chosen, "run": str(found.run), "carry": str(found.carry_file), "archive": str(found.archive), "chain": found.chain,
                               "positions": found.carry.positions, "reconciled": found.carry.reconciled, "steps": found.steps}))  # fmt: skip
        return
    open_ = ", ".join(f"{symbol} {lots:+}" for symbol, lots in found.carry.positions.items() if lots) or "flat"
    typer.echo(f"{chosen}: {found.carry.session_date} {found.carry.venue_session} is over, {open_}, "
               f"{'agreed with the venue' if found.carry.reconciled else 'NOT compared with the venue'}\n"
               f"carry {found.carry_file}\narchive {found.archive}\nchain {found.chain}\n"
               f"next: peregrine day open {found.carry_file} -o today.yaml, in the venue's next session")  # fmt: skip


def agreement(name: Annotated[str | None, typer.Argument(help="Name of the tree; not needed when one is up.")] = None,
              again: Annotated[bool, typer.Option("--again", help="Have both records read again from their beginnings, and wait for what comes of it.")] = False,
              as_json: AsJson = False) -> None:
    """The reconciler's status."""
    import msgspec

    from orchestrator.cli._trees import pick_tree
    from orchestrator.day.again import read_again
    from orchestrator.day.reconciler import read_status
    from orchestrator.supervise.paths import runtime_dir

    chosen = pick_tree(name)
    found = read_again(chosen) if again else read_status(runtime_dir(chosen))
    if found is None:
        raise CliError(f"{chosen} has no reconciler", hint="day.reconcile.enabled: true", code=EXIT_UNAVAILABLE)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found)))
    else:
        typer.echo(f"{chosen}: {found.state}, {found.agreed:,} executions agreed, {found.waiting} waiting (the oldest {found.lag_ns // 1_000_000} ms), "
                   f"drop copy at {found.last_seq:,} of session {found.session or '?'}, {found.gaps} gaps, lost {found.lost} times"
                   + (f"\nproblem: {found.problem}" if found.problem else "") + "".join(f"\ndiffers: {line}" for line in found.standing))  # fmt: skip
    if found.standing:
        raise typer.Exit(EXIT_TRY_AGAIN)


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
    from orchestrator.day.marks import closing_marks
    from orchestrator.day.positions import carry_of
    from orchestrator.day.roll import reconciled_by

    with _errors():
        if drop_copy is None:
            day = read_day(run)
            agreed, said = reconciled_by(run, day)
            if agreed is False:
                raise CliError(f"{len(said)} differences with the venue, nothing written:\n  " + "\n  ".join(said[:50]),
                               hint="peregrine day reconcile asks it again", code=EXIT_TRY_AGAIN)  # fmt: skip
        else:
            day, result = _reconciled(run, drop_copy, user, password_env, other_ports)
            if not result.agreed:
                raise CliError(f"{len(result.problems)} differences with the venue, nothing written:\n  " + "\n  ".join(result.problems[:50]),
                               hint="peregrine day reconcile says more", code=EXIT_TRY_AGAIN)  # fmt: skip
            agreed = True
    found = carry_of(day, closing_marks(run, day.close_lots()), reconciled=agreed is True)
    out.write_text(found.text(), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"out": str(out), "positions": found.positions, "reconciled": found.reconciled, "session_date": found.session_date}))
        return
    open_ = ", ".join(f"{symbol} {lots:+}" for symbol, lots in found.positions.items() if lots) or "flat"
    typer.echo(f"{out}: {found.session_date}, {open_}, {'agreed with the venue' if found.reconciled else 'NOT compared with the venue'}")


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


def tca(run: Run, horizon: Annotated[list[str] | None, typer.Option("--horizon", help="Time after a fill: 1ms, 10s; may be repeated.")] = None,
        as_json: AsJson = False) -> None:
    """Fees and markouts."""
    from orchestrator.cli._durations import duration_ns
    from orchestrator.day.tca import HORIZONS_NS, report

    with _errors():
        found = report(run, sorted({duration_ns(text) for text in horizon}) if horizon else HORIZONS_NS)
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{found['fills']} fills, fees {found['fees_units']:,} units ({found['units_per_currency']:,} to the {found['currency']})")
    for row in found["by_flag"]:
        typer.echo(f"  {row['symbol']:8} {row['role']:6} flag {row['flag']}  {row['fills']:>6} fills {row['lots']:>9,} lots  "
                   f"value {row['value_units']:>16,}  fees {row['fee_units']:>10,}")  # fmt: skip
    for row in found["markouts"]:
        after = "at the fill" if row["horizon_ns"] == 0 else f"after {row['horizon_ns'] / 1e6:g} ms"
        typer.echo(f"  {row['symbol']:8} {row['role']:6} {after:16} {row['markout_units']:>14,} units over {row['fills']} fills, {row['without_mid']} without a mid")


def _venue_reader(address: str | None, user: str, password_env: str) -> Callable[[], DropCopy] | None:
    """What reads the drop copy there; None without an address."""
    from orchestrator.day.drop_copy import read_drop_copy

    if address is None:
        return None
    password = os.environ.get(password_env, "")
    if not password:
        raise CliError(f"{password_env} is not set", hint=f"export {password_env}=…, or --password-env")
    return lambda: read_drop_copy(address, user, password)


def _venue_now(config: Config, address: str | None, user: str, password_env: str) -> DropCopy | None:
    """What the venue says now, asked where it was said, or as the configuration's reconciler would; None where nobody can."""
    from orchestrator.config.models import ExternalVenue
    from orchestrator.config.secrets import drop_copy_password
    from orchestrator.day.drop_copy import read_drop_copy

    if (reader := _venue_reader(address, user, password_env)) is not None:
        return reader()
    if not isinstance(config.venue, ExternalVenue) or not config.day.reconcile.enabled:
        return None
    login = config.day.reconcile.login
    return read_drop_copy(login.address or config.venue.ouch, login.username, drop_copy_password(login))


def _reconciled(run: Path, address: str, user: str, password_env: str, other_ports: bool) -> tuple[Any, Any]:
    from orchestrator.day.fills import read_day
    from orchestrator.day.reconcile import reconcile as compare

    reader = _venue_reader(address, user, password_env)
    assert reader is not None
    day = read_day(run)
    return day, compare(day, reader(), whole_firm=not other_ports)


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
