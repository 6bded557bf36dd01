"""How a policy does after fees beside do-nothing and chance: `python -m orchestrator.learn.report [--json]`.

Ten seeds of the exchange's flow that no fit uses, a virtual minute each, under the `laptop` profile's limits.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hotpath.policy import artifact as artifacts
from hotpath.policy.actions import ACTION_MAP_V1
from hotpath.policy.artifact import Artifact
from orchestrator.learn import baselines, episodes
from orchestrator.learn.episodes import Episode
from orchestrator.run.plan import builtin_policy_path

HELD_OUT_SEEDS = tuple(range(91_001, 91_011))
SLOWER_US = (1_000, 5_000, 20_000)  # each way: feed, orders, answers
SESSION_S = 60
BEGIN, END = "<!-- results: python -m orchestrator.learn.report -->", "<!-- end of results -->"


def row(episode: Episode, units_per_currency: int) -> dict[str, Any]:
    """One session as plain JSON values; money in the account's currency."""
    return {
        "seed": episode.seed, "pnl": episode.pnl_units / units_per_currency,
        "fees": episode.fees_units / units_per_currency, "fills": episode.fills, "filled_lots": episode.filled_lots,
        "orders": episode.orders, "risk_rejects": episode.risk_rejects,
        "max_position_lots": episode.max_position_lots, "breaker": episode.breaker,
        "decisions": int(episode.actions.sum()), "shares": [round(float(s), 4) for s in episode.shares]}


def judge(artifact: Artifact, seeds: tuple[int, ...] = HELD_OUT_SEEDS, session_s: int = SESSION_S) -> dict[str, Any]:
    """Sessions of the policy, of do-nothing and of chance on the same seeds, with means and the poorest shares."""
    cfg = episodes.config()
    policies = {"policy": episodes.loaded(artifact), "hold": episodes.loaded(baselines.always_hold())}
    rows: dict[str, list[dict[str, Any]]] = {"policy": [], "hold": [], "random": []}
    units = cfg.account.units_per_currency
    for seed in seeds:
        hold = episodes.run(policies["hold"], seed, session_s, cfg=cfg)
        chance = baselines.random_policy(seed, hold.features, cfg.execution.order_qty_lots)
        rows["policy"].append(row(episodes.run(policies["policy"], seed, session_s, cfg=cfg), units))
        rows["hold"].append(row(hold, units))
        rows["random"].append(row(episodes.run(episodes.loaded(chance), seed, session_s, cfg=cfg), units))
    slower = []
    for latency_us in SLOWER_US:
        late = episodes.config({f"virtual.{way}_latency": {"kind": "constant", "latency_ns": 1_000 * latency_us}
                                for way in ("feed", "order", "answer")})
        got = [episodes.run(policies["policy"], seed, session_s, cfg=late, tap=False).pnl_units for seed in seeds]
        slower.append({"latency_us": latency_us, "pnl_mean": round(float(np.mean(got)) / units, 2),
                       "pnl_worst": min(got) / units, "sessions_above_zero": sum(units_won > 0 for units_won in got)})
    summary = {}
    for name, sessions in rows.items():
        money = np.array([r["pnl"] for r in sessions])
        shares = np.array([r["shares"] for r in sessions])
        summary[name] = {"pnl_mean": round(float(money.mean()), 2), "pnl_worst": float(money.min()),
                         "pnl_best": float(money.max()), "pnl_sd": round(float(money.std(ddof=1)) if len(money) > 1 else 0.0, 2),
                         "sessions_above_zero": int((money > 0).sum()), "share_min": shares.min(0).tolist(),
                         "share_mean": shares.mean(0).round(4).tolist()}
    return {"artifact": artifact.sha256, "sizes": artifact.network.sizes, "seeds": list(seeds), "session_s": session_s,
            "currency": cfg.account.currency, "actions": list(ACTION_MAP_V1["actions"]), "sessions": rows,
            "summary": summary, "slower": slower}


def table(report: dict[str, Any]) -> str:
    """The report as Markdown tables."""
    lines = ["| seed | policy | do nothing | random | " + " | ".join(report["actions"])
             + " | fills | fees | largest position |", "|" + "---:|" * (7 + len(report["actions"]))]
    sessions = report["sessions"]
    for mine, hold, chance in zip(sessions["policy"], sessions["hold"], sessions["random"], strict=True):
        stopped = "*" if chance["breaker"] else ""
        own_stop = "*" if mine["breaker"] else ""
        lines.append(f"| {mine['seed']} | {mine['pnl']:,.2f}{own_stop} | {hold['pnl']:,.2f} | {chance['pnl']:,.2f}{stopped} | "
                     + " | ".join(f"{100 * s:.1f} %" for s in mine["shares"])
                     + f" | {mine['fills']:,} | {mine['fees']:,.2f} | {mine['max_position_lots']} |")
    lines += ["", "| | mean | standard deviation | worst | best | sessions above 0 |", "|---|---:|---:|---:|---:|---:|"]
    for name, title in (("policy", "policy"), ("hold", "do nothing"), ("random", "random")):
        s = report["summary"][name]
        lines.append(f"| {title} | {s['pnl_mean']:,.2f} | {s['pnl_sd']:,.2f} | {s['pnl_worst']:,.2f} | "
                     f"{s['pnl_best']:,.2f} | {s['sessions_above_zero']} of {len(report['seeds'])} |")
    for late in report["slower"]:
        lines.append(f"| policy, {late['latency_us'] / 1_000:g} ms each way | {late['pnl_mean']:,.2f} | | "
                     f"{late['pnl_worst']:,.2f} | | {late['sessions_above_zero']} of {len(report['seeds'])} |")
    mean = report["summary"]["random"]["share_mean"]
    lines += ["", "Shares of the random policies, mean: "
              + ", ".join(f"{a} {100 * s:.1f} %" for a, s in zip(report["actions"], mean, strict=True)) + "."]
    return "\n".join(lines)


def placed(page: str, report: dict[str, Any]) -> str:
    """The document with the report's tables between its marks. Raises ValueError when it has none."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the document must have one line {BEGIN!r} and one {END!r}")
    before, _, rest = page.partition(BEGIN)
    artifact = f"Artifact `{report['artifact'][:16]}`, {'-'.join(map(str, report['sizes']))}."
    return f"{before}{BEGIN}\n{artifact}\n\n{table(report)}\n{END}{rest.partition(END)[2]}"


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.learn.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path, nargs="?", default=builtin_policy_path(), help="artifact (the shipped one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--sessions", type=int, default=len(HELD_OUT_SEEDS), help="so many of the ten seeds")
    parser.add_argument("--into", type=Path, help="also write the tables into this document, between its marks")
    parser.add_argument("--session-s", type=int, default=SESSION_S, help="virtual seconds a session")
    args = parser.parse_args(argv)
    report = judge(artifacts.load(args.file), HELD_OUT_SEEDS[: args.sessions], args.session_s)
    if args.into:
        args.into.write_text(placed(args.into.read_text(encoding="utf-8"), report), encoding="utf-8")
    print(json.dumps(report, indent=2) if args.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
