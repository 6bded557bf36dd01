"""The policy bench's network in runtimes others wrote: numpy, and ONNX Runtime in float32 and int8 where installed.

    python policy_runtimes.py SECONDS < network.json

Run by bench/twins.py in whichever interpreter has them. Prints one JSON object: "twins" with nanoseconds a decision,
"skipped" with the reason for each that is not there. One decision at a time, each reading the one before: what a
quant who calls a runtime from an event loop pays. Not a check of results: the kernels' own tests do that.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 50


def measure(name: str, decide: Callable[[Any], int], rows: Any, seconds: float) -> dict[str, Any]:
    """Nanoseconds a decision over batches of a dependent chain."""
    samples, action = [], 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        for i in range(BATCH):
            action = decide(rows[(i + action) % len(rows)])
        samples.append((time.perf_counter_ns() - start) / BATCH)
    samples.sort()
    return {"name": name, "p50": samples[len(samples) // 2], "p99": samples[len(samples) * 99 // 100],
            "rate": 1e9 * len(samples) / sum(samples)}  # fmt: skip


def numpy_decide(net: dict[str, Any]) -> Callable[[Any], int]:
    """The integer arithmetic of docs/formats-policy.md in numpy, one row."""
    index, m, s = (np.array(net[k], np.int64) for k in ("index", "m", "s"))
    half = np.where(s > 0, 1 << np.maximum(s - 1, 0), 0)
    layers = [(np.array(la["weights"], np.int32), np.array(la["bias"], np.int32),
               None if la["shift"] is None else np.array(la["shift"], np.int32), la["relu"])
              for la in net["layers"]]  # fmt: skip

    def decide(row: Any) -> int:
        x = np.clip((row[index] * m + half) >> s, -128, 127).astype(np.int32)
        for weights, bias, shift, relu in layers:
            x = weights @ x + bias
            if shift is not None:
                x = np.clip((x + (1 << (shift - 1))) >> shift, 0 if relu else -128, 127)
        return int(x.argmax())

    return decide


def onnx_decide(net: dict[str, Any], int8: bool) -> Callable[[Any], int]:
    """The network as an ONNX graph; its inputs are quantised (or scaled) by numpy as a caller would."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    def const(name: str, value: Any) -> str:
        init.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    init: list[Any] = []
    nodes: list[Any] = []
    at = "x"
    one, zero8 = const("one", np.float32(1)), const("zero8", np.int8(0))
    for i, la in enumerate(net["layers"]):
        w = np.array(la["weights"], np.int8).T
        scale = np.ones(w.shape[1], np.float32) if la["shift"] is None else (0.5 ** np.array(la["shift"])).astype(np.float32)
        last = la["shift"] is None
        if int8 and not last:
            bias = const(f"b{i}", np.array(la["bias"], np.int32))
            nodes.append(helper.make_node("MatMulInteger", [at, const(f"w{i}", w)], [f"acc{i}"]))
            nodes.append(helper.make_node("Add", [f"acc{i}", bias], [f"sum{i}"]))
            nodes.append(helper.make_node("Cast", [f"sum{i}"], [f"f{i}"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"f{i}", const(f"s{i}", scale)], [f"m{i}"]))
            if la["relu"]:
                nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"]))
            nodes.append(helper.make_node("QuantizeLinear", [f"r{i}" if la["relu"] else f"m{i}", one, zero8], [f"y{i}"]))
        elif int8:
            nodes.append(helper.make_node("MatMulInteger", [at, const(f"w{i}", w)], [f"y{i}"]))
        else:
            nodes.append(helper.make_node("Gemm", [at, const(f"w{i}", w.astype(np.float32) * scale),
                                                   const(f"b{i}", np.array(la["bias"], np.float32) * scale)], [f"g{i}"]))  # fmt: skip
            nodes.append(helper.make_node("Identity" if last or not la["relu"] else "Relu", [f"g{i}"], [f"y{i}"]))
        at = f"y{i}"
    kind = TensorProto.INT8 if int8 else TensorProto.FLOAT
    graph = helper.make_graph(nodes, "policy", [helper.make_tensor_value_info("x", kind, [1, len(net["index"])])],
                              [helper.make_tensor_value_info(at, TensorProto.INT32 if int8 else TensorProto.FLOAT, [1, None])],
                              init)  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    index, m, s = (np.array(net[k], np.int64) for k in ("index", "m", "s"))

    def decide(row: Any) -> int:
        x = np.clip((row[index] * m) >> s, -128, 127).astype(np.int8 if int8 else np.float32)
        return int(session.run(None, {"x": x[None, :]})[0].argmax())

    return decide


def main() -> int:
    """Measure what is here, say what is not."""
    seconds = float(sys.argv[1])
    net = json.load(sys.stdin)
    rows = np.random.default_rng(5).integers(-1 << 20, 1 << 20, (256, net["features"])).astype(np.int64)
    out: dict[str, list[Any]] = {"twins": [measure("numpy, one row", numpy_decide(net), rows, seconds)], "skipped": []}
    for int8 in (False, True):
        name = f"ONNX Runtime {'int8' if int8 else 'float32'}"
        try:
            out["twins"].append(measure(name, onnx_decide(net, int8), rows, seconds))
        except ImportError as err:
            out["skipped"].append(f"{name}: {err.name} is not installed (make twins)")
    print(json.dumps(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
