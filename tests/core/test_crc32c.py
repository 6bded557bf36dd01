"""CRC-32C against published vectors and a bit-by-bit oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import core_crc32c as oracle

from hotpath import _core

WAYS = [_core.crc32c, _core.crc32c_table, _core.crc32c_hardware]

# RFC 3720, appendix B.4, and the check value of the CRC catalogue.
VECTORS = [
    (b"", 0x00000000),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("data", "expected"), VECTORS)
def test_published_vectors_come_out(way, data, expected):
    assert way(data) == expected


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_every_way_equals_the_oracle_at_any_alignment(data, crc, skip):
    view = memoryview(data)[min(skip, len(data)):]
    expected = oracle.crc32c(bytes(view), crc)
    assert [way(view, crc) for way in WAYS] == [expected] * len(WAYS)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_checksum_continues_over_pieces(first, second):
    assert _core.crc32c(second, _core.crc32c(first)) == _core.crc32c(first + second)


def test_one_flipped_bit_changes_the_checksum():
    data = bytearray(range(100))
    good = _core.crc32c(data)
    for bit in range(800):
        data[bit // 8] ^= 1 << bit % 8
        assert _core.crc32c(data) != good
        data[bit // 8] ^= 1 << bit % 8


def test_a_strided_buffer_is_refused():
    with pytest.raises(ValueError, match="contiguous"):
        _core.crc32c(memoryview(b"abcdef")[::2])
