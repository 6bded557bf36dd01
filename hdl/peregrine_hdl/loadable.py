"""The loadable core behind the core port: weights in two banks, `lanes` products a clock, one request at a time.

                  ┌─────────┐  int8 inputs  ┌───────┐ sums of the last layer  ┌────────┐
    i ───────────▶│  front  │──────────────▶│ lanes │────────────────────────▶│ argmax │──▶ o
    words         └────┬────┘               └───┬───┘                         └────────┘
                       │ start      issue ▲     │ stored
                       ▼                  │     ▼
                   ┌──────────────────────┴─────────┐
                   │ sequencer: layer, group, input │
                   └──────────────────────┬─────────┘
                     slots, layers        │ quantiser, channels, weights
    bank_cmd      ┌─────────┐  words   ┌──▼────────────────────────────────┐
    ─────────────▶│ loader  │─────────▶│ five regions, each in two banks   │
    bank_reply ◀──└─────────┘◀─────────└───────────────────────────────────┘

A request takes `Limits.cycles(sizes)` clocks when its words come back to back: 5, and for each layer 5 and a clock a row
of weights. The first layer's first group runs while the inputs still come, one a clock.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from peregrine_hdl.argmax import Argmax
from peregrine_hdl.bank_image import BIAS_BITS, CHANNEL_BITS, QUANTISER_BITS, REGIONS
from peregrine_hdl.core_port import CorePort
from peregrine_hdl.loadable_front import Front
from peregrine_hdl.loadable_lanes import Lanes
from peregrine_hdl.loadable_limits import BANKS, Limits
from peregrine_hdl.loadable_loader import Loader
from peregrine_hdl.loadable_memory import BankMemory
from peregrine_hdl.registers import COMPLETION_LOGITS, MAX_INPUTS, MAX_OUTPUTS

NO_LOGIT = -(1 << (BIAS_BITS - 1))  # below every sum that the load-time bound allows
ARGMAX_ADDS_PER_STAGE = 2

UPSET = data.StructLayout(
    {"valid": 1, "bank": unsigned(1), "region": unsigned(3), "index": unsigned(24), "word": unsigned(32)}
)


class LoadableCore(wiring.Component):
    """See the picture. With `upsets` (tests) a port stores a word with its low bit the other way round."""

    def __init__(self, limits: Limits, *, upsets: bool = False) -> None:
        self.limits = limits
        ports: dict[str, Any] = dict(CorePort().members)
        if upsets:
            ports["upset"] = In(UPSET)
        self.upsets = upsets
        super().__init__(ports)

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        limits = self.limits
        m.submodules.front = front = Front(limits)
        m.submodules.loader = loader = Loader(limits)
        m.submodules.lanes = lanes = Lanes(limits)
        shapes = (
            (1, limits.slots, 32),
            (2, limits.layer_entries, 32),
            (1, limits.slots * MAX_INPUTS, QUANTISER_BITS),
            (limits.lanes, limits.channel_rows, CHANNEL_BITS),
            (limits.columns, limits.weight_rows, 32),
        )
        regions = [BankMemory(columns=c, rows=r, bits=b) for c, r, b in shapes]
        slots, layers, quantiser, channels, weights = regions
        for r, memory in enumerate(regions):
            setattr(m.submodules, REGIONS[r], memory)
            m.d.comb += [
                memory.active.eq(loader.active),
                memory.active_valid.eq(loader.active_valid),
                memory.write.eq(loader.write[r]),
                memory.bank.eq(loader.bank),
                memory.index.eq(loader.index),
                memory.word.eq(loader.word),
                loader.back[r].eq(memory.back),
                loader.back_bad[r].eq(memory.back_bad),
            ]
        if self.upsets:
            self._upset(m, regions)

        # the port, and the front's memories
        o = self.o.payload
        flow, into = wiring.flipped(self), wiring.connect
        into(m, flow.i, front.i)
        into(m, flow.bank_cmd, loader.bank_cmd)
        into(m, loader.bank_reply, flow.bank_reply)
        m.d.comb += [
            front.may_begin.eq(~loader.swap_waits & ~self.o.valid),
            front.active_valid.eq(loader.active_valid),
            loader.idle.eq(front.idle),
            slots.row_at.eq(front.slot_at),
            front.slot_word.eq(slots.row[0]),
            front.slot_bad.eq(slots.row_bad),
            quantiser.row_at.eq(front.quantiser_at),
            front.quantiser_word.eq(quantiser.row[0]),
            front.quantiser_bad.eq(quantiser.row_bad),
        ]
        flush, layer_bad = Signal(), Signal()
        m.d.comb += [
            flush.eq(front.status != 0),
            front.parity.eq(lanes.parity | layer_bad),
        ]
        m.d.sync += self.parity_error.eq(front.parity_here | lanes.parity | layer_bad)

        outputs, final = self._sequence(m, front, lanes, layers, weights, flush, layer_bad)
        m.d.comb += [
            lanes.flush.eq(flush),
            lanes.write.eq(front.write),
            lanes.write_at.eq(front.write_at),
            lanes.write_four.eq(front.write_four),
            lanes.write_data.eq(front.write_data),
            lanes.weights.eq(weights.row),
            lanes.weights_bad.eq(weights.row_bad),
            channels.row_at.eq(lanes.channels_at),
            lanes.channels.eq(channels.row),
            lanes.channels_bad.eq(channels.row_bad),
            lanes.logits.eq(final),
        ]

        # logits, their argmax, the answer
        m.submodules.argmax = best = Argmax(MAX_OUTPUTS, BIAS_BITS, adds_per_stage=ARGMAX_ADDS_PER_STAGE)
        logits = [Signal(signed(BIAS_BITS), name=f"logit{k}") for k in range(MAX_OUTPUTS)]
        m.d.comb += [best.en.eq(1), *(best.x[k].eq(v) for k, v in enumerate(logits))]
        with m.If(front.begin):
            m.d.sync += [v.eq(NO_LOGIT) for v in logits]
        with m.If(lanes.sums_valid):
            for k, v in enumerate(logits):
                group, lane = divmod(k, limits.lanes)
                with m.If((lanes.sums_group == group) & (outputs > k)):
                    m.d.sync += v.eq(lanes.sums[lane])
        ended = Signal(best.cycles)
        come, finish, bank = Signal(), Signal(), Signal(range(BANKS))
        m.d.sync += ended.eq((ended << 1) | (lanes.sums_valid & lanes.sums_end))
        with m.If(flush | front.begin):
            m.d.sync += ended.eq(0)
        with m.If(ended[-1]):
            m.d.sync += come.eq(1)
        m.d.comb += finish.eq(~front.idle & front.whole & (flush | ((ended[-1] | come) & front.all_written)))
        with m.If(front.begin):
            m.d.sync += [come.eq(0), bank.eq(loader.active)]
        with m.If(finish):
            m.d.sync += [self.o.valid.eq(1), o.status.eq(front.status), o.cycles.eq(front.cycles)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        ok = Signal()
        m.d.comb += [
            front.release.eq(finish),
            ok.eq(o.status == 0),
            o.action.eq(Mux(ok, best.index, 0)),
            o.outputs.eq(Mux(ok, outputs, 0)),
            o.bank.eq(bank),
            *(o.logits[k].eq(Mux(ok & (outputs > k), logits[k], 0)) for k in range(COMPLETION_LOGITS)),
        ]
        return m

    def _sequence(self, m: Module, front: Any, lanes: Any, layers: Any, weights: Any, flush: Signal,
                  layer_bad: Signal) -> tuple[Signal, Signal]:  # fmt: skip
        """What the lanes do in which clock; (outputs of the layer, whether it is the last)."""
        width = self.limits.lanes
        running, streaming, half, relu, final = (Signal(name=n) for n in ("running", "streaming", "half", "relu", "final"))
        at, last_at, outputs, left, group = (Signal(8, name=n) for n in ("at", "last_at", "outputs", "left", "group"))
        weight_row, channel_row = Signal(16), Signal(16)
        entry, entries_left = Signal(8), Signal(8)
        looked_up, fetched, load = Signal(), Signal(), Signal()
        shape, base = layers.row[0], layers.row[1]
        m.d.comb += layers.row_at.eq(entry)
        m.d.sync += [looked_up.eq(front.start & ~flush), fetched.eq(looked_up & ~flush)]
        with m.If(front.start):
            m.d.sync += [entry.eq(front.slot_word[:8]), entries_left.eq(front.slot_word[8:16])]
        m.d.comb += [
            load.eq((fetched | lanes.stored) & ~flush),
            layer_bad.eq(load & layers.row_bad),
        ]

        fire, last, end = Signal(), Signal(), Signal()
        m.d.comb += [
            fire.eq(running & (~streaming | (front.written > at) | front.all_written)),
            last.eq(at == last_at),
            end.eq(last & (left <= width)),
            lanes.issue.valid.eq(fire),
            lanes.issue.input.eq(at),
            lanes.issue.channel_row.eq(channel_row),
            lanes.issue.group.eq(group),
            lanes.issue.first.eq(at == 0),
            lanes.issue.last.eq(last),
            lanes.issue.end.eq(end),
            lanes.half.eq(half),
            lanes.relu.eq(relu),
            weights.row_at.eq(weight_row),
        ]
        with m.If(fire):
            m.d.sync += [at.eq(at + 1), weight_row.eq(weight_row + 1)]
            with m.If(last):
                m.d.sync += [at.eq(0), left.eq(left - width), group.eq(group + 1), channel_row.eq(channel_row + 1)]
            with m.If(end):
                m.d.sync += running.eq(0)
        with m.If(load):
            m.d.sync += [
                running.eq(1),
                streaming.eq(fetched),
                half.eq(Mux(fetched, 0, ~half)),
                last_at.eq(shape[:8] - 1),
                outputs.eq(shape[8:16]),
                left.eq(shape[8:16]),
                relu.eq(shape[16]),
                final.eq(entries_left == 1),
                at.eq(0),
                group.eq(0),
                weight_row.eq(base[:16]),
                channel_row.eq(base[16:]),
                entry.eq(entry + 1),
                entries_left.eq(entries_left - 1),
            ]
        with m.If(flush):
            m.d.sync += running.eq(0)
        return outputs, final

    def _upset(self, m: Module, regions: list[BankMemory]) -> None:
        """The tests' own way into a memory; used while no image is being loaded."""
        for r, memory in enumerate(regions):
            with m.If(self.upset.valid & (self.upset.region == r)):
                m.d.comb += [
                    memory.write.eq(1),
                    memory.flip.eq(1),
                    memory.bank.eq(self.upset.bank),
                    memory.index.eq(self.upset.index),
                    memory.word.eq(self.upset.word),
                ]
