"""The 64-byte market event as a numpy record, equal to market/event.h field for field."""

from __future__ import annotations

import numpy as np

EVENT_DTYPE = np.dtype([
    ("seq", "<u8"), ("ts_event_ns", "<i8"), ("ts_rx_ns", "<i8"), ("instrument", "<u4"), ("kind", "u1"),
    ("side", "u1"), ("flags", "<u2"), ("order_id", "<u8"), ("price_ticks", "<i8"), ("qty_lots", "<i8"),
    ("aux", "<u8"),
])

KINDS = ("none", "add", "execute", "execute_at", "reduce", "delete", "replace", "trade", "cross", "broken",
         "trading_state", "system", "directory", "short_sale", "imbalance", "collar", "operational_halt")
