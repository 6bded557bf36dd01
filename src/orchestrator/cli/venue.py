"""`peregrine venue`: the simulated exchange with real sockets on this machine."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_UNAVAILABLE, CliError

ORDER = 20

DEMO_ACCOUNTS = (
    {"user": "DEMO01", "password": "PEREGRINE1", "firm": "DEM1"},
    {"user": "DEMO02", "password": "PEREGRINE2", "firm": "DEM2"},
    {"user": "DROP01", "password": "PEREGRINE1", "firm": "DEM1", "drop_copy_of": "DEM1"},
    {"user": "DROP02", "password": "PEREGRINE2", "firm": "DEM2", "drop_copy_of": "DEM2"},
)


def midnight_ns(now: float | None = None) -> int:
    """Nanoseconds since the epoch of the last midnight in US/Eastern, where protocol times count from."""
    zone = ZoneInfo("America/New_York")
    day = dt.datetime.fromtimestamp(time.time() if now is None else now, zone).date()
    return int(dt.datetime.combine(day, dt.time(), zone).timestamp()) * 1_000_000_000


def new_session(now: float | None = None) -> str:
    """A session name of ten characters that differs from one start to the next."""
    tenths = int((time.time() if now is None else now) * 10)
    return f"PRG{tenths % 10_000_000:07d}"


def parse_duration(text: str, option: str = "--for") -> float:
    """Seconds of "90", "30s", "500ms", "5m" or "1h"."""
    for suffix, unit in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)):
        if suffix and not text.endswith(suffix):
            continue
        try:
            seconds = float(text[: len(text) - len(suffix)]) * unit
        except ValueError:
            break
        if seconds > 0:
            return seconds
        break
    raise CliError(f'{option} "{text}" is not a time', hint="write for example 30s, 5m or 1h")


def parse_symbols(text: str) -> list[dict[str, Any]]:
    """Symbols of "PRGN,FLCN=250.00": a name, and the price its flow starts at (100.00 when none is given)."""
    symbols = []
    for item in text.split(","):
        name, _, price = item.strip().partition("=")
        if not (1 <= len(name) <= 8 and name.isalnum() and name == name.upper()):
            raise CliError(f'symbol "{name}" is not usable', hint="1 to 8 capital letters or digits, as in PRGN,FLCN=250.00")
        try:
            ticks = round(float(price or 100.0) * 100) * 100
        except ValueError as err:
            raise CliError(f'price "{price}" of {name} is not a number', hint="write for example PRGN=100.00") from err
        if not 100_000 <= ticks <= 100_000_000:
            raise CliError(f"price {price} of {name} is out of range", hint="from 10.00 to 10000.00")
        symbols.append({"symbol": name, "reference_ticks": ticks})
    if len({s["symbol"] for s in symbols}) != len(symbols):
        raise CliError("a symbol is named twice", hint="each of --symbols once")
    return symbols


def shard_accounts(username: str, shards: int) -> list[dict[str, str]]:
    """A demo account as `shards` order-entry ports of its firm: the account itself, then one more for each shard."""
    from orchestrator.run.shards import user_of

    account = next(a for a in DEMO_ACCOUNTS if a["user"] == username)
    return [{**account, "user": user_of(username, shard)} for shard in range(shards)]


def venue_config(
    *,
    seed: int = 7,
    symbols: str = "PRGN",
    rate: int = 2000,
    fault: str = "",
    session: str = "",
    cancel_on_disconnect: bool = False,
    extra_symbols: int = 0,
    orders_per_symbol: int = 340,
    shards: int = 1,
    **addresses: Any,
) -> dict[str, Any]:
    """The configuration dict of `hotpath._venue.VenueServer` for the command's options.

    Also what an embedded venue starts from: `VenueServer(venue_config(seed=7))`.
    """
    ports: list[dict[str, Any]] = [dict(a) for a in DEMO_ACCOUNTS]
    for account in DEMO_ACCOUNTS:
        if "drop_copy_of" not in account:
            ports += [dict(a) for a in shard_accounts(account["user"], shards)[1:]]
    for port in ports:
        port["cancel_on_disconnect"] = cancel_on_disconnect and "drop_copy_of" not in port
    listed = parse_symbols(symbols) + [{"symbol": f"X{i:04}", "reference_ticks": 1_000_000} for i in range(1, extra_symbols + 1)]
    if len({s["symbol"] for s in listed}) != len(listed):
        raise CliError("a symbol is named like one of --extra-symbols", hint="X0001, X0002 … are made up")
    return {
        "symbols": listed,
        "ports": ports,
        "session": session or new_session(),
        "midnight_ns": midnight_ns(),
        "max_orders": max(1 << 17, 4 * len(listed) * orders_per_symbol),
        "flow": {"seed": seed, "rate_per_s": rate, "target_orders": orders_per_symbol},
        "faults": fault,
        **addresses,
    }


def read_holdings(path: Path | None) -> dict[str, dict[str, int]]:
    """What the firms hold, by a file an earlier day's venue left: {"session": …, "firms": {"DEM1": {"PRGN": -56}}}.

    No file there yet: the demo firms hold nothing. Without a path nothing is known. Raises CliError.
    """
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {a["firm"]: {} for a in DEMO_ACCOUNTS}
    except OSError as err:
        raise CliError(f"holdings {path}: {err.strerror}", code=EXIT_UNAVAILABLE) from err
    try:
        firms = json.loads(text)["firms"]
        return {str(firm): {str(symbol): int(lots) for symbol, lots in held.items()} for firm, held in firms.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise CliError(f"holdings {path}: not such a file ({type(err).__name__}: {err})", hint="a venue with --holdings writes one at its end") from err


def write_holdings(path: Path, firms: dict[str, dict[str, int]], session: str) -> None:
    """The file for the next day's venue, replaced whole. Raises OSError."""
    from orchestrator.supervise.files import replace_whole

    replace_whole(path, (json.dumps({"session": session, "firms": firms}, indent=1) + "\n").encode())


