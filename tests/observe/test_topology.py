"""Cores, nodes, interrupts and cards as read from the kernel's files."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines import container, numa2, smt16, vm2
from orchestrator.observe.machine import Probe
from orchestrator.observe.profile import parse_cpu_list
from orchestrator.observe.topology import cpu_list, cpu_mask, read_topology

cpus = st.sets(st.integers(0, 300))


@settings(deadline=None)
@given(cpus)
def test_a_list_of_cpus_is_read_back_as_it_was_written(numbers):
    assert set(parse_cpu_list(cpu_list(numbers))) == numbers


@settings(deadline=None)
@given(cpus)
def test_a_mask_has_a_bit_a_cpu_and_words_of_32(numbers):
    mask = cpu_mask(numbers)
    assert int(mask.replace(",", ""), 16) == sum(1 << n for n in numbers)
    assert all(len(word) == 8 for word in mask.split(",")[1:])


def test_a_machine_with_smt_has_sixteen_cores(tmp_path):
    topology = read_topology(smt16(tmp_path))
    everyone = tuple(cpu.number for cpu in topology.cpus)
    assert (len(everyone), len(topology.one_a_core(everyone))) == (32, 16)
    assert topology.siblings_of(15) == (31,) and topology.siblings_of(31) == (15,)
    assert (topology.boot_loader, topology.hypervisor, topology.container) == ("grub-debian", "", "")
    assert [(irq.number, irq.name) for irq in topology.irqs] == [(9, "acpi"), (40, "nvme0q15"), (60, "ens1f0-TxRx-0"), (61, "ens1f0-TxRx-1"), (62, "ens1f0-TxRx-2")]
    (nic,) = topology.nics
    assert (nic.name, nic.driver, nic.bus, nic.irqs) == ("ens1f0", "ice", "0000:3b:00.0", (60, 61, 62))


def test_a_machine_of_two_sockets_knows_which_card_hangs_where(tmp_path):
    topology = read_topology(numa2(tmp_path), ("0000:65:00.0", "0000:99:00.0"))
    assert topology.nodes == (0, 1)
    assert topology.cpus_of_node(1) == tuple(range(1, 16, 2)) and topology.node_of(4) == 0
    assert {nic.name: (nic.node, nic.irqs) for nic in topology.nics} == {"eno1": (0, (50,)), "ens3f0": (1, (80, 81))}
    assert topology.devices == (("0000:65:00.0", 0),)
    assert topology.boot_loader == "grubby"


@pytest.mark.parametrize(("address", "name"), [("10.100.3.7", "ens3f0"), ("192.168.1.9", "eno1"), ("8.8.8.8", None), ("", None), ("ff02::1", None)])
def test_an_address_leads_to_the_card_of_its_network(tmp_path, address, name):
    nic = read_topology(numa2(tmp_path)).nic_of_address(address)
    assert (nic.name if nic else None) == name


def test_a_container_knows_its_share(tmp_path):
    topology = read_topology(container(tmp_path))
    assert (topology.container, topology.quota_cores, topology.allowed) == ("docker", 2.5, (4, 5, 6, 7))
    assert len(topology.cpus) == 8


def test_a_recorded_virtual_machine_is_none_of_the_others(tmp_path):
    topology = read_topology(vm2(tmp_path))
    assert (topology.container, topology.hypervisor, topology.boot_loader) == ("", "a hypervisor", "")
    assert [cpu.number for cpu in topology.cpus] == [0, 1] and topology.quota_cores is None
    assert [nic.driver for nic in topology.nics] == ["virtio_net"]


def test_a_machine_that_was_made_of_an_image_is_no_container(tmp_path):
    probe = vm2(tmp_path)
    (tmp_path / ".dockerenv").write_text("")
    assert read_topology(probe).container == ""


def test_a_machine_that_shows_nothing_has_one_cpu_and_no_more(tmp_path):
    topology = read_topology(Probe(tmp_path))
    assert [cpu.number for cpu in topology.cpus] == [0]
    assert (topology.irqs, topology.nics, topology.nodes) == ((), (), (0,))


def test_this_machine_allows_what_the_kernel_allows_this_process():
    topology = read_topology()
    assert set(os.sched_getaffinity(0)) <= set(topology.allowed) | {cpu.number for cpu in topology.cpus}
    assert set(topology.allowed) >= set(os.sched_getaffinity(0))


def test_quotas_of_the_first_kind_of_control_groups_are_read_too(tmp_path):
    (tmp_path / "sys/fs/cgroup/cpu").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")
    assert read_topology(Probe(tmp_path)).quota_cores == 1.5
