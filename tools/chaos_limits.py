"""What must hold at every moment, read afterwards from two records: the venue's (limits) and the engine's journal (who may send
when, and that time never runs backwards)."""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos_judge import ENTER, INTENT, RECOVERED, REPLACE, SESSION
from chaos_world import ACCOUNT, VenueRun

# journal/record.h
COMMAND, CONTROL = 21, 23
PAUSE, RESUME, DRAIN, SUPERVISOR_LOST, SUPERVISOR_BACK = 4, 5, 6, 2, 6
ENTRIES = ("accepted", "replaced", "executed", "canceled", "prevented", "modified")


@dataclass(frozen=True)
class Limits:
    """Of a configuration's `risk` section; what is not stated is not judged. Lots, orders, money units (ticks times lots)."""

    long_lots: int
    short_lots: int
    symbol_orders: int | None = None
    account_orders: int | None = None
    account_units: int | None = None

    @classmethod
    def of(cls, risk: dict[str, Any]) -> Limits:
        """Those of an effective configuration."""
        return cls(risk["max_long_lots"], risk["max_short_lots"], risk["max_working_orders"], risk["max_account_orders"],
                   risk["max_account_notional_units"])  # fmt: skip


def limits_passed(venue: VenueRun, limits: Limits) -> list[str]:
    """A sentence about every moment at which the venue's record shows more than was allowed: of a symbol, its position with
    all orders of one side executed on top; its orders; of the account, orders and their value."""
    from hotpath import _venue

    day = _venue.VenueDay(venue.config())
    day.catch_up()
    held: dict[int, int] = defaultdict(int)
    opened: dict[tuple[int, int], tuple[int, bool, int, int]] = {}  # port, number → symbol, buy, lots, ticks
    ports = {venue.port(shard) for shard in range(venue.shards)}
    found = []
    for e in day.record(0):
        if e["port"] not in ports or e["kind"] not in ENTRIES:
            continue
        number, buy, symbol = (e["port"], e["user_ref_num"]), e["side"] == "B", e["symbol"]
        if e["kind"] == "replaced":
            opened.pop((e["port"], e["orig_ref_num"]), None)
        if e["kind"] == "executed":
            held[symbol] += e["qty"] if buy else -e["qty"]
        # An execution's price is the trade's; the order's own is what its acceptance said.
        ticks = e["price_ticks"] if e["kind"] in ("accepted", "replaced") or number not in opened else opened[number][3]
        opened[number] = (symbol, buy, e["open"], ticks)
        if e["open"] == 0:
            del opened[number]
        of_symbol = [o for o in opened.values() if o[0] == symbol]
        buys = sum(lots for _, b, lots, _ in of_symbol if b)
        sells = sum(lots for _, b, lots, _ in of_symbol if not b)
        moment = f"symbol {symbol} at {e['ts_ns']}"
        if held[symbol] + buys > limits.long_lots or sells - held[symbol] > limits.short_lots:
            found.append(f"{moment}: position {held[symbol]}, buys {buys}, sells {sells}")
        if limits.symbol_orders is not None and len(of_symbol) > limits.symbol_orders:
            found.append(f"{moment}: {len(of_symbol)} orders of the symbol")
        if limits.account_orders is not None and len(opened) > limits.account_orders:
            found.append(f"{moment}: {len(opened)} orders of {ACCOUNT}")
        units = sum(lots * at for _, _, lots, at in opened.values())
        if limits.account_units is not None and units > limits.account_units:
            found.append(f"{moment}: orders worth {units} units")
    return found


def journal_faults(journal: Path, *, loss_policy: str = "trade") -> list[str]:
    """A sentence about every record that must not be where it is: time that runs backwards; an order while the shard is held
    by its supervisor, before the venue has said what became of a dead life's orders, or, where the policy says so, while
    there is no supervisor."""
    from hotpath import _core

    found = []
    last_ns = 0
    paused = alone = False
    fenced = True
    for kind, seq, ts_ns, _, payload in _core.journal.Reader(str(journal)):
        if ts_ns < last_ns:
            found.append(f"record {seq} is {last_ns - ts_ns} ns earlier than the one before")
        last_ns = ts_ns
        if kind == RECOVERED:
            fenced, alone = False, False  # a new life is held until a supervisor lets it go, and hears of it anew
        elif kind == SESSION and payload[0] == ord("S") and payload[1] == ord("X"):
            fenced = True
        elif kind == COMMAND:
            command = struct.unpack_from("<H", payload, 8)[0]
            paused = command in (PAUSE, DRAIN) or (paused and command != RESUME)
        elif kind == CONTROL:
            alone = payload[0] == SUPERVISOR_LOST or (alone and payload[0] != SUPERVISOR_BACK)
        elif kind == INTENT and payload[0] in (ENTER, REPLACE):
            if paused:
                found.append(f"record {seq} sends an order though the shard is held")
            if not fenced:
                found.append(f"record {seq} sends an order before the fate of the last life's is known")
            if alone and loss_policy in ("stop", "cancel"):
                found.append(f"record {seq} sends an order though the supervisor is lost ({loss_policy})")
    return found
