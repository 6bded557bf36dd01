"""The lanes: one input times `lanes` weights a clock into `lanes` sums, then shift, clamp and store, a group at once.

    issue  what to read: an input, a row of weights, a group's first and last
        a  rows of activations and weights are there
        b  input selected; its channels are there
        c  products
        d  sums; behind a group's last product they are whole: a last layer's are the logits
        e  shifted
           clamped and written, in the clock of e; the next layer may read it one clock later

Activations lie in two halves, `lanes` bytes a row: a layer reads one half and writes the other.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from peregrine_hdl.bank_image import BIAS_BITS, CHANNEL_BITS
from peregrine_hdl.loadable_limits import Limits, groups_of
from peregrine_hdl.registers import MAX_WIDTH

ISSUE = data.StructLayout(
    {"valid": 1, "input": unsigned(8), "channel_row": unsigned(16), "group": unsigned(5), "first": 1, "last": 1, "end": 1}
)


class Lanes(wiring.Component):
    """`issue` a clock in, `stored` when a layer's last group is written, `sums_valid` when a last layer's group is whole.

    `half`, `relu` and `logits` belong to the layer and stand still until it is `stored` or its last sums were valid.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        lanes = limits.lanes
        super().__init__(
            {
                "flush": In(1),
                "write": In(1),
                "write_at": In(unsigned(7)),
                "write_four": In(1),
                "write_data": In(32),
                "issue": In(ISSUE),
                "half": In(1),
                "relu": In(1),
                "logits": In(1),
                "weights": In(data.ArrayLayout(unsigned(32), limits.columns)),
                "weights_bad": In(1),
                "channels_at": Out(range(limits.channel_rows)),
                "channels": In(data.ArrayLayout(unsigned(CHANNEL_BITS), lanes)),
                "channels_bad": In(1),
                "parity": Out(1),
                "stored": Out(1),
                "sums": Out(data.ArrayLayout(signed(BIAS_BITS), lanes)),
                "sums_valid": Out(1),
                "sums_group": Out(5),
                "sums_end": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        lanes = self.limits.lanes
        split = (lanes - 1).bit_length()
        rows = 1 << (groups_of(MAX_WIDTH, lanes) - 1).bit_length()
        memory = Memory(shape=unsigned(8 * lanes), depth=2 * rows, init=[])
        m.submodules.activations = memory
        write, read = memory.write_port(granularity=8), memory.read_port()
        row_bits = (rows - 1).bit_length()

        def address(half: Value, row: Value) -> Value:
            return Cat(row[:row_bits], half)

        # the flags of what is in each stage; a flush empties them all
        stages: dict[str, Any] = {"issue": self.issue}
        before = self.issue
        for name in "abcde":
            stage = Signal(ISSUE, name=f"stage_{name}")
            m.d.sync += [stage.eq(before), stage.valid.eq(before.valid & ~self.flush)]
            stages[name] = before = stage
        a, b, c, d, e = (stages[name] for name in "abcde")

        # a: rows are there; b: the input is selected, and the group's channels are there
        m.d.comb += [
            read.en.eq(1),
            read.addr.eq(address(self.half, self.issue.input >> split)),
            self.channels_at.eq(a.channel_row),
        ]
        x = Signal(signed(8), reset_less=True)
        weights = [Signal(signed(8), name=f"weight{k}", reset_less=True) for k in range(lanes)]
        weights_bad, channels_bad = Signal(), Signal()
        m.d.sync += [
            x.eq(read.data.word_select(a.input[:split], 8)),
            weights_bad.eq(a.valid & self.weights_bad & ~self.flush),
            channels_bad.eq(b.valid & b.first & self.channels_bad & ~self.flush),
        ]
        m.d.sync += [w.eq(self.weights[k // 4].word_select(k % 4, 8).as_signed()) for k, w in enumerate(weights)]
        m.d.comb += self.parity.eq(weights_bad | channels_bad)

        data_in: list[Value] = []
        shift_d = [Signal(5, name=f"shift_d{k}", reset_less=True) for k in range(lanes)]
        for k in range(lanes):
            product = Signal(signed(16), name=f"product{k}", reset_less=True)
            bias, shift_c = Signal(signed(BIAS_BITS), name=f"bias{k}", reset_less=True), Signal(5, name=f"shift_c{k}", reset_less=True)
            acc = Signal(signed(BIAS_BITS), name=f"acc{k}", reset_less=True)
            shifted = Signal(signed(BIAS_BITS), name=f"shifted{k}", reset_less=True)
            with m.If(b.valid):
                m.d.sync += product.eq(x * weights[k])
                with m.If(b.first):
                    m.d.sync += bias.eq(self.channels[k][:BIAS_BITS].as_signed())
                m.d.sync += shift_c.eq(self.channels[k][BIAS_BITS:])
            with m.If(c.valid):
                m.d.sync += [acc.eq(Mux(c.first, bias, acc) + product), shift_d[k].eq(shift_c)]
            with m.If(d.valid & d.last):
                m.d.sync += shifted.eq(acc >> shift_d[k])
            y = Signal(signed(8), name=f"y{k}")
            low = Mux(self.relu, Const(0, signed(8)), Const(-128, signed(8)))
            m.d.comb += [y.eq(Mux(shifted > 127, 127, Mux(shifted < low, low, shifted))), self.sums[k].eq(acc)]
            data_in.append(y.as_unsigned())

        m.d.comb += [
            self.sums_valid.eq(d.valid & d.last & self.logits),
            self.sums_group.eq(d.group),
            self.sums_end.eq(d.end),
        ]
        storing = Signal()
        m.d.comb += [
            storing.eq(e.valid & e.last & ~self.logits),
            self.stored.eq(storing & e.end),
        ]
        with m.If(storing):
            m.d.comb += [
                write.addr.eq(address(~self.half, e.group)),
                write.data.eq(Cat(data_in)),
                write.en.eq((1 << lanes) - 1),
            ]
        with m.Elif(self.write):
            four = Array([Const(0xF << 4 * k, lanes) for k in range(lanes // 4)])[self.write_at[2:split]] if split > 2 else Const(0xF, 4)
            m.d.comb += [
                write.addr.eq(address(Const(0, 1), self.write_at >> split)),
                write.data.eq(Cat(self.write_data for _ in range(self.limits.columns))),
                write.en.eq(Mux(self.write_four, four, Const(1, lanes) << self.write_at[:split])),
            ]
        return m
