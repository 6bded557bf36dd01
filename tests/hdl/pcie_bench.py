"""The device behind a PCIe root complex: enumeration, both BARs, DMA to host memory, MSI. Run by tools/hdl_device.py.

    root complex ── TLPs ── endpoint model ─┬─ BAR0 ─▶ s_axil
                                            ├─ BAR2 ─▶ s_push
                                            ├◀─ DMA ── m_axi
                                            └◀─ MSI ── irq

The model's delays are nominal: it shows protocol and order, never latency.
"""

from __future__ import annotations

import logging
import struct
import zlib
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiLiteMasterWrite, AxiLiteWriteBus, AxiSlave
from cocotbext.pcie.core import Device, MemoryEndpoint, RootComplex
from cocotbext.pcie.core.caps import MsiCapability

from device_case import FEATURES, VERSION, check, rows
from device_rig import ENABLE, FORMAT, IRQ_ENABLE, Done, lines, report
from peregrine_hdl import registers as r

VENDOR, DEVICE = 0x1234, 0x5052


class Endpoint(MemoryEndpoint):
    """Bridges the PCIe model to the device's ports."""

    def __init__(self, dut: Any) -> None:
        super().__init__()
        self.vendor_id, self.device_id = VENDOR, DEVICE
        self.msi = MsiCapability()
        self.msi.msi_64bit_address_capable = 1
        self.register_capability(self.msi)
        self.csr = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.window = AxiLiteMasterWrite(AxiLiteWriteBus.from_prefix(dut, "s_push"), dut.clk, dut.rst)
        self.memory = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, target=self)
        self.add_mem_region(r.CSR_BYTES, read=self.csr_read, write=self.csr_write)
        self.bar_ptr = 2
        self.add_mem_region(r.PUSH_BYTES, read=self.push_read, write=self.push_write)
        cocotb.start_soon(self._interrupts(dut))

    async def csr_read(self, address: int, length: int) -> bytes:
        """BAR0."""
        return bytes((await self.csr.read(address, length)).data)

    async def csr_write(self, address: int, data: bytes) -> None:
        """BAR0."""
        await self.csr.write(address, data)

    async def push_read(self, address: int, length: int) -> bytes:
        """BAR2 is only written."""
        return bytes(length)

    async def push_write(self, address: int, data: bytes) -> None:
        """BAR2."""
        await self.window.write(address, data)

    async def read(self, address: int, length: int) -> bytes:
        """DMA."""
        return bytes(await self.mem_read(address, length))

    async def write(self, address: int, data: bytes) -> None:
        """DMA."""
        await self.mem_write(address, data)

    async def _interrupts(self, dut: Any) -> None:
        while True:
            await RisingEdge(dut.clk)
            if dut.irq.value == 1:
                await self.msi.issue_msi_interrupt(0)


@cocotb.test()
async def a_driver_finds_the_device_and_has_requests_answered_over_pcie(dut):
    for name in ("cocotb.pcie", f"cocotb.{dut._name}"):
        logging.getLogger(name).setLevel(logging.WARNING)
    dut.rst.value, dut.core_rst.value = 1, 1
    cocotb.start_soon(Clock(dut.clk, 4000, unit="ps").start())
    cocotb.start_soon(Clock(dut.core_clk, 5000, unit="ps").start())
    root, endpoint = RootComplex(), Endpoint(dut)
    root.log.setLevel(logging.WARNING)
    endpoint.log.setLevel(logging.WARNING)
    root.make_port().connect(Device(endpoint))
    await ClockCycles(dut.clk, 5)
    dut.rst.value, dut.core_rst.value = 0, 0

    await with_timeout(root.enumerate(), 100, "us")
    found = root.find_device(endpoint.pcie_id)
    assert (found.vendor_id, found.device_id) == (VENDOR, DEVICE)
    await found.enable_device()
    await found.set_master()
    await found.alloc_irq_vectors(1, 1)
    bar0, bar2 = found.bar_window[0], found.bar_window[2]

    async def get(name: str) -> int:
        return int(await bar0.read_dword(r.OFFSET[name]))

    async def put(name: str, value: int) -> None:
        await bar0.write_dword(r.OFFSET[name], value & 0xFFFFFFFF)

    while await get("control"):
        pass
    assert [await get(n) for n in ("id", "layout_version", "map_hash")] == [r.DEVICE_ID, r.LAYOUT_VERSION, r.MAP_HASH]
    assert await get("policy_lo") | await get("policy_hi") << 32 == VERSION

    memory = root.mem_pool.alloc_region(0x4000)
    base = memory.get_absolute_address(0)
    ring, completions, requests = 0, 0x400, 0x1000
    for name, value in (("ring_base_lo", base + ring), ("ring_base_hi", base >> 32), ("ring_log2", 2),
                        ("completion_base_lo", base + completions), ("completion_base_hi", base >> 32),
                        ("completion_log2", 2), ("epoch", 7), ("control", ENABLE | IRQ_ENABLE)):  # fmt: skip
        await put(name, value)

    interrupts = 0

    async def count() -> None:
        nonlocal interrupts
        interrupts += 1

    found.msi_vectors[0].cb.append(count)

    async def answer(index: int, tag: int, row: np.ndarray) -> None:
        at = completions + 64 * (index % 4)
        for _ in range(5000):
            raw = bytes(memory[at : at + 64])
            if raw[60:] == struct.pack("<I", (index >> 2) + 1):
                break
            await RisingEdge(dut.clk)
        values = struct.unpack(FORMAT, raw)
        assert values[-2] == zlib.crc32(raw[:56])
        check(Done(*values[:7], values[7:15], *values[15:]), tag, row)
        await put("completion_consumer", index + 1)

    descriptors = 0
    for index, row in enumerate(rows(10, 99)):
        tag = 7 << 32 | index + 1
        data = lines(tag, FEATURES, [int(v) for v in row])
        await put("completion_arm", 1)
        if index % 2:
            where = requests + 512 * (descriptors % 4)
            memory[where : where + len(data)] = data
            at = ring + 16 * (descriptors % 4)
            memory[at : at + 16] = struct.pack("<QII", base + where, len(data), 0)
            descriptors += 1
            await put("ring_producer", descriptors)
        else:  # eight stores, as a driver without wider ones makes; the last two in the other order
            parts = [(k, data[k : k + 8]) for k in range(0, 64, 8)]
            for at, part in [*parts[:6], parts[7], parts[6]]:
                await bar2.write(512 * (index // 2 % 4) + at, part)
        await answer(index, tag, row)
        # the interrupt is a write behind the phase word
        for _ in range(200):
            if interrupts == index + 1:
                break
            await RisingEdge(dut.clk)
        assert interrupts == index + 1 == await get("count_interrupts")
    assert await get("errors") == 0 and await get("count_completions") == 10
    report(10, int(get_sim_time("ps") // 4000))
