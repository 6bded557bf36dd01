"""Makes the shipped policy: `python -m orchestrator.learn.fit_default --out FILE --seed 1 [--quick]`.

1. Collect decisions on the exchange's generated flow under hand-made policies that trade at random sizes of lean.
2. Fit forecasts of the mid price over three horizons (`forecast`), antisymmetric between buying and selling.
3. Put them into a network with a dozen tactical numbers (`structure`) and search those by a seeded evolution
   strategy whose objective is virtual profit after fees, less a part of its spread over seeds, less a charge for
   actions that are hardly ever chosen.
4. Shift the biases until every action has its share on further seeds; check the integers on every kernel; write.

numpy only, one thread, no clock and no unseeded draw: same seed, code and library versions give the same bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hotpath.policy import artifact as artifacts
from hotpath.policy.artifact import Artifact
from orchestrator.config.models import Config, EmbeddedVenue
from orchestrator.learn import episodes
from orchestrator.learn.forecast import Forecast, Scaling, fit, moves_ticks, scaling
from orchestrator.learn.structure import Tactics, network

HORIZONS_MS = (50, 200, 1000)
FORECAST_UNITS = 26
SHRINK = 0.92  # of the search's steps, a generation
MIN_SHARE = 0.03  # aimed at, so that held-out seeds stay above 2 %

#: Seeds of the flow: data, search and calibration here; the report uses others.
DATA_SEEDS, SEARCH_SEEDS, CALIBRATION_SEEDS = 10_000, 20_000, 30_000

#: Found by hand in some trials; the search goes on from here.
START = Tactics(join_forecast=(0.0, 0.4, 0.0), take_forecast=(0.0, 1.0, 0.1), join_position=40.0, take_position=60.0,
                join_spread=0.1, take_spread=-0.5, join_own=150.0, join_other=0.0, join_bias=0.0, take_bias=-60.0)
#: First step sizes of the search, number by number.
STEP = Tactics(join_forecast=(0.1, 0.1, 0.1), take_forecast=(0.2, 0.2, 0.2), join_position=15.0, take_position=25.0,
               join_spread=0.1, take_spread=0.2, join_own=40.0, join_other=20.0, join_bias=25.0, take_bias=40.0)


@dataclass(frozen=True)
class Budget:
    """How much work a fit is: sessions of data, Adam steps, and generations of the search."""

    data_sessions: int
    data_session_s: int
    adam_steps: int
    generations: int
    candidates: int
    search_sessions: int
    search_session_s: int
    calibration_rounds: int
    calibration_sessions: int


FULL = Budget(24, 30, 6000, 16, 16, 8, 30, 12, 10)
QUICK = Budget(3, 10, 200, 1, 4, 1, 5, 2, 1)


@dataclass(frozen=True)
class Fitted:
    """What the search works on: everything but the tactical numbers."""

    forecast: Forecast
    scaling: Scaling
    samples: np.ndarray
    cfg: Config

    def artifact(self, tactics: Tactics, provenance: dict[str, Any] | None = None, seed: int = 0) -> Artifact:
        """The policy of these tactics as a checked artifact."""
        made, _ = network(self.forecast, tactics, self.scaling, self.samples, self.cfg.execution.order_qty_lots)
        return artifacts.make(made, name="default", seed=seed, samples=self.samples,
                              provenance=provenance or {"data": [], "seed": seed, "versions": {}})

    def score(self, tactics: Tactics, seeds: range, session_s: int) -> tuple[float, np.ndarray, np.ndarray]:
        """(objective in dollars, P&L in dollars of each seed, share of each action in its poorest session)."""
        policy = episodes.loaded(self.artifact(tactics))
        runs = [episodes.run(policy, s, session_s, cfg=self.cfg, tap=False) for s in seeds]
        pnl = np.array([r.pnl_units for r in runs]) / self.cfg.account.units_per_currency
        shares = np.array([r.shares for r in runs]).min(0)
        lacking = np.maximum(0.0, MIN_SHARE - shares).sum() / MIN_SHARE
        return float(pnl.mean() - 0.5 * pnl.std() - 25.0 * session_s * lacking), pnl, shares


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(text, file=sys.stderr, flush=True)


def collect(seed: int, budget: Budget) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """(features int32[N, schema], moves float[N, horizons], description with the data's SHA-256)."""
    cfg = episodes.config({"risk.max_loss_units": 4 * 10**9, "risk.max_drawdown_units": 4 * 10**9})  # must not stop early
    digest = hashlib.sha256()
    features, moves = [], []
    first = DATA_SEEDS + 1000 * seed
    for k in range(budget.data_sessions):
        policy = episodes.loaded(artifacts.make_reference(first + k))
        one = episodes.run(policy, first + k, budget.data_session_s, cfg=cfg)
        digest.update(one.features.astype("<i4").tobytes())
        digest.update(one.facts.astype("<i8").tobytes())
        later = moves_ticks(one, HORIZONS_MS)
        whole = ~np.isnan(later).any(1)
        features.append(one.features[whole])
        moves.append(later[whole])
    x = np.concatenate(features)
    return x, np.concatenate(moves), {
        "source": "simulated exchange, generated flow, virtual time", "profile": episodes.PROFILE,
        "flow_seeds": [first, first + budget.data_sessions - 1], "session_s": budget.data_session_s,
        "driven_by": "hotpath.policy.reference with the flow's seed", "decisions": len(x), "sha256": digest.hexdigest()}


def search(fitted: Fitted, seed: int, budget: Budget, rng: np.random.Generator) -> Tactics:
    """An evolution strategy: mirrored steps that shrink, recombination of the better half by rank.

    Every generation has sessions of its own; all of its candidates trade the same ones.
    """
    mean, step = START.vector(), STEP.vector()
    first = SEARCH_SEEDS + 1000 * seed
    half = budget.candidates // 2
    weights = np.maximum(0.0, np.log(half + 0.5) - np.log(np.arange(1, budget.candidates + 1)))
    weights /= weights.sum()
    late: list[np.ndarray] = []
    for generation in range(budget.generations):
        seeds = range(first, first + budget.search_sessions)
        first += budget.search_sessions
        draws = rng.normal(size=(half, len(mean)))
        noise = np.concatenate([draws, -draws])
        scores = [fitted.score(START.replaced(mean + step * z), seeds, budget.search_session_s)[0] for z in noise]
        best_first = np.argsort(scores)[::-1]
        chosen = noise[best_first]
        mean = mean + step * (weights @ chosen)
        step = step * SHRINK
        if 3 * generation >= 2 * budget.generations - 2:
            late.append(mean)  # their mean has less of any one generation's luck in it
        say(f"search {generation + 1}/{budget.generations}: best {max(scores):.0f}, median {np.median(scores):.0f} "
            f"dollars a session")
    return START.replaced(np.mean(late, 0))


def calibrate(fitted: Fitted, tactics: Tactics, seed: int, budget: Budget) -> Tactics:
    """Move the two biases until each action has MIN_SHARE of the decisions in each calibration session."""
    first = CALIBRATION_SEEDS + 1000 * seed
    seeds = range(first, first + budget.calibration_sessions)
    for _ in range(budget.calibration_rounds):
        _, pnl, shares = fitted.score(tactics, seeds, budget.search_session_s)
        say(f"shares, poorest session: {np.round(shares, 3)}; P&L {pnl.mean():.0f} dollars a session")
        hold, join, take = shares[0], shares[1:3].min(), shares[3:].min()
        if min(hold, join, take) >= MIN_SHARE:
            break
        if take < MIN_SHARE:
            tactics = dataclasses.replace(tactics, take_bias=tactics.take_bias + 10.0)
        if hold < MIN_SHARE:
            tactics = dataclasses.replace(tactics, join_bias=tactics.join_bias - 10.0)
        elif join < MIN_SHARE:
            tactics = dataclasses.replace(tactics, join_bias=tactics.join_bias + 10.0)
    return tactics


def versions() -> dict[str, str]:
    """What the bytes depend on besides the code."""
    return {"python": platform.python_version(), "numpy": np.__version__}


def fit_default(seed: int, budget: Budget = FULL) -> Artifact:
    """The whole fit; the artifact has been verified on every kernel of this machine. Raises ArtifactError if not."""
    rng = np.random.default_rng(seed)
    cfg = episodes.config()
    assert isinstance(cfg.venue, EmbeddedVenue)
    rate_per_s = cfg.venue.rate_per_s
    features, moves, data = collect(seed, budget)
    say(f"data: {len(features)} decisions")
    scale = scaling(features, cfg.execution.order_qty_lots)
    forecast = fit(scale.apply(features), moves, HORIZONS_MS, units=FORECAST_UNITS, steps=budget.adam_steps, rng=rng)
    say(f"forecasts over {HORIZONS_MS} ms: correlation {np.round(forecast.correlation, 3)}")
    fitted = Fitted(forecast, scale, features[:: max(1, len(features) // 4096)], cfg)
    tactics = calibrate(fitted, search(fitted, seed, budget, rng), seed, budget)
    provenance = {
        "made_by": "orchestrator.learn.fit_default", "seed": seed, "versions": versions(), "data": [data],
        "budget": dataclasses.asdict(budget), "tactics": dataclasses.asdict(tactics),
        "forecast": {"horizons_ms": list(HORIZONS_MS), "correlation": [round(c, 4) for c in forecast.correlation]},
        "search": {"seeds_from": SEARCH_SEEDS + 1000 * seed, "calibration_seeds_from": CALIBRATION_SEEDS + 1000 * seed,
                   "execution": cfg.execution.model_dump(include=EXECUTION_KEYS),
                   "decision_interval_ns": cfg.policies.decision_interval_ns, "rate_per_s": rate_per_s},
    }
    artifact = artifacts.parse(artifacts.dump(fitted.artifact(tactics, provenance, seed)))
    report = artifacts.verify(artifact)
    if not all(report.values()):
        raise artifacts.ArtifactError(f"parity vectors differ: {report}")
    return artifact


EXECUTION_KEYS = {"order_qty_lots", "max_inventory_lots", "max_away_ticks", "min_resting_ns", "max_resting_ns",
                  "take_interval_ns"}


def main(argv: list[str] | None = None) -> int:
    """Command line; writes the artifact and prints its hash."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.learn.fit_default", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--seed", type=int, default=1, choices=range(10), help="seed of data, fit and search")
    parser.add_argument("--quick", action="store_true", help="a few seconds of work: for tests, not for trading")
    args = parser.parse_args(argv)
    artifact = fit_default(args.seed, QUICK if args.quick else FULL)
    saved = artifacts.save(artifact, args.out)
    print(f"{args.out}: {saved.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
