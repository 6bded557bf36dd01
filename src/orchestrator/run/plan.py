"""From a configuration to what the compiled engine is made from: plain dicts of numbers and strings.

The dict made by `shard_spec` stands in the journal's header, so that a replay needs no configuration.
"""

from __future__ import annotations

import datetime as dt
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from orchestrator.config.models import BreakerSettings, Config, ExternalVenue, InstrumentLimits, PolicySlot
from orchestrator.config.problems import ConfigError, Problem
from orchestrator.config.regular import read
from orchestrator.run import device
from orchestrator.run.shards import instruments_of, part

SESSION_ZONE = "America/New_York"
BUILTIN_POLICY = "builtin:default"
MAX_ARTIFACT_BYTES = 8 << 20
NO_CPU = -1
SUPERVISOR_LOSS = ("trade", "stop", "cancel", "kill")  # engine/shard_config.h


@dataclass(frozen=True)
class LoadedPolicy:
    """One artifact with its place in the set: `spec` goes to the engine, `data` into the journal."""

    slot: int
    name: str
    sha256: str
    data: bytes
    spec: dict[str, Any]


def session_midnight_ns(day: dt.date, zone: str = SESSION_ZONE) -> int:
    """Midnight of `day` in `zone`, nanoseconds since the epoch: what ITCH and OUCH times count from."""
    start = dt.datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(start.timestamp()) * 1_000_000_000


def today(zone: str = SESSION_ZONE) -> dt.date:
    """The session date now."""
    return dt.datetime.now(ZoneInfo(zone)).date()


def builtin_policy_path() -> Path:
    """The artifact that ships with the package."""
    return Path(__file__).resolve().parent.parent / "data" / "default.safetensors"


def load_policies(cfg: Config) -> list[LoadedPolicy]:
    """Every configured artifact, checked. Raises ConfigError naming the one that is refused and why."""
    loaded, problems = [], []
    for i, member in enumerate(cfg.policies.members):
        path = builtin_policy_path() if member.file == BUILTIN_POLICY else Path(member.file)
        try:
            loaded.append(load_policy(path, member))
        except (OSError, ValueError) as err:
            problems.append(
                Problem(f"policies.members[{i}].file", f"{member.file}: {err}", "a policy artifact this engine can load",
                        "peregrine policy verify FILE says more")
            )
    if problems:
        raise ConfigError(problems)
    return loaded


def load_policy(path: Path, member: PolicySlot) -> LoadedPolicy:
    """Read and check one artifact, a regular file. Raises OSError, or ValueError with the reason it is refused."""
    if len(data := read(path, MAX_ARTIFACT_BYTES)) > MAX_ARTIFACT_BYTES:
        raise ValueError(f"more than {MAX_ARTIFACT_BYTES} bytes")
    return policy_from_bytes(data, path.stem, member.model_dump())


def policy_from_bytes(data: bytes, name: str, member: dict[str, Any]) -> LoadedPolicy:
    """The artifact in `data` placed as `member` (slot, weight, role, veto_actions, forced_action) says."""
    from hotpath.policy import artifact as artifacts

    try:
        artifact = artifacts.parse(data, where=name)
    except artifacts.ArtifactError as err:
        raise ValueError(str(err)) from err
    net = artifact.network
    layers = [
        {
            "inputs": int(layer.weights.shape[1]),
            "outputs": int(layer.weights.shape[0]),
            "relu": bool(layer.relu),
            "weights": layer.weights.astype("i1").tobytes(),
            "bias": layer.bias.astype("<i4").tobytes(),
            "shift": b"" if layer.shift is None else layer.shift.astype("u1").tobytes(),
        }
        for layer in net.layers
    ]
    spec = {
        "slot": member["slot"],
        "weight": member["weight"],
        "role": member["role"],
        "veto_actions": list(member["veto_actions"]),
        "forced_action": member["forced_action"],
        "n_actions": len(artifact.actions),
        "feature_index": [int(v) for v in net.feature_index],
        "quant_m": [int(v) for v in net.quant_m],
        "quant_s": [int(v) for v in net.quant_s],
        "layers": layers,
        "schema_hash": artifact.schema_hash,
        "action_map_hash": artifacts.action_map_hash(artifact.action_map),
        "artifact_hash": artifact.sha256,
    }
    return LoadedPolicy(member["slot"], artifact.name, artifact.sha256, data, spec)


