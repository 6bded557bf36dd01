"""One region of both weight banks: the active bank is read a row a clock, the other one is written and read back by word.

    row 0   | word 0 p | word 1 p | …          `columns` words a row, each with the parity of its bits beside it
    row 1   | …

The two banks are memories of their own, so loading never takes a clock from answering. A bank that is active is never
written: the loader refuses that, and its address comes from the reader alone.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from peregrine_hdl.loadable_limits import BANKS


class BankMemory(wiring.Component):
    """`columns` (a power of two) words of `bits` bits in each of `rows` rows, twice.

    `row` and `row_bad` (parity) follow `row_at` by one clock. `write` stores `word` at word `index`; with `index` held, two
    clocks later `back` and `back_bad` are what the memory holds there. `flip` (tests) stores bit 0 the other way round
    beside the parity of the right word.
    """

    def __init__(self, *, columns: int, rows: int, bits: int) -> None:
        self.columns, self.rows, self.bits = columns, rows, bits
        super().__init__(
            {
                "active": In(1),
                "active_valid": In(1),
                "row_at": In(range(rows)),
                "row": Out(data.ArrayLayout(unsigned(bits), columns)),
                "row_bad": Out(1),
                "write": In(1),
                "bank": In(range(BANKS)),
                "index": In(range(columns * rows)),
                "word": In(bits),
                "flip": In(1),
                "back": Out(bits),
                "back_bad": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        split = (self.columns - 1).bit_length()
        column_at, own_row = self.index[:split], self.index[split:]
        parity = self.word.xor()
        stored = Cat(self.word ^ Mux(self.flip, 1, 0), parity)
        found: list[list[Value]] = []
        for bank in range(BANKS):
            reading, at = Signal(name=f"reading{bank}"), Signal(range(self.rows), name=f"at{bank}")
            m.d.comb += [
                reading.eq(self.active_valid & (self.active == bank)),
                at.eq(Mux(reading, self.row_at, own_row)),
            ]
            columns: list[Value] = []
            for c in range(self.columns):
                memory = Memory(shape=unsigned(self.bits + 1), depth=self.rows, init=[])
                m.submodules[f"bank{bank}_column{c}"] = memory
                write, read = memory.write_port(), memory.read_port()
                m.d.comb += [
                    read.addr.eq(at),
                    read.en.eq(1),
                    write.addr.eq(own_row),
                    write.data.eq(stored),
                    write.en.eq(self.write & (self.bank == bank) & (self.flip | ~reading) & (column_at == c)),
                ]
                columns.append(read.data)
            found.append(columns)

        bad: Value = Const(0, 1)
        for c in range(self.columns):
            word = Signal(self.bits + 1, name=f"word{c}")
            m.d.comb += [word.eq(Mux(self.active, found[1][c], found[0][c])), self.row[c].eq(word[:-1])]
            bad = bad | word.xor()
        m.d.comb += self.row_bad.eq(bad)

        held = Signal(self.bits + 1)
        picked = [Array(columns)[column_at] if self.columns > 1 else columns[0] for columns in found]
        m.d.comb += [
            held.eq(Mux(self.bank, picked[1], picked[0])),
            self.back.eq(held[:-1]),
            self.back_bad.eq(held.xor()),
        ]
        return m
