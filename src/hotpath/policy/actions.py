"""Action maps: what a policy's outputs mean. Artifacts carry the map; its hash must be the engine's."""

from __future__ import annotations

import hashlib
import json
from typing import Any

ACTION_MAP_V1: dict[str, Any] = {
    "format": "peregrine.action-map",
    "version": 1,
    "actions": ["hold", "join_bid", "join_ask", "take_ask", "take_bid"],
}

MEANING: dict[str, str] = {
    "hold": "do nothing",
    "join_bid": "post-only buy at the best bid",
    "join_ask": "post-only sell at the best ask",
    "take_ask": "buy at the best ask, immediate or cancel",
    "take_bid": "sell at the best bid, immediate or cancel",
}


def canonical(action_map: dict[str, Any] | None = None) -> str:
    """Canonical JSON (sorted keys, no spaces, ASCII): the text that is hashed; the same bytes as in C++."""
    return json.dumps(ACTION_MAP_V1 if action_map is None else action_map, sort_keys=True, separators=(",", ":"),
                      ensure_ascii=True)


def action_map_hash(action_map: dict[str, Any] | None = None) -> str:
    """SHA-256 of `canonical(action_map)`, 64 hex digits."""
    return hashlib.sha256(canonical(action_map).encode()).hexdigest()
