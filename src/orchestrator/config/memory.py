"""What a configuration's pools come to: all of them are sized at start and never grow.

The figures are bytes of the compiled engine's tables, rounded up; a test holds them against a real process.
"""

from __future__ import annotations

from orchestrator.config.models import Engine, Feed, Instrument, Journal

_MIB = 1 << 20
_SHARD = 2 * _MIB  # tables that do not depend on the configuration: locate map, prints, policies
_ORDER = 104  # of the books: its cache line of the table, participant, its share of a price level
_OWN_ORDER = 160
_INSTRUMENT = 6144  # book, features, limits, throttles, telemetry
_SESSION = 2 * _MIB  # wire buffer, backlog, inbox, histograms
_WINDOW_MESSAGE = 72
_SNAPSHOT_CLIENTS = 3 * _MIB


def memory_parts(instruments: list[Instrument], feed: Feed, journal: Journal, engine: Engine) -> dict[str, int]:
    """Bytes by what they are for: `books` (the shards' state), `journal`, `feed`, `rings`, `snapshots`."""
    n = engine.shards
    orders = 1 << (engine.max_orders - 1).bit_length()  # the tables are powers of two
    state = n * (_SHARD + _ORDER * orders + _OWN_ORDER * engine.max_own_orders) + _INSTRUMENT * len(instruments)
    pipelined = engine.topology == "pipelined"
    return {
        "books": state + n * _SESSION,
        "journal": n * journal.ring_mb * _MIB,
        "feed": (1 << max(0, feed.window_messages - 1).bit_length()) * _WINDOW_MESSAGE + _SNAPSHOT_CLIENTS,
        "rings": n * (2 * (engine.feed_ring_kb << 10) + 2 * _MIB) if pipelined else 0,
        "snapshots": state if journal.snapshot_records else 0,  # the follower's second copy of every shard
    }


def memory_mb(instruments: list[Instrument], feed: Feed, journal: Journal, engine: Engine) -> int:
    """The sum in MiB, rounded up."""
    return -(-sum(memory_parts(instruments, feed, journal, engine).values()) // _MIB)
