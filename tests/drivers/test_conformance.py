"""One suite over every backend of device.h: what the header promises, asked of each."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotpath._device import ffi, lib
from hotpath.device import DeviceError, policy_set
from hotpath.policy.oracle import Layer, Network

sys.path.insert(0, str(Path(__file__).parent))
from networks import expected, inputs_of, network_of  # noqa: E402

SIZES = (6, 9, 4)


def ready(rig, network=None, **options):
    """A device that answers one network, version 7."""
    device = rig.device(**options)
    device.load(0, [network or network_of(1, SIZES)], version=7)
    device.swap(0)
    return device


def refusal(call, *arguments) -> str:
    """The name of the error a call ends with."""
    with pytest.raises(DeviceError) as refused:
        call(*arguments)
    return refused.value.name


def test_it_says_what_it_can(rig):
    caps = rig.device().caps
    assert caps["backend"] == rig.name.partition("-")[0]
    assert caps["map_hash"] == lib.PGD_MAP_HASH
    assert 1 <= caps["slots"] <= lib.PGD_MAX_SLOTS
    assert caps["banks"] >= 2
    assert caps["in_flight"] >= 2
    assert 1 <= caps["max_inputs"] <= lib.PGD_MAX_INPUTS
    assert ("exclusive" in caps["flags"]) is rig.exclusive


@pytest.mark.parametrize("kind", [np.int32, np.int8])
def test_answers_are_the_oracles_in_the_order_of_submit(rig, kind):
    network = network_of(2, SIZES)
    device = ready(rig, network)
    rows = inputs_of(3, 3 * device.caps["in_flight"], SIZES[0], kind)
    tags, answers = [], []
    for row in rows:
        while True:
            try:
                tags.append(device.submit(row))
                break
            except DeviceError as err:
                assert err.name == "would_block"
                answers.append(device.wait())
    answers += [device.wait() for _ in range(len(rows) - len(answers))]
    assert [a.tag for a in answers] == tags
    assert [a.logits for a in answers] == [tuple(r) for r in expected(network, rows).tolist()]
    assert all((a.status, a.version, a.slot, a.outputs) == ("ok", 7, 0, 4) for a in answers)
    assert [a.action for a in answers] == [int(np.argmax(a.logits)) for a in answers]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), shapes=st.lists(st.tuples(
    st.integers(1, 64), st.lists(st.integers(1, 40), max_size=5), st.integers(1, 16)), min_size=1, max_size=3))  # fmt: skip
def test_any_networks_answer_as_the_oracle_does(rig, seed, shapes):
    networks = [network_of(seed + k, (n, *hidden, out)) for k, (n, hidden, out) in enumerate(shapes)]
    with rig.device() as device:
        device.load(1, networks, version=2**64 - 1)
        device.swap(1)
        for slot, (network, (n, _, out)) in enumerate(zip(networks, shapes, strict=True)):
            for kind in (np.int32, np.int8):
                rows = inputs_of(seed, 3, n, kind)
                for row, logits in zip(rows, expected(network, rows), strict=True):
                    answer = device.ask(row, slot)
                    assert (answer.status, answer.slot, answer.version, answer.outputs) == ("ok", slot, 2**64 - 1, out)
                    assert answer.logits == tuple(logits[:8].tolist())
                    assert answer.action == int(np.argmax(logits))


def test_the_largest_network_fits(rig):
    sizes = (64, 128, 128, 128, 128, 128, 16)
    network = network_of(4, sizes)
    device = ready(rig, network)
    row = inputs_of(5, 1, 64)
    assert device.ask(row[0]).logits == tuple(expected(network, row)[0][:8].tolist())


def test_ties_go_to_the_lowest_index(rig):
    zero = Network(np.arange(2, dtype=np.uint16), np.ones(2, np.int16), np.zeros(2, np.uint8),
                   (Layer(np.zeros((5, 2), np.int8), np.array([1, 3, 2, 3, 3], np.int32), None),))  # fmt: skip
    assert ready(rig, zero).ask(np.zeros(2, np.int32)).action == 1


def test_when_all_is_in_flight_it_would_block_and_a_poll_makes_room(rig):
    device = ready(rig)
    rows = inputs_of(6, device.caps["in_flight"] + 1, SIZES[0])
    for row in rows[:-1]:
        device.submit(row)
    assert refusal(device.submit, rows[-1]) == "would_block"
    device.wait()
    device.submit(rows[-1])
    for _ in range(device.caps["in_flight"]):
        assert device.wait().status == "ok"
    assert device.poll() is None
    stats = device.stats()
    assert (stats["would_block"], stats["in_flight"]) == (1, 0)
    assert stats["submitted"] == stats["answered"] == len(rows)


def test_a_cancelled_request_is_answered_cancelled_or_with_its_answer(rig):
    network = network_of(1, SIZES)
    device = ready(rig, network)
    rows = inputs_of(7, 2, SIZES[0])
    rig.stall()
    tags = [device.submit(row) for row in rows]
    device.cancel(tags[1])
    rig.stall(False)
    answers = {a.tag: a for a in (device.wait(), device.wait())}
    assert answers[tags[0]].logits == tuple(expected(network, rows)[0].tolist())
    if rig.stalls or rig.name == "cpu":
        assert answers[tags[1]].status == "cancelled"
        assert (answers[tags[1]].logits, answers[tags[1]].version) == ((), 0)
        assert device.stats()["cancelled"] == 1
    assert answers[tags[1]].status in ("ok", "cancelled")
    for _ in range(2 * device.caps["in_flight"]):
        assert device.ask(rows[0]).status == "ok", "whoever comes to its place is not cancelled"


def test_a_tag_that_is_not_in_flight_cannot_be_cancelled(rig):
    device = ready(rig)
    tag = device.submit(inputs_of(8, 1, SIZES[0])[0])
    for other in (tag + 1, tag - 1, tag + (1 << 32), tag ^ (1 << 31), 0, 2**64 - 1):
        assert refusal(device.cancel, other) == "not_found"
    assert device.wait().status == "ok"
    assert refusal(device.cancel, tag) == "not_found"


def test_a_deadline_passes_and_the_request_is_still_in_flight(rig):
    if not rig.stalls:
        pytest.skip("a cpu always has the answer; the simulation's deadlines are in test_sim.py")
    device = ready(rig)
    rig.stall()
    tag = device.submit(inputs_of(9, 1, SIZES[0])[0])
    assert refusal(device.wait, 1_000_000) == "timeout"
    assert refusal(device.wait, 0) == "timeout"
    assert device.stats()["in_flight"] == 1
    rig.stall(False)
    assert device.wait().tag == tag
    assert device.stats()["timeouts"] == 2


def test_waiting_for_nothing_is_said_at_once(rig):
    device = ready(rig)
    assert refusal(device.wait, 2**63) == "empty"
    assert device.poll() is None


def test_after_a_reset_no_older_request_answers_and_no_bank_is_loaded(rig):
    network = network_of(1, SIZES)
    device = ready(rig, network, epoch=41)
    rows = inputs_of(10, 3, SIZES[0])
    rig.stall()
    old = [device.submit(row) for row in rows]
    assert {tag >> 32 for tag in old} == {41}
    device.reset()
    rig.stall(False)
    assert device.poll() is None
    assert refusal(device.submit, rows[0]) == "no_policy"
    assert refusal(device.swap, 0) == "state"
    assert [refusal(device.cancel, tag) for tag in old] == ["not_found"] * 3
    device.load(0, [network], version=8)
    device.swap(0)
    for row, logits in zip(rows, expected(network, rows), strict=True):
        answer = device.ask(row)
        assert answer.tag not in old
        assert (answer.tag >> 32, answer.version, answer.logits) == (42, 8, tuple(logits.tolist()))
    assert device.stats()["epoch"] == 42


def test_answers_of_before_a_reset_are_not_found_in_memory_after_it(rig):
    network = network_of(1, SIZES)
    device = ready(rig, network)
    rows = inputs_of(16, 3, SIZES[0])
    for _ in range(3):
        for row in rows:
            device.ask(row)
        device.reset()
        device.load(0, [network], version=7)
        device.swap(0)
        assert device.poll() is None
    assert [device.ask(row).logits for row in rows] == [tuple(r) for r in expected(network, rows).tolist()]
    assert device.stats()["stale"] == 0


def test_epochs_leave_out_the_reserved_number(rig):
    device = rig.device(epoch=0xFFFFFFFE)
    device.reset()
    assert device.stats()["epoch"] == 1
    device.close()
    with pytest.raises(DeviceError):
        rig.device(epoch=0xFFFFFFFF)


def test_a_swap_changes_who_answers_and_the_version_says_so(rig):
    networks = [network_of(20, SIZES), network_of(21, SIZES)]
    device = rig.device()
    row = inputs_of(11, 1, SIZES[0])
    for bank in (0, 1, 0, 1):
        device.load(bank, [networks[bank]], version=100 + bank)
        device.swap(bank)
        device.swap(bank)
        answer = device.ask(row[0])
        assert (answer.version, answer.logits) == (100 + bank, tuple(expected(networks[bank], row)[0].tolist()))
    device.load(0, [networks[0]], version=100)
    device.submit(row[0])
    device.swap(0)
    answer = device.wait()
    assert answer.logits == tuple(expected(networks[answer.version - 100], row)[0].tolist())


def test_a_bank_is_loaded_while_the_other_answers(rig):
    first, second = network_of(22, SIZES), network_of(23, SIZES)
    device = ready(rig, first)
    row = inputs_of(12, 1, SIZES[0])
    tag = device.submit(row[0])
    device.load(1, [second], version=9)
    assert device.wait().tag == tag
    assert device.ask(row[0]).logits == tuple(expected(first, row)[0].tolist())
    device.swap(1)
    assert device.ask(row[0]).logits == tuple(expected(second, row)[0].tolist())


def test_banks_are_used_in_order_only(rig):
    device = rig.device()
    network = network_of(1, SIZES)
    row = inputs_of(13, 1, SIZES[0])[0]
    assert refusal(device.submit, row) == "no_policy"
    assert refusal(device.swap, 0) == "state"
    assert refusal(device.swap, device.caps["banks"]) == "invalid"
    assert refusal(device.load, device.caps["banks"], [network], 1) == "invalid"
    device.load(0, [network], version=1)
    assert refusal(device.submit, row) == "no_policy"
    device.swap(0)
    assert refusal(device.load, 0, [network], 2) == "state"
    assert device.ask(row).version == 1
    assert refusal(device.swap, 1) == "state"
    device.load(1, [network], version=2)
    device.swap(1)
    assert refusal(device.swap, 0) == "state", "it would have to be loaded again"
    assert device.ask(row).version == 2


def test_of_two_banks_only_the_one_loaded_last_can_be_swapped_to(rig):
    device = rig.device()
    device.load(0, [network_of(1, SIZES)], version=1)
    device.load(1, [network_of(2, SIZES)], version=2)
    assert refusal(device.swap, 0) == "state"
    device.swap(1)
    assert device.ask(np.zeros(6, np.int32)).version == 2


def test_what_the_policy_does_not_have_is_refused_in_the_answer(rig):
    device = ready(rig)
    six, five = np.zeros(6, np.int32), np.zeros(5, np.int32)
    for slot, row, status in ((1, six, "no_policy"), (0, five, "bad_count"), (0, six, "ok")):
        answer = device.ask(row, slot)
        assert (answer.status, answer.slot) == (status, slot)
        if status != "ok":
            assert (answer.logits, answer.version, answer.action, answer.outputs) == ((), 0, 0, 0)
    assert device.stats()["rejected"] == 2


def test_what_no_device_could_take_is_refused_at_once(rig):
    device = ready(rig)
    row = np.zeros(6, np.int32)
    for slot, inputs in ((device.caps["slots"], row), (0, np.zeros(0, np.int32)), (0, np.zeros(65, np.int32)),
                         (0, np.zeros(6, np.int16)), (2**32 - 1, row)):  # fmt: skip
        assert refusal(device.submit, inputs, slot) == "invalid"
    assert device.stats()["submitted"] == 0


def broken_networks():
    """(what is wrong, network, result)."""
    good = network_of(1, SIZES)
    first, last = good.layers

    def with_layers(*layers):
        return Network(good.feature_index, good.quant_m, good.quant_s, tuple(layers))

    yield "a quantiser shift of 47", Network(good.feature_index, good.quant_m, np.full(6, 47, np.uint8), good.layers), "limit"
    yield "too many inputs", network_of(1, (65, 4)), "limit"
    yield "too wide", network_of(1, (4, 129, 4)), "limit"
    yield "too many layers", network_of(1, (4, 4, 4, 4, 4, 4, 4, 4)), "limit"
    yield "too many outputs", network_of(1, (4, 17)), "limit"
    yield "a shift of 0", with_layers(Layer(first.weights, first.bias, np.zeros(9, np.uint8)), last), "limit"
    yield "a shift of 25", with_layers(Layer(first.weights, first.bias, np.full(9, 25, np.uint8)), last), "limit"
    yield "a sum of 2^24", with_layers(Layer(first.weights, np.full(9, 1 << 24, np.int32), first.shift), last), "limit"
    yield "the least bias", with_layers(first, Layer(last.weights, np.full(4, -(1 << 31), np.int32), None)), "limit"
    yield "no shifts where they belong", with_layers(Layer(first.weights, first.bias, None), last), "invalid"
    yield "shifts where none belong", with_layers(first, Layer(last.weights, last.bias, np.ones(4, np.uint8))), "invalid"
    yield "relu on the logits", with_layers(first, Layer(last.weights, last.bias, None, relu=True)), "invalid"
    yield "widths that do not meet", with_layers(first, network_of(1, (8, 4)).layers[0]), "invalid"


@pytest.mark.parametrize(("network", "name"), [pytest.param(n, r, id=w) for w, n, r in broken_networks()])
def test_a_policy_that_breaks_a_rule_is_refused_with_the_reason(rig, network, name):
    device = ready(rig)
    with pytest.raises(DeviceError) as refused:
        device.load(1, [network], version=1)
    assert refused.value.name == name
    assert "policy 0" in refused.value.found
    assert device.ask(np.zeros(6, np.int32)).status == "ok"


def test_the_bound_of_a_sum_is_2_to_the_24th_with_the_half_that_rounds(rig):
    device = rig.device()
    last = Layer(np.ones((2, 3), np.int8), np.zeros(2, np.int32), None)
    for bias, good in (((1 << 24) - 513, True), ((1 << 24) - 512, False), (513 - (1 << 24), True), (512 - (1 << 24), False)):
        hidden = Layer(np.zeros((3, 6), np.int8), np.full(3, bias, np.int32), np.full(3, 10, np.uint8))
        base = network_of(1, SIZES)
        network = Network(base.feature_index, base.quant_m, base.quant_s, (hidden, last))
        if good:
            device.load(0, [network], version=1)
        else:
            with pytest.raises(DeviceError) as refused:
                device.load(0, [network], version=1)
            assert (refused.value.name, "policy 0 layer 0 channel 0" in refused.value.found) == ("limit", True)


def test_too_many_policies_or_none_are_refused(rig):
    device = rig.device()
    assert refusal(device.load, 0, [network_of(1)] * (device.caps["slots"] + 1), 1) == "limit"
    assert refusal(device.load, 0, [], 1) == "limit"


def test_a_second_open_is_refused_where_the_device_is_one(rig):
    rig.device()
    if rig.exclusive:
        assert refusal(rig.device) == "busy"
    else:
        rig.device()


def test_it_closes_under_load_and_opens_again(rig):
    for _ in range(3):
        device = ready(rig)
        rig.stall()
        for row in inputs_of(14, device.caps["in_flight"], SIZES[0]):
            device.submit(row)
        device.close()
        rig.stall(False)
        device.close()
        assert refusal(device.poll) == "state"


def test_null_is_refused_by_every_function(rig):
    device = rig.device()
    t = device._backend
    null, handle = ffi.NULL, device._device
    described, keep = policy_set([network_of(1)], 1)
    caps, stats, completion = ffi.new("struct pgd_caps*"), ffi.new("struct pgd_stats*"), ffi.new("struct pgd_completion*")
    value, fd = ffi.new("uint32_t*"), ffi.new("int*")
    results = [
        t.open(null, null, null), t.probe(null, null), t.caps(null, caps), t.caps(handle, null),
        t.load_policy(null, 0, described, null), t.load_policy(handle, 0, null, null), t.swap(null, 0),
        t.submit(null, 0, 0, caps, 1, null), t.submit(handle, 0, 0, null, 1, null), t.poll(null, completion),
        t.poll(handle, null), t.wait(null, completion, 0), t.wait(handle, null, 0), t.cancel(null, 0), t.reset(null),
        t.stats(null, stats), t.stats(handle, null), t.arm(null, fd), t.arm(handle, null),
        t.read_register(null, 0, value), t.read_register(handle, 0, null),
    ]  # fmt: skip
    assert results == [lib.PGD_E_INVALID] * len(results)
    t.close(null)
    del keep


def test_registers_are_read_where_there_are_any(rig):
    device = rig.device()
    if "registers" in device.caps["flags"]:
        assert device.register(lib.PGD_REG_ID) == lib.PGD_DEVICE_ID
        assert device.register(lib.PGD_REG_MAP_HASH) == lib.PGD_MAP_HASH
        assert [refusal(device.register, offset) for offset in (2, 4096)] == ["invalid", "invalid"]
    else:
        assert refusal(device.register, 0) == "unsupported"


def test_an_interrupt_comes_once_for_an_answer(rig):
    import select

    device = ready(rig)
    if "interrupts" not in device.caps["flags"]:
        assert refusal(device.arm) == "unsupported"
        return

    def rings(fd: int) -> bool:
        return bool(select.select([fd], [], [], 0)[0])

    import os

    rig.stall()
    fd = device.arm()
    device.submit(np.zeros(6, np.int32))
    assert not rings(fd)
    rig.stall(False)
    answer = device.wait()
    assert rings(fd)
    os.read(fd, 8)
    assert device.ask(np.zeros(6, np.int32)).tag == answer.tag + 1
    assert not rings(fd), "it was not armed again"
    device.submit(np.zeros(6, np.int32))
    device.wait()
    assert device.arm() == fd
    assert not rings(fd), "everything was read"
    assert device.stats()["interrupts"] == 1


@pytest.mark.parametrize("log2", [1, 3, 10])
def test_rings_of_any_size_go_round(rig, log2):
    network = network_of(1, SIZES)
    device = ready(rig, network, ring_log2=log2)
    depth = device.caps["in_flight"]
    assert depth == (1 << log2 if not rig.name.endswith("push") else 4 if rig.name == "sim-push" else 8)
    rows = inputs_of(15, 40, SIZES[0])
    logits = [tuple(r) for r in expected(network, rows).tolist()]
    answered = 0
    for k in range(3 * depth + 5):
        device.submit(rows[k % 40])
        if k - answered == depth - 1:
            assert device.wait().logits == logits[answered % 40]
            answered += 1
    for k in range(answered, 3 * depth + 5):
        assert device.wait().logits == logits[k % 40]
    assert refusal(device.wait) == "empty"


@pytest.mark.parametrize(("option", "value"), [("ring_log2", 11), ("transport", 3)])
def test_options_out_of_range_are_refused(rig, option, value):
    if rig.name == "cpu" and option == "transport":
        pytest.skip("a cpu has none")
    assert refusal(lambda: rig.device(**{option: value})) == "invalid"
