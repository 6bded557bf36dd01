"""A bank's image packed in C is the gateware's own, word for word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath.device import DeviceError, crc32, image
from hotpath.policy.random_network import random_network


def caps(slots: int = 4, lanes: int = 8, **more: int) -> dict[str, int]:
    """What a loadable core says of itself."""
    return {"slots": slots, "banks": 2, "lanes": lanes, "max_inputs": 64, "max_width": 128, "max_layers": 6, "max_outputs": 16, **more}


#: (seed, slots, lanes, sizes of each policy) → words, CRC-32 of the image: made by hdl/peregrine_hdl/bank_image.py
PINNED = {
    (1, 4, 8, ((16, 64, 32, 32, 5),)): (1498, 2080792715),
    (2, 1, 4, ((3, 5, 2),)): (98, 616894213),
    (3, 8, 16, ((22, 17, 5), (64, 128, 16), (1, 1))): (3552, 2384832096),
}


def networks_of(seed: int, shapes: tuple[tuple[int, ...], ...]) -> list:
    """Networks of these widths."""
    rng = np.random.default_rng(seed)
    return [random_network(rng, shape, shape[0]) for shape in shapes]


@pytest.mark.parametrize("key", PINNED, ids=str)
def test_known_networks_make_the_known_words(key):
    seed, slots, lanes, shapes = key
    words = image(networks_of(seed, shapes), caps(slots, lanes))
    assert (len(words), crc32(words.tobytes())) == PINNED[key]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4, 8]), st.sampled_from([4, 8, 16, 32]), st.data())
def test_any_set_makes_the_words_that_the_gateware_packs(seed, slots, lanes, data):
    bank_image = pytest.importorskip("peregrine_hdl.bank_image")
    from peregrine_hdl.loadable_limits import Limits

    width = st.integers(1, 40)
    shapes = data.draw(st.lists(st.lists(width, min_size=1, max_size=4), min_size=1, max_size=slots))
    tails = data.draw(st.lists(st.integers(1, 16), min_size=len(shapes), max_size=len(shapes)))
    networks = networks_of(seed, tuple((*shape, tail) for shape, tail in zip(shapes, tails, strict=True)))
    limits = Limits(slots=slots, lanes=lanes, layer_entries=255, weight_rows=65535, channel_rows=4096)
    expected = bank_image.pack(networks, limits)
    found = image(networks, caps(slots, lanes))
    assert found.tolist() == expected.tolist()
    assert crc32(found.tobytes()) == bank_image.crc(expected)


@pytest.mark.parametrize(
    ("caps_", "name"),
    [(caps(lanes=6), "unsupported"), (caps() | {"banks": 0}, "unsupported"), (caps(slots=1), "limit"),
     (caps(max_inputs=2), "limit"), (caps(max_width=4), "limit"), (caps(max_layers=1), "limit"), (caps(max_outputs=1), "limit")],
)  # fmt: skip
def test_what_the_core_cannot_hold_is_refused(caps_, name):
    with pytest.raises(DeviceError) as refused:
        image(networks_of(5, ((3, 5, 2), (3, 5, 2))), {**caps_})
    assert refused.value.name == name
    assert refused.value.found


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_the_checksum_is_zlibs_and_goes_on(a, b):
    import zlib

    assert crc32(a + b) == crc32(b, crc32(a)) == zlib.crc32(a + b)
