"""The journal: what the engine consumed and what it was about to send, in one numbered sequence.

Appending, moving to disk, reading, recovery and snapshots are C++ (`hotpath._core.journal`), re-exported here;
`hotpath.journal.header` builds and parses the self-contained header record.
"""

from hotpath._core.journal import (
    FORMAT_VERSION,
    SEMANTICS_VERSION,
    Appender,
    FaultyDisk,
    Follower,
    JournalError,
    Reader,
    RecordType,
    Writer,
    crc32c,
    newest_snapshot,
    prune_snapshots,
    read_snapshot,
    recover,
    ring_path_of,
    summarize,
    verify_chain,
    write_snapshot,
)

__all__ = [
    "FORMAT_VERSION",
    "SEMANTICS_VERSION",
    "Appender",
    "FaultyDisk",
    "Follower",
    "JournalError",
    "Reader",
    "RecordType",
    "Writer",
    "crc32c",
    "newest_snapshot",
    "prune_snapshots",
    "read_snapshot",
    "recover",
    "ring_path_of",
    "summarize",
    "verify_chain",
    "write_snapshot",
]
