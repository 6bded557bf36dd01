"""A constant integer matrix times a vector, as a graph of adders: no multiplier anywhere.

Each weight becomes canonical signed digits (7 = 8 - 1: no two digits side by side are nonzero), so a row of the matrix is
a sum of terms `+-(x << shift)`. A pair of terms that stands in several rows, or at several shifts of one row, is computed
once: the pair that occurs most often becomes a node, is put in the place of its occurrences, and may then be half of a
further pair. What is left of a row is summed by a tree that adds the shallowest terms first.

A row whose terms have the levels l_i can be summed in ceil(log2(sum 2^l_i)) levels and in no fewer. That sum is kept
within a budget while pairs are taken, so sharing never makes the graph deeper than asked: with `extra_levels=0` it is
exactly as deep as its longest row would be with no sharing at all.

Pure integers, no randomness: the same matrix gives the same graph. `evaluate` is the meaning of a graph, in plain Python.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

Range = tuple[int, int]
Term = tuple[int, int, int]  # node, shift, sign (+1 or -1)
_Row = dict[int, dict[int, int]]  # node -> shift -> sign
_Pair = tuple[int, int, int, int]  # low node, high node, shift of the high one, sign of the high one


@dataclass(frozen=True)
class Node:
    """`(left << left_shift) + sign * (right << right_shift)`, an input, or a constant; with its level and its range.

    kind is "input" (`value` = which), "constant" (`value`) or "add". An input and a constant are at level 0.
    """

    kind: str
    level: int
    lo: int
    hi: int
    value: int = 0
    left: int = -1
    right: int = -1
    left_shift: int = 0
    right_shift: int = 0
    sign: int = 1


@dataclass(frozen=True)
class AdderGraph:
    """Nodes in an order in which each comes after what it reads; output k is `nodes[node] << shift`."""

    nodes: tuple[Node, ...]
    outputs: tuple[tuple[int, int], ...]

    @property
    def adders(self) -> int:
        """How many two-input adders or subtracters there are."""
        return sum(n.kind == "add" for n in self.nodes)

    @property
    def adder_bits(self) -> int:
        """Widths of all adders, summed: what they cost in LUTs, about."""
        return sum(bits(n.lo, n.hi) for n in self.nodes if n.kind == "add")

    @property
    def levels(self) -> int:
        """Adders on the longest way from an input to an output."""
        return max((self.nodes[node].level for node, _ in self.outputs), default=0)

    def output_range(self, k: int) -> Range:
        """The least and the largest value output k can take."""
        node, shift = self.outputs[k]
        return self.nodes[node].lo << shift, self.nodes[node].hi << shift


def bits(lo: int, hi: int) -> int:
    """Bits that hold lo..hi: unsigned when nothing is negative, else two's complement."""
    if lo >= 0:
        return hi.bit_length()
    return max((-lo - 1).bit_length(), hi.bit_length() if hi > 0 else 0) + 1


def csd(value: int) -> list[tuple[int, int]]:
    """Canonical signed digits of an integer as (shift, sign), lowest first."""
    digits, shift = [], 0
    while value:
        if value & 1:
            sign = 2 - (value & 3)  # 1 when the next bit is 0, else -1
            digits.append((shift, sign))
            value -= sign
        value >>= 1
        shift += 1
    return digits


def build(matrix: Sequence[Sequence[int]], constants: Sequence[int], ranges: Sequence[Range], *,
          extra_levels: int = 0, share: bool = True) -> AdderGraph:
    """The graph of `sum_i matrix[o][i] * x[i] + constants[o]`, with x[i] within ranges[i].

    extra_levels lets it be deeper than the longest row needs, for fewer adders; share=False leaves out the sharing.
    """
    maker = _Maker(ranges)
    rows = [_digits(row) for row in matrix]
    if share:
        counts = [sum(map(len, row.values())) + (c != 0) for row, c in zip(rows, constants, strict=True)]
        budget = 1 << ((max(counts, default=1) or 1) - 1).bit_length() + extra_levels
        _Sharing(maker, rows, [c != 0 for c in constants], budget).run()
    return maker.finish(rows, constants)