def bank_spec(slot: int, data: bytes) -> dict[str, Any]:
    """What a bank swap stages: the artifact in `data` for `slot`, which keeps its own weight and role."""
    member = {"slot": slot, "weight": 1, "role": "trader", "veto_actions": [], "forced_action": 0}
    return policy_from_bytes(data, f"slot {slot}", member).spec


def bank_swap_body(slot: int, data: bytes) -> bytes:
    """Body of a bank swap command: u32 slot, u32 bytes of the artifact, the artifact (little-endian)."""
    return struct.pack("<II", slot, len(data)) + data


def _limits(limits: InstrumentLimits, short_sales: str) -> dict[str, int]:
    return {
        "collar_ticks": limits.collar_ticks,
        "collar_bps": limits.collar_bps,
        "max_order_lots": limits.max_order_lots,
        "max_order_notional": limits.max_order_notional_units,
        "max_working_orders": limits.max_working_orders,
        "max_working_notional": limits.max_working_notional_units,
        "max_long_lots": limits.max_long_lots,
        # Refusing short sales is the limit zero: the worst case of all sells may not pass the position.
        "max_short_lots": 0 if short_sales == "refuse" else limits.max_short_lots,
        "max_executions": limits.max_executions,
        "execution_window_ns": limits.execution_window_ns,
        "duplicate_window_ns": limits.duplicate_window_ns,
        "max_quote_age_ns": limits.max_quote_age_ns,
    }


def _breakers(b: BreakerSettings, shards: int, shard: int) -> dict[str, Any]:
    """Each shard counts for itself, against its part."""

    def mine(most: int) -> int:
        return max(1, part(most, shards, shard)) if most > 0 else 0

    return {
        "max_messages": mine(b.max_messages), "message_window_ns": b.message_window_ns,
        "max_rejects": mine(b.max_rejects), "reject_window_ns": b.reject_window_ns,
        "cooldown_ns": b.cooldown_ns, "by_itself": b.rearm == "after_cooldown",
    }  # fmt: skip


