"""The loadable core's answers: every bit of them and every cycle, over shapes, kinds, stalls, and requests that are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hdl_cases
from hotpath.policy.oracle import Layer, Network
from peregrine_hdl import bank_image
from peregrine_hdl.loadable_limits import LARGEST, Limits
from peregrine_hdl.registers import KINDS, STATUS

pytestmark = [pytest.mark.usefixtures("toolchain"), pytest.mark.slow]

WIDE = Limits(16, 2)  # holds the largest network
NARROW = Limits(4, 4, weight_rows=1024)
FEATURES, INT8 = KINDS["features"], KINDS["int8"]


def core_of(limits, upsets=False):
    """A fresh simulation."""
    import hdl_loadable

    return hdl_loadable.Core(hdl_loadable.build(limits, upsets))


@pytest.fixture
def narrow():
    """The small build, with the port that upsets its memories."""
    core = core_of(NARROW, upsets=True)
    yield core
    core.close()


def test_policies_of_twenty_shapes_equal_the_oracle_in_the_formulas_cycles():
    import hdl_loadable

    shapes = [*hdl_loadable.CORNER_SHAPES, LARGEST]
    banks = [hdl_loadable.random_bank(k, WIDE, shapes[2 * k : 2 * k + 2]) for k in range(4)]
    banks += [hdl_loadable.random_bank(9, WIDE, [LARGEST]), *(hdl_loadable.random_bank(20 + k, WIDE) for k in range(8))]
    core = core_of(WIDE)
    for k, bank in enumerate(banks):
        hdl_loadable.prove(core, bank, 20 if k == 4 else 150, k, bank=k % 2)
    core.close()
    assert len({tuple(n.sizes) for bank in banks for n in bank if n is not None}) >= 20


def test_policies_of_a_narrow_core_have_logits_in_several_groups(narrow):
    import hdl_loadable

    small = [s for s in hdl_loadable.CORNER_SHAPES if max(s) <= 64][:4]
    banks = [hdl_loadable.random_bank(1, NARROW, small), *(hdl_loadable.random_bank(40 + k, NARROW) for k in range(7))]
    for k, bank in enumerate(banks):
        hdl_loadable.prove(narrow, bank, 150, k, bank=k % 2)
    assert max(n.sizes[-1] for bank in banks for n in bank if n is not None) > 3 * NARROW.lanes


def extreme(sizes: list[int], weight: int, bias: int, shift: int, relu: bool) -> Network:
    """One weight, one bias and one shift everywhere."""
    n = sizes[0]
    layers = []
    for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        last = k == len(sizes) - 2
        layers.append(Layer(np.full((b, a), weight, np.int8), np.full(b, bias, np.int32),
                            None if last else np.full(b, shift, np.uint8), relu and not last))  # fmt: skip
    return Network(np.arange(n, dtype=np.uint16), np.full(n, 32767, np.int16), np.zeros(n, np.uint8), tuple(layers))


@pytest.mark.parametrize(("weight", "bias", "shift", "relu"), [
    (-128, 0, 1, False), (-128, -(1 << 22), 1, True), (127, 1 << 22, 1, False), (0, 0, 1, False), (0, 0, 24, True),
    (-1, 1, 24, False), (1, (1 << 23) - 1 - 128 * 64, 24, False), (-128, 5, 7, False),
])  # fmt: skip
def test_weights_at_their_ends_ties_zeros_and_saturation_come_out_right(weight, bias, shift, relu, narrow):
    import hdl_loadable

    networks = [extreme(sizes, weight, bias, shift, relu) for sizes in ([64, 16, 16], [1, 7, 3], [9, 1])]
    hdl_loadable.prove(narrow, networks, 100, abs(weight) + shift)


def test_many_more_requests_equal_the_scalar_kernel():
    import hdl_loadable

    built = hdl_loadable.build(WIDE)
    banks = [hdl_loadable.random_bank(60 + k, WIDE, [(8, 16, 3), (4, 6, 5)][k % 2 :] if k < 2 else ()) for k in range(4)]
    assert sum(hdl_loadable.flood(built, bank, 5_000, k)["vectors"] for k, bank in enumerate(banks)) == 20_000


def test_the_cycles_of_the_guides_table_are_the_formulas():
    text = (Path(__file__).resolve().parents[2] / "docs/guide/gateware.md").read_text()
    rows = re.findall(r"^\| ([\d-]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", text, re.M)
    assert len(rows) == 3
    for name, *cycles in rows:
        sizes = [int(n) for n in name.split("-")]
        assert [int(c.replace(",", "")) for c in cycles] == [Limits(n).cycles(sizes) for n in (4, 8, 16, 32, 64)], name


def test_the_cycles_are_the_sum_that_the_page_gives():
    assert Limits(16).cycles([16, 64, 32, 32, 5]) == 5 + (4 * 16 + 5) + (2 * 64 + 5) + (2 * 32 + 5) + (32 + 5)
    assert Limits(64).cycles([22, 64, 32, 5]) == 5 + (22 + 5) + (64 + 5) + (32 + 5)
    assert Limits(4).cycles([1, 1]) == 11


def test_a_request_that_no_policy_fits_is_answered_with_the_status_and_nothing_else(narrow):
    import hdl_loadable as h

    network = hdl_cases.bench_network([9, 8, 5], 1)
    values = np.arange(9)
    before = narrow.ask(h.request(0, FEATURES, values))[0]
    assert (before["status"], before["outputs"]) == (STATUS["no_policy"], 0)
    narrow.load(bank_image.pack([network, None, network], NARROW), 1)
    beats, wanted = [], []
    for slot, kind, n, count, status in [
        (1, FEATURES, 9, 9, "no_policy"), (3, FEATURES, 9, 9, "no_policy"), (4, INT8, 9, 9, "no_policy"),
        (255, FEATURES, 9, 9, "no_policy"), (1, 7, 9, 8, "no_policy"), (0, 2, 9, 9, "bad_kind"), (2, 255, 9, 3, "bad_kind"),
        (0, FEATURES, 8, 8, "bad_count"), (0, FEATURES, 10, 10, "bad_count"), (0, FEATURES, 64, 64, "bad_count"),
        (0, INT8, 8, 8, "bad_count"), (0, INT8, 64, 64, "bad_count"), (0, FEATURES, 1, 0, "bad_count"),
        (0, INT8, 1, 0, "bad_count"), (0, FEATURES, 200, 200, "bad_count"), (0, INT8, 255, 255, "bad_count"),
        (0, FEATURES, 3, 9, "bad_count"), (0, FEATURES, 12, 9, "bad_count"), (0, FEATURES, 255, 9, "bad_count"),
        (0, INT8, 5, 9, "bad_count"), (0, INT8, 13, 9, "bad_count"), (0, FEATURES, 9, 9, "ok"), (2, INT8, 9, 9, "ok"),
    ]:  # fmt: skip
        beats.append(h.request(slot, kind, np.zeros(n, np.int32), count))
        wanted.append(STATUS[status])
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(beats)), 12))
    for stall_seed in (0, 3):
        found = narrow.ask(np.concatenate([beats[k] for k in order]), stall_seed)
        assert found["status"].tolist() == [wanted[k] for k in order]
        refused = found[found["status"] != 0]
        for name in ("action", "outputs", "logits"):
            assert not refused[name].any(), name
        length = np.array([len(beats[k]) for k in order])[found["status"] != 0]
        assert (refused["cycles"] <= length + refused["idle"] + 2).all()
        good = found[found["status"] == 0]
        want = np.zeros(1, h.ANSWER)
        for k in (0, len(good) - 1):
            h.expect(want, np.zeros(1, int), h.own_inputs(network), np.zeros((1, 9), np.int32), NARROW)
            assert (good["logits"][k] == want["logits"][0]).all()


def test_a_reset_at_any_clock_leaves_a_core_that_works(narrow):
    import hdl_loadable as h

    networks = [hdl_cases.bench_network([9, 8, 5], 1)]
    image = bank_image.pack(networks, NARROW)
    beats = h.request(0, FEATURES, np.arange(9))
    for words, clocks in [*((k, 2) for k in range(1, 9)), *((9, k) for k in range(0, 38, 3))]:
        narrow.load(image, 0)
        with pytest.raises(h.Hang):  # left off with so many words taken, and so many clocks behind them
            narrow.run(beats[:words], np.zeros(0, h.COMMAND), 1, patience=clocks)
        narrow.reset()
        assert narrow.ask(beats)["status"][0] == STATUS["no_policy"]
        assert not narrow.command(h.load_commands(image[:0], 0, swap=False)[1:])["ok"].any()
    h.prove(narrow, networks, 50, 1)


def test_the_comparison_can_fail(narrow):
    import hdl_loadable as h

    network = hdl_cases.bench_network([9, 8, 5], 1)
    weights = network.layers[0].weights.copy()
    weights[3, 4] ^= 1
    other = replace(network, layers=(replace(network.layers[0], weights=weights), network.layers[1]))
    narrow.load(bank_image.pack([other], NARROW), 0)
    requests = h.random_requests([network], NARROW, 500, 1)
    with pytest.raises(AssertionError, match="request"):
        h.compare(narrow.ask(requests.beats), requests.answers, requests.kinds, 0)
    with pytest.raises(RuntimeError, match="differs"):
        h.flood(h.build(NARROW, upsets=True), [network], 2000, 1, loaded=[other])
    slower = h.random_requests([other], NARROW, 10, 1)
    slower.answers["cycles"] += 1
    with pytest.raises(AssertionError, match="formula"):
        h.compare(narrow.ask(slower.beats), slower.answers, slower.kinds, 0)
