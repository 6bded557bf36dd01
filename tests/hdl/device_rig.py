"""The device on cocotb: its clocks, bus models, host memory, and the words of a driver. Used by the device's benches.

Offsets, fields and layouts come from `peregrine_hdl.registers`, as the gateware's do; what an answer must be comes from
the numpy oracle.
"""

from __future__ import annotations

import json
import logging
import os
import random
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiLiteMasterWrite, AxiLiteWriteBus, AxiSlave

from peregrine_hdl import registers as r

RING, COMPLETIONS, REQUESTS, HOST_BYTES = 0x1_0000, 0x2_0000, 0x8_0000, 0x10_0000
BAD_PAGE = 0xF_0000
OK = r.STATUS["ok"]
ERRORS = {f.name: 1 << f.lsb for reg in r.REGISTERS if reg.name == "errors" for f in reg.fields}
ENABLE, RESET, IRQ_ENABLE = 1, 2, 4
FORMAT = "<QQBBBBI8iII"
assert struct.calcsize(FORMAT) == r.RECORDS["completion"][1]


@dataclass
class Host:
    """Host memory behind the device's AXI port: `bad` lists (first, last) addresses that answer with an error."""

    bytes: bytearray = field(default_factory=lambda: bytearray(HOST_BYTES))
    bad: list[tuple[int, int]] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    writes: list[tuple[int, int]] = field(default_factory=list)

    def _check(self, address: int, length: int) -> None:
        if address + length > HOST_BYTES or any(address <= last and first < address + length for first, last in self.bad):
            raise ValueError(f"no memory at {address:#x}")

    async def read(self, address: int, length: int) -> bytes:
        """For the bus model."""
        self.reads.append((address, length))
        self._check(address, length)
        return bytes(self.bytes[address : address + length])

    async def write(self, address: int, data: bytes) -> None:
        """For the bus model."""
        self.writes.append((address, len(data)))
        self._check(address, len(data))
        self.bytes[address : address + len(data)] = data


@dataclass(frozen=True)
class Done:
    """A completion."""

    tag: int
    version: int
    status: int
    action: int
    outputs: int
    slot: int
    cycles: int
    logits: tuple[int, ...]
    crc: int
    phase: int

    @property
    def name(self) -> str:
        """Of its status."""
        return r.STATUSES[self.status][0]


def lines(tag: int, kind: int, values: list[int], slot: int = 0, count: int | None = None) -> bytes:
    """The lines of a request."""
    body = struct.pack(f"<{len(values)}{'i' if kind == r.KINDS['features'] else 'b'}", *values)
    count = len(values) if count is None else count
    head, commit = struct.pack("<QBBB5x", tag, slot, kind, count & 0xFF), struct.pack("<I", tag & 0xFFFFFFFF)
    out = head + body[: r.FIRST_BODY_BYTES].ljust(r.FIRST_BODY_BYTES, b"\0") + commit
    for at in range(r.FIRST_BODY_BYTES, len(body), r.NEXT_BODY_BYTES):
        out += body[at : at + r.NEXT_BODY_BYTES].ljust(r.NEXT_BODY_BYTES, b"\0") + commit
    return out


def pieces(data: bytes, rng: random.Random, longest: int = 8) -> list[tuple[int, bytes]]:
    """The bytes cut at random into writes of 1 to `longest` bytes that stay within 8 aligned ones, in random order."""
    found, at = [], 0
    while at < len(data):
        size = min(rng.randint(1, longest), 8 - at % 8, len(data) - at)
        found.append((at, data[at : at + size]))
        at += size
    rng.shuffle(found)
    return found


