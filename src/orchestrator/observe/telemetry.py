"""What a running engine shows: the region "telemetry" of its shared segment, read without disturbing it.

The engine writes plain 8-byte words with relaxed atomic stores and never waits for a reader; a reader takes
one copy of the region and works on the copy. Single words are never torn; two words may be of two moments.

    region "telemetry": all integers little-endian, every block 64-byte aligned

    0          8         12        16           20            24            28            32
    +----------+---------+---------+------------+-------------+-------------+-------------+
    | magic    | version | bytes   | counters_n | counters_at | histograms_n| histograms_at|
    +----------+---------+---------+------------+-------------+-------------+-------------+
    | instruments_n | instruments_at | units_per_currency u64 | published u64 | rejects_n | rejects_at |
    +---------------+----------------+------------------------+---------------+-----------+------------+
    32              36               40                       48              56          60           64

    magic       8 ASCII bytes "PRGTELE1"
    version     1; a reader refuses any other
    bytes       size of the whole region
    *_at        offset from the region's start
    published   raised by one after the tables below are complete: 0 = not ready yet

    counter: 32 bytes          0                        24              32
                               +------------------------+---------------+
                               | name, NUL-padded ASCII | i64 value     |
                               +------------------------+---------------+

    instrument: 64 bytes       symbol (8 ASCII, space-padded), then i64: bid_ticks, ask_ticks, last_ticks,
                               position_lots, pnl_units, working_lots, state
                               state: 0 book stale or not built, 1 trading, 2 halted, 3 stopped by us

    histogram: 64 bytes        0       24          28         32        36      40      48       56       64
                               +-------+-----------+----------+---------+-------+-------+--------+--------+
                               | name  | counts_at | counts_n | sub_bits| zero  | max   | min    | sum    |
                               +-------+-----------+----------+---------+-------+-------+--------+--------+
                               max, min, sum are i64 (0 while nothing is recorded); at counts_at (from the
                               region's start) stand counts_n u64 bucket counts.

    reject count: 32 bytes     as a counter; the name is the gate's reason, "price_collar", or the venue's code,
                               "venue.12" ("venue.63": that or higher). rejects_n = 0: an engine that does not tell

    limits: 64 bytes           right after the reject counts, aligned, a row for each instrument, i64 each:
                               worst_long_lots, limit_long_lots, worst_short_lots, limit_short_lots,
                               working_orders, limit_working_orders, working_units, limit_working_units

    The counts are those of a `Histogram` (core/histogram.h) that lies in the region and is recorded into in place;
    max, min and sum are copied into the head by a timer, so they may be a little older than the counts.

    Bucket of a value v ≥ 0 with s = sub_bits (log-linear, 2^s steps an octave; one less than the Histogram's own
    sub_bits, which counts the buckets below its first octave):
        e = max(0, bit_length(v) − 1 − s);  bucket = e·2^s + (v >> e), the last bucket takes all above
    Buckets below 2^(s+1) hold one value each; above, the bucket's highest value is what a percentile reports.

Counters are levels or running totals; which is which stands in `COUNTERS`. Names end in their unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MAGIC = b"PRGTELE1"
VERSION = 1
REGION = "telemetry"

HEADER_DTYPE = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("bytes", "<u4"),
        ("counters_n", "<u4"),
        ("counters_at", "<u4"),
        ("histograms_n", "<u4"),
        ("histograms_at", "<u4"),
        ("instruments_n", "<u4"),
        ("instruments_at", "<u4"),
        ("units_per_currency", "<u8"),
        ("published", "<u8"),
        ("rejects_n", "<u4"),
        ("rejects_at", "<u4"),
    ]
)
COUNTER_DTYPE = np.dtype([("name", "S24"), ("value", "<i8")])
INSTRUMENT_DTYPE = np.dtype(
    [
        ("symbol", "S8"),
        ("bid_ticks", "<i8"),
        ("ask_ticks", "<i8"),
        ("last_ticks", "<i8"),
        ("position_lots", "<i8"),
        ("pnl_units", "<i8"),
        ("working_lots", "<i8"),
        ("state", "<i8"),
    ]
)
LIMIT_DTYPE = np.dtype(
    [(f"{kind}{name}", "<i8") for name in ("long_lots", "short_lots") for kind in ("worst_", "limit_")]
    + [(f"{kind}working_{name}", "<i8") for name in ("orders", "units") for kind in ("", "limit_")]
)
HISTOGRAM_DTYPE = np.dtype(
    [
        ("name", "S24"),
        ("counts_at", "<u4"),
        ("counts_n", "<u4"),
        ("sub_bits", "<u4"),
        ("zero", "<u4"),
        ("max", "<i8"),
        ("min", "<i8"),
        ("sum", "<i8"),
    ]
)
#: where the counters end at the latest, bytes from the region's start: the engine lays them out first
COUNTERS_END = 64 + 128 * COUNTER_DTYPE.itemsize
assert HEADER_DTYPE.itemsize == 64 and COUNTER_DTYPE.itemsize == 32
assert INSTRUMENT_DTYPE.itemsize == 64 and HISTOGRAM_DTYPE.itemsize == 64 and LIMIT_DTYPE.itemsize == 64

#: Counters the engine publishes, in this order: name → (kind, meaning). A total only rises; a level moves both ways.
COUNTERS: dict[str, tuple[str, str]] = {
    "now_ns": ("level", "time of the last input, nanoseconds since the epoch"),
    "started_ns": ("level", "time of the first input"),
    "events": ("total", "feed messages consumed"),
    "malformed": ("total", "feed messages that could not be decoded"),
    "decisions": ("total", "times the policies were asked"),
    "held": ("total", "decisions that asked for nothing: no quorum, veto or a signal that raised"),
    "orders": ("total", "new orders and replaces sent"),
    "cancels": ("total", "cancels sent"),
    "acks": ("total", "orders and replaces the venue accepted"),
    "fills": ("total", "executions"),
    "filled_lots": ("total", "quantity executed"),
    "rejects": ("total", "orders the venue refused"),
    "risk_rejects": ("total", "orders the gate refused"),
    "working_orders": ("level", "orders at the venue now"),
    "unknown_orders": ("level", "orders whose fate the venue has not told"),
    "pnl_units": ("level", "realised and marked profit after fees, money units"),
    "fees_units": ("level", "fees paid (negative: rebates earned), money units"),
    "feed_state": ("level", "0 down, 1 recovering, 2 live, 3 gapped, 4 stale, 5 ended"),
    "session_ready": ("level", "1 when the order session is reconciled and may trade"),
    "trading_state": (
        "level",
        "0 starting, 1 trading, 2 throttled, 3 paused, 4 draining, 5 killed, 6 journal stopped it, 7 stopped by a breaker",
    ),
    "gaps": ("total", "holes in the feed after A/B arbitration"),
    "recovered": ("total", "messages re-requested and received"),
    "snapshots": ("total", "book rebuilds from the snapshot service"),
    "stale_ns": ("total", "time with books that were not sound"),
    "reconnects": ("total", "order-session connections after the first"),
    "journal_seq": ("total", "last journal record written"),
    "journal_bytes": ("total", "bytes appended to the journal"),
    "journal_free_bytes": ("level", "room left in the journal's ring"),
    "policy_version": ("level", "first 8 bytes of the deciding policy set's hash, as signed"),
    "inputs": ("total", "inputs consumed, of every kind"),
    "idle_polls": ("total", "polls that found nothing"),
    "overruns": ("total", "times this shard did not keep up with its feed and its books were thrown away"),
    "journal_ring_bytes": ("level", "size of the journal's ring"),
    "account_orders": ("level", "orders that claim something of the limits, unknown ones counted"),
    "limit_account_orders": ("level", "how many there may be"),
    "account_units": ("level", "value of those orders, money units"),
    "limit_account_units": ("level", "how much it may be"),
    "gross_units": ("level", "value of positions and working orders, signs ignored, money units"),
    "limit_gross_units": ("level", "how much it may be"),
    "credit_units": ("level", "money tied up in positions and orders, money units"),
    "limit_credit_units": ("level", "how much it may be"),
    "loss_units": ("level", "loss of the day, 0 in profit, money units"),
    "limit_loss_units": ("level", "loss that stops trading"),
    "drawdown_units": ("level", "fall from the day's best, money units"),
    "limit_drawdown_units": ("level", "fall that stops trading"),
    "window_messages": ("level", "orders, replaces and cancels within the message window"),
    "limit_messages": ("level", "how many there may be"),
    "lease_units": ("level", "gross exposure leased to this shard, money units"),
    "soft_permille": ("level", "share of a limit, of 1,000, from which it is in its soft state"),
    "device_used": ("total", "decisions a device answered for every slot"),
    "device_fallback": ("total", "decisions where the kernels made up for the device"),
    "device_late": ("total", "answers of the device for a decision nobody waits for any more"),
    "device_dropped": ("total", "answers dropped because the book had moved on"),
    "device_wrong": ("total", "answers the kernels found wrong"),
    "device_full": ("total", "asks that found no room at the device and were decided at once"),
    "lag_ns": ("level", "age of the oldest sampled feed message consumed in the last 10 ms, 0 = none"),
    "stalls": ("total", "times the shard was not looked at for longer than engine.stall_ms"),
    "stall_max_ns": ("level", "the longest of them"),
    "thread": ("level", "number of the thread that polls the shard"),
    "active_symbols": ("level", "symbols that may open positions, the first ones of the shard"),
    "positions": ("level", "symbols with a position or with orders that work or are unknown"),
    "limit_positions": ("level", "how many there may be; 0 = no such limit"),
    "soft_positions": ("level", "from how many on one more has to wait; 0 = no such level"),
    "breakers_open": ("level", "bits of tripped breakers: 1 message rate, 2 reject rate, 4 loss, 8 drawdown"),
    "breaker_trips": ("total", "times a breaker tripped"),
    "lease_lots": ("level", "worst-case lots this shard may come to"),
    "lease_epoch": ("level", "number of the last change of the lease"),
    "breakers_cooling": ("level", "those of breakers_open whose cooldown is not over: they cannot be armed again yet"),
    "device_state": ("level", "0 no device, 1 asked, 2 asked once to see (probing), 3 not asked: its breaker is open, 4 being loaded"),
    "device_asked": ("total", "decisions the device was asked for"),
    "device_missed": ("total", "of them, those whose deadline came first"),
    "device_failed": ("total", "of them, those answered with nothing that can be used"),
    "device_trips": ("total", "times the device's breaker opened"),
    "clock_offset_ns": ("level", "wall clock less the engine's own time, which follows no step and never runs backwards"),
    "clock_steps": ("total", "times the wall clock was set by more than a second; nothing is decided upon it"),
    "session_phase": (
        "level",
        "0 down, 1 logging in, 2 querying, 3 mass cancelling, 4 cancelling, 5 settling, 6 ready, 7 halted, 8 ended by the venue",
    ),
    "lost_orders": ("level", "orders that were open when the venue began another session: what became of them it does not tell"),
    "lost_messages": ("level", "messages of the venue that were never seen and will not be told again: fills may be among them"),
}

#: Histograms the engine publishes, nanoseconds. `tick_to_order` is end to end; the rest are its stages, in order.
HISTOGRAMS: dict[str, str] = {
    "tick_to_order": "receive stamp of the packet to the order handed to the socket",
    "decode_book": "feed message to book updated",
    "features": "features computed",
    "policy": "policies and consensus",
    "risk": "gate",
    "encode_journal": "order encoded, intent committed to the journal",
    "send": "the send call",
    "order_to_ack": "order sent to the venue's answer",
    "noise": "gaps a bare spinning thread saw in this run",
    "lag": "receive stamp of a packet to its message consumed by the shard, sampled",
    "round": "from one look at a shard to the next while there was work, sampled",
}

PERCENTILES: tuple[tuple[str, float], ...] = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9))


class TelemetryError(Exception):
    """The region cannot be read: another layout version, not ready, or not telemetry at all."""


@dataclass(frozen=True)
class HistogramView:
    """One copied histogram: bucket counts and what is needed to turn a bucket back into a value (ns)."""

    name: str
    counts: np.ndarray
    sub_bits: int
    max: int
    sum: int = 0  # of all values, as of the last 100 ms

    @property
    def count(self) -> int:
        """Values recorded."""
        return int(self.counts.sum())

    def percentile(self, percent: float) -> int:
        """Highest value of the bucket that holds the given percentile, never above `max`; 0 when empty."""
        total = self.count
        if total == 0:
            return 0
        rank = max(1, -int(-(total * percent) // 100))
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank))
        high, below = bucket_high(bucket, self.sub_bits), bucket_high(bucket - 1, self.sub_bits) if bucket else -1
        return min(high, self.max) if self.max > below else high  # a max older than the counts does not cap them

    def summary(self) -> dict[str, int]:
        """`{p50, p90, p99, p99_9, max, count}`, nanoseconds."""
        out = {name: self.percentile(percent) for name, percent in PERCENTILES}
        return {**out, "max": max(self.max, self.percentile(100)) if self.count else 0, "count": self.count}


@dataclass(frozen=True)
class Snapshot:
    """One reading of a running engine. `counters` by name; `instruments` a structured array (INSTRUMENT_DTYPE)."""

    counters: dict[str, int]
    histograms: dict[str, HistogramView]
    instruments: np.ndarray
    units_per_currency: int = 10_000
    rejects: dict[str, int] = field(default_factory=dict)  # "price_collar", "venue.12" → refusals so far
    limits: np.ndarray = field(default_factory=lambda: np.zeros(0, LIMIT_DTYPE))  # a row an instrument, or none
    extra: dict[str, object] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.counters.get(name, 0)


def bucket_of(value: int, sub_bits: int, counts_n: int) -> int:
    """Bucket a value is counted in; see the module's drawing. Negative values count as 0."""
    value = max(value, 0)
    exponent = max(0, value.bit_length() - 1 - sub_bits)
    return min((exponent << sub_bits) + (value >> exponent), counts_n - 1)


