"""numpy views of the engine's byte layouts; tests hold each equal to what the compiler laid out.

All little-endian, all packed: offsets are the sum of the sizes before.
"""

from __future__ import annotations

import numpy as np

EVENT_DTYPE = np.dtype([
    ("seq", "<u8"),          # feed sequence number
    ("ts_event_ns", "<i8"),  # the venue's time
    ("ts_rx_ns", "<i8"),     # our receive time
    ("instrument", "<u4"),
    ("kind", "u1"),
    ("side", "u1"),          # 0 buy, 1 sell
    ("flags", "<u2"),
    ("order_id", "<u8"),
    ("price_ticks", "<i8"),
    ("qty_lots", "<i8"),
    ("aux", "<u8"),
])
"""market/event.h: Event, 64 bytes."""

RECORD_HEADER_DTYPE = np.dtype([
    ("length", "<u4"),       # whole record, header and padding included
    ("type", "<u2"),
    ("pad", "<u2"),
    ("seq", "<u8"),
    ("ts_ns", "<i8"),
    ("generation", "<u4"),
    ("crc32c", "<u4"),
])
"""journal/record.h: RecordHeader, 32 bytes."""

EVENT_KINDS = ("none", "add", "execute", "execute_at", "reduce", "delete", "replace", "trade", "cross", "broken",
               "trading_state", "system", "directory", "short_sale", "imbalance", "collar", "operational_halt")
"""Names of EventKind by number."""
