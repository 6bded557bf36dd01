"""Every kernel against the numpy oracle, exactly, over many shapes; and the oracle against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core
from hotpath.policy import oracle
from hotpath.policy.actions import action_map_hash
from hotpath.policy.oracle import Layer, Network
from hotpath.policy.random_network import random_features, random_network

KERNELS = _core.policy_kernels()

# (widths, schema features, vectors): 10^5 in all, odd widths, one to six layers, the largest that loads.
SHAPES: list[tuple[list[int], int, int]] = [
    ([16, 32, 16, 5], 22, 20_000),
    ([16, 64, 32, 32, 5], 22, 20_000),
    ([16, 16, 5], 22, 10_000),
    ([1, 1], 1, 2_000),
    ([1, 1, 1, 1, 1, 1, 1], 3, 2_000),
    ([22, 5], 22, 5_000),
    ([64, 16], 64, 3_000),
    ([3, 7, 2], 16, 4_000),
    ([5, 33, 17, 3], 17, 4_000),
    ([15, 15, 15, 15], 32, 4_000),
    ([17, 47, 31, 16], 33, 4_000),
    ([13, 80, 48, 9], 40, 4_000),
    ([31, 65, 129, 5], 31, 4_000),
    ([64, 96, 112, 11], 64, 3_000),
    ([16, 128, 128, 5], 22, 3_000),
    ([2, 255, 3, 254, 7], 5, 2_500),
    ([64, 256, 5], 64, 2_500),
    ([33, 100, 50, 25, 12, 6, 4], 50, 2_000),
    ([64, 256, 256, 256, 256, 256, 16], 64, 1_000),
]
assert sum(n for _, _, n in SHAPES) == 100_000


def to_core(network: Network, n_schema: int, kernel: str) -> _core.Policy:
    n_actions = network.sizes[-1]
    layers = [(layer.weights, layer.bias, layer.shift, layer.relu) for layer in network.layers]
    return _core.Policy(network.feature_index, network.quant_m, network.quant_s, layers, schema_hash=bytes(32),
                        action_map_hash=bytes.fromhex(action_map_hash()), artifact_hash=bytes(32),
                        n_schema_features=n_schema, n_actions=n_actions, expected_schema_hash=bytes(32),
                        kernel=kernel)


def check(sizes: list[int], n_schema: int, vectors: int, kernels: list[str], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    network = random_network(rng, sizes, n_schema)
    features = random_features(rng, vectors, n_schema)
    expected = oracle.infer(network, features)
    for kernel in kernels:
        got = to_core(network, n_schema, kernel).infer(features)
        wrong = np.argwhere(got != expected)
        assert not len(wrong), f"{kernel} {sizes} seed {seed}: {len(wrong)} logits differ, first at {wrong[0]}"
    return expected


@pytest.mark.parametrize(("sizes", "n_schema", "vectors"), SHAPES, ids=lambda v: str(v).replace(" ", ""))
def test_kernels_equal_the_oracle_on_a_hundred_thousand_vectors(sizes: list[int], n_schema: int, vectors: int) -> None:
    check(sizes, n_schema, vectors, KERNELS, seed=len(sizes) * 1000 + sizes[0])


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_each_kernel_equals_the_oracle_on_a_million_vectors(kernel: str) -> None:
    total = 0
    for sizes, n_schema, vectors in SHAPES:
        for part in range(10):
            total += len(check(sizes, n_schema, vectors, [kernel], seed=7_000_000 + part * 1000 + sum(sizes)))
    assert total == 1_000_000


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=60, deadline=None)
def test_kernels_equal_the_oracle_at_any_shape(seed: int, data: st.DataObject) -> None:
    widths = data.draw(st.lists(st.integers(1, 70), min_size=0, max_size=5))
    n_schema = data.draw(st.integers(1, 64))
    sizes = [data.draw(st.integers(1, 64)), *widths, data.draw(st.integers(1, 16))]
    check(sizes, n_schema, 50, KERNELS, seed)


def test_random_networks_are_neither_silent_nor_all_saturated() -> None:
    distinct, winners = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        network = random_network(rng, [16, 64, 32, 32, 5], 22)
        features = random_features(rng, 500, 22)
        x = oracle.quantise(features[:, network.feature_index.astype(int)], network.quant_m, network.quant_s)
        for layer in network.layers[:-1]:
            x = oracle.requantise(oracle.layer_sums(x, layer), layer)
            distinct.append(len(np.unique(x)))
        winners.append(len(np.unique(oracle.infer(network, features).argmax(1))))
    assert np.median(distinct) > 60 and np.median(winners) >= 3, (distinct, winners)


def plain_infer(network: Network, features: list[int]) -> list[int]:
    """The definition once more, with Python integers and no numpy arithmetic."""
    x = []
    for f, m, s in zip(network.feature_index.tolist(), network.quant_m.tolist(), network.quant_s.tolist(), strict=True):
        x.append(max(-128, min(127, (features[f] * m + ((1 << (s - 1)) if s > 0 else 0)) >> s)))
    for layer in network.layers:
        acc = [sum(w * v for w, v in zip(row, x, strict=True)) + b
               for row, b in zip(layer.weights.tolist(), layer.bias.tolist(), strict=True)]
        if layer.shift is None:
            return acc
        x = [max(-128, min(127, (a + (1 << (s - 1))) >> s)) for a, s in zip(acc, layer.shift.tolist(), strict=True)]
        x = [max(v, 0) for v in x] if layer.relu else x
    raise AssertionError


@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 12), min_size=2, max_size=7))
@settings(max_examples=60, deadline=None)
def test_the_numpy_oracle_is_plain_integer_arithmetic(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, sizes, 9)
    features = random_features(rng, 8, 9)
    assert oracle.infer(network, features).tolist() == [plain_infer(network, row) for row in features.tolist()]


def one_layer(weights: list[list[int]], bias: list[int], m: int = 1, s: int = 0,
              hidden: Layer | None = None) -> Network:
    last = Layer(np.array(weights, np.int8), np.array(bias, np.int32), None)
    layers = (last,) if hidden is None else (hidden, last)
    n = layers[0].inputs
    return Network(np.arange(n, dtype=np.uint16), np.full(n, m, np.int16), np.full(n, s, np.uint8), layers)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_most_negative_weights_and_inputs_are_exact(kernel: str) -> None:
    network = one_layer([[-128] * 64, [127] * 64], [0, 0])
    features = np.array([[-128] * 64, [127] * 64, [-(1 << 31)] * 64, [(1 << 31) - 1] * 64], np.int32)
    got = to_core(network, 64, kernel).infer(features)
    low, high = [64 * 16384, -64 * 127 * 128], [-64 * 128 * 127, 64 * 127 * 127]
    assert got.tolist() == [low, high, low, high]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_quantiser_rounds_halves_up_and_saturates(kernel: str) -> None:
    network = one_layer([[1]], [0], m=1, s=1)
    values = [-3, -2, -1, 0, 1, 2, 3, 253, 254, 255, -256, -257, -258]
    got = to_core(network, 1, kernel).infer(np.array(values, np.int32)[:, None])
    assert got[:, 0].tolist() == [-1, -1, 0, 0, 1, 1, 2, 127, 127, 127, -128, -128, -128]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_widest_quantiser_products_do_not_overflow(kernel: str) -> None:
    network = Network(np.zeros(2, np.uint16), np.array([-32768, 32767], np.int16), np.array([46, 0], np.uint8),
                      (Layer(np.eye(2, dtype=np.int8), np.zeros(2, np.int32), None),))
    got = to_core(network, 1, kernel).infer(np.array([[-(1 << 31)], [(1 << 31) - 1], [0]], np.int32))
    assert got.tolist() == [[1, -128], [-1, 127], [0, 0]]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("relu", [False, True])
def test_hidden_layers_round_halves_up_saturate_and_rectify(kernel: str, relu: bool) -> None:
    hidden = Layer(np.array([[1]], np.int8), np.array([0], np.int32), np.array([1], np.uint8), relu)
    network = one_layer([[1]], [0], hidden=hidden)
    values = [-128, -3, -1, 0, 1, 3, 127]
    got = to_core(network, 1, kernel).infer(np.array(values, np.int32)[:, None])[:, 0].tolist()
    expected = [-64, -1, 0, 0, 1, 2, 64]
    assert got == ([max(v, 0) for v in expected] if relu else expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_channel_at_the_accumulator_bound_is_exact(kernel: str) -> None:
    bias = (1 << 24) - 1 - 128 * 128 * 16
    network = one_layer([[-128] * 16, [-128] * 16], [bias, -bias])
    features = np.array([[-128] * 16, [127] * 16], np.int32)
    assert to_core(network, 16, kernel).infer(features).tolist() == [
        [(1 << 24) - 1, 16 * 16384 - bias], [bias - 16 * 128 * 127, -bias - 16 * 128 * 127]]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("actions", range(1, 17))
def test_every_kernel_answers_with_the_lowest_of_the_best_actions(kernel: str, actions: int) -> None:
    rng = np.random.default_rng(actions)
    most = (1 << 24) - 1 - 128  # of a bias, beside one weight of 1
    for bias in (rng.integers(-1, 2, actions), np.full(actions, -most), np.full(actions, most),
                 rng.choice([-most, -1, 0, most], actions), rng.integers(-most, most, actions)):
        network = one_layer((rng.integers(-1, 2, (actions, 1))).tolist(), bias.tolist())
        features = np.arange(-130, 131, dtype=np.int32)[:, None]
        policy = to_core(network, 1, kernel)
        assert policy.actions(features) == oracle.argmax(oracle.infer(network, features)).tolist()
        assert np.array_equal(policy.infer(features), oracle.infer(network, features))


def test_ties_go_to_the_lowest_action() -> None:
    assert oracle.argmax(np.array([[1, 3, 3], [2, 2, 2], [-5, -6, -5]])).tolist() == [1, 0, 0]


def test_the_default_kernel_is_the_fastest_this_machine_has() -> None:
    assert _core.best_policy_kernel() == KERNELS[-1]
    assert KERNELS[0] == "scalar"