def bucket_high(bucket: int, sub_bits: int) -> int:
    """Highest value counted in a bucket."""
    exponent = max(0, (bucket >> sub_bits) - 1)
    return ((bucket - (exponent << sub_bits) + 1) << exponent) - 1


def read(region: bytes | bytearray | memoryview) -> Snapshot:
    """Copy and take apart one telemetry region.

    Raises TelemetryError for another magic or version, for tables that reach outside the region, and while the
    engine has not published yet.
    """
    data = bytes(region)
    head, counters = _head_and_counters(data)
    instruments = _table(data, INSTRUMENT_DTYPE, head["instruments_at"], head["instruments_n"])
    histograms = {}
    for row in _table(data, HISTOGRAM_DTYPE, head["histograms_at"], head["histograms_n"]):
        counts = _table(data, np.dtype("<u8"), row["counts_at"], row["counts_n"])
        name = row["name"].decode("ascii", "replace")
        if not 1 <= int(row["sub_bits"]) <= 16:
            raise TelemetryError(f"histogram {name}: {int(row['sub_bits'])} sub-bucket bits, 1 to 16 expected")
        histograms[name] = HistogramView(name, counts, int(row["sub_bits"]), int(row["max"]), int(row["sum"]))
    rejects = _table(data, COUNTER_DTYPE, head["rejects_at"], head["rejects_n"])
    limits_at = _align(int(head["rejects_at"]) + rejects.nbytes)
    return Snapshot(
        counters=counters,
        histograms=histograms,
        instruments=instruments,
        units_per_currency=max(1, int(head["units_per_currency"])),
        rejects={row["name"].decode("ascii", "replace"): int(row["value"]) for row in rejects},
        limits=_table(data, LIMIT_DTYPE, limits_at, len(instruments) if len(rejects) else 0),
    )


