"""The last few tags that were cancelled. A request is looked up when its turn comes, wherever it waited until then.

A cancel that comes too late stays here and matches nothing, since a tag is never used twice within an epoch.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

REMEMBERED = 8


class Cancel(wiring.Component):
    """`add` notes a tag, the oldest of REMEMBERED gives way; `hit`: `tag` is among them."""

    def __init__(self) -> None:
        super().__init__({"add": In(1), "added": In(64), "tag": In(64), "hit": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """The logic; in `work`."""
        m = Module()
        tags = Array(Signal(64, name=f"tag{k}") for k in range(REMEMBERED))
        used = Array(Signal(name=f"used{k}") for k in range(REMEMBERED))
        place = Signal(range(REMEMBERED))
        with m.If(self.add):
            m.d.work += [tags[place].eq(self.added), used[place].eq(1), place.eq(place + 1)]
        m.d.comb += self.hit.eq(Cat(u & (t == self.tag) for u, t in zip(used, tags, strict=True)).any())
        return m