def ready_line(server: Any, config: dict[str, Any]) -> dict[str, Any]:
    """What is printed once the venue can be traded on."""
    return {
        "ouch": server.ouch,
        "itch_a": server.itch_a,
        "itch_b": server.itch_b,
        "retransmit": server.retransmit,
        "glimpse": server.glimpse,
        "session": server.session,
        "seed": config["flow"]["seed"],
        "symbols": [s["symbol"] for s in config["symbols"]],
    }


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Run the simulated exchange: OUCH order entry and an ITCH feed on loopback sockets.")
    def venue(
        seed: Annotated[int, typer.Option(min=0, help="Seed of the background flow and of the faults.")] = 7,
        symbols: Annotated[str, typer.Option(help="Symbols and start prices: PRGN,FLCN=250.00")] = "PRGN",
        rate: Annotated[int, typer.Option(min=0, max=1_000_000, help="Flow events a second and symbol; 0 = none.")] = 2000,
        recording: Annotated[Path | None, typer.Option(help="Replay this ITCH file's orders in place of the generator.")] = None,
        speed: Annotated[int, typer.Option(min=1, help="Speed of the recording in percent.")] = 100,
        extra_symbols: Annotated[int, typer.Option(min=0, max=8192, help="This many made-up symbols besides: X0001, X0002 …")] = 0,
        orders_per_symbol: Annotated[int, typer.Option(min=4, max=10_000, help="Resting orders the flow keeps about on each symbol.")] = 340,
        shards: Annotated[int, typer.Option(min=1, max=16, help="Order-entry ports of each account: DEMO01, D1SH01, D1SH02 …")] = 1,
        fault: Annotated[str, typer.Option(help="Faults: loss=1%,reorder=1%,dup=1%,delay=2ms@10%,corrupt=1%,disconnect=30s,halt=PRGN@10s+5s,reject=2%,lag=5ms,late=200ms; a. b. r. for one line.")] = "",
        ouch_port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port of order entry; 0 = any free one.")] = 0,
        glimpse_port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port of snapshots.")] = 0,
        retransmit_port: Annotated[int, typer.Option(min=0, max=65535, help="UDP port of re-requests.")] = 0,
        itch_a: Annotated[str, typer.Option(help="Where line A is sent, unicast or multicast.")] = "127.0.0.1:0",
        itch_b: Annotated[str, typer.Option(help="Where line B is sent.")] = "127.0.0.1:0",
        host: Annotated[str, typer.Option(help="Address to listen on. The demo passwords are public: keep it loopback.")] = "127.0.0.1",
        session: Annotated[str, typer.Option(help="Session name, up to 10 characters; default: a new one each start.")] = "",
        cancel_on_disconnect: Annotated[bool, typer.Option(help="Cancel an account's orders when its connection drops.")] = False,
        state: Annotated[Path | None, typer.Option(help="File of the day: every input is written there before it acts; a restart with the same file goes on where a killed venue was.")] = None,
        holdings: Annotated[Path | None, typer.Option(help="File of what the firms hold: told on their drop copies at the start, replaced at a clean end.")] = None,
        silence: Annotated[str, typer.Option(help="A connection that says nothing for so long is closed.")] = "15s",
        closed: Annotated[bool, typer.Option("--pre-open", help="Start before the open; orders rest but do not trade.")] = False,
        for_: Annotated[str, typer.Option("--for", help="Stop after this time, as in 30s or 5m.")] = "",
        until_input_ends: Annotated[
            bool, typer.Option("--until-input-ends", hidden=True, help="Stop when standard input is closed: by whoever started it, or by its death.")
        ] = False,
    ) -> None:
        import hotpath._venue as _venue
        from orchestrator.supervise.once import when_input_ends

        seconds = parse_duration(for_) if for_ else None
        if len(session) > 10:
            raise CliError(f'session "{session}" is longer than 10 characters')
        config = venue_config(
            seed=seed, symbols=symbols, rate=rate, fault=fault, session=session, extra_symbols=extra_symbols,
            orders_per_symbol=orders_per_symbol, shards=shards,
            cancel_on_disconnect=cancel_on_disconnect, host=host, ouch_port=ouch_port, glimpse_port=glimpse_port,
            retransmit_port=retransmit_port, itch_a=itch_a, itch_b=itch_b, open_at_start=not closed,
            state=str(state) if state else "", holdings=read_holdings(holdings), silence_ns=round(parse_duration(silence, "--silence") * 1e9),
        )
        try:
            with _plain_file(recording) as plain:  # read whole by the constructor
                replayed = {"recording": plain, "recording_speed_percent": speed} if plain else {}
                server = _venue.VenueServer({**config, **replayed})
            if session and server.session != session:
                raise CliError(f'{state} holds the day "{server.session}", not "{session}"', hint="leave --session out, or name another file")
            server.start()
        except ValueError as err:
            raise CliError(str(err)) from err
        except (OSError, RuntimeError) as err:
            hint = "its --state file or its ports may belong to another venue; port 0 takes a free one" if state else (
                "another venue may hold the port; port 0 takes a free one")
            raise CliError(f"the venue cannot start: {err}", hint=hint, code=EXIT_UNAVAILABLE) from err

        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        if until_input_ends:
            when_input_ends(stop.set)
        print(json.dumps(ready_line(server, config)), flush=True)
        deadline = None if seconds is None else time.monotonic() + seconds
        while not stop.wait(0.2 if deadline is None else max(0.0, min(0.2, deadline - time.monotonic()))):
            if deadline is not None and time.monotonic() >= deadline:
                break
            if server.error:
                raise CliError(f"the venue stopped: {server.error}", hint="what it could not write down it did not do",
                               code=EXIT_INTERNAL)
        stats = server.stats()
        server.stop()
        if holdings is not None:
            write_holdings(holdings, server.holdings(), server.session)
        print(_summary(server, stats, config["ports"]), file=sys.stderr)


