"""An adder graph as logic: one signal a node, exactly as wide as its range needs."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Const, Value

from peregrine_hdl.pipeline import Pipeline, Timed, fitting
from peregrine_hdl.shift_add import AdderGraph, Node


def place(pipe: Pipeline, graph: AdderGraph, inputs: Sequence[Value]) -> list[Timed]:
    """The graph's outputs, each at its own level, from inputs at level 0."""
    made: list[Timed] = []

    def read(node: int, shift: int, level: int) -> Value:
        timed = made[node]
        value = timed.value if graph.nodes[node].kind == "constant" else pipe.at(timed, level)
        return value.shift_left(shift) if shift else value

    for k, node in enumerate(graph.nodes):
        if node.kind == "input":
            made.append(Timed(inputs[node.value], 0))
        elif node.kind == "constant":
            made.append(Timed(_constant(node), 0))
        else:
            left = read(node.left, node.left_shift, node.level)
            right = read(node.right, node.right_shift, node.level)
            total = left + right if node.sign > 0 else left - right
            made.append(pipe.comb(total, fitting(node.lo, node.hi), node.level, f"n{k}"))
    outputs = []
    for which, shift in graph.outputs:
        timed = made[which]
        outputs.append(Timed(timed.value.shift_left(shift), timed.level) if shift else timed)
    return outputs


def _constant(node: Node) -> Value:
    return Const(node.value, fitting(node.value, node.value))
