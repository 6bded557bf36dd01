"""What one build of the loadable core can hold, and how many cycles a policy takes in it. Plain Python.

`lanes` products a cycle: a layer of `n` inputs and `o` outputs is ceil(o / lanes) groups of n rows of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from peregrine_hdl.registers import MAX_INPUTS, MAX_LAYERS, MAX_OUTPUTS, MAX_SLOTS, MAX_WIDTH

BANKS = 2
MAX_LANES = 128
LARGEST = (MAX_INPUTS, *[MAX_WIDTH] * (MAX_LAYERS - 1), MAX_OUTPUTS)
# Cycles of a layer beside its rows: read, select, multiply, add, shift, clamp, less the one that overlaps.
LAYER_CYCLES = 5
# Cycles of a request beside its layers: four to the first quantised input, two of argmax, less the one that overlaps.
REQUEST_CYCLES = 5


class LimitsError(ValueError):
    """A build that cannot be: what was found and what was expected."""


def groups_of(outputs: int, lanes: int) -> int:
    """Groups of `lanes` outputs."""
    return -(-outputs // lanes)


def weight_rows_of(sizes: Sequence[int], lanes: int) -> int:
    """Rows of weights of a network of these widths, from the inputs to the logits."""
    return sum(groups_of(o, lanes) * n for n, o in zip(sizes, sizes[1:], strict=False))


def channel_rows_of(sizes: Sequence[int], lanes: int) -> int:
    """Rows of channels of such a network."""
    return sum(groups_of(o, lanes) for o in sizes[1:])


@dataclass(frozen=True)
class Limits:
    """One build. Memories of 0 stand for: weights of the largest network, layers and channels of `slots` such."""

    lanes: int = 16
    slots: int = 4
    weight_rows: int = 0
    channel_rows: int = 0
    layer_entries: int = 0
    columns: int = field(init=False)  # 32-bit words of a row of weights

    def __post_init__(self) -> None:
        """Raises LimitsError."""
        if not 4 <= self.lanes <= MAX_LANES or self.lanes & (self.lanes - 1):
            raise LimitsError(f"lanes: found {self.lanes}, expected a power of two, 4..{MAX_LANES}")
        if not 1 <= self.slots <= MAX_SLOTS:
            raise LimitsError(f"slots: found {self.slots}, expected 1..{MAX_SLOTS}")
        made = {
            "weight_rows": self.weight_rows or weight_rows_of(LARGEST, self.lanes),
            "channel_rows": self.channel_rows or self.slots * channel_rows_of(LARGEST, self.lanes),
            "layer_entries": self.layer_entries or self.slots * MAX_LAYERS,
            "columns": self.lanes // 4,
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)
        for name, most in (("weight_rows", 1 << 16), ("channel_rows", 1 << 16), ("layer_entries", 1 << 8)):
            if not 1 <= made[name] <= most:
                raise LimitsError(f"{name}: found {made[name]}, expected 1..{most}")

    def cycles(self, sizes: Sequence[int]) -> int:
        """Clocks from the edge that takes a request's first word to the one behind which its answer stands.

        For words that come back to back; a clock without a word between them is one more (for int8 inputs at most).
        """
        return REQUEST_CYCLES + weight_rows_of(sizes, self.lanes) + LAYER_CYCLES * (len(sizes) - 1)