def read_counters(region: bytes | bytearray | memoryview) -> dict[str, int]:
    """The counters alone, by name; the region's first COUNTERS_END bytes are enough. Raises as `read`."""
    return _head_and_counters(bytes(region))[1]


def _head_and_counters(data: bytes) -> tuple[np.void, dict[str, int]]:
    if len(data) < HEADER_DTYPE.itemsize:
        raise TelemetryError(f"telemetry region of {len(data)} bytes, at least {HEADER_DTYPE.itemsize} expected")
    head = np.frombuffer(data, HEADER_DTYPE, 1)[0]
    if bytes(head["magic"]) != MAGIC:
        raise TelemetryError(f"not a telemetry region: it starts with {data[:8]!r}, {MAGIC!r} expected")
    if int(head["version"]) != VERSION:
        raise TelemetryError(
            f"telemetry layout {int(head['version'])}, this peregrine reads {VERSION}: use the release that runs the engine"
        )
    if int(head["published"]) == 0:
        raise TelemetryError("the engine is still starting: its tables are not published yet")
    counters = _table(data, COUNTER_DTYPE, head["counters_at"], head["counters_n"])
    return head, {row["name"].decode("ascii", "replace"): int(row["value"]) for row in counters}


def build(
    counters: dict[str, int],
    histograms: dict[str, list[int]],
    instruments: list[tuple[str, int, int, int, int, int, int, int]],
    *,
    sub_bits: int = 8,
    counts_n: int = 8960,
    units_per_currency: int = 10_000,
    rejects: dict[str, int] | None = None,
    limits: list[tuple[int, ...]] | None = None,
) -> bytes:
    """Lay a region out by the drawing above: the reference for the engine's writer, and what tests read back.

    `histograms` holds raw values in nanoseconds, `instruments` rows in the order of INSTRUMENT_DTYPE,
    `limits` a row for each of them in the order of LIMIT_DTYPE (zeros where left out) if there are `rejects`.
    """
    at = HEADER_DTYPE.itemsize
    counters_at, at = at, _align(at + COUNTER_DTYPE.itemsize * len(counters))
    instruments_at, at = at, _align(at + INSTRUMENT_DTYPE.itemsize * len(instruments))
    histograms_at, at = at, _align(at + HISTOGRAM_DTYPE.itemsize * len(histograms))
    stride = _align(8 * counts_n)
    rejects_at = at + stride * len(histograms)
    limits_at = _align(rejects_at + COUNTER_DTYPE.itemsize * len(rejects or {}))
    out = bytearray(limits_at + (LIMIT_DTYPE.itemsize * len(instruments) if rejects else 0))
    head = np.zeros(1, HEADER_DTYPE)
    head[0] = (
        MAGIC,
        VERSION,
        len(out),
        len(counters),
        counters_at,
        len(histograms),
        histograms_at,
        len(instruments),
        instruments_at,
        units_per_currency,
        1,
        len(rejects or {}),
        rejects_at if rejects else 0,
    )
    out[: HEADER_DTYPE.itemsize] = head.tobytes()
    rows = np.array([(name.encode(), value) for name, value in counters.items()], COUNTER_DTYPE)
    out[counters_at : counters_at + rows.nbytes] = rows.tobytes()
    lines = np.array([(row[0].ljust(8).encode(), *row[1:]) for row in instruments], INSTRUMENT_DTYPE)
    out[instruments_at : instruments_at + lines.nbytes] = lines.tobytes()
    for i, (name, values) in enumerate(histograms.items()):
        counts_at = at + i * stride
        entry = np.zeros(1, HISTOGRAM_DTYPE)
        entry[0] = (
            name.encode(),
            counts_at,
            counts_n,
            sub_bits,
            0,
            max(values, default=0),
            min(values, default=0),
            sum(values),
        )
        out[histograms_at + i * 64 : histograms_at + (i + 1) * 64] = entry.tobytes()
        counts = np.zeros(counts_n, "<u8")
        for value in values:
            counts[bucket_of(value, sub_bits, counts_n)] += 1
        out[counts_at : counts_at + counts.nbytes] = counts.tobytes()
    if rejects:
        named = np.array([(name.encode(), value) for name, value in rejects.items()], COUNTER_DTYPE)
        out[rejects_at : rejects_at + named.nbytes] = named.tobytes()
        bounds = np.zeros(len(instruments), LIMIT_DTYPE)
        for i, row in enumerate(limits or []):
            bounds[i] = row
        out[limits_at : limits_at + bounds.nbytes] = bounds.tobytes()
    return bytes(out)


def _align(at: int) -> int:
    return (at + 63) // 64 * 64


def _table(data: bytes, dtype: np.dtype, at: int, n: int) -> np.ndarray:
    end = int(at) + int(n) * dtype.itemsize
    if end > len(data):
        raise TelemetryError(f"telemetry table ends at byte {end}, the region has {len(data)}")
    return np.frombuffer(data, dtype, int(n), int(at)).copy()
