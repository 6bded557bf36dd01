"""The vfio backend on machines that lack something, on devices that fail, and with every call of it made wrong."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath.device import Device, DeviceError, probe

sys.path.insert(0, str(Path(__file__).parent))
from networks import expected, inputs_of, network_of  # noqa: E402

ROW = np.zeros(6, np.int32)


def ready(machine, *, load: bool = True, transport: str = "push", **options):
    """A fake machine and an open device that answers `network_of(1)`."""
    fake = machine(**options)
    device = fake.open(transport=transport)
    if load:
        device.load(0, [network_of(1)], version=7)
        device.swap(0)
    return fake, device


def why(call, *arguments) -> DeviceError:
    """The refusal a call ends with."""
    with pytest.raises(DeviceError) as refused:
        call(*arguments)
    return refused.value


LACKS = [
    ("iommu", "unavailable", "no IOMMU", "intel_iommu=on"),
    ("group", "unavailable", "in no IOMMU group", "slot"),
    ("driver", "unavailable", "bound to no driver", "driver_override"),
    ("vfio-pci", "unavailable", "bound to xdma", "driver_override"),
    ("/dev/vfio/vfio", "unavailable", "/dev/vfio/vfio: not there", "modprobe vfio-pci"),
    ("/dev/vfio/12", "unavailable", "/dev/vfio/12: not there", "modprobe"),
    ("permission /dev/vfio/12", "permission", "/dev/vfio/12: not permitted", "udev"),
    ("permission /dev/vfio/vfio", "permission", "/dev/vfio/vfio: not permitted", "udev"),
    ("type1", "unavailable", "no type 1 IOMMU", "vfio_iommu_type1"),
    ("viable", "unavailable", "IOMMU group 12 has other devices", "every device"),
    ("memlock", "memory", "may not be locked", "ulimit -l"),
    ("pinned", "memory", "more than may be locked", "ulimit -l"),
    ("mmap", "mismatch", "region 0", "another card"),
    ("small bar", "mismatch", "region 0: 2048 bytes", "another card"),
]


@pytest.mark.parametrize(("lack", "name", "found", "hint"), LACKS, ids=[row[0] for row in LACKS])
def test_what_is_missing_is_said_with_its_fix_and_nothing_stays_open(machine, lack, name, found, hint):
    fake = machine().lack(lack)
    refused = why(fake.open)
    assert refused.name == name
    assert found in refused.found
    assert hint in refused.hint
    assert fake.breaches(closed=True) == []


@pytest.mark.parametrize(("address", "name"), [("65:00.0", "invalid"), ("0000:65:00.x", "invalid"), ("../../../etc/x", "invalid"),
                                               ("", "invalid"), ("0000:66:00.0", "unavailable")])  # fmt: skip
def test_only_a_pci_address_that_is_there_is_taken(machine, address, name):
    assert why(lambda: machine().open(address=address)).name == name


def test_a_probe_says_the_same_and_opens_nothing(machine):
    fake = machine().lack("vfio-pci")
    refused = probe("vfio", sys=fake.sys, address=fake.address)
    assert refused is not None
    assert "xdma" in refused.found
    assert probe("vfio", sys=machine().sys, address=fake.address) is None
    refused = probe("vfio", sys=machine().sys)
    assert refused is not None
    assert "no device named" in refused.found
    assert fake.kernel_calls() == 0


@pytest.mark.parametrize("lack", ["/dev/vfio/devices/vfio3", "permission /dev/vfio/devices/vfio3", "memlock", "pinned"])
def test_the_device_file_way_says_what_is_missing_too(machine, lack):
    refused = why(machine(iommufd=True).lack(lack).open)
    assert refused.found
    assert refused.hint


def test_without_iommufd_the_group_is_taken(machine):
    fake = machine(iommufd=True).lack("/dev/iommu")
    with fake.open() as device:
        assert "by group" in device.caps["detail"]
    with machine(iommufd=True).open() as device:
        assert "by iommufd" in device.caps["detail"]


def test_without_interrupts_it_works_and_arm_says_so(machine):
    fake = machine().lack("msix")
    with fake.open() as device:
        assert "interrupts" not in device.caps["flags"]
        assert why(device.arm).name == "unsupported"


@pytest.mark.parametrize(("setting", "name"), [({"id": 0x12345678}, "mismatch"), ({"map_hash": 1}, "mismatch"), ({"gone": 1}, "io")])
def test_another_device_is_not_taken_for_ours(machine, setting, name):
    fake = machine()
    refused = why(fake.set(**setting).open)
    assert refused.name == name
    assert fake.set(gone=0).breaches(closed=True) == []


def test_without_push_slots_the_ring_is_taken(machine):
    fake = machine().set(push_slots=0)
    with fake.open() as device:
        assert device.caps["transport"] == "ring"
    assert why(lambda: fake.open(transport="push")).name == "unsupported"


def test_a_baked_core_takes_requests_at_once_and_no_policies(machine):
    with machine().set(banks=0).open() as device:
        assert device.caps["variant"] == "baked"
        assert why(device.load, 0, [network_of(1)], 1).name == "unsupported"
        assert why(device.swap, 0).name == "unsupported"
        assert device.ask(ROW).status == "no_policy", "the model has nothing baked in; that it was asked is the point"
        device.reset()
        assert device.ask(ROW).tag >> 32 == 2


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 7])
def test_push_uses_a_power_of_two_of_the_slots(machine, slots):
    fake = machine().set(push_slots=slots)
    with fake.open() as device:
        assert device.caps["in_flight"] == 1 << (slots.bit_length() - 1)
        device.load(0, [network_of(1)], 1)
        device.swap(0)
        rows = inputs_of(1, 20, 6)
        for row, logits in zip(rows, expected(network_of(1), rows), strict=True):
            assert device.ask(row).logits == tuple(logits.tolist())


def test_a_submit_and_a_poll_make_no_system_call(machine):
    fake, device = ready(machine)
    before = fake.kernel_calls()
    for row in inputs_of(2, 200, 6):
        device.cancel(device.submit(row))
        device.wait()
    assert fake.kernel_calls() == before
    device.close()


@pytest.mark.parametrize("byte", [0, 4, 8, 16, 17, 18, 19, 20, 24, 31, 55, 56, 59])
def test_one_flipped_bit_of_a_completion_is_never_an_answer(machine, byte):
    fake, device = ready(machine)
    fake.set(flip_completion=byte + 1)
    device.submit(ROW)
    assert why(device.wait).name == "corrupt"
    stats = device.stats()
    assert (stats["corrupt"], stats["in_flight"], stats["answered"]) == (1, 1, 0)
    assert device.ask(ROW).status == "ok"
    device.reset()
    assert device.stats()["in_flight"] == 0
    device.close()


def test_a_completion_without_its_phase_is_not_there(machine):
    fake, device = ready(machine)
    fake.set(flip_completion=61)
    device.submit(ROW)
    assert why(device.wait, 1_000_000).name == "timeout"
    device.close()


# the last three fall on the place of the request that is in flight
@pytest.mark.parametrize("tag", [1, 1 << 32 | 99, 5 << 32 | 1, 0xFFFFFFFF << 32, 2**64 - 1, 5 << 32 | 6, 1 << 32 | 14, 6])
def test_a_completion_of_no_request_in_flight_is_dropped_and_counted(machine, tag):
    fake, device = ready(machine)
    for _ in range(5):
        device.ask(ROW)
    fake.set(replay_tag=tag)
    answer = device.ask(ROW)
    assert answer.tag == 1 << 32 | 6
    assert device.poll() is None
    assert device.stats()["stale"] == 1
    device.close()


def test_an_answer_given_twice_is_given_once(machine):
    fake, device = ready(machine)
    first = device.ask(ROW).tag
    fake.set(replay_tag=first)
    assert device.ask(ROW).tag != first
    assert device.stats()["stale"] == 1
    device.close()


def test_weights_that_the_memory_took_wrongly_are_refused_and_the_old_bank_answers(machine):
    fake, device = ready(machine)
    fake.set(flip_image_word=50)
    refused = why(device.load, 1, [network_of(2)], 8)
    assert refused.name == "crc"
    assert "CRC" in refused.found
    assert why(device.swap, 1).name == "state"
    assert device.ask(ROW).version == 7
    fake.set(flip_image_word=0)
    device.load(1, [network_of(2)], 8)
    device.swap(1)
    assert device.ask(ROW).version == 8
    device.close()


def test_an_image_that_the_core_has_no_room_for_is_a_limit(machine):
    fake = machine().set(bank_capacity=400)
    with fake.open() as device:
        assert why(device.load, 0, [network_of(1, (64, 64, 16))], 1).name == "limit"


def test_a_parity_error_is_a_status_and_counted(machine):
    fake, device = ready(machine)
    fake.set(parity=1)
    assert device.ask(ROW).status == "parity"
    assert device.stats()["parity_count"] == 1
    assert device.stats()["errors"] != 0
    assert device.ask(ROW).status == "ok"
    device.close()


def test_a_device_that_falls_silent_times_out_and_one_that_is_gone_cannot_be_reset(machine):
    fake, device = ready(machine)
    fake.set(mute=1)
    device.submit(ROW)
    assert why(device.wait, 1_000_000).name == "timeout"
    fake.set(mute=0, gone=1)
    assert why(device.reset).name == "io"
    assert why(device.submit, ROW).name == "no_policy"
    fake.set(gone=0)
    device.reset()
    assert device.stats()["in_flight"] == 0
    device.close()


def exercise(fake, iommufd: bool) -> bool:
    """Open, load, ask, cancel, arm, reset, close; True when every answer was what it should be."""
    import os

    network = network_of(1)
    rows = inputs_of(3, 40, 6)
    logits = expected(network, rows)
    good = True
    with Device("vfio", sys=fake.sys, address=fake.address, transport="push") as device:
        device.load(0, [network], version=2**40 + 7)
        device.swap(0)
        fd = device.arm()
        for row, values in zip(rows, logits, strict=True):
            answer = device.ask(row, timeout=10_000_000)
            good = good and (answer.status, answer.version, answer.logits) == ("ok", 2**40 + 7, tuple(values.tolist()))
        good = good and os.read(fd, 8) == (1).to_bytes(8, "little")
        fake.set(hold=1)
        tag = device.submit(rows[0])
        device.cancel(tag)
        device.submit(rows[1])
        fake.set(hold=0)
        statuses = [device.wait(10_000_000).status for _ in range(2)]
        good = good and statuses == ["cancelled", "ok"]
        good = good and device.stats()["errors"] == 0
        return good and (("iommufd" in device.caps["detail"]) is iommufd)


@pytest.mark.parametrize("iommufd", [False, True])
def test_the_driver_as_it_is_makes_no_wrong_call(machine, iommufd):
    fake = machine(iommufd=iommufd)
    assert exercise(fake, iommufd)
    assert fake.breaches(closed=True) == []


def test_every_planted_wrong_call_is_found(fake_library):
    """One wrong call at a time, between driver and kernel: refused, answered wrongly, or written down by the fake."""
    from driver_rig import Fake

    survivors, count = [], fake_library.fake_mutants()
    for index in range(count):
        name = fake_library.fake_mutant_name(index).decode()
        iommufd = name.startswith("iommufd")
        fake = Fake(fake_library, iommufd=iommufd)
        fake.mutate(index)
        try:
            good = exercise(fake, iommufd)
        except (DeviceError, BlockingIOError):
            good = False
        if good and not fake.breaches(closed=True):
            survivors.append(name)
        fake.free()
    assert count > 80
    assert survivors == []


page_counts = st.integers(1, 40)
range_lists = st.lists(st.tuples(st.integers(0, 2**33), st.integers(0, 2**20)), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(ranges=range_lists, steps=st.lists(st.one_of(page_counts, st.none()), max_size=20), data=st.data())
def test_device_addresses_lie_where_they_may_and_never_overlap(fake_library, ranges, steps, data):
    bounds = [(start, start + size) for start, size in ranges]
    flat = (ctypes.c_uint64 * (2 * len(bounds)))(*[v for pair in bounds for v in pair])
    iova = fake_library.fake_iova_new(flat, len(bounds))
    taken: dict[int, int] = {}
    for pages in steps:
        if pages is None and taken:
            start = data.draw(st.sampled_from(sorted(taken)))
            fake_library.fake_iova_give(iova, start)
            del taken[start]
        elif pages is not None:
            size = 4096 * pages
            at = fake_library.fake_iova_take(iova, size)
            if at == 0:
                if not taken:
                    fits = [-(-max(low, 1 << 20) // 4096) * 4096 + size - 1 <= high for low, high in bounds]
                    assert not any(fits)
                continue
            assert at % 4096 == 0
            assert at >= 1 << 20
            assert any(low <= at and at + size - 1 <= high for low, high in bounds)
            assert all(at + size <= other or other + length <= at for other, length in taken.items())
            taken[at] = size
    fake_library.fake_iova_free(iova)


def test_a_gap_that_is_too_small_is_passed_over(fake_library):
    iova = fake_library.fake_iova_new(None, 0)
    first, second, third = (fake_library.fake_iova_take(iova, 4096) for _ in range(3))
    fake_library.fake_iova_give(iova, first)
    assert fake_library.fake_iova_take(iova, 2 * 4096) == third + 4096
    assert fake_library.fake_iova_take(iova, 4096) == first
    fake_library.fake_iova_free(iova)


@pytest.mark.parametrize("size", [0, 1, 4095, 4097])
def test_only_whole_pages_of_device_addresses_are_given(fake_library, size):
    iova = fake_library.fake_iova_new(None, 0)
    assert fake_library.fake_iova_take(iova, size) == 0
    assert fake_library.fake_iova_take(iova, 4096) == 1 << 20
    fake_library.fake_iova_free(iova)
