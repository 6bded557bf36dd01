"""One suite over every backend of device.h."""

from __future__ import annotations

import numpy as np

from hotpath.device import Device
from hotpath.policy import oracle
from hotpath.policy.random_network import random_features, random_network


def test_an_answer_is_the_oracles():
    rng = np.random.default_rng(1)
    network = random_network(rng, [16, 32, 16, 5], 16)
    features = random_features(rng, 20, 16)
    straight = oracle.Network(np.arange(16, dtype=np.uint16), network.quant_m, network.quant_s, network.layers)
    with Device("cpu") as device:
        device.load(0, [network], version=7)
        device.swap(0)
        for row, logits in zip(features, oracle.infer(straight, features), strict=True):
            answer = device.ask(row)
            assert (answer.status, answer.version, answer.logits) == ("ok", 7, tuple(logits))
            assert answer.action == oracle.argmax(logits)
