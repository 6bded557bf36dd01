"""A whole run as its report tells it: every shard's journal read once, and what they come to together."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.control.breakers import history_of
from orchestrator.observe.report_html import curves
from orchestrator.observe.report_html.curves import Line
from orchestrator.observe.report_html.latency import MEASURES, LatencyOverTime, read_hgrm
from orchestrator.observe.report_html.orders import Row
from orchestrator.observe.report_html.reading import TYPES, Kept, ShardReader, ShardReading
from orchestrator.observe.report_html.tables import Tables
from orchestrator.observe.result import RunResult

_TRAILER_BYTES = 88
_TRAILER_TYPE = 2


@dataclass
class Segment:
    """One file of a journal: what its trailer says, "" and 0 while it is open."""

    shard: int
    name: str
    size: int
    records: int = 0
    first_seq: int = 0
    last_seq: int = 0
    sha256: str = ""


@dataclass
class Story:
    """What the page and the tables are made from. Times are nanoseconds since the epoch, money units, integers."""

    folder: Path
    header: Any  # hotpath.journal.header.JournalHeader of the first shard
    first_ns: int
    last_ns: int
    kept: Kept
    latency: LatencyOverTime
    result: RunResult = field(default_factory=RunResult)
    shards: list[ShardReading] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    newest: dict[str, list[Row]] = field(default_factory=dict)  # the page's rows of a table, over all shards in time order
    histograms: dict[str, dict[str, int]] = field(default_factory=dict)  # the run's own .hgrm files, ns
    identical: bool = False
    torn_bytes: int = 0
    notes: list[str] = field(default_factory=list)

    def trips(self) -> list[dict[str, Any]]:
        """Breakers that tripped, as control.breakers tells them: on what, against which limit, armed again by whom."""
        if not any(what.endswith("_breaker") for s in self.shards for _, _, what, _, _ in s.changes):
            return []
        return history_of(self.folder)

    @property
    def ends_ns(self) -> np.ndarray:
        """The end of each column of the curves."""
        return curves.column_ends(self.first_ns, self.last_ns, self.kept.columns)

    def account(self, name: str) -> Line:
        """One curve of the account: the shard's own, or the sum over shards at the end of each column."""
        return curves.total([s.account.get(name, curves.EMPTY) for s in self.shards], self.ends_ns)

    def symbols(self) -> Iterator[tuple[ShardReading, str, dict[str, Any]]]:
        """(shard, symbol, its row of the engine's summary), most fills first."""
        rows = [(shard, symbol, facts) for shard in self.shards for symbol, facts in shard.summary["symbols"].items()]
        yield from sorted(rows, key=lambda row: (-row[2]["fills"], row[0].shard, row[1]))

    def risk_reasons(self) -> dict[str, list[int]]:
        """Reason → [count, first, last], over all shards, the most frequent first."""
        out: dict[str, list[int]] = {}
        for shard in self.shards:
            for reason, (n, first, last) in shard.risk_reasons.items():
                seen = out.setdefault(reason, [0, first, last])
                seen[:] = [seen[0] + n, min(seen[1], first), max(seen[2], last)]
        return dict(sorted(out.items(), key=lambda item: -item[1][0]))

    def max_drawdown(self) -> tuple[int, bool]:
        """The largest fall of the account's profit from its peak so far, and whether it is exact.

        Of one shard it is the engine's own, after each input; of several it is taken at the ends of the columns.
        """
        if len(self.shards) == 1:
            return self.shards[0].max_drawdown_units, True
        values = self.account("pnl_units").values
        if not len(values):
            return 0, False
        peak = np.maximum(np.maximum.accumulate(values), 0)
        return int((peak - values).max()), False


def read_story(folder: Path, tables: Tables, *, kept: Kept | None = None,
               on_progress: Callable[[int, int, int], None] | None = None) -> Story:
    """Replay and read the journals of a run, writing the tables on the way.

    `on_progress(shard, records, of)` hears how far it is. Raises JournalUnreadable.
    """
    from hotpath import _core
    from orchestrator.run import journals
    from orchestrator.run.shards import folders

    kept = kept or Kept()
    own = folders(folder)
    headers, records, first, last = [], [], [], []
    for path in own:
        if not any(path.glob("journal-*.pgj")):
            raise journals.JournalUnreadable(f"{path}: no journal in it", hint=journals.NO_JOURNAL_HINT)
        parsed, _ = journals.read_header(path)
        journals.require_semantics(parsed, path)
        headers.append(parsed)
        try:
            found = _core.journal.summarize(str(path))
        except (ValueError, RuntimeError, OSError) as err:
            raise journals.JournalUnreadable(f"{path}: {err}", hint=journals.CORRUPT_HINT) from err
        records.append(found["records"])
        first.append(found["first_ts_ns"])
        last.append(found["last_ts_ns"])
    story = Story(folder, headers[0], min(first), max(last), kept, LatencyOverTime(min(first), max(last), kept.latency_rows))
    for shard, (path, parsed) in enumerate(zip(own, headers, strict=True)):
        _read_shard(story, shard, path, parsed, tables, records[shard], on_progress)
        story.segments += _segments(shard, path)
    story.identical = all(s.raw["identical"] for s in story.shards)
    story.torn_bytes = sum(s.raw["torn_bytes"] for s in story.shards)
    _result(story, headers)
    _read_histograms(story)
    _write_derived(story, tables)
    return story


