"""Names of the numbers that telemetry tells, as labels of metrics: lower case, words joined by _; and one of them in words."""

from __future__ import annotations

FEED_STATES = ("down", "recovering", "live", "gapped", "stale", "ended")
TRADING_STATES = ("starting", "trading", "throttled", "paused", "draining", "killed", "journal_stopped", "breaker")
SYMBOL_STATES = ("stale", "trading", "halted", "stopped")
DEVICE_STATES = ("none", "asked", "probing", "breaker_open", "loading")
BREAKER_STATES = ("armed", "cooling", "awaits_rearm")

#: bit of `breakers_open` → label
BREAKERS = {1: "message_rate", 2: "reject_rate", 4: "loss", 8: "drawdown"}


def lost_words(orders: int) -> str:
    """Of orders that were open when the venue began another session, and what is to be done; "" for none."""
    if not orders:
        return ""
    one = orders == 1
    return (f"the venue began another session while {orders:,} order{'' if one else 's'} {'was' if one else 'were'} open, and does not tell what became of "
            f"{'it' if one else 'them'}: compare positions with the venue's, then peregrine revive")  # fmt: skip