class Rig:
    """One device, out of reset, with its host."""

    def __init__(self, dut: Any, seed: int = 0) -> None:
        self.dut, self.host, self.rng = dut, Host(), random.Random(seed)
        self.sequence, self.epoch, self.read_completions, self.log2 = 0, 1, 0, 3
        self.completion_log2 = 3
        self.descriptors = self.interrupts = self.answered = self.cycles = 0
        self.broken: list[str] = []
        self.tags_seen: set[int] = set()
        for name in ("s_axil", "s_push", "m_axi"):
            logging.getLogger(f"cocotb.{dut._name}.{name}").setLevel(logging.ERROR)
        self.models(dut)

    def models(self, dut: Any) -> None:
        """What stands on the ports: `csr`, `window` and, where it has them, its reads, `memory`."""
        self.window_reads: Any = None
        self.csr = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.window = AxiLiteMasterWrite(AxiLiteWriteBus.from_prefix(dut, "s_push"), dut.clk, dut.rst)
        self.memory = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, target=self.host)

    async def start(self, bus_ps: int = 4000, core_ps: int = 4000, up: bool = True) -> None:
        """Clocks on, pins reset, and, with `up`, the device set up by `bring_up`."""
        self.dut.rst.value, self.dut.core_rst.value = 1, 1
        cocotb.start_soon(Clock(self.dut.clk, bus_ps, unit="ps").start())
        self.core_clock = Clock(self.dut.core_clk, core_ps, unit="ps")
        self.core_clock.start()
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value, self.dut.core_rst.value = 0, 0
        cocotb.start_soon(self._watch())
        if up:
            await self.settled()
            await self.bring_up()

    def held(self) -> bool:
        """Whether a pin holds the buses in reset, which may end anything at once."""
        return bool(int(self.dut.rst.value))

    async def settled(self) -> None:
        """Until no reset is under way."""
        await self.until(lambda: self.csr_read("control"), lambda value: not value & RESET, "the reset never ends")

    async def bring_up(self, log2: int = 3, completion_log2: int = 3, control: int = ENABLE) -> None:
        """Rings, epoch, enable; software's counts start anew, and host memory is cleared as a driver would."""
        self.log2, self.completion_log2, self.descriptors, self.read_completions = log2, completion_log2, 0, 0
        self.host.bytes[COMPLETIONS : COMPLETIONS + (64 << 12)] = bytes(64 << 12)
        for name, value in (
            ("epoch", self.epoch), ("ring_base_lo", RING), ("ring_base_hi", 0), ("ring_log2", log2),
            ("completion_base_lo", COMPLETIONS), ("completion_base_hi", 0), ("completion_log2", completion_log2),
            ("control", control),
        ):  # fmt: skip
            await self.csr_write(name, value)

    async def _watch(self) -> None:
        """Every clock: the rules of the AXI ports, and interrupts."""
        channels = {
            "s_axil_b": ("bresp",), "s_axil_r": ("rdata", "rresp"), "s_push_b": ("bresp",),
            "m_axi_ar": ("araddr", "arlen"), "m_axi_aw": ("awaddr", "awlen"), "m_axi_w": ("wdata", "wstrb", "wlast"),
        }  # fmt: skip
        if self.window_reads:
            channels["s_push_r"] = ("rdata", "rresp")
        dut = self.dut
        ports = {}
        for name, payload in channels.items():
            prefix, _, channel = name.rpartition("_")
            ports[name] = (getattr(dut, f"{prefix}_{channel}valid"), getattr(dut, f"{prefix}_{channel}ready"),
                           [getattr(dut, f"{prefix}_{p}") for p in payload])  # fmt: skip
        waiting: dict[str, tuple[int, ...]] = {}
        unanswered = 0
        while True:
            await RisingEdge(dut.clk)
            self.cycles += 1
            if self.held():
                waiting.clear()
                unanswered = 0
                continue
            # values before the edge are those that the edge takes
            for name, (valid, ready, payload) in ports.items():
                if not valid.value:
                    if name in waiting:
                        self.broken.append(f"{name}: valid fell before ready")
                    waiting.pop(name, None)
                    continue
                now = tuple(int(p.value) for p in payload)
                if waiting.get(name, now) != now:
                    self.broken.append(f"{name}: changed while it waited")
                waiting[name] = now
                if ready.value:
                    del waiting[name]
                    if name in ("m_axi_ar", "m_axi_aw") and (now[0] & 0xFFF) + 8 * (now[1] + 1) > 0x1000:
                        self.broken.append(f"{name}: burst over 4 KiB at {now[0]:#x}")
                    if name == "m_axi_aw":
                        if unanswered:
                            self.broken.append("m_axi_aw: a write before the last was answered")
                        unanswered += 1
            if dut.m_axi_bvalid.value and dut.m_axi_bready.value:
                unanswered -= 1
            self.interrupts += int(dut.irq.value)

    async def state(self) -> str:
        """What the registers say, for a failure's text."""
        names = ("status", "errors", "count_push", "count_ring", "completion_producer", "completion_consumer")
        found = {name: hex(await self.csr_read(name)) for name in names}
        size = 1 << self.completion_log2
        found["phases"] = [int.from_bytes(self.host.bytes[COMPLETIONS + 64 * k + 60 : COMPLETIONS + 64 * k + 64], "little") for k in range(size)]
        return f"{found}, read {self.read_completions}, broken rules: {self.broken}"

    async def csr_read(self, name: str) -> int:
        """A register."""
        found = await self.csr.read(r.OFFSET[name], 4)
        assert not int(found.resp), f"reading {name} was refused"
        return int.from_bytes(found.data, "little")

    async def csr_write(self, name: str, value: int, refused: bool = False) -> None:
        """A register; `refused` is whether SLVERR is the right answer."""
        done = await self.csr.write(r.OFFSET[name], struct.pack("<I", value & 0xFFFFFFFF))
        assert bool(int(done.resp)) == refused, f"writing {name}: response {done.resp}"

    async def until(self, read: Any, good: Any, failure: str, cycles: int = 4000) -> Any:
        """Read until good. Raises AssertionError after so many clocks."""
        end = self.cycles + cycles
        while not good(value := await read()):
            assert self.cycles < end, f"{failure}; last read {value!r}; broken rules: {self.broken}"
        return value

    def tag(self) -> int:
        """The next tag of the epoch."""
        self.sequence += 1
        return self.epoch << 32 | self.sequence

    async def push(self, slot: int, data: bytes, longest: int = 8, shuffled: bool = True) -> list[int]:
        """Store a request into a push slot; the responses."""
        parts = pieces(data, self.rng, longest) if shuffled else [(k, data[k : k + 8]) for k in range(0, len(data), 8)]
        writes = [cocotb.start_soon(self.window.write(slot * r.PUSH_SLOT_BYTES + at, part)) for at, part in parts]
        return [int((await w).resp) for w in writes]

    def describe(self, data: bytes, address: int | None = None, size: int | None = None, flags: int = 0) -> None:
        """Put a request and its descriptor into host memory, not yet rung."""
        slot = self.descriptors % (1 << self.log2)
        where = REQUESTS + slot * 512 if address is None else address
        self.host.bytes[where : where + len(data)] = data
        at = RING + 16 * slot
        self.host.bytes[at : at + 16] = struct.pack("<QII", where, len(data) if size is None else size, flags)
        self.descriptors += 1

    async def ring(self) -> None:
        """Ring the doorbell."""
        await self.csr_write("ring_producer", self.descriptors)

    def peek(self) -> Done | None:
        """The completion that comes next, once its phase is that of this lap."""
        at = COMPLETIONS + 64 * (self.read_completions % (1 << self.completion_log2))
        raw = bytes(self.host.bytes[at : at + 64])
        values = struct.unpack(FORMAT, raw)
        lap = (self.read_completions >> self.completion_log2) + 1
        if values[-1] != lap:
            return None
        assert values[-2] == zlib.crc32(raw[:56]), "a completion whose CRC is wrong"
        return Done(*values[:7], values[7:15], *values[15:])

    async def completion(self, cycles: int = 4000, tell: bool = True) -> Done:
        """Wait for the next completion, take it, and tell the device. Raises AssertionError when it does not come."""
        end = self.cycles + cycles
        while (found := self.peek()) is None:
            assert self.cycles < end, f"no completion; broken rules: {self.broken}"
            await RisingEdge(self.dut.clk)
        self.read_completions += 1
        self.answered += 1
        self.tags_seen.add(found.tag)
        if tell:
            await self.csr_write("completion_consumer", self.read_completions)
        return found

    async def seen(self, tag: int, cycles: int = 40_000) -> None:
        """Until `completion` has taken this tag's, wherever that runs. Raises AssertionError when it does not come."""
        end = self.cycles + cycles
        while tag not in self.tags_seen:
            assert self.cycles < end, f"no completion of {tag:#x}; {await self.state()}"
            await RisingEdge(self.dut.clk)

    async def idle(self) -> None:
        """Until the device holds nothing, and no rule of a bus was broken so far."""
        await self.until(lambda: self.csr_read("status"), lambda value: not value & 2, "it stays busy")
        self.lawful()

    def lawful(self) -> None:
        """No rule of a bus was broken."""
        assert not self.broken, self.broken[:5]

    def pause(self, chance: float, seed: int = 0) -> None:
        """Each bus model pauses with this chance a clock, on each of its channels."""
        self.pauses(chance, chance, seed)

    def pauses(self, idle: float, pressure: float, seed: int = 0) -> None:
        """Chance a clock that a model has nothing to say, and that it does not listen."""
        said, heard = [], []
        for writes, reads, driver in ((self.csr.write_if, self.csr.read_if, True), (self.window, self.window_reads, True),
                                      (self.memory.write_if, self.memory.read_if, False)):  # fmt: skip
            (said if driver else heard).extend((writes.aw_channel, writes.w_channel))
            (heard if driver else said).append(writes.b_channel)
            if reads:
                (said if driver else heard).append(reads.ar_channel)
                (heard if driver else said).append(reads.r_channel)
        for chance, channels in ((idle, said), (pressure, heard)):
            for k, channel in enumerate(channels):
                rng = random.Random(seed * 100 + k)
                channel.set_pause_generator(iter(lambda rng=rng, chance=chance: rng.random() < chance, None))

    def report(self) -> None:
        """Adds this test's counts to the file the table is made of."""
        self.lawful()
        report(self.answered, self.cycles)


def report(answers: int, cycles: int) -> None:
    """Adds counts to the file the table is made of."""
    file = Path(os.environ["HDL_REPORT"])
    total = json.loads(file.read_text()) if file.exists() else {"vectors": 0, "cycles": 0}
    file.write_text(json.dumps({"vectors": total["vectors"] + answers, "cycles": total["cycles"] + cycles}))
