"""The image of a weight bank: what is packed is what comes out, a worked image word by word, and what is refused."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath.policy import oracle
from hotpath.policy.oracle import Layer, Network
from hotpath.policy.random_network import random_network
from peregrine_hdl import bank_image
from peregrine_hdl.bank_image import ImageError
from peregrine_hdl.loadable_limits import LARGEST, Limits, LimitsError

TINY = Network(
    np.array([7, 3], np.uint16), np.array([-2, 5], np.int16), np.array([1, 46], np.uint8),
    (Layer(np.array([[1, -2], [3, -4], [5, -6], [7, -8], [9, -10]], np.int8), np.array([1, 0, -1, -100, 100], np.int32),
           np.array([1, 2, 3, 24, 4], np.uint8), True),
     Layer(np.array([[-128, 127, 1, 0, -1]], np.int8), np.array([-5], np.int32), None)),
)  # fmt: skip


def same(a: Network, b: Network) -> bool:
    """Equal beside which features are read: an image does not know the schema."""
    pairs = [(a.quant_m, b.quant_m), (a.quant_s, b.quant_s)]
    for x, y in zip(a.layers, b.layers, strict=True):
        if x.relu != y.relu or (x.shift is None) != (y.shift is None):
            return False
        pairs += [(x.weights, y.weights), (x.bias, y.bias)]
        if x.shift is not None:
            pairs.append((x.shift, y.shift))
    return all(p.dtype == q.dtype and np.array_equal(p, q) for p, q in pairs)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_packed_comes_out_again(data):
    lanes = data.draw(st.sampled_from([4, 8, 16, 32, 64, 128]))
    slots = data.draw(st.integers(1, 8))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    networks = []
    for _ in range(data.draw(st.integers(1, slots))):
        if networks and data.draw(st.booleans()):
            networks.append(None)
            continue
        widths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
        sizes = [data.draw(st.integers(1, 64)), *widths[:-1], min(widths[-1], 16)]
        networks.append(random_network(rng, sizes, sizes[0]))
    limits = Limits(lanes, slots, weight_rows=1 << 15)
    words = bank_image.pack(networks, limits)
    found = bank_image.decode(words, limits)
    assert len(found) == slots and words.dtype == np.uint32 and len(words) <= bank_image.max_words(limits)
    for network, other in zip([*networks, *[None] * (slots - len(networks))], found, strict=True):
        assert (network is None) == (other is None)
        assert network is None or other is None or same(network, other)
    assert np.array_equal(bank_image.pack(found[: len(networks)], limits), words)
    assert bank_image.crc(words) == zlib.crc32(b"".join(int(w).to_bytes(4, "little") for w in words))


def test_the_worked_image_is_these_words():
    words = bank_image.pack([None, TINY], Limits(lanes=4, slots=2))
    quantiser = [0] * 128
    quantiser[64:66] = [0x0001FFFE, 0x002E0005]
    half = (1 << 23) - 100  # the bias of channel 3 with the half of shift 24
    expected = [
        0x00040201,
        0x00000002, 0, 0x80020200,
        0x01000004, 0x00010502, 0x00000000, 0x00000105, 0x00020004,
        0x02000080, *quantiser,
        0x0300000C, 2 | 1 << 25, 2 | 2 << 25, 3 | 3 << 25, half | 24 << 25, 108 | 4 << 25, 0, 0, 0, (1 << 25) - 5, 0, 0, 0,
        0x04000009, 0x07050301, 0xF8FAFCFE, 0x00000009, 0x000000F6, 0x80, 0x7F, 0x01, 0x00, 0xFF,
    ]  # fmt: skip
    assert [hex(w) for w in words] == [hex(w) for w in expected]


def test_the_largest_network_fits_every_build():
    network = random_network(np.random.default_rng(1), LARGEST, 64)
    for lanes in (4, 8, 16, 32, 64, 128):
        limits = Limits(lanes)
        found = bank_image.decode(bank_image.pack([network], limits), limits)
        assert found[0] is not None and same(network, found[0])


def test_padding_never_reaches_an_answer():
    limits = Limits(8)
    features = np.random.default_rng(3).integers(-(1 << 20), 1 << 20, (50, 8)).astype(np.int32)
    found = bank_image.decode(bank_image.pack([TINY], limits), limits)[0]
    assert found is not None
    assert np.array_equal(oracle.infer(found, features[:, [7, 3]]), oracle.infer(TINY, features))


@pytest.mark.parametrize(("change", "words"), [
    (lambda n: replace(n, layers=(n.layers[0], replace(n.layers[1], shift=np.array([3], np.uint8)))), "shifts belong"),
    (lambda n: replace(n, layers=(n.layers[0], replace(n.layers[1], bias=np.array([1 << 24], np.int32)))), "25 bits"),
    (lambda n: random_network(np.random.default_rng(0), [65, 3], 65), "inputs: found 65, expected 1..64"),
    (lambda n: random_network(np.random.default_rng(0), [3, 129, 3], 3), "width: found 129, expected 1..128"),
    (lambda n: random_network(np.random.default_rng(0), [3, 17], 3), "outputs: found 17, expected 1..16"),
    (lambda n: random_network(np.random.default_rng(0), [3] * 8, 3), "layers: found 7, expected 1..6"),
])  # fmt: skip
def test_a_network_that_no_core_holds_is_refused(change, words):
    with pytest.raises(ImageError, match=words):
        bank_image.pack([change(TINY)], Limits())


def test_policies_that_do_not_fit_the_memories_are_refused_with_the_numbers():
    with pytest.raises(ImageError, match="slot 1: weight rows up to here: found 18, expected at most 17"):
        bank_image.pack([TINY, TINY], Limits(4, 2, weight_rows=17))
    with pytest.raises(ImageError, match="slot 1: channel rows up to here: found 6, expected at most 5"):
        bank_image.pack([TINY, TINY], Limits(4, 2, channel_rows=5))
    with pytest.raises(ImageError, match="slot 1: layers up to here: found 3, expected at most 2"):
        bank_image.pack([TINY, TINY], Limits(4, 2, layer_entries=2))
    with pytest.raises(ImageError, match="found 2, expected 1..1"):
        bank_image.pack([TINY, TINY], Limits(4, 1))
    with pytest.raises(ImageError, match="found none"):
        bank_image.pack([None], Limits(4, 1))


@pytest.mark.parametrize(("lanes", "slots"), [(3, 1), (6, 1), (2, 1), (256, 1), (8, 0), (8, 9)])
def test_builds_that_cannot_be_are_refused(lanes, slots):
    with pytest.raises(LimitsError, match="expected"):
        Limits(lanes, slots)


def test_words_that_are_no_image_are_refused():
    limits = Limits(4, 2)
    good = bank_image.pack([None, TINY], limits)
    for at, word in ((0, 0x00080201), (1, 0x00000003), (1, 0x05000002), (4, 0x01000003), (9, 0)):
        bad = good.copy()
        bad[at] = word
        with pytest.raises(ImageError):
            bank_image.decode(bad, limits)
    for bad in (good[:-1], good[:0], np.append(good, np.uint32(0))):
        with pytest.raises(ImageError):
            bank_image.decode(bad, limits)
