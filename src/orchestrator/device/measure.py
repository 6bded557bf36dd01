"""How fast a device decides, beside its twin: the CPU kernel called directly, in the same run on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from hotpath.device import Device, kernel_ns
from hotpath.policy.oracle import Network
from hotpath.policy.random_network import random_features

#: round trips a sample: a clock read costs as much as a decision on a cpu
BATCH = {"cpu": 64, "vfio": 1, "sim": 1}
SAMPLES = {"cpu": 4000, "vfio": 20000, "sim": 40}
ROWS = 256


def bench(device: Device, network: Network, *, samples: int = 0, seed: int = 0) -> dict[str, Any]:
    """Load the network, measure, and return the result as JSON-able values; times in ns a decision."""
    backend = device.caps["backend"]
    batch, samples = BATCH[backend], samples or SAMPLES[backend]
    if device.caps["banks"]:
        device.load(0, [network], version=1)
        device.swap(0)
    rows = random_features(np.random.default_rng(seed), ROWS, len(network.quant_m))
    device.round_trips(rows, max(1, samples // 10), batch)  # caches, and the CPU's clock
    ns, cycles = device.round_trips(rows, samples, batch)
    requests = samples * batch
    stream = device.stream_ns(rows, requests)
    twin_batch, twin_samples = BATCH["cpu"], min(max(samples, 400), SAMPLES["cpu"])
    kernel_ns(network, rows, twin_samples // 10, twin_batch)
    twin = kernel_ns(network, rows, twin_samples, twin_batch)
    caps = device.caps
    result: dict[str, Any] = {
        "backend": backend, "detail": caps["detail"], "transport": caps["transport"], "in_flight": caps["in_flight"],
        "sizes": network.sizes, "samples": samples, "batch": batch,
        "round_trip_ns": _percentiles(ns / batch),
        "decisions_per_second": round(requests * 1e9 / max(stream, 1)),
        "twin": {"what": "the CPU kernel alone, called directly", "batch": twin_batch, "ns": _percentiles(twin / twin_batch)},
        "core_cycles": None,
    }  # fmt: skip
    result["ratio_p50"] = round(result["round_trip_ns"]["p50"] / max(result["twin"]["ns"]["p50"], 1e-9), 2)
    if cycles.any():
        nominal = float(np.median(cycles)) * 1e6 / caps["core_clock_khz"] if caps["core_clock_khz"] else None
        result["core_cycles"] = {"p50": int(np.median(cycles)), "max": int(cycles.max()), "nominal_ns": nominal,
                                 "core_clock_khz": caps["core_clock_khz"]}  # fmt: skip
    if backend == "sim":
        result["note"] = "times are the simulator's own, not a device's; core_cycles are the device's"
    return result


def _percentiles(ns: np.ndarray) -> dict[str, float]:
    values = np.percentile(ns, [50, 99, 99.9])
    return {"p50": round(float(values[0]), 1), "p99": round(float(values[1]), 1), "p999": round(float(values[2]), 1),
            "max": round(float(ns.max()), 1)}  # fmt: skip
