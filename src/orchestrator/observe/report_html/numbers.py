"""Numbers as the page shows them: exact money, prices, times. Integers come in; the formatting here is the last step."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

MINUS = "−"  # as wide as a plus in tabular figures


class Format:
    """How one run's numbers are written: its currency, its units, its session's time zone."""

    def __init__(self, currency: str, units_per_currency: int, zone: str) -> None:
        self.currency = currency
        self.units = max(1, units_per_currency)
        self.digits = max(2, len(str(self.units)) - 1)
        self.zone = ZoneInfo(zone)

    def money(self, units: int, *, sign: bool = True) -> str:
        """Money to the last unit, without the currency's name: +1,550.1550."""
        whole, rest = divmod(abs(units), self.units)
        fraction = str(rest * 10**self.digits // self.units).rjust(self.digits, "0")
        head = MINUS if units < 0 else "+" if sign and units > 0 else ""
        return f"{head}{whole:,}.{fraction}"

    def price(self, ticks: int) -> str:
        """A price in ticks of 1/units: 99.9800."""
        return self.money(ticks, sign=False)

    def clock(self, ts_ns: int | None, digits: int = 6) -> str:
        """Wall-clock time of the session's zone, with `digits` of the second."""
        if not ts_ns:
            return "-"
        seconds, rest = divmod(ts_ns, 1_000_000_000)
        at = dt.datetime.fromtimestamp(seconds, self.zone)
        return f"{at:%H:%M:%S}" + (f".{rest:09d}"[: digits + 1] if digits else "")

    def moment(self, ts_ns: int) -> str:
        """Date and time."""
        return f"{dt.datetime.fromtimestamp(ts_ns // 1_000_000_000, self.zone):%Y-%m-%d %H:%M:%S %Z}"


def signed(value: int) -> str:
    """A count with its sign: +326, −326, 0."""
    return f"+{value:,}" if value > 0 else f"{MINUS}{-value:,}" if value < 0 else "0"


def duration(ns: int | None) -> str:
    """A time in the unit it reads best in: 740 ns, 12.3 µs, 4.56 ms, 1.20 s, 4 min 05 s, 6 h 30 min."""
    if ns is None:
        return "-"
    for limit, divisor, unit, digits in ((10**3, 1, "ns", 0), (10**6, 10**3, "µs", 1), (10**9, 10**6, "ms", 2), (60 * 10**9, 10**9, "s", 2)):
        if abs(ns) < limit:
            return f"{ns / divisor:.{digits}f} {unit}"
    minutes, seconds = divmod(ns // 1_000_000_000, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
