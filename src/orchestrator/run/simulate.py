"""What the whole-system simulator's engines are made from: small configurations that trade much in little time."""

from __future__ import annotations

from typing import Any

from orchestrator.config import Config, load_profile
from orchestrator.run import plan
from orchestrator.run.virtual import OPEN_NS, VIRTUAL_DAY

#: Common to all variants: pools of a toy's size, times short enough that a scenario of 0.1 s sees all of them.
SMALL: dict[str, Any] = {
    "engine.max_orders": 1024,
    "engine.max_own_orders": 256,
    "policies.decision_interval_ns": 1_000_000,
    "execution.min_resting_ns": 2_000_000,
    "execution.max_resting_ns": 25_000_000,
    "execution.take_interval_ns": 8_000_000,
    "execution.session.answer_timeout_ns": 150_000_000,
    "execution.session.cancel_timeout_ns": 150_000_000,
    "execution.session.silence_ns": 350_000_000,
    "execution.session.reconcile_rounds": 8,
    "risk.max_quote_age_ns": 50_000_000,
    "risk.max_loss_units": 2_000_000_000,
    "risk.max_drawdown_units": 2_000_000_000,
}

#: What differs: how much may be held and said, and who decides.
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"risk.max_long_lots": 300, "risk.max_short_lots": 300, "execution.max_inventory_lots": 300,
     "risk.max_working_orders": 1, "risk.max_account_orders": 16},
    {"risk.max_messages": 24, "risk.cancel_reserve_messages": 8, "risk.message_window_ns": 100_000_000},
    {"execution.order_qty_lots": 200, "execution.max_inventory_lots": 1_000},
    # Decisions on a device that fails in every way: the simulator puts its faults in front of it.
    {"policies.placement": "device", "device.backend": "cpu", "device.recompute_every": 2},
    {"policies.placement": "device", "device.backend": "cpu", "device.mode": "ring", "device.max_events_behind": 3},
)

#: Of the two that share an account: their leases alone hold them back.
GREEDY: dict[str, Any] = {"execution.max_inventory_lots": 1_000, "execution.take_interval_ns": 3_000_000}

#: Of the random networks that decide: one that takes much, one that quotes much.
POLICY_SEEDS = (7, 12)


def configurations() -> list[Config]:
    """One configuration a variant."""
    return [load_profile("laptop", {**SMALL, **variant}) for variant in VARIANTS]


def restless_policy(seed: int) -> plan.LoadedPolicy:
    """A small random network: the simulator needs every action often, and a journal header of few bytes."""
    import numpy as np

    from hotpath.policy.random_network import random_network
    from hotpath.signal import schema

    network = random_network(np.random.default_rng(seed), (8, 8, 5), schema.COUNT)
    return _loaded(network, "restless", seed)


def greedy_policy() -> plan.LoadedPolicy:
    """Buys whenever it may: what holds it back are the limits alone."""
    import numpy as np

    from hotpath.policy.oracle import Layer, Network

    layer = Layer(np.zeros((5, 1), np.int8), np.array([0, 0, 0, 1, 0], np.int32), None)
    network = Network(np.zeros(1, np.uint16), np.ones(1, np.int16), np.zeros(1, np.uint8), (layer,))
    return _loaded(network, "greedy", 0)


def _loaded(network: Any, name: str, seed: int) -> plan.LoadedPolicy:
    from hotpath.policy import artifact

    made = artifact.make(network, name=name, provenance={"data": [], "seed": seed, "versions": {}}, parity=16)
    member = {"slot": 0, "weight": 1, "role": "trader", "veto_actions": [], "forced_action": 0}
    return plan.policy_from_bytes(artifact.dump(made), name, member)


def blueprint(cfg: Config, policy: plan.LoadedPolicy, username: str = "SIM001") -> dict[str, Any]:
    """One engine as `_venue.Simulation` takes it; its journal can be read and verified like any other."""
    spec = plan.shard_spec(cfg, midnight_ns=plan.session_midnight_ns(VIRTUAL_DAY))
    return {
        "shard": spec,
        "policies": [policy.spec],
        "quorum": cfg.policies.quorum_q8,
        "header": plan.journal_header(cfg, spec, [policy], VIRTUAL_DAY),
        "username": username,
    }


def blueprints() -> list[dict[str, Any]]:
    """All variants, then the two that share an account."""
    alone = [blueprint(cfg, restless_policy(POLICY_SEEDS[i % len(POLICY_SEEDS)])) for i, cfg in enumerate(configurations())]
    cfg = load_profile("laptop", {**SMALL, **GREEDY})
    return [*alone, blueprint(cfg, greedy_policy()), blueprint(cfg, greedy_policy(), "SIM002")]


def start_ns() -> int:
    """When every simulated day begins."""
    return plan.session_midnight_ns(VIRTUAL_DAY) + OPEN_NS


def _worker() -> None:
    import sys
    from pathlib import Path

    from peregrine_sim import simulate

    simulate.worker(blueprints(), start_ns(), sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    _worker()
