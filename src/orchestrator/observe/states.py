"""Names of the numbers that telemetry tells, as labels of metrics: lower case, words joined by _; and one of them in words."""

from __future__ import annotations

FEED_STATES = ("down", "recovering", "live", "gapped", "stale", "ended")
TRADING_STATES = ("starting", "trading", "throttled", "paused", "draining", "killed", "journal_stopped", "breaker")
SYMBOL_STATES = ("stale", "trading", "halted", "stopped")
DEVICE_STATES = ("none", "asked", "probing", "breaker_open", "loading")
BREAKER_STATES = ("armed", "cooling", "awaits_rearm")

#: bit of `breakers_open` → label
BREAKERS = {1: "message_rate", 2: "reject_rate", 4: "loss", 8: "drawdown"}


def lost_words(orders: int, messages: int = 0) -> str:
    """Of orders that were open when the venue began another session, and of messages of it that were never seen, and what is to be
    done; "" for none."""
    said = []
    if orders:
        one = orders == 1
        said.append(f"the venue began another session while {orders:,} order{'' if one else 's'} {'was' if one else 'were'} open, and does not tell what "
                    f"became of {'it' if one else 'them'}")  # fmt: skip
    if messages:
        said.append(f"the venue went on behind {messages:,} message{'' if messages == 1 else 's'} that we never saw, and fills may be among them")
    return "; ".join(said) + ": compare positions with the venue's, then peregrine revive" if said else ""
