"""The commands of the two weight banks: takes an image word by word, says what the memories hold, swaps between requests.

    taken ─▶ checked ─▶ written ─▶ read back ─▶ CRC of what was read ─▶ reply         five clocks a word

An image is as docs/formats-bank-image.md says. A word that is not expected makes its bank bad until it is started anew;
a bank can be swapped in once its last section is whole. The active bank is refused to start and to load. A swap waits
until the core holds no request, and no request begins while it waits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl import bank_image
from peregrine_hdl.core_port import BANK_COMMAND, BANK_REPLY, OP_START, OP_SWAP, OP_WORD
from peregrine_hdl.loadable_limits import BANKS, Limits
from peregrine_hdl.registers import MAX_INPUTS, MAX_LAYERS, MAX_WIDTH

CRC_START, CRC_POLYNOMIAL = 0xFFFFFFFF, 0xEDB88320
REGIONS = len(bank_image.REGIONS)


def crc_matrix() -> list[int]:
    """For each bit of the CRC after a word, which bits of (CRC before) ^ (word) it is the parity of."""
    rows = [1 << k for k in range(32)]
    for _ in range(32):
        low, rows = rows[0], [*rows[1:], 0]
        rows = [rows[k] ^ low if CRC_POLYNOMIAL >> k & 1 else rows[k] for k in range(32)]
    return rows


@dataclass(frozen=True)
class BankState:
    """Where a bank's image stands: what was taken so far, and what is expected next."""

    words: Any
    crc: Any
    named: Any  # word 0 was taken
    region: Any
    left: Any  # words of the section; 0: a head is next
    place: Any  # the next word's index in its region
    good: Any
    whole: Any

    @staticmethod
    def made(name: str) -> BankState:
        """Signals, as after a reset."""
        wide = {"words": 32, "crc": 32, "region": 3, "left": 24, "place": 24}
        inits = {"crc": CRC_START}
        return BankState(**{
            f.name: Signal(wide.get(f.name, 1), init=inits.get(f.name, 0), name=f"{name}_{f.name}") for f in fields(BankState)
        })  # fmt: skip


