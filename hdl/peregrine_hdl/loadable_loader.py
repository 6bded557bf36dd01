"""The commands of the two weight banks: takes an image word by word, says what the memories hold, swaps between requests.

    taken ─▶ checked ─▶ written ─▶ read back ─▶ CRC of what was read ─▶ reply         five clocks a word

An image is as docs/formats-bank-image.md says. A word that is not expected makes its bank bad until it is started anew;
a bank can be swapped in once its last section is whole. The active bank is refused to start and to load. A swap waits
until the core holds no request, and no request begins while it waits.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Const, Module, Signal, Value, unsigned
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


BANK_STATE = data.StructLayout(
    {
        "words": unsigned(32), "crc": unsigned(32), "named": 1, "region": unsigned(3), "left": unsigned(24),
        "place": unsigned(24), "good": 1, "whole": 1,
    }
)  # fmt: skip


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
        banks = [Signal(BANK_STATE, init={"crc": CRC_START}, name=f"bank{b}") for b in range(BANKS)]
        command, known, own = Signal(BANK_COMMAND), Signal(), Signal()
        state = Array(banks)[command.bank[0]]
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
                        m.d.sync += [state.as_value().eq(0), state.crc.eq(CRC_START), state.good.eq(1)]
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
                        m.d.sync += state.good.eq(0)
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
                for k, row in enumerate(crc_matrix()):
                    m.d.sync += state.crc[k].eq((mixed & row).xor())
                m.d.sync += [state.words.eq(state.words + 1), state.good.eq(~back_bad), *answer(~back_bad)]
                self._advance(m, state, command.data, head, stored)
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

    def _advance(self, m: Module, state: Any, word: Value, head: Value, stored: Value) -> None:
        """Where the image stands after a word that was expected."""
        m.d.sync += state.named.eq(1)
        with m.If(head):
            m.d.sync += [state.left.eq(word[:24]), state.place.eq(0)]
        with m.If(stored):
            m.d.sync += [state.left.eq(state.left - 1), state.place.eq(state.place + 1)]
            with m.If(state.left == 1):
                m.d.sync += [state.region.eq(state.region + 1), state.whole.eq(state.region == REGIONS - 1)]


def _within(value: Value, most: int) -> Value:
    return (value != 0) & (value <= most)
