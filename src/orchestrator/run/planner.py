"""Where a policy's decisions are cheapest: this machine's own kernel, measured, against a device, computed.

    cpu     ns of one decision here, in a chain in which each needs the one before
    device  pcie + cycles x period
    pcie    the request pushed one way and the completion written one way, each half of a published round trip:
            787 ns, an MMIO read through a switch (pcie-lat, issue 4), and 547 ns, a DMA read of 64 bytes on a Xeon E5
            (Neugebauer et al., SIGCOMM 2018, recalled): (787 + 547) / 2 = 667 ns. Nothing is queued, and the poll that
            finds the completion is free.

Cycles are the gateware's formulas. They say how long an answer takes, not whether a device holds such a core: `make synth`
says that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hotpath.policy.oracle import Layer, Network

MMIO_READ_NS, DMA_READ_NS = 787.0, 547.0
PCIE_NS = (MMIO_READ_NS + DMA_READ_NS) / 2
#: 150 MHz: what the small core reaches on an ECP5 (docs/guide/gateware.md)
PERIOD_NS = 6.67
ADDS_PER_STAGE = 1
LANES = 16
#: hidden layers of the family: 16, these, 5. The last three are as deep as artifacts may be.
HIDDEN = ((8, 8), (16, 16), (32, 32), (64, 64), (128, 128), (256,) * 2, (256,) * 3, (256,) * 4, (256,) * 5)
ROWS, CHAIN, REPEATS = 64, 256, 15


@dataclass(frozen=True)
class Budget:
    """What the device's side is computed with. variant: baked or loadable; lanes count for the loadable alone."""

    variant: str = "baked"
    period_ns: float = PERIOD_NS
    pcie_ns: float = PCIE_NS
    lanes: int = LANES
    adds_per_stage: int = ADDS_PER_STAGE

    def cycles(self, network: Network, *, exact: bool = True) -> int:
        """Cycles of one decision on this device. exact=False: without making the baked core's adders."""
        from peregrine_hdl.latency import baked_cycles
        from peregrine_hdl.loadable_limits import Limits

        if self.variant == "loadable":
            return Limits(lanes=self.lanes).cycles(network.sizes)
        return baked_cycles(network, self.adds_per_stage, exact=exact)

    def device_ns(self, cycles: int) -> float:
        """One decision asked of the device and answered."""
        return self.pcie_ns + cycles * self.period_ns


@dataclass(frozen=True)
class Cost:
    """One network: where its weights are counted, what it costs here and there."""

    name: str
    weights: int
    cpu_ns: float
    cycles: int
    device_ns: float

    @property
    def cheaper(self) -> str:
        """`cpu` or `device`; the CPU where they cost the same, since nothing can be lost on the way."""
        return "device" if self.device_ns < self.cpu_ns else "cpu"


def crossover(costs: Sequence[Cost]) -> float | None:
    """Weights at which the device becomes the cheaper, on the straight line between the two sizes around it.

    The costs are ordered by weights. 0 where it is cheaper from the first on; None where it never is.
    """
    if not costs or all(c.cheaper == "cpu" for c in costs):
        return None
    k = max((i for i, c in enumerate(costs) if c.cheaper == "cpu"), default=-1) + 1
    if k == 0:
        return 0.0
    if k == len(costs):
        return None
    a, b = costs[k - 1], costs[k]
    below, above = a.device_ns - a.cpu_ns, b.cpu_ns - b.device_ns  # both are at least 0, and not both 0
    return a.weights + (b.weights - a.weights) * below / (below + above)


def weights_of(network: Network) -> int:
    """All weights, biases left out."""
    return sum(layer.weights.size for layer in network.layers)


def name_of(network: Network) -> str:
    """16-64-32-32-5."""
    return "-".join(map(str, network.sizes))


def measure(policy: Any, seed: int = 0) -> float:
    """ns of one decision of a loaded policy: the median of batches, each a chain of decisions that need one another."""
    from hotpath.policy.random_network import random_features
    from hotpath.signal import schema

    rows = random_features(np.random.default_rng(seed), ROWS, schema.COUNT)
    policy.chain(rows, CHAIN)
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter_ns()
        policy.chain(rows, CHAIN)
        taken.append((time.perf_counter_ns() - began) / CHAIN)
    return float(np.median(taken))