def evaluate(graph: AdderGraph, x: Sequence[int]) -> list[int]:
    """The outputs for one input vector, node by node; every node is asserted to be within its range."""
    values: list[int] = []
    for node in graph.nodes:
        if node.kind == "input":
            v = int(x[node.value])
        elif node.kind == "constant":
            v = node.value
        else:
            v = (values[node.left] << node.left_shift) + node.sign * (values[node.right] << node.right_shift)
        assert node.lo <= v <= node.hi, (node, v)
        values.append(v)
    return [values[node] << shift for node, shift in graph.outputs]


def _digits(row: Sequence[int]) -> _Row:
    return {i: dict(csd(int(w))) for i, w in enumerate(row) if w}


class _Maker:
    """Appends nodes, with their ranges and levels."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self.nodes = [Node("input", 0, lo, hi, value=i) for i, (lo, hi) in enumerate(ranges)]
        self.constants: dict[int, int] = {}

    def add(self, left: int, left_shift: int, right: int, right_shift: int, sign: int) -> int:
        a, b = self.nodes[left], self.nodes[right]
        low, high = (b.lo, b.hi) if sign > 0 else (-b.hi, -b.lo)
        self.nodes.append(Node("add", max(a.level, b.level) + 1, (a.lo << left_shift) + (low << right_shift),
                               (a.hi << left_shift) + (high << right_shift), left=left, right=right,
                               left_shift=left_shift, right_shift=right_shift, sign=sign))
        return len(self.nodes) - 1

    def constant(self, value: int) -> int:
        if value not in self.constants:
            self.nodes.append(Node("constant", 0, value, value, value=value))
            self.constants[value] = len(self.nodes) - 1
        return self.constants[value]

    def sum(self, terms: list[Term]) -> tuple[int, int]:
        """(node, shift) of the sum, by a tree that always adds the two shallowest terms."""
        queue = [(self.nodes[n].level, shift, n, sign) for n, shift, sign in terms]
        heapq.heapify(queue)
        while len(queue) > 1:
            _, shift_a, a, sign_a = heapq.heappop(queue)
            _, shift_b, b, sign_b = heapq.heappop(queue)
            if sign_a < sign_b:  # what is subtracted stands on the right
                a, shift_a, sign_a, b, shift_b, sign_b = b, shift_b, sign_b, a, shift_a, sign_a
            low = min(shift_a, shift_b)
            node = self.add(a, shift_a - low, b, shift_b - low, sign_a * sign_b)
            heapq.heappush(queue, (self.nodes[node].level, low, node, sign_a))
        _, shift, node, sign = queue[0]
        return (node, shift) if sign > 0 else (self.add(self.constant(0), 0, node, 0, -1), shift)

    def finish(self, rows: list[_Row], constants: Sequence[int]) -> AdderGraph:
        outputs = []
        for row, constant in zip(rows, constants, strict=True):
            terms = [(node, shift, sign) for node in sorted(row) for shift, sign in sorted(row[node].items())]
            if terms and all(sign < 0 for _, _, sign in terms) and constant < 0:
                # nothing to subtract from: the constant goes in as it is, and one negation comes out
                terms.append((self.constant(-constant), 0, -1))
            elif constant or not terms:
                terms.append((self.constant(constant), 0, 1))
            outputs.append(self.sum(terms))
        return AdderGraph(tuple(self.nodes), tuple(outputs))


class _Sharing:
    """Takes the commonest pair of terms, again and again, until none occurs twice.

    counts[pair] is how often it occurs over all rows (pairs that overlap are counted each). A pair's count only grows
    while its younger node is put into the rows, right after that node was made; afterwards it only falls. So the heap may
    hold counts that are too high, which are put right when they come up.
    """

    def __init__(self, maker: _Maker, rows: list[_Row], has_constant: list[bool], budget: int) -> None:
        self.maker, self.rows, self.budget = maker, rows, budget
        self.load = [sum(len(shifts) for shifts in row.values()) + c for row, c in zip(rows, has_constant, strict=True)]
        self.counts: dict[_Pair, int] = {}
        for row in rows:
            terms = [(node, shift, sign) for node, shifts in row.items() for shift, sign in shifts.items()]
            for k, a in enumerate(terms):
                for b in terms[k + 1:]:
                    pair = _pair(a, b)
                    self.counts[pair] = self.counts.get(pair, 0) + 1
        self.heap = [self._entry(pair, count) for pair, count in self.counts.items() if count > 1]
        heapq.heapify(self.heap)

    def _entry(self, pair: _Pair, count: int) -> tuple[int, int, _Pair]:
        level = max(self.maker.nodes[pair[0]].level, self.maker.nodes[pair[1]].level)
        return -count, level, pair

    def run(self) -> None:
        while self.heap:
            negative, _, pair = heapq.heappop(self.heap)
            count = self.counts.get(pair, 0)
            if count != -negative:
                if count > 1:
                    heapq.heappush(self.heap, self._entry(pair, count))
                continue
            places = self._places(pair)
            if len(places) > 1:
                self._take(pair, places)

    def _places(self, pair: _Pair) -> list[tuple[int, int, int]]:
        """(row, shift, sign) of occurrences that do not overlap and fit each row's budget."""
        low, high, distance, relation = pair
        a, b = self.maker.nodes[low].level, self.maker.nodes[high].level
        grows = (2 << max(a, b)) - (1 << a) - (1 << b)
        found = []
        for r, row in enumerate(self.rows):
            if low not in row or high not in row:
                continue
            room = self.budget - self.load[r]
            used: set[int] = set()
            for shift in sorted(row[low]):
                sign = row[low][shift]
                if row[high].get(shift + distance) != sign * relation:
                    continue
                if low == high and (shift in used or shift + distance in used):
                    continue
                if grows > room:
                    break
                room -= grows
                used |= {shift, shift + distance}
                found.append((r, shift, sign))
        return found

    def _take(self, pair: _Pair, places: list[tuple[int, int, int]]) -> None:
        low, high, distance, relation = pair
        a, b = self.maker.nodes[low].level, self.maker.nodes[high].level
        grows = (2 << max(a, b)) - (1 << a) - (1 << b)
        node = self.maker.add(low, 0, high, distance, relation)
        fresh: set[_Pair] = set()
        for r, shift, sign in places:
            row = self.rows[r]
            self._remove(row, low, shift)
            self._remove(row, high, shift + distance)
            term = (node, shift, sign)
            for other in _terms(row):
                new = _pair(term, other)
                self.counts[new] = self.counts.get(new, 0) + 1
                fresh.add(new)
            row.setdefault(node, {})[shift] = sign
            self.load[r] += grows
        for new in sorted(fresh):
            if self.counts.get(new, 0) > 1:
                heapq.heappush(self.heap, self._entry(new, self.counts[new]))

    def _remove(self, row: _Row, node: int, shift: int) -> None:
        term = (node, shift, row[node].pop(shift))
        if not row[node]:
            del row[node]
        for other in _terms(row):
            pair = _pair(term, other)
            if self.counts[pair] == 1:
                del self.counts[pair]
            else:
                self.counts[pair] -= 1


def _terms(row: _Row) -> list[Term]:
    return [(node, shift, sign) for node, shifts in row.items() for shift, sign in shifts.items()]


def _pair(a: Term, b: Term) -> _Pair:
    if (a[1], a[0]) > (b[1], b[0]):
        a, b = b, a
    return a[0], b[0], b[1] - a[1], a[2] * b[2]
