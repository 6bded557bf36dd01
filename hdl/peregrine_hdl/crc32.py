"""CRC-32 as zlib computes it, a word a clock: XORs found by running the bit-serial form on unknowns.

    crc = 0xFFFFFFFF; for each word: crc = advance(crc, word); the CRC is ~crc
"""

from __future__ import annotations

from functools import lru_cache, reduce
from operator import xor

from amaranth.hdl import Cat, Value

POLYNOMIAL = 0xEDB88320  # reflected
START = 0xFFFFFFFF


@lru_cache
def terms(bits: int) -> tuple[tuple[int, ...], ...]:
    """For each bit of the next state, which of {state 0..31, word 32..} are XORed into it; the word's low byte is first."""
    state: list[frozenset[int]] = [frozenset({k}) for k in range(32)]
    for k in range(bits):
        out = state[0] ^ {32 + k}
        state = [*state[1:], frozenset()]
        state = [s ^ out if POLYNOMIAL >> b & 1 else s for b, s in enumerate(state)]
    return tuple(tuple(sorted(s)) for s in state)


def advance(crc: Value, word: Value) -> Value:
    """The state after `word`, whose width is a whole number of bytes."""
    source = Cat(crc, word)
    return Cat(reduce(xor, (source[k] for k in found)) for found in terms(len(word)))
