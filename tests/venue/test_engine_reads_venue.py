"""The engine's own feed decoder and books on what the venue publishes: two codes, one truth."""

from __future__ import annotations

import random

import client as c
import pytest

from hotpath import _core, _venue

T0 = 34_200_000_000_000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_engines_books_equal_the_venues_at_every_stop(seed):
    rng = random.Random(seed)
    x = _venue.Exchange({"symbols": [{"symbol": "PRGN"}, {"symbol": "FLCN"}],
                         "ports": [{"user": "ONE", "password": "x", "firm": "AAAA"}, {"user": "TWO", "password": "x", "firm": "BBBB"}]})
    market = _core.market.Market()
    market.add_instrument("PRGN")
    market.add_instrument("FLCN")
    x.set_session_state("open", T0)
    flow = _venue.Flow({"seed": seed}, x)
    flow.seed_books(T0)
    flow.begin(T0)
    done = 0
    urn = [0, 0]
    for stop in range(60):
        flow.step(50)
        port = stop % 2
        for _ in range(4):
            urn[port] += 1
            price = 1_000_000 + 100 * rng.randrange(-30, 31)
            orig = rng.randrange(1, urn[port] + 1)
            x.on_ouch(port, rng.choice([
                c.enter(urn[port], rng.choice("BS"), rng.randrange(1, 400), price, symbol=rng.choice(["PRGN", "FLCN"]), display=rng.choice("YNA")),
                c.replace(orig, urn[port], rng.randrange(1, 400), price), c.cancel(orig, rng.choice([0, 50])),
            ]), flow.next_ns)  # fmt: skip
        for message in x.itch_messages(done + 1):
            done += 1
            market.on_message(message, done, T0)
        market.check()
        for ix in (0, 1):
            for side in "BS":
                own = [(p, q, n) for p, q, n, _, _ in x.levels(ix, side, 400) if n]
                theirs = [tuple(level) for level in market.levels(ix, side, 400)]
                assert theirs == own
    assert market.market_open and done > 1500
