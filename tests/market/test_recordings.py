"""Verified facts about the recordings: counts, checkpoints, last levels."""

from __future__ import annotations

import json

import pytest
from recordings import read_recording, recording

from hotpath._core import market as mk

FILES = [("itch/aapl_20200130_first6000.itch", "itch/aapl_20200130_first6000.expected.json"),
         ("itch/lobster_aapl_20120621_0930_1000.itch.zst", "itch/lobster_aapl_20120621_0930_1000.expected.json")]


@pytest.mark.parametrize(("name", "facts"), FILES)
def test_every_checkpoint_is_met(name: str, facts: str) -> None:
    expected = json.loads(recording(facts).read_text())
    buffer = read_recording(name)
    market = mk.Market()
    done = at = 0
    for point in expected["checkpoints"]:
        n, used, _ = market.apply(buffer[at:], done + 1, point["after_messages"] - done)
        done, at = done + n, at + used
        assert done == point["after_messages"]
        ix = market.find(point["symbol"])
        assert market.live_orders == point["live_orders"]
        for side, key in (("B", "bids"), ("S", "asks")):
            want = [(x["px"], x["qty"], x["orders"]) for x in point[key]]
            assert want and market.levels(ix, side, len(want)) == want
        assert market.volume(ix) == point["printable_volume"]
        assert market.last_execution_ticks(ix) == point["last_exec_px_on_displayed"]
        market.check()
    market.apply(buffer[at:], done + 1)
    stats = market.stats()
    assert stats["messages"] == expected["messages"]
    assert stats["types"] == expected["counts"]
    assert stats["outcomes"]["unknown_ref"] == 0 and stats["unsound_marks"] == 0


@pytest.mark.parametrize("name", [f for f, _ in FILES] + ["itch/nasdaq_20191230_first1000.itch"])
def test_every_recorded_message_encodes_to_the_bytes_it_came_from(name: str) -> None:
    messages, _, _ = mk.split_blocks(read_recording(name))
    assert len(messages) >= 1000
    for msg in messages:
        assert mk.encode(mk.decode(msg)) == msg
