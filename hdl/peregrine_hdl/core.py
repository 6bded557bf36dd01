"""The baked core: int32 features in, a decision out, one a clock; every weight, vote and threshold a constant.

    features ─ quantiser ─┬─ layer ─ … ─ layer ─ argmax ─ (wait) ─┐
                          ├─ layer ─ … ─ argmax ─ (wait) ─────────┼─ consensus ─ action, held, vetoed
                          └─ …                              logits ┘              logits, who was valid

Nothing in the pipeline ever waits: an enable of thousands of registers would be its slowest net. Instead an input is only
taken while there is room for its answer: `capacity` = cycles + 1 answers are under way or in the store at the end, which
an answer passes by when the store is empty. So the store costs no cycle, and an answer a clock flows for ever.

    i.ready = room > 0           room: capacity, less one an input, and one more an answer taken
    cycles = quantiser + max over policies (its layers + argmax) + consensus

Payloads are laid out in whole bytes, little endian, so that software can copy them to and from memory:

    i.payload   features int32[F] | ask u8 (bit p = policy p is to answer)
    o.payload   action u8 | flags u8 (1 = held, 2 = vetoed) | valid u8 | 0 u8 | logits int32[P][A]

The F features are those that some policy reads, in the schema's order (`Core.features`). Logits of a policy that was not
asked are what its network gives all the same: `valid` says whose count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hotpath.policy import oracle
from hotpath.policy.oracle import Network, Voter
from peregrine_hdl.argmax import Argmax
from peregrine_hdl.consensus import Consensus
from peregrine_hdl.layer import DenseLayer
from peregrine_hdl.pipeline import delay
from peregrine_hdl.quantiser import Quantiser


class CoreError(ValueError):
    """The set of policies cannot be made into a core: what was found and what was expected."""


@dataclass(frozen=True)
class PolicySet:
    """What a core is made of: networks with the same actions, one voter each, and the quorum in 1/256."""

    networks: tuple[Network, ...]
    voters: tuple[Voter, ...]
    quorum_256: int = 0

    def check(self) -> None:
        """Raises CoreError when the set is none."""
        count = len(self.networks)
        if not 1 <= count <= oracle.MAX_POLICIES:
            raise CoreError(f"policies: found {count}, expected 1..{oracle.MAX_POLICIES}")
        if len(self.voters) != count:
            raise CoreError(f"voters: found {len(self.voters)}, expected one a policy, {count}")
        widths = sorted({n.sizes[-1] for n in self.networks})
        if len(widths) != 1 or widths[0] > oracle.MAX_ACTIONS:
            raise CoreError(f"actions: found {widths}, expected the same number, at most {oracle.MAX_ACTIONS}, in all")
        if not 0 <= self.quorum_256 <= 256:
            raise CoreError(f"quorum: found {self.quorum_256}, expected 0..256")
        for p, voter in enumerate(self.voters):
            if not -(1 << 15) <= voter.weight < 1 << 15:
                raise CoreError(f"weight of policy {p}: found {voter.weight}, expected an int16")
            named = [*voter.veto_actions, voter.forced_action]
            if not voter.risk and any(named):
                raise CoreError(f"policy {p}: found a veto set on a voter, expected it on a risk policy only")
            if not all(0 <= a < widths[0] for a in named):
                raise CoreError(f"policy {p}: vetoes or forces {sorted(named)}, expected actions below {widths[0]}")


class Core(wiring.Component):
    """The streaming core of a set; see the picture above."""

    def __init__(self, policies: PolicySet, *, adds_per_stage: int = 2, extra_levels: int = 0) -> None:
        policies.check()
        self.policies = policies
        self.adds_per_stage, self.extra_levels = adds_per_stage, extra_levels
        self._alone = adds_per_stage == 0  # each block a stage of its own
        self.actions = policies.networks[0].sizes[-1]
        self.features = sorted({int(i) for n in policies.networks for i in n.feature_index})
        inputs = [[(self.features.index(int(i)), int(m), int(s)) for i, m, s in
                   zip(n.feature_index, n.quant_m, n.quant_s, strict=True)] for n in policies.networks]
        wanted = sorted({entry for own in inputs for entry in own})
        self.inputs = [[wanted.index(entry) for entry in own] for own in inputs]
        self.quantiser = Quantiser([c for c, _, _ in wanted], np.array([m for _, m, _ in wanted], np.int64),
                                   np.array([s for _, _, s in wanted], np.int64), len(self.features),
                                   adds_per_stage=adds_per_stage, extra_levels=extra_levels, closed=self._alone)
        self.layers: list[list[DenseLayer]] = []
        self.argmax: list[Argmax] = []
        ends = []
        for network, own in zip(policies.networks, self.inputs, strict=True):
            ranges = [self.quantiser.ranges[k] for k in own]
            made: list[DenseLayer] = []
            level = self.quantiser.levels
            for layer in network.layers:
                made.append(DenseLayer(layer, ranges, adds_per_stage=adds_per_stage, extra_levels=extra_levels,
                                       start=level, closed=self._alone))
                ranges, level = made[-1].ranges, level + made[-1].levels
            self.layers.append(made)
            self.argmax.append(Argmax(self.actions, made[-1].width, adds_per_stage=adds_per_stage, start=level,
                                      closed=self._alone))
            ends.append(level + self.argmax[-1].levels)
        self.consensus = Consensus(policies.voters, policies.quorum_256, self.actions, adds_per_stage=adds_per_stage,
                                   start=max(ends))
        self.path_cycles = [sum(b.cycles for b in made) + last.cycles
                            for made, last in zip(self.layers, self.argmax, strict=True)]
        self.cycles = self.quantiser.cycles + max(self.path_cycles) + self.consensus.cycles
        self.capacity = self.cycles + 1
        count = len(policies.networks)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "features": data.ArrayLayout(signed(32), len(self.features)), "ask": unsigned(8)}))),
            "o": Out(stream.Signature(data.StructLayout({
                "action": unsigned(8), "flags": unsigned(8), "valid": unsigned(8), "zero": unsigned(8),
                "logits": data.ArrayLayout(data.ArrayLayout(signed(32), self.actions), count)}))),
        })

    @property
    def adders(self) -> int:
        """Adders of the quantiser and of all layers."""
        return self.quantiser.graph.adders + sum(b.graph.adders for made in self.layers for b in made)

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        en = Const(1)  # the blocks could wait; the core never lets them
        full = Signal(self.cycles)  # bit k: stage k holds a decision
        m.d.sync += full.eq(Cat(self.i.valid & self.i.ready, full[:-1]))

        m.submodules.quantiser = self.quantiser
        m.d.comb += [self.quantiser.en.eq(en), self.quantiser.x.eq(self.i.payload.features)]
        count = len(self.policies.networks)
        answers, logits = [], []
        for p in range(count):
            answer, sums = self._path(m, en, p)
            wait = max(self.path_cycles) - self.path_cycles[p]
            answers.append(delay(m, en, answer, wait, f"answer{p}"))
            logits.append([delay(m, en, v, wait + self.consensus.cycles, f"logit{p}_{a}") for a, v in enumerate(sums)])
        asked = delay(m, en, self.i.payload.ask[:count], self.cycles - self.consensus.cycles, "asked")

        m.submodules.consensus = vote = self.consensus
        m.d.comb += [vote.en.eq(en), vote.valid.eq(asked)]
        m.d.comb += [vote.answer[p].eq(answers[p]) for p in range(count)]
        parts: list[Value] = [vote.action, vote.held, vote.vetoed, delay(m, en, asked, vote.cycles, "valid")]
        sums = [v for own in logits for v in own]
        shown = self._store(m, full[-1], Cat(*parts, *sums))
        taken, at = [], 0
        for part in (*parts, *sums):  # logits are stored as wide as they are, and widened behind
            taken.append(shown[at:at + len(part)])
            at += len(part)
        action, held, vetoed, valid = taken[:4]
        m.d.comb += [self.o.payload.action.eq(action), self.o.payload.flags.eq(Cat(held, vetoed)), self.o.payload.valid.eq(valid)]
        m.d.comb += [self.o.payload.logits[k // self.actions][k % self.actions].eq(v.as_signed()) for k, v in enumerate(taken[4:])]
        return m

    def _store(self, m: Module, come: Value, answer: Value) -> Value:
        """The answer that is shown: the oldest kept one, or the one that comes; it is kept when nobody takes it now."""
        m.submodules.kept = kept = memory.Memory(shape=unsigned(len(answer)), depth=self.capacity, init=[])
        write, read = kept.write_port(), kept.read_port(domain="comb")
        room, count = Signal(range(self.capacity + 1), init=self.capacity), Signal(range(self.capacity + 1))
        take, give, push, pop = Signal(), Signal(), Signal(), Signal()
        some = count != 0
        m.d.comb += [
            self.i.ready.eq(room != 0), self.o.valid.eq(some | come),
            take.eq(self.i.valid & self.i.ready), give.eq(self.o.valid & self.o.ready),
            push.eq(come & (some | ~self.o.ready)), pop.eq(some & self.o.ready),
            write.en.eq(push), write.data.eq(answer),
        ]  # fmt: skip
        m.d.sync += [room.eq(room + give - take), count.eq(count + push - pop)]
        for moves, port in ((push, write), (pop, read)):
            at = Signal(range(self.capacity))
            m.d.comb += port.addr.eq(at)
            with m.If(moves):
                m.d.sync += at.eq(Mux(at == self.capacity - 1, 0, at + 1))
        return Mux(some, read.data, answer)

    def _path(self, m: Module, en: Value, p: int) -> tuple[Value, Sequence[Value]]:
        """Policy p from its quantised inputs to (argmax, logits)."""
        values: list[Value] = [self.quantiser.y[k] for k in self.inputs[p]]
        for k, block in enumerate(self.layers[p]):
            m.submodules[f"p{p}_layer{k}"] = block
            m.d.comb += [block.en.eq(en), *(block.x[i].eq(v) for i, v in enumerate(values))]
            values = [block.y[o] for o in range(len(block.y))]
        last = self.argmax[p]
        m.submodules[f"p{p}_argmax"] = last
        m.d.comb += [last.en.eq(en), *(last.x[i].eq(v) for i, v in enumerate(values))]
        return last.index, [last.y[a] for a in range(self.actions)]