class Loader(wiring.Component):
    """`bank_cmd` in, `bank_reply` out; `write[r]`, `bank`, `index`, `word` to the regions' memories, `back[r]` from them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        super().__init__(
            {
                "bank_cmd": In(stream.Signature(BANK_COMMAND)),
                "bank_reply": Out(stream.Signature(BANK_REPLY)),
                "idle": In(1),  # the core holds no request
                "swap_waits": Out(1),  # no request may begin
                "active": Out(range(BANKS)),
                "active_valid": Out(1),
                "write": Out(data.ArrayLayout(1, REGIONS)),
                "bank": Out(range(BANKS)),
                "index": Out(24),
                "word": Out(32),
                "back": In(data.ArrayLayout(unsigned(32), REGIONS)),
                "back_bad": In(data.ArrayLayout(1, REGIONS)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        banks = [BankState.made(f"bank{b}") for b in range(BANKS)]
        state = BankState.made("state")  # of the bank that the command names
        command, known, own = Signal(BANK_COMMAND), Signal(), Signal()
        for f in fields(BankState):
            zero, one = (getattr(bank, f.name) for bank in banks)
            m.d.comb += getattr(state, f.name).eq(Mux(command.bank[0], one, zero))

        def note(**values: Any) -> None:
            for b, bank in enumerate(banks):
                with m.If(command.bank[0] == b):
                    m.d.sync += [getattr(bank, name).eq(value) for name, value in values.items()]

        reply = self.bank_reply
        head, stored = Signal(), Signal()  # a section's head; a word of a section, which a memory holds
        m.d.comb += [
            known.eq(command.bank < BANKS),
            own.eq(self.active_valid & (command.bank == self.active)),
            head.eq(state.named & (state.left == 0)),
            stored.eq(state.named & (state.left != 0)),
            self.bank.eq(command.bank[0]),
            self.index.eq(state.place),
            self.word.eq(command.data),
        ]
        may = Signal()
        m.d.comb += may.eq(known & ~own & state.good & ~state.whole & self._expected(m, state, command.data, head))
        back, back_bad = Signal(32, reset_less=True), Signal()

        def answer(ok: Value | int) -> list[Any]:
            return [reply.valid.eq(1), reply.payload.op.eq(command.op), reply.payload.bank.eq(command.bank), reply.payload.ok.eq(ok)]

        # the bank's words and CRC stand still while its reply waits: nothing else is taken meanwhile
        m.d.comb += [
            reply.payload.words.eq(state.words & known.replicate(32)),
            reply.payload.crc.eq(~state.crc & known.replicate(32)),
        ]
        with m.If(reply.valid & reply.ready):
            m.d.sync += reply.valid.eq(0)
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.bank_cmd.ready.eq(~reply.valid)
                with m.If(self.bank_cmd.valid & self.bank_cmd.ready):
                    m.d.sync += command.eq(self.bank_cmd.payload)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "TAKE"
                with m.If(command.op == OP_START):
                    m.d.sync += answer(known & ~own)
                    with m.If(known & ~own):
                        note(words=0, crc=CRC_START, named=0, region=0, left=0, place=0, good=1, whole=0)
                with m.Elif(command.op == OP_SWAP):
                    with m.If(known & state.whole & state.good):
                        m.next = "SWAP"
                    with m.Else():
                        m.d.sync += answer(0)
                with m.Elif((command.op == OP_WORD) & may):
                    for r in range(REGIONS):
                        m.d.comb += self.write[r].eq(stored & (state.region == r))
                    m.next = "READ"
                with m.Else():
                    m.d.sync += answer(0)
                    with m.If((command.op == OP_WORD) & known & ~own):
                        note(good=0)
            with m.State("READ"):
                m.next = "BACK"
            with m.State("BACK"):
                m.d.sync += [
                    back.eq(command.data),
                    back_bad.eq(0),
                ]
                for r in range(REGIONS):
                    with m.If(stored & (state.region == r)):
                        m.d.sync += [back.eq(self.back[r]), back_bad.eq(self.back_bad[r])]
                m.next = "COUNT"
            with m.State("COUNT"):
                mixed = Signal(32)
                m.d.comb += mixed.eq(state.crc ^ back)
                m.d.sync += answer(~back_bad)
                note(words=state.words + 1, good=~back_bad, named=1)
                note(crc=Cat((mixed & row).xor() for row in crc_matrix()))
                with m.If(head):
                    note(left=command.data[:24], place=0)
                with m.If(stored):
                    note(left=state.left - 1, place=state.place + 1)
                    with m.If(state.left == 1):
                        note(region=state.region + 1, whole=state.region == REGIONS - 1)
                m.next = "TAKE"
            with m.State("SWAP"):
                m.d.comb += self.swap_waits.eq(1)
                with m.If(self.idle):
                    m.d.sync += [self.active.eq(command.bank), self.active_valid.eq(1), *answer(1)]
                    m.next = "TAKE"
        return m

    def _expected(self, m: Module, state: Any, word: Value, head: Value) -> Value:
        """Whether the bank's image may go on with this word."""
        limits = self.limits
        fits, sound = Signal(), Signal()
        with m.Switch(state.region):
            for r in range(REGIONS):
                unit, most = bank_image.unit_of(r, limits), bank_image.words_of(r, limits)
                count = word[:24]
                whole = count[: (unit - 1).bit_length()] == 0 if unit & (unit - 1) == 0 and unit > 1 else Const(1, 1)
                exact = count == most if unit == most else whole & (count != 0) & (count <= most)
                with m.Case(r):
                    m.d.comb += [fits.eq(exact & (word[24:] == r)), sound.eq(self._sound(r, word, state.place))]
        expected = Signal()
        with m.If(~state.named):
            m.d.comb += expected.eq(word == bank_image.identity(limits))
        with m.Elif(head):
            m.d.comb += expected.eq(fits)
        with m.Else():
            m.d.comb += expected.eq(sound)
        return expected

    def _sound(self, region: int, word: Value, index: Value) -> Value:
        """Whether each field of a region's word is in its range."""
        limits = self.limits
        if region == bank_image.SLOTS:
            first, layers, inputs = word[:8], word[8:16], word[16:24]
            held = _within(inputs, MAX_INPUTS) & _within(layers, MAX_LAYERS) & (first + layers <= limits.layer_entries)
            return (word == 0) | (word[31] & (word[24:31] == 0) & held)
        if region == bank_image.LAYERS:
            shape = _within(word[:8], MAX_WIDTH) & _within(word[8:16], MAX_WIDTH) & (word[17:] == 0)
            base = (word[:16] < limits.weight_rows) & (word[16:] < limits.channel_rows)
            return (~index[0] & shape) | (index[0] & base)
        if region == bank_image.QUANTISER:
            return (word[bank_image.QUANTISER_BITS :] == 0) & (word[16:22] <= bank_image.MAX_QUANTISER_SHIFT)
        if region == bank_image.CHANNELS:
            return (word[bank_image.CHANNEL_BITS :] == 0) & (word[25:30] <= bank_image.MAX_CHANNEL_SHIFT)
        return Const(1, 1)


def _within(value: Value, most: int) -> Value:
    return (value != 0) & (value <= most)
