"""The adder graphs against numpy: any matrix, any input; as shallow as promised; the same graph every time."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peregrine_hdl import shift_add
from peregrine_hdl.shift_add import bits, build, csd, evaluate

INT8 = (-128, 127)


@st.composite
def problems(draw):
    """(matrix, constants, inputs): small, of every magnitude, with many zeros and repeats."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    weight = st.one_of(st.integers(-128, 127), st.sampled_from([0, 1, -1, 127, -128, 85, -86]))
    matrix = draw(st.lists(st.lists(weight, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    constants = draw(st.lists(st.one_of(st.just(0), st.integers(-(1 << 23), 1 << 23)), min_size=rows, max_size=rows))
    value = st.one_of(st.integers(*INT8), st.sampled_from(INT8))
    inputs = draw(st.lists(st.lists(value, min_size=columns, max_size=columns), min_size=1, max_size=4))
    return matrix, constants, inputs


@given(problems(), st.integers(0, 3), st.booleans())
@settings(deadline=None, max_examples=300)
def test_a_graph_computes_the_matrix_product(problem, extra_levels, share):
    matrix, constants, inputs = problem
    graph = build(matrix, constants, [INT8] * len(matrix[0]), extra_levels=extra_levels, share=share)
    for x in inputs:
        assert evaluate(graph, x) == (np.array(matrix) @ np.array(x) + np.array(constants)).tolist()


@given(problems())
@settings(deadline=None, max_examples=100)
def test_the_stated_range_of_an_output_holds_its_extremes(problem):
    matrix, constants, _ = problem
    graph = build(matrix, constants, [INT8] * len(matrix[0]))
    for k, (row, c) in enumerate(zip(matrix, constants, strict=True)):
        lo, hi = graph.output_range(k)
        assert lo <= c + sum(min(w * v for v in INT8) for w in row)
        assert hi >= c + sum(max(w * v for v in INT8) for w in row)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("extra_levels", [0, 1])
def test_sharing_makes_no_graph_deeper_than_its_longest_row_plus_what_was_allowed(seed, extra_levels):
    rng = np.random.default_rng(seed)
    matrix = (rng.integers(-128, 128, (12, 16)) >> rng.integers(0, 4)).tolist()
    constants = rng.integers(1, 1000, 12).tolist()
    longest = max(1 + sum(len(csd(w)) for w in row) for row in matrix)
    graph = build(matrix, constants, [INT8] * 16, extra_levels=extra_levels)
    assert graph.levels <= math.ceil(math.log2(longest)) + extra_levels


def test_levels_are_traded_for_adders_only_when_that_is_allowed():
    sums = [[int(k <= row) for k in range(16)] for row in range(16)]  # each row is the one before and one more: a long chain
    chain, tree = (build(sums, [0] * 16, [INT8] * 16, extra_levels=extra) for extra in (11, 0))
    assert (chain.levels, chain.adders) == (15, 15)
    assert tree.levels == 4 and tree.adders > 15


@pytest.mark.parametrize("seed", range(4))
def test_sharing_never_costs_an_adder_and_saves_many_in_a_dense_matrix(seed):
    matrix = np.random.default_rng(seed).integers(-128, 128, (16, 16)).tolist()
    plain = build(matrix, [0] * 16, [INT8] * 16, share=False)
    shared = build(matrix, [0] * 16, [INT8] * 16)
    assert plain.adders == sum(sum(len(csd(w)) for w in row) - 1 for row in matrix)
    assert shared.adders < 0.65 * plain.adders


@pytest.mark.slow
def test_a_dense_network_of_4256_products_takes_fewer_than_6000_adders():
    rng, plain, shared = np.random.default_rng(5), 0, 0
    sizes = [16, 64, 32, 32, 5]
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        matrix = rng.integers(-128, 128, (outputs, inputs)).tolist()
        plain += build(matrix, [0] * outputs, [INT8] * inputs, share=False).adders
        shared += build(matrix, [0] * outputs, [INT8] * inputs).adders
    assert plain > 11_000
    assert shared < 6_000


@given(st.integers(-(1 << 15), (1 << 15) - 1))
def test_canonical_digits_give_the_number_and_never_stand_side_by_side(value):
    digits = csd(value)
    assert sum(sign << shift for shift, sign in digits) == value
    shifts = [shift for shift, _ in digits]
    assert all(b - a > 1 for a, b in zip(shifts, shifts[1:], strict=False))


def test_a_row_of_zeros_is_its_constant_and_a_power_of_two_costs_nothing():
    graph = build([[0, 0], [64, 0]], [-7, 0], [INT8] * 2)
    assert graph.adders == 0 and graph.levels == 0
    assert evaluate(graph, [-128, 3]) == [-7, -8192]


def test_a_sum_of_subtractions_alone_is_negated_once():
    for constant in (0, -5, 5):
        graph = build([[-1, -2]], [constant], [INT8] * 2)
        assert evaluate(graph, [-128, 127]) == [128 - 254 + constant]
        assert graph.adders == 2 if constant >= 0 else 3


@pytest.mark.parametrize(("lo", "hi", "width"), [(0, 0, 0), (0, 1, 1), (0, 127, 7), (-1, 0, 1), (-128, 127, 8), (-129, 0, 9),
                                                 (-128, 128, 9), (5, 8, 4), (-4, -2, 3)])  # fmt: skip
def test_bits_of_a_range(lo, hi, width):
    assert bits(lo, hi) == width


def test_the_same_matrix_gives_the_same_graph_in_any_process():
    code = ("import numpy as np; from peregrine_hdl.shift_add import build; "
            "print(build(np.random.default_rng(1).integers(-128,128,(12,9)).tolist(), [3]*12, [(-128,127)]*9))")
    folder = Path(shift_add.__file__).parents[1]
    texts = {subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(folder), "PYTHONHASHSEED": h}, check=True,
                            capture_output=True, text=True).stdout for h in ("1", "2")}  # fmt: skip
    assert len(texts) == 1 and "Node" in texts.pop()
