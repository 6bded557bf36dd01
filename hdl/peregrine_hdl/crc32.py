"""CRC-32 as zlib computes it, a word a clock: XORs found by running the bit-serial form on unknowns.

    crc = 0xFFFFFFFF; for each word: crc = advance(crc, word); the CRC is ~crc
"""

from __future__ import annotations

from functools import lru_cache

from amaranth.hdl import Cat, Const, Value

POLYNOMIAL = 0xEDB88320  # reflected
START = 0xFFFFFFFF


@lru_cache
def masks(bits: int) -> tuple[int, ...]:
    """For each bit of the next state, which of {state 0..31, word 32..} are XORed into it; the word's low byte is first."""
    state = [1 << k for k in range(32)]
    for k in range(bits):
        out = state[0] ^ 1 << 32 + k
        state = [*state[1:], 0]
        state = [s ^ out if POLYNOMIAL >> b & 1 else s for b, s in enumerate(state)]
    return tuple(state)


def advance(crc: Value, word: Value) -> Value:
    """The state after `word`, whose width is a whole number of bytes."""
    source = Cat(crc, word)
    return Cat((source & Const(mask, len(source))).xor() for mask in masks(len(word)))