def family(hidden: Sequence[Sequence[int]] = HIDDEN) -> list[Network]:
    """Networks of growing size: weights uniform over int8, shifts that keep the values in their middle."""
    found = []
    for widths in hidden:
        rng = np.random.default_rng(list(widths))
        sizes = [16, *widths, 5]
        layers = []
        for k, (i, o) in enumerate(zip(sizes, sizes[1:], strict=False)):
            last = k == len(sizes) - 2
            shift = None if last else np.full(o, 6 + (i - 1).bit_length() // 2, np.uint8)
            layers.append(Layer(rng.integers(-128, 128, (o, i)).astype(np.int8), np.zeros(o, np.int32), shift, relu=not last))
        found.append(Network(np.arange(16, dtype=np.uint16), np.full(16, 77, np.int16), np.full(16, 12, np.uint8), tuple(layers)))
    return found


def measured_here(network: Network) -> float:
    """ns of one decision of a bare network on this machine's best kernel. Raises ArtifactError when it is refused."""
    from hotpath.policy import artifact

    return measure(artifact.make(network, name="plan", provenance={}, parity=1).to_core())


def plan(artifact: Any, budget: Budget, cpu_ns: Callable[[Network], float] = measured_here) -> dict[str, Any]:
    """The policy's costs, the family's, where they cross, and what `auto` chooses and why; plain JSON values.

    `cpu_ns` measures a network's decision. Raises LimitsError for lanes that no build has.
    """
    network = artifact.network
    own_cycles = budget.cycles(network)
    own = Cost(name_of(network), weights_of(network), cpu_ns(network), own_cycles, budget.device_ns(own_cycles))
    sweep = []
    for other in family():
        cycles = budget.cycles(other, exact=False)
        sweep.append(Cost(name_of(other), weights_of(other), cpu_ns(other), cycles, budget.device_ns(cycles)))
    at = crossover(sweep)
    return {
        "policy": {"name": artifact.name, "sha256": artifact.sha256, **asdict(own)},
        "budget": {**asdict(budget), "pcie_from": "half an MMIO read (787 ns) and half a 64-byte DMA read (547 ns), published",
                   "period_from": "assumed, below the 178 MHz nextpnr gives a small core on an ECP5" if budget.period_ns == PERIOD_NS else "given"},
        "family": [{**asdict(c), "cheaper": c.cheaper} for c in sweep],
        "crossover_weights": None if at is None else round(at),
        "auto": own.cheaper,
        "why": why(own, budget),
    }  # fmt: skip


def why(own: Cost, budget: Budget) -> str:
    """The choice in words."""
    there = f"{own.device_ns:.0f} ns = {budget.pcie_ns:.0f} PCIe + {own.cycles} cycles of {budget.period_ns:.2f} ns"
    if own.cheaper == "device":
        return f"the device answers in {there}; the kernel here takes {own.cpu_ns:.0f} ns"
    if own.cpu_ns <= budget.pcie_ns:
        return f"the kernel here takes {own.cpu_ns:.0f} ns, less than the way to the device and back alone; it would be {there}"
    return f"the kernel here takes {own.cpu_ns:.0f} ns; the device would answer in {there}"


def plot(told: dict[str, Any], path: Any) -> None:
    """Both costs over the number of weights, log axes. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(7.5, 4.6))
    x = [c["weights"] for c in told["family"]]
    ax.plot(x, [c["cpu_ns"] for c in told["family"]], marker="o", label="CPU, measured here")
    ax.plot(x, [c["device_ns"] for c in told["family"]], marker="s", label=f"device, {told['budget']['variant']}, computed")
    ax.axhline(told["budget"]["pcie_ns"], linestyle=":", linewidth=1, color="grey", label="PCIe alone, assumed")
    own = told["policy"]
    ax.plot([own["weights"]] * 2, [own["cpu_ns"], own["device_ns"]], "k*", markersize=9, linestyle="none",
            label=f"this policy, {own['name']}")  # fmt: skip
    if told["crossover_weights"]:
        ax.axvline(told["crossover_weights"], linestyle="--", linewidth=1, color="grey")
        ax.annotate(f"{told['crossover_weights']:,} weights", (told["crossover_weights"], min(c["cpu_ns"] for c in told["family"])),
                    textcoords="offset points", xytext=(5, 2), fontsize=8)  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="weights", ylabel="ns a decision", title="Where a decision is cheapest")
    ax.grid(True, which="major", alpha=0.3)
    ax.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
