"""The designs that `make synth` reports on: their networks, and the harness in which a core is placed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import hdl_cases  # noqa: E402
from hotpath.policy.oracle import Network  # noqa: E402

HARNESS = "harness"


def uniform_network(sizes: list[int], seed: int) -> Network:
    """A network whose weights are uniform over int8, which is the dearest kind: trained ones have more zeros."""
    network = hdl_cases.bench_network(sizes, seed)
    rng = np.random.default_rng([99, seed, *sizes])
    return replace(network, layers=tuple(
        replace(layer, weights=rng.integers(-128, 128, layer.weights.shape).astype(np.int8)) for layer in network.layers))


def harness_text(top: str, in_bits: int, out_bits: int) -> str:
    """Verilog of a design with four pads around a streaming core: shift registers feed it and take its answers.

    A core has more ports than a package has pads, and inside a device registers stand at both its sides; so they do here,
    and no path from or to a pad is part of the core's period.
    """
    return f"""\
module {HARNESS}(input clk, input rst, input si, output so);
  reg [{in_bits + 2}:0] in; reg [{out_bits - 1}:0] out; reg r;
  wire valid, ready; wire [{out_bits - 1}:0] payload;
  {top} core(.clk(clk), .rst(r), .i_valid(in[{in_bits}]), .i_payload(in[{in_bits - 1}:0]), .i_ready(ready),
    .o_valid(valid), .o_ready(in[{in_bits + 1}]), .o_payload(payload));
  always @(posedge clk) begin
    r <= rst;
    in <= {{ready, in[{in_bits}:0], si}};
    if (valid) out <= payload; else out <= {{out[{out_bits - 2}:0], in[{in_bits + 2}]}};
  end
  assign so = out[{out_bits - 1}];
endmodule
"""
