"""Virtual trading sessions for fitting and judging policies: one artifact, one seed, some virtual seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hotpath.policy import artifact as artifacts
from hotpath.policy.artifact import Artifact
from orchestrator.config import load_profile
from orchestrator.config.models import Config
from orchestrator.run import plan, virtual

#: Columns of `Episode.facts`, as the tap writes them.
NOW_NS, INSTRUMENT, ACTION, BID_TICKS, BID_LOTS, ASK_TICKS, ASK_LOTS, POSITION_LOTS = range(8)
PROFILE = "laptop"
MAX_ORDERS = 65_536  # many times what stands at once; the profile's own pools cost more to clear than a session to run
SECOND_NS = 1_000_000_000
MEMBER = {"slot": 0, "weight": 1, "role": "trade", "veto_actions": [], "forced_action": 0}


@dataclass(frozen=True)
class Episode:
    """One session's outcome.

    pnl_units is realised and marked profit after fees in money units (10,000 to the dollar), from the engine's own
    books; actions int64[5] counts decisions. features int32[N, schema] and facts int64[N, 8] are of every decision
    when the session was tapped, else empty.
    """

    seed: int
    pnl_units: int
    fees_units: int
    fills: int
    filled_lots: int
    orders: int
    risk_rejects: int
    max_position_lots: int
    breaker: bool
    actions: np.ndarray
    features: np.ndarray
    facts: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """float[5]: each action's part of all decisions."""
        return self.actions / max(1, int(self.actions.sum()))


def config(overrides: dict[str, Any] | None = None) -> Config:
    """The `laptop` profile's configuration with smaller pools."""
    return load_profile(PROFILE, {"engine.max_orders": MAX_ORDERS, **(overrides or {})})


def loaded(artifact: Artifact) -> plan.LoadedPolicy:
    """An artifact as the one voting member of a policy set."""
    return plan.policy_from_bytes(artifacts.dump(artifact), artifact.name, MEMBER)


def run(policy: plan.LoadedPolicy, seed: int, duration_s: int, *, cfg: Config | None = None,
        tap: bool = True) -> Episode:
    """Trade `duration_s` virtual seconds of the exchange's generated flow with that seed."""
    from hotpath import _venue

    cfg = cfg or config()
    midnight_ns = plan.session_midnight_ns(virtual.VIRTUAL_DAY)
    spec = virtual.virtual_spec(cfg, midnight_ns=midnight_ns, start_ns=midnight_ns + virtual.OPEN_NS,
                                duration_ns=duration_s * SECOND_NS, seed=seed)
    engine = _venue.VirtualEngine(
        shard=plan.shard_spec(cfg, midnight_ns=midnight_ns), policies=[policy.spec], quorum=cfg.policies.quorum_q8,
        virtual=spec, tap=tap)
    engine.run()
    summary = engine.finish()
    features, facts = engine.features, engine.facts
    return Episode(
        seed=seed, pnl_units=summary["pnl_units"], fees_units=summary["fees_units"], fills=summary["fills"],
        filled_lots=summary["filled_lots"], orders=summary["orders"] + summary["replaces"],
        risk_rejects=summary["risk_rejects"],
        max_position_lots=int(np.abs(facts[:, POSITION_LOTS]).max(initial=0)), breaker=bool(summary["breaker"]),
        actions=np.array(summary["actions"], np.int64), features=features, facts=facts)
