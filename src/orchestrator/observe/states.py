"""Names of the numbers that telemetry tells, as labels of metrics: lower case, words joined by _."""

from __future__ import annotations

FEED_STATES = ("down", "recovering", "live", "gapped", "stale", "ended")
TRADING_STATES = ("starting", "trading", "throttled", "paused", "draining", "killed", "journal_stopped", "breaker")
SYMBOL_STATES = ("stale", "trading", "halted", "stopped")
DEVICE_STATES = ("none", "asked", "probing", "breaker_open", "loading")
BREAKER_STATES = ("armed", "cooling", "awaits_rearm")

#: bit of `breakers_open` → label
BREAKERS = {1: "message_rate", 2: "reject_rate", 4: "loss", 8: "drawdown"}
