"""Votes of up to eight policies: weighted score, quorum, veto. Weights, quorum and vetoes are constants.

    score[a] = sum over valid p of w_p * [answer_p = a];  best = argmax(score)
    held     = score[best] * 256 < quorum * (sum of w over valid answers), or nobody answered: action 0
    veto     = a valid risk policy (lowest slot first) whose answer is in its veto set forces its action

    level 1         each vote: its weight where it answered a, else 0; quorum * w where it is valid
    ceil(log2 P)    sums over the policies
    ceil(log2 A)    argmax over the scores
    1               compare with the threshold, put veto and hold in

One policy with a positive weight always has its quorum, so then all of it is a few gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Const, Module, Mux, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hotpath.policy.oracle import Voter
from peregrine_hdl import argmax
from peregrine_hdl.latency import gate_levels, stages, tree_levels
from peregrine_hdl.pipeline import Pipeline, Timed, fitting


class Consensus(wiring.Component):
    """answer: an argmax a policy; valid: bit p = policy p answers; action, held and vetoed as the oracle has them."""

    def __init__(self, voters: Sequence[Voter], quorum_256: int, actions: int, *, adds_per_stage: int,
                 start: int = 0) -> None:
        self.voters, self.quorum_256, self.actions = list(voters), quorum_256, actions
        self.adds_per_stage, self.start = adds_per_stage, start
        count = len(self.voters)
        self.single = count == 1 and self.voters[0].weight > 0
        self.levels = gate_levels(adds_per_stage) if self.single else 2 + tree_levels(count) + tree_levels(actions)
        self.cycles = stages(self.levels, adds_per_stage, start)
        bits = argmax.index_bits(actions)
        super().__init__({"en": In(1), "answer": In(data.ArrayLayout(unsigned(bits), count)), "valid": In(count),
                          "action": Out(bits), "held": Out(1), "vetoed": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """The logic."""
        m = Module()
        pipe = Pipeline(m, self.en, self.adds_per_stage, self.levels, self.start)
        valid = pipe.comb(self.valid, unsigned(len(self.voters)), 0, "valid_in")
        answer = [pipe.comb(a, unsigned(len(a)), 0, f"answer{p}") for p, a in enumerate(self.answer)]
        vetoed, forced = self._veto(pipe, valid, answer)
        if self.single:
            best, short = answer[0], pipe.comb(~valid.value[0], unsigned(1), 0, "short")
        else:
            best, short = self._vote(pipe, valid, answer)
        last = self.levels
        veto, hold = pipe.at(vetoed, last), pipe.at(short, last)
        bits = argmax.index_bits(self.actions)
        chosen = Mux(veto, pipe.at(forced, last), Mux(hold, Const(0, bits), pipe.at(best, last)))
        m.d.comb += [
            self.action.eq(pipe.out(pipe.comb(chosen, unsigned(bits), last, "chosen"))),
            self.held.eq(pipe.out(pipe.comb(hold & ~veto, unsigned(1), last, "hold"))),
            self.vetoed.eq(pipe.out(pipe.comb(veto, unsigned(1), last, "veto"))),
        ]
        return m

    def _veto(self, pipe: Pipeline, valid: Timed, answer: list[Timed]) -> tuple[Timed, Timed]:
        """(somebody vetoes, the action that is forced), at the first level."""
        bits, first = argmax.index_bits(self.actions), min(1, self.levels)
        asked = pipe.at(valid, first)
        some: Value = Const(0, 1)
        forced: Value = Const(0, bits)
        for p in reversed(range(len(self.voters))):  # the lowest slot is looked at last, so it wins
            voter = self.voters[p]
            if voter.risk and voter.veto_actions:
                mask = Const(sum(1 << a for a in voter.veto_actions), 1 << bits)
                hit = asked[p] & mask.bit_select(pipe.at(answer[p], first), 1)
                some, forced = some | hit, Mux(hit, Const(voter.forced_action, bits), forced)
        return pipe.comb(some, unsigned(1), first, "vetoed_1"), pipe.comb(forced, unsigned(bits), first, "forced_1")

    def _vote(self, pipe: Pipeline, valid: Timed, answer: list[Timed]) -> tuple[Timed, Timed]:
        """(the best action, too few votes for it), one level before the last."""
        weights = [v.weight for v in self.voters]
        asked, answers = pipe.at(valid, 1), [pipe.at(a, 1) for a in answer]
        scores = [self._sum(pipe, [asked[p] & (answers[p] == a) for p in range(len(weights))], weights, f"score{a}")
                  for a in range(self.actions)]
        threshold = self._sum(pipe, [asked[p] for p in range(len(weights))], [self.quorum_256 * w for w in weights],
                              "threshold")
        score, best = argmax.tree(pipe, scores, "best")
        any_valid = pipe.comb(asked.any(), unsigned(1), 1, "any_valid")
        last = self.levels
        too_few = (pipe.at(score, last).shift_left(8) < pipe.at(threshold, last)) | ~pipe.at(any_valid, last)
        if isinstance(best.value, Const):
            best = Timed(best.value, last)
        return best, pipe.comb(too_few, unsigned(1), last, "too_few")

    def _sum(self, pipe: Pipeline, chosen: list[Value], weights: list[int], name: str) -> Timed:
        """Sum of the weights whose condition holds, at level 1 + ceil(log2 P)."""
        # one shape for all, wide enough for any subset of the weights
        shape = fitting(min(sum(min(w, 0) for w in weights), -1), max(sum(max(w, 0) for w in weights), 0))
        row = [pipe.comb(Mux(c, Const(w, shape), 0), shape, 1, f"{name}_p{p}")
               for p, (c, w) in enumerate(zip(chosen, weights, strict=True))]
        level = 1
        while len(row) > 1:
            level += 1
            pairs = [pipe.comb(pipe.at(a, level) + pipe.at(b, level), shape, level, f"{name}_l{level}_{k}")
                     for k, (a, b) in enumerate(zip(row[::2], row[1::2], strict=False))]
            row = pairs + ([row[-1]] if len(row) % 2 else [])
        return Timed(row[0].value, level)