def shard_spec(cfg: Config, *, midnight_ns: int, epoch: int = 1, shard: int = 0) -> dict[str, Any]:
    """What shard number `shard` is made from, all integers and strings."""
    risk, execution, session = cfg.risk, cfg.execution, cfg.execution.session
    mine, n = instruments_of(cfg, shard), cfg.engine.shards
    max_messages = part(risk.max_messages, n, shard)
    cancel_reserve = part(risk.cancel_reserve_messages, n, shard)
    instruments = []
    for instrument in mine:
        own = risk.by_symbol.get(instrument.symbol)
        instruments.append(
            {
                "symbol": instrument.symbol,
                "multiplier": instrument.multiplier,
                "shift": instrument.shift,
                "start_position_lots": cfg.account.start_position_lots.get(instrument.symbol, 0),
                "start_cost_basis": cfg.account.start_cost_units.get(instrument.symbol, 0),
                "restricted": instrument.symbol in risk.restricted_symbols,
                "order_qty_lots": execution.order_qty_lots,
                "max_inventory_lots": execution.max_inventory_lots,
                "increment_ticks": instrument.increment_ticks,
                "max_away_ticks": execution.max_away_ticks,
                "min_resting_ns": execution.min_resting_ns,
                "max_resting_ns": execution.max_resting_ns,
                "take_interval_ns": execution.take_interval_ns,
                "limits": _limits(own, risk.short_sales) if own is not None else None,
            }
        )
    external = isinstance(cfg.venue, ExternalVenue)
    return {
        "instruments": instruments,
        "limits": {
            **_limits(risk, risk.short_sales),
            "max_account_orders": part(risk.max_account_orders, n, shard),
            "max_account_notional": part(risk.max_account_notional_units, n, shard),
            "max_gross": risk.max_gross_units,  # the account's; the lease is the shard's part of it
            "max_credit": part(risk.max_credit_units, n, shard),
            "max_loss": part(risk.max_loss_units, n, shard),
            "max_drawdown": part(risk.max_drawdown_units, n, shard),
            "max_messages": max_messages,
            "message_window_ns": risk.message_window_ns,
            "cancel_reserve": cancel_reserve,
            "soft_permille": risk.soft_permille,
            "max_positions": part(risk.max_positions, n, shard),
            "soft_positions": part(risk.soft_positions, n, shard),
            "soft_positions_interval_ns": risk.soft_positions_interval_ns,
        },
        **({"lease_notional": part(risk.max_gross_units, n, shard)} if n > 1 else {}),
        "max_book_orders": cfg.engine.max_orders,
        "max_book_levels": max(4096, cfg.engine.max_orders // 4),
        "midnight_ns": midnight_ns,
        "order_capacity": _power_of_two(cfg.engine.max_own_orders),
        "max_open_orders": min(_power_of_two(cfg.engine.max_own_orders) // 2, 1024),
        "maker_fee": cfg.account.maker_fee_units_per_lot,
        "taker_fee": cfg.account.taker_fee_units_per_lot,
        "epoch": epoch,
        "firm": cfg.venue.account.firm if isinstance(cfg.venue, ExternalVenue) else "",
        "venue_mass_cancel": cfg.venue.mass_cancel if isinstance(cfg.venue, ExternalVenue) else True,
        "session_silence_ns": session.silence_ns,
        "answer_timeout_ns": session.answer_timeout_ns,
        "cancel_timeout_ns": session.cancel_timeout_ns,
        "capacity": {"agency": "A", "principal": "P", "riskless": "R"}[session.capacity],
        "reconcile_rounds": session.reconcile_rounds,
        "session_max_messages": max(1, max_messages),
        "session_cancel_reserve": min(cancel_reserve, max(0, max_messages - 1)),
        "session_message_window_ns": risk.message_window_ns,
        "strategy": execution.strategy,
        "strategies": list(risk.authorised_strategies),
        "decision_interval_ns": cfg.policies.decision_interval_ns,
        "user_signal": cfg.policies.signal is not None,
        "kill_on_supervisor_loss": cfg.supervise.engine_loss_policy == "kill",  # what releases before read
        "supervisor_loss": SUPERVISOR_LOSS.index(cfg.supervise.engine_loss_policy),
        **({"device": device.shard_use(cfg)} if device.wanted(cfg) else {}),
        **({} if cfg.engine.active_symbols is None else {"active_symbols": cfg.engine.active_symbols}),
        "breakers": _breakers(risk.breakers, n, shard),
        # Once a second over every order of every book: with thousands of books that alone would be a stall.
        "hash_books": len(mine) <= (16 if external else 256),
    }


def journal_header(cfg: Config, spec: dict[str, Any], policies: list[LoadedPolicy], day: dt.date, *,
                   shard: int = 0, clock: dict[str, Any] | None = None) -> bytes:
    """The journal's self-contained header record, of shard number `shard`.

    `clock` says how far the machine's clock was off when the run began; a run in virtual time has none.
    """
    from hotpath.journal import header
    from orchestrator.config import effective
    from orchestrator.observe import machine

    members = [
        {**{k: v for k, v in p.spec.items() if k in ("slot", "weight", "role", "veto_actions", "forced_action")},
         "artifact": f"slot{p.slot}", "name": p.name, "sha256": p.sha256}
        for p in policies
    ]
    return header.build_header(
        header.JournalHeader(
            session_date=day.isoformat(),
            session_zone=SESSION_ZONE,
            config={
                "effective": effective(cfg), "shard": spec, "policies": members, "quorum": cfg.policies.quorum_q8,
                **({"shard_number": shard} if cfg.engine.shards > 1 else {}),
            },
            instruments=[{"symbol": i.symbol, "increment_ticks": i.increment_ticks} for i in instruments_of(cfg, shard)],
            artifacts={f"slot{p.slot}": p.data for p in policies},
            machine={**machine.describe(), **({"clock": clock} if clock else {})},
        )
    )


def policies_of_header(parsed: Any) -> list[LoadedPolicy]:
    """The policies a journal's header carries, in slot order."""
    return [policy_from_bytes(bytes(parsed.artifacts[m["artifact"]]), m["name"], m) for m in parsed.config["policies"]]


def _power_of_two(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
