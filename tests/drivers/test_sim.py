"""The sim backend beyond the suite: time is cycles, runs repeat exactly, and one flipped bit anywhere is noticed."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hotpath.device import Device, DeviceError
from hotpath.policy.oracle import Layer, Network

sys.path.insert(0, str(Path(__file__).parent))
from networks import expected, inputs_of, network_of  # noqa: E402

from driver_rig import sim_library  # noqa: E402
from hotpath._device import lib  # noqa: E402

pytestmark = pytest.mark.slow
SIZES = (6, 9, 4)
CSR_WRITE, BANK_WORD, DMA_WRITE, DMA_READ, PUSH_WORD = 1, 2, 3, 4, 5


@pytest.fixture(scope="module")
def library() -> Path:
    """The shared library."""
    return sim_library()


@pytest.fixture
def plant(library):
    """`plant(kind, where, bit)` flips a bit on a wire of the next access of that kind; nothing stays planted."""
    functions = ctypes.CDLL(str(library))
    functions.pgd_sim_plant.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.c_uint32]
    yield functions.pgd_sim_plant
    functions.pgd_sim_plant(0, 0, 0)


def ready(library, **options) -> Device:
    """A device that answers `network_of(1)`."""
    device = Device(str(library), **options)
    device.load(0, [network_of(1, SIZES)], version=7)
    device.swap(0)
    return device


def test_no_policy_code_of_the_engine_is_in_the_library(library):
    symbols = subprocess.run(["nm", "-C", str(library)], capture_output=True, text=True, check=True).stdout
    assert "pgd_core_submit" in symbols
    assert "Vtop" in symbols
    for word in ("peregrine::", "infer_", "peregrine_device_kernel", "pgd_cpu", "argmax", "Policy"):
        assert word not in symbols, word


def test_the_deadline_is_in_cycles_and_each_poll_is_worth_as_many_as_were_asked_for(library):
    with ready(library, cycles_per_poll=1) as device:
        tag = device.submit(np.zeros(6, np.int32))
        with pytest.raises(DeviceError) as refused:
            device.wait(3)
        assert refused.value.name == "timeout"
        polls = 0
        while (answer := device.poll()) is None:
            polls += 1
        assert answer.tag == tag
        assert polls > 20
    with ready(library, cycles_per_poll=polls + 100) as device:
        device.submit(np.zeros(6, np.int32))
        assert device.poll() is not None


@pytest.mark.parametrize("transport", ["push", "ring"])
def test_two_runs_are_the_same_to_the_cycle(library, transport):
    def run() -> list:
        seen = []
        with ready(library, transport=transport, cycles_per_poll=3) as device:
            rows = inputs_of(1, 12, 6)
            for row in rows:
                device.submit(row)
                polls = 0
                while (answer := device.poll()) is None:
                    polls += 1
                seen.append((polls, answer))
        return seen

    assert run() == run()


def test_core_cycles_are_those_of_the_builds_formula(library):
    from peregrine_hdl.loadable_limits import Limits
    from peregrine_sim.device import LANES, SLOTS

    with ready(library) as device:
        cycles = {device.ask(row).cycles for row in inputs_of(2, 5, 6)}
    assert len(cycles) == 1
    # the crossing may give the core's words with gaps, never faster than the formula
    assert Limits(lanes=LANES, slots=SLOTS).cycles(SIZES) <= cycles.pop() <= 2 * Limits(lanes=LANES, slots=SLOTS).cycles(SIZES)


@pytest.mark.parametrize("word", [0, 3, 30, 300, -1])
@pytest.mark.parametrize("bit", [0, 7, 31])
def test_one_flipped_bit_of_the_image_is_refused(library, plant, word, bit):
    from hotpath.device import image

    with ready(library) as device:
        network = network_of(2, SIZES)
        count = len(image([network], {k: v for k, v in device.caps.items() if isinstance(v, int)}))
        plant(BANK_WORD, word % count, bit)
        with pytest.raises(DeviceError) as refused:
            device.load(1, [network], version=8)
        assert refused.value.name in ("crc", "limit")
        assert device.ask(np.zeros(6, np.int32)).version == 7
        device.load(1, [network], version=8)
        device.swap(1)
        assert device.ask(np.zeros(6, np.int32)).version == 8


REGISTERS = [
    ("CONTROL", 1 << 16), ("CONTROL", 1 << 16 | 2), ("EPOCH", 3), ("COMPLETION_BASE_LO", 12), ("COMPLETION_BASE_HI", 8), ("COMPLETION_LOG2", 0), ("RING_BASE_LO", 13),
    ("RING_BASE_HI", 3), ("RING_LOG2", 1), ("RING_PRODUCER", 7), ("BANK_SELECT", 0), ("BANK_VERSION_LO", 5),
    ("BANK_VERSION_HI", 31), ("BANK_EXPECTED_CRC", 9), ("BANK_EXPECTED_WORDS", 2), ("BANK_SWAP", 1),
]  # fmt: skip


@pytest.mark.parametrize(("register", "bit"), REGISTERS)
def test_one_flipped_bit_of_a_register_write_is_noticed(library, plant, register, bit):
    network, rows = network_of(1, SIZES), inputs_of(3, 8, 6)
    # of the control register the second write: the first is a reset of a device that is fresh from one
    plant(CSR_WRITE, getattr(lib, f"PGD_REG_{register}") | bit & ~0xFFFF, bit & 0xFFFF)
    noticed = ""
    try:
        with Device(str(library), transport="ring", ring_log2=3) as device:
            device.load(0, [network], version=7)
            device.swap(0)
            for row, logits in zip(rows, expected(network, rows), strict=True):
                answer = device.ask(row, timeout=20_000)
                if (answer.status, answer.version, answer.logits) != ("ok", 7, tuple(logits.tolist())):
                    noticed = f"answered {answer}"
            if device.stats()["errors"]:
                noticed = noticed or f"errors {device.stats()['errors']:#x}"
    except DeviceError as err:
        noticed = str(err)
    assert noticed


@pytest.mark.parametrize("beat", range(9))
@pytest.mark.parametrize("bit", [1, 40])
def test_one_flipped_bit_of_a_completions_beat_is_never_an_answer(library, plant, beat, bit):
    with ready(library) as device:
        if (beat, bit) == (7, 40):
            pytest.skip("the upper half of this beat is not written: the phase has a beat of its own")
        plant(DMA_WRITE, beat, bit)
        device.submit(np.zeros(6, np.int32))
        try:
            answer = device.wait(20_000)
        except DeviceError as err:
            assert err.name in ("corrupt", "timeout")
        else:
            assert (beat, bit) == (8, 1), f"the lower half of the phase's beat is not written: {answer}"


def line_network() -> Network:
    """44 int8 inputs, a whole line of them, each of which moves both logits."""
    weights = np.array([range(1, 45), range(-50, -6)], np.int8)
    layer = Layer(weights, np.array([5, -5], np.int32), None)
    return Network(np.arange(44, dtype=np.uint16), np.ones(44, np.int16), np.zeros(44, np.uint8), (layer,))


def flipped_request(library, plant, transport: str, kind: int, where: int, bit: int) -> str:
    """What is noticed when a request is carried with this bit flipped; "" when nothing is."""
    network, row = line_network(), inputs_of(4, 1, 44, np.int8)
    with Device(str(library), transport=transport) as device:
        device.load(0, [network], version=7)
        device.swap(0)
        plant(kind, where, bit)
        device.submit(row[0])
        try:
            answer = device.wait(20_000)
        except DeviceError as err:
            return err.name
        good = (answer.status, answer.logits) == ("ok", tuple(expected(network, row)[0].tolist()))
        return "" if good and not device.stats()["errors"] else answer.status


@pytest.mark.parametrize("beat", range(10))
@pytest.mark.parametrize("bit", [2, 41, 63])
def test_one_flipped_bit_of_a_beat_that_the_device_reads_is_noticed(library, plant, beat, bit):
    """Beats 0 and 1 are the descriptor, 2 to 9 the request's line."""
    assert flipped_request(library, plant, "ring", DMA_READ, beat, bit)


@pytest.mark.parametrize("word", range(8))
@pytest.mark.parametrize("bit", [2, 41, 63])
def test_one_flipped_bit_of_a_pushed_word_is_noticed(library, plant, word, bit):
    assert flipped_request(library, plant, "push", PUSH_WORD, word, bit)
