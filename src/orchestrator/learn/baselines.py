"""What the shipped policy is judged beside: an artifact that always holds, and artifacts of random weights."""

from __future__ import annotations

import numpy as np

from hotpath.policy import artifact as artifacts
from hotpath.policy import oracle
from hotpath.policy.artifact import Artifact
from hotpath.policy.oracle import Layer, Network
from hotpath.policy.quantise import FloatLayer, from_float
from orchestrator.learn.forecast import INDICES, scaling

ACTIONS = 5
HIDDEN = (32, 16)
WEIGHT_SCALE = 4.0


def _provenance(made_by: str, seed: int) -> dict[str, object]:
    return {"data": [], "seed": seed, "versions": {"numpy": np.__version__}, "made_by": made_by}


def always_hold() -> Artifact:
    """One layer of zeros whose largest logit is hold's whatever the features are."""
    layer = Layer(np.zeros((ACTIONS, 1), np.int8), np.array([1, 0, 0, 0, 0], np.int32), None)
    network = Network(np.zeros(1, np.uint16), np.zeros(1, np.int16), np.zeros(1, np.uint8), (layer,))
    return artifacts.make(network, name="always-hold", provenance=_provenance("always_hold", 0))


def random_policy(seed: int, samples: np.ndarray, order_qty_lots: int) -> Artifact:
    """A 16-32-16-5 network of Gaussian weights, the shipped policy's inputs, near-uniform over actions on `samples`.

    Weights have 4 times the usual scale (sqrt(2 / inputs)), biases the same spread. On samples int32[N, schema] each
    logit gets mean 0 and deviation 1, then biases move until every action is chosen on about a fifth of the samples.
    """
    rng = np.random.default_rng(seed)
    scale = scaling(samples, order_qty_lots)
    x = scale.apply(samples)
    layers = []
    for outputs in (*HIDDEN, ACTIONS):
        spread = WEIGHT_SCALE * np.sqrt(2.0 / x.shape[1])
        w, b = rng.normal(0, spread, (outputs, x.shape[1])), rng.normal(0, 1.0, outputs)
        if outputs != ACTIONS:
            x = np.maximum(x @ w.T + b, 0)
            reach = np.percentile(x, 99.9) or 1.0  # keeps the next layer's inputs of order one
            layers.append(FloatLayer(w / reach, b / reach))
            x = x / reach
        else:
            value = x @ w.T + b
            w, b = w / value.std(0)[:, None], (b - value.mean(0)) / value.std(0)
            for _ in range(200):
                chosen = np.bincount((x @ w.T + b).argmax(1), minlength=ACTIONS) / len(x)
                b = b + 0.2 * (1 / ACTIONS - chosen)
            layers.append(FloatLayer(w, b))
    network, _ = from_float(layers, INDICES, samples, m=scale.m, s=scale.s)
    assert oracle.infer(network, samples[:1]).shape == (1, ACTIONS)
    return artifacts.make(network, name=f"random-{seed}", provenance=_provenance("random_policy", seed))
