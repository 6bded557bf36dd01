"""`peregrine decode`: any file of messages, a message a line."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli._errors import CliError

if TYPE_CHECKING:
    from orchestrator.cli._decode_sources import Line, Warnings

ORDER = 50


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Print every message of FILE, one a line: ITCH files (plain, .gz, .zst), pcap captures of "
                      "MoldUDP64 or SoupBinTCP/OUCH, and journals (a segment or the directory).")
    def decode(
        file: Annotated[Path, typer.Argument(help="what to read; its format is found by its contents")],
        as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
        limit: Annotated[int | None, typer.Option(help="stop after this many messages", min=0)] = None,
        types: Annotated[str, typer.Option("--type", help="only these message types, e.g. AFU")] = "",
    ) -> None:
        from orchestrator.cli._decode_sources import Warnings

        warnings = Warnings()
        counts: Counter[str] = Counter()
        lines = open_lines(file, warnings)
        chosen = (line for line in lines if not types or line.get("type", "") in types and line.get("type"))
        for line in islice(chosen, limit):
            counts[str(line.get("error") or line.get("record") or line.get("type") or line.get("name") or line.get("packet_type"))] += 1
            sys.stdout.write((json.dumps(line) if as_json else human(line)) + "\n")
        sys.stdout.flush()
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if not as_json or warnings:
            parts = ", ".join(f"{k} {v}" for k, v in sorted(counts.items()))
            print(f"{sum(counts.values())} messages{': ' if parts else ''}{parts}", file=sys.stderr)


def existing(file: Path) -> Path:
    """`file`, or a CliError that says it is not there, or not readable."""
    if not file.exists():
        raise CliError(f"{file}: no such file", hint="give the path of an ITCH file, a pcap capture or a journal")
    try:
        if not file.is_dir():
            with file.open("rb"):
                pass
    except OSError as err:
        raise CliError(f"{file}: {err.strerror}", hint="check its permissions") from err
    return file


def open_lines(file: Path, warnings: Warnings) -> Iterator[Line]:
    """The messages of `file` by the format its contents have."""
    from hotpath.market.files import sniff
    from orchestrator.cli import _decode_journal, _decode_sources

    existing(file)
    if file.is_dir():
        if not _decode_journal.journal_files(file):
            raise CliError(f"{file}: no journal segments here", hint="a journal directory holds journal-000001.pgj …")
        return _decode_journal.journal_lines(file, warnings)
    kind = sniff(file)
    if kind == "journal":
        return _decode_journal.journal_lines(file, warnings)
    if kind == "pcap":
        return _decode_sources.pcap_lines(file, warnings)
    if kind == "pcapng":
        raise CliError(f"{file}: pcapng is not read", hint="convert it: editcap -F nsecpcap IN OUT")
    check_itch(file)
    return _decode_sources.itch_lines(file, warnings)


def check_itch(file: Path) -> None:
    """A CliError when the file does not begin as an ITCH file does: a length, then a message of a known type."""
    from hotpath._core import market
    from hotpath.market.files import TruncatedError, read_chunks

    try:
        head = next(read_chunks(file, 64), b"")
    except TruncatedError as err:
        raise CliError(f"{file}: the compressed data cannot be read: {err}", hint="fetch the file again") from err
    if not head:
        raise CliError(f"{file}: empty", hint="nothing to decode")
    length = market.message_types().get(chr(head[2]), ("", 0))[1] if len(head) > 2 else 0
    if not length or int.from_bytes(head[:2], "big") < length:
        raise CliError(
            f"{file}: neither an ITCH file, a pcap capture nor a journal (begins with {head[:8].hex(' ')})",
            hint="an ITCH file is u16 big-endian length + message, repeated; .gz and .zst are fine")


HEAD_KEYS = {"n", "offset", "type", "name", "ts_ns", "rx_ns", "packet", "src", "dst", "layer", "session", "seq",
             "record", "journal_seq", "generation", "packet_type", "packet_name"}


def human(line: Line) -> str:
    """One readable line: number, time, what it is, then its fields."""
    parts = [f"{line['n']:>8}"]
    if "ts_ns" in line:
        parts.append(day_time(line["ts_ns"]))
    elif "rx_ns" in line:
        parts.append(day_time(line["rx_ns"] % 86_400_000_000_000))
    if "record" in line:
        parts.append(f"#{line['journal_seq']} {line['record']}")
    if "src" in line:
        parts.append(f"{line['src']} > {line['dst']}")
    if "packet_type" in line:
        parts.append(f"{line['packet_type']} {line['packet_name']}")
    if line.get("layer") == "moldudp64":
        parts.append(f"{line['session']}/{line['seq']}")
    if line.get("type") or line.get("name"):
        parts.append(f"{line.get('type', '')} {line.get('name', '')}".strip())
    parts += [f"{k.removesuffix('_ticks')}={_show(k, v)}" for k, v in line.items() if k not in HEAD_KEYS]
    if line.get("layer") == "soupbintcp" and "session" in line:
        parts.append(f"session={line['session'].strip()}")
    return "  ".join(parts)


def day_time(ns: int) -> str:
    """Nanoseconds since midnight as HH:MM:SS.nnnnnnnnn."""
    s, frac = divmod(ns, 1_000_000_000)
    return f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}.{frac:09}"


def _show(key: str, value: Any) -> str:
    if key.endswith("_ticks") and isinstance(value, int):
        sign = "-" if value < 0 else ""
        return f"{sign}{abs(value) // 10_000}.{abs(value) % 10_000:04}"
    if key == "appendage":
        return "[" + " ".join(f"{e.get('name', e['tag'])}={e.get('value', e.get('hex'))}" for e in value) + "]"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)
