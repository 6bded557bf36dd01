"""`peregrine book`: the order books after the Nth message of a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli._errors import CliError

if TYPE_CHECKING:
    from hotpath._core import market as mk

ORDER = 51


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Print the books after the Nth message of FILE (an ITCH file, or a pcap capture of MoldUDP64), "
                      "best price first; a tick is 1/10,000.")
    def book(
        file: Annotated[Path, typer.Argument(help="ITCH file (plain, .gz, .zst) or pcap capture")],
        at: Annotated[int | None, typer.Option("--at", help="after this many messages; default: all", min=0)] = None,
        levels: Annotated[int, typer.Option(help="price levels a side", min=1, max=100_000)] = 10,
        symbol: Annotated[str, typer.Option(help="only this symbol")] = "",
        as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    ) -> None:
        market, applied = build(file, at)
        if at is not None and applied < at:
            raise CliError(f"{file}: only {applied} messages, --at asks for {at}", hint=f"use --at {applied} or less")
        names = [market.symbol(ix) for ix in range(market.instruments)]
        if symbol and symbol not in names:
            raise CliError(f"{file}: no symbol {symbol!r} in the first {applied} messages",
                           hint="leave --symbol out to see all of them")
        wanted = [symbol] if symbol else names
        books = {name: book_of(market, name, levels) for name in wanted}
        if as_json:
            print(json.dumps(books))
        else:
            show(books, wanted if symbol else [n for n in wanted if books[n]["bids"] or books[n]["asks"]], applied)
        report(market)


def build(file: Path, at: int | None) -> tuple[mk.Market, int]:
    """The market after `at` messages of `file` (all of them when None), and how many there were."""
    from hotpath.market.files import sniff
    from orchestrator.cli.decode import check_itch, existing

    existing(file)
    if file.is_dir():
        raise CliError(f"{file}: a directory", hint="book reads ITCH files and captures; for a journal: decode, replay")
    kind = sniff(file)
    if kind == "pcap":
        return build_from_capture(file, at)
    if kind != "itch":
        raise CliError(f"{file}: a {kind} file", hint="book reads ITCH files and pcap captures of MoldUDP64")
    check_itch(file)
    return build_from_itch(file, at)


def new_market(file_bytes: int) -> mk.Market:
    """A market whose pools hold whatever a file of this many (compressed) bytes can."""
    from hotpath._core import market

    orders = min(1 << 24, max(1 << 12, file_bytes // 4))
    return market.Market(max_instruments=65_535, max_orders=orders, max_levels=max(1 << 12, min(1 << 22, orders)))


def build_from_itch(file: Path, at: int | None) -> tuple[mk.Market, int]:
    """Apply a length-prefixed file in whole blocks."""
    from hotpath.market.files import CHUNK_BYTES, TruncatedError, read_chunks

    market = new_market(file.stat().st_size)
    rest, applied, offset = b"", 0, 0
    limit = (1 << 64) - 1 if at is None else at
    note = ""
    try:
        for piece in read_chunks(file, CHUNK_BYTES):
            rest += piece
            n, used, end = market.apply(rest, applied + 1, limit - applied)
            applied, offset, rest = applied + n, offset + used, rest[used:]
            if end == "limit":
                return market, applied
            if end == "end" and rest:  # a zero length: the end by the file's own word
                return market, applied
    except TruncatedError as err:
        note = str(err)
    if rest or note:
        print(f"warning: {file}: truncated at byte {offset} after {applied} messages"
              f" ({note or f'{len(rest)} bytes of an unfinished message'})", file=sys.stderr)
    return market, applied


def build_from_capture(file: Path, at: int | None) -> tuple[mk.Market, int]:
    """Apply the MoldUDP64 messages of a capture in the order captured, each sequence number once."""
    from hotpath._core import market as core
    from hotpath.market.pcap import UDP, read_capture

    capture = read_capture(file)
    if capture.error and capture.error != "truncated":
        raise CliError(f"{file}: {capture.error}", hint="book reads classic pcap captures of Ethernet")
    market = new_market(file.stat().st_size)
    seen: set[tuple[bytes, int]] = set()
    for packet in capture.packets:
        parsed = core.mold_parse(packet.payload) if packet.protocol == UDP else None
        session, first, _, messages = parsed or (b"", 0, 0, [])
        for i, msg in enumerate(messages):
            key = (session, first + i)
            if key in seen:
                continue
            if at is not None and len(seen) >= at:
                return market, len(seen)
            seen.add(key)
            market.on_message(msg, key[1], packet.ts_ns)
    if capture.error:
        print(f"warning: {file}: truncated at byte {capture.stopped_at}", file=sys.stderr)
    return market, len(seen)


def book_of(market: mk.Market, symbol: str, levels: int) -> dict[str, Any]:
    """{bids: [{price_ticks, qty_lots, orders}], asks: […]} of one symbol, best first."""
    ix = market.find(symbol)
    assert ix is not None
    return {key: [{"price_ticks": p, "qty_lots": q, "orders": n} for p, q, n in market.levels(ix, side, levels)]
            for key, side in (("bids", "B"), ("asks", "S"))}


def show(books: dict[str, Any], names: list[str], applied: int) -> None:
    """Tables for people: bids left, asks right."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name in names:
        table = Table(title=f"{name} after message {applied}")
        for column in ("orders", "shares", "bid", "ask", "shares", "orders"):
            table.add_column(column, justify="right")
        bids, asks = books[name]["bids"], books[name]["asks"]
        for i in range(max(len(bids), len(asks))):
            b = bids[i] if i < len(bids) else None
            a = asks[i] if i < len(asks) else None
            left = (str(b["orders"]), str(b["qty_lots"]), f"{b['price_ticks'] / 10_000:.4f}") if b else ("", "", "")
            right = (f"{a['price_ticks'] / 10_000:.4f}", str(a["qty_lots"]), str(a["orders"])) if a else ("", "", "")
            table.add_row(*left, *right)
        console.print(table)
    if not names:
        console.print(f"no orders after message {applied}")


def report(market: mk.Market) -> None:
    """Say on stderr what did not apply: a book built from a damaged file is not to be trusted."""
    outcomes = market.stats()["outcomes"]
    bad = {k: v for k, v in outcomes.items() if v and k not in ("applied", "ignored")}
    if bad:
        print("warning: " + ", ".join(f"{v} {k}" for k, v in bad.items()) + ": the books may be wrong", file=sys.stderr)