def _read_shard(story: Story, shard: int, path: Path, parsed: Any, tables: Tables, of: int,
                on_progress: Callable[[int, int, int], None] | None) -> None:
    from hotpath import _core
    from orchestrator.run import plan
    from orchestrator.run.journals import CORRUPT_HINT, JournalUnreadable

    spec = parsed.config["shard"]
    reading = ShardReading(shard, path, spec, [i["symbol"] for i in spec["instruments"]])
    most = {"orders": story.kept.orders, "risk": story.kept.risk_events, "incidents": story.kept.incidents, "commands": story.kept.commands}
    newest: dict[str, deque[Row]] = {name: deque(maxlen=n) for name, n in most.items()}
    reader = ShardReader(reading, tables, story.latency, story.kept, newest)
    replay = _core.WatchedReplay(
        shard=spec, policies=[p.spec for p in plan.policies_of_header(parsed)], quorum=parsed.config["quorum"], stage=plan.bank_spec
    )
    try:
        raw = replay.run(
            str(path), story.first_ns, story.last_ns, story.kept.columns, story.kept.latency_rows, TYPES, reader.record,
            None if on_progress is None else lambda n: on_progress(shard, n, of),
        )  # fmt: skip
    except (ValueError, RuntimeError) as err:
        raise JournalUnreadable(f"{path}: {err}", hint=CORRUPT_HINT) from err
    reader.finish(replay, raw)
    story.shards.append(reading)
    for name, n in most.items():
        story.newest[name] = sorted([*story.newest.get(name, []), *newest[name]], key=lambda row: (row["ts_ns"], row["shard"], row["seq"]))[-n:]
    of_shard = f"shard {shard}: " if parsed.config.get("shard_number") is not None else ""
    if not raw["identical"]:
        story.notes.append(f"{of_shard}the replay differs from the journal: peregrine verify shows the first difference")
    if not raw["closed"]:
        story.notes.append(f"{of_shard}the journal is open: a run that goes on, or one that ended in a crash")
    if reading.open_orders != raw["summary"]["working_orders"]:
        story.notes.append(f"{of_shard}{reading.open_orders} orders are open by the venue's messages, {raw['summary']['working_orders']} by the engine")
    if replay.changes_not_kept:
        story.notes.append(f"{of_shard}{replay.changes_not_kept:,} later changes of state are not listed")


def _result(story: Story, headers: list[Any]) -> None:
    from orchestrator.run import plan
    from orchestrator.run.results import apply_shards

    effective = story.header.config["effective"]
    story.result = RunResult(
        mode="replay", config_name=effective.get("name", ""), duration_ns=story.last_ns - story.first_ns,
        currency=effective["account"]["currency"], units_per_currency=effective["account"]["units_per_currency"],
        journal=str(story.folder), machine=story.header.machine,
    )  # fmt: skip
    rows = [{**s.summary, "journal_records": s.raw["records"]} for s in story.shards]
    apply_shards(story.result, rows, plan.policies_of_header(headers[0]))


def _segments(shard: int, folder: Path) -> list[Segment]:
    out = []
    for path in sorted(folder.glob("journal-*.pgj")):
        size = path.stat().st_size
        segment = Segment(shard, path.name, size)
        if size >= 128 + _TRAILER_BYTES:
            with path.open("rb") as file:
                file.seek(size - _TRAILER_BYTES)
                tail = file.read()
            length, kind = struct.unpack_from("<IH", tail)
            if length == _TRAILER_BYTES and kind == _TRAILER_TYPE:
                segment.records, segment.first_seq, segment.last_seq = struct.unpack_from("<3Q", tail, 32)
                segment.sha256 = tail[56:88].hex()
        out.append(segment)
    return out


def _read_histograms(story: Story) -> None:
    for path in sorted((story.folder / "histograms").glob("*.hgrm")):
        try:
            story.histograms[path.stem] = read_hgrm(path)
        except (OSError, ValueError) as err:
            story.notes.append(f"histogram {path.name}: {err}")


def _write_derived(story: Story, tables: Tables) -> None:
    """Tables of what is known only at the end: latencies, curves, symbols."""
    for measure in MEASURES:
        for row, s in story.latency.over_time(measure):
            first, last = story.latency.edges(row)
            values = {f"{key}_ns": s[key] for key in ("p50", "p90", "p99", "p99_9", "max")}
            tables["latency"].add({"from_ns": first, "to_ns": last, "measure": measure, "count": s["count"], **values})
    for shard in story.shards:
        lines = [("", name, points) for name, points in shard.account.items()]
        lines += [(symbol, name, points) for symbol, own in shard.symbol_lines.items() for name, points in own.items()]
        for symbol, name, points in lines:
            for at, value in zip(points.ts_ns.tolist(), points.values.tolist(), strict=True):
                tables["curves"].add({"shard": shard.shard, "symbol": symbol, "curve": name, "ts_ns": at, "value": value})
        for symbol, facts in shard.summary["symbols"].items():
            tables["symbols"].add({"shard": shard.shard, "symbol": symbol, **facts})