@contextlib.contextmanager
def _plain_file(path: Path | None) -> Iterator[str]:
    """Name of the recording as an uncompressed file while inside; "" for none."""
    if path is None:
        yield ""
        return
    if not path.is_file():
        raise CliError(f"recording {path} is not a file")
    if path.suffix != ".zst":
        yield str(path)
        return
    from peregrine_sim.flow_stats import load

    with tempfile.NamedTemporaryFile(prefix="peregrine-", suffix=".itch") as out:
        out.write(load(path))
        out.flush()
        yield out.name


def _summary(server: Any, stats: dict[str, Any], ports: list[dict[str, Any]]) -> str:
    lines = [f"venue: {stats['itch_messages']} feed messages, {stats['flow_events']} flow events, "
             f"{stats['ouch_in']} order messages in, {stats['ouch_out']} out"]
    for line in ("line_a", "line_b", "retransmit"):
        lines.append(f"  {line}: " + ", ".join(f"{v} {k}" for k, v in stats[line].items() if v or k == "packets"))
    lines.append(f"  {stats['retransmit_requests']} re-requests, {stats['snapshots']} snapshots, {stats['logins']} logins, "
                 f"{stats['disconnects_forced']} forced disconnects")
    for account in ports:
        if "drop_copy_of" in account:
            continue
        s = server.summary(account["user"])
        if not (s["accepted"] or s["rejected"]):
            continue
        lines.append(f"  {account['user']}: {s['accepted']} accepted, {s['rejected']} rejected, {s['executed']} executions, "
                     f"bought {s['bought']}, sold {s['sold']}, cash {s['cash_ticks'] / 10_000:+.2f}, fees {s['fees_ticks'] / 10_000:.2f}, "
                     f"{s['open_orders']} open")
    return "\n".join(lines)
