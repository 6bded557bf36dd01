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

#: What differs: how much may be held and said.
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"risk.max_long_lots": 300, "risk.max_short_lots": 300, "execution.max_inventory_lots": 300,
     "risk.max_working_orders": 2, "risk.max_account_orders": 2},
    {"risk.max_messages": 24, "risk.cancel_reserve_messages": 8, "risk.message_window_ns": 100_000_000},
    {"execution.order_qty_lots": 200, "execution.max_inventory_lots": 1_000},
)


def configurations() -> list[Config]:
    """One configuration a variant."""
    return [load_profile("laptop", {**SMALL, **variant}) for variant in VARIANTS]


def blueprint(cfg: Config) -> dict[str, Any]:
    """One engine as `_venue.Simulation` takes it; its journal can be read and verified like any other."""
    spec = plan.shard_spec(cfg, midnight_ns=plan.session_midnight_ns(VIRTUAL_DAY))
    policies = plan.load_policies(cfg)
    return {
        "shard": spec,
        "policies": [p.spec for p in policies],
        "quorum": cfg.policies.quorum_q8,
        "header": plan.journal_header(cfg, spec, policies, VIRTUAL_DAY),
    }


def blueprints() -> list[dict[str, Any]]:
    """All variants."""
    return [blueprint(cfg) for cfg in configurations()]


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
