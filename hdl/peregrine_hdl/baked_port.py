"""The baked core behind the port that the device knows: gathers a request's words, asks, numbers the answer.

    kind     features, one word each, in the order of `Core.features`; int8 inputs are what the quantiser makes
    slot     0, the one policy of the set
    one request is inside at a time

`cycles` counts the clock edges from the one that takes the first word to the one behind which the answer stands.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring

from peregrine_hdl.core import Core, CoreError
from peregrine_hdl.core_port import ANSWER, CorePort
from peregrine_hdl.registers import COMPLETION_LOGITS, KINDS, MAX_INPUTS, STATUS


class BakedPort(wiring.Component):
    """See above. Raises CoreError for a set of several policies, or one that a completion cannot hold."""

    def __init__(self, core: Core) -> None:
        if len(core.policies.networks) != 1:
            raise CoreError(f"policies: found {len(core.policies.networks)}, expected 1 in a device")
        if len(core.features) > MAX_INPUTS:
            raise CoreError(f"features: found {len(core.features)}, expected at most {MAX_INPUTS}")
        self.core = core
        super().__init__(CorePort())

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        m.submodules.core = core = self.core
        count = len(core.features)
        word, good = self.i.payload, Signal()
        at, status, cycles = Signal(range(MAX_INPUTS + 1)), Signal(8), Signal(32)
        features = [Signal(32, name=f"feature{k}") for k in range(count)]
        m.d.comb += [core.i.payload.features[k].eq(f) for k, f in enumerate(features)]
        m.d.comb += [
            core.i.payload.ask.eq(1), good.eq(status == 0),
            # without banks every command is answered, and none with ok
            self.bank_cmd.ready.eq(self.bank_reply.ready), self.bank_reply.valid.eq(self.bank_cmd.valid),
            self.bank_reply.payload.op.eq(self.bank_cmd.payload.op),
            self.bank_reply.payload.bank.eq(self.bank_cmd.payload.bank),
        ]  # fmt: skip
        shown = min(core.actions, COMPLETION_LOGITS)
        answer = {
            "status": status, "action": Mux(good, core.o.payload.action, 0), "outputs": Mux(good, Const(core.actions, 8), 0),
            "bank": Const(0, 4), "cycles": cycles,
            "logits": Cat(Mux(good, core.o.payload.logits[0][:shown].as_value(), 0), Const(0, 32 * (COMPLETION_LOGITS - shown))),
        }  # fmt: skip
        m.d.comb += self.o.payload.eq(Cat(answer[name] for name, _ in ANSWER))
        m.d.sync += cycles.eq(cycles + 1)
        with m.FSM():
            with m.State("WORDS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    for k, feature in enumerate(features):
                        with m.If(at == k):
                            m.d.sync += feature.eq(word.word)
                    m.d.sync += at.eq(at + 1)
                    with m.If(word.first):
                        m.d.sync += [status.eq(0), cycles.eq(1)]
                        with m.If(word.slot != 0):
                            m.d.sync += status.eq(STATUS["no_policy"])
                        with m.Elif(word.kind != KINDS["features"]):
                            m.d.sync += status.eq(STATUS["bad_kind"])
                        with m.Elif(word.count != count):
                            m.d.sync += status.eq(STATUS["bad_count"])
                    with m.If(word.last):
                        m.d.sync += at.eq(0)
                        m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += core.i.valid.eq(status == 0)
                with m.If(status != 0):
                    m.next = "REFUSE"
                with m.Elif(core.i.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [self.o.valid.eq(core.o.valid), core.o.ready.eq(self.o.ready)]
                with m.If(core.o.valid):
                    m.d.sync += cycles.eq(cycles)
                    with m.If(self.o.ready):
                        m.next = "WORDS"
            with m.State("REFUSE"):
                m.d.sync += cycles.eq(cycles)
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "WORDS"
        return m
