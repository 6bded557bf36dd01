"""Metrics of the engine: its segment, latencies, counters, limits and symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.observe.buckets import cumulative
from orchestrator.observe.metric_table import Metric, Sample, per_shard
from orchestrator.observe.reading import Reading
from orchestrator.observe.segment import STATES
from orchestrator.observe.states import (
    BREAKER_STATES,
    BREAKERS,
    DEVICE_STATES,
    FEED_STATES,
    SYMBOL_STATES,
    TRADING_STATES,
)
from orchestrator.observe.telemetry import COUNTERS

#: label → (what is used, the limit, unit) of the account, by counter
ACCOUNT_LIMITS = {
    "orders": ("account_orders", "limit_account_orders"),
    "order_value": ("account_units", "limit_account_units"),
    "gross": ("gross_units", "limit_gross_units"),
    "gross_lease": ("gross_units", "lease_units"),
    "credit": ("credit_units", "limit_credit_units"),
    "loss": ("loss_units", "limit_loss_units"),
    "drawdown": ("drawdown_units", "limit_drawdown_units"),
    "messages": ("window_messages", "limit_messages"),
}
#: the same where a limit of 0 means that there is none
OPTIONAL_LIMITS = {"positions": ("positions", "limit_positions")}
#: the same of one symbol, by column of its row
SYMBOL_LIMITS = {
    "long": ("worst_long_lots", "limit_long_lots"),
    "short": ("worst_short_lots", "limit_short_lots"),
    "orders": ("working_orders", "limit_working_orders"),
    "order_value": ("working_units", "limit_working_units"),
}
#: counters that are shown in another way, or nowhere because they name no quantity
SHOWN_OTHERWISE = {
    "feed_state", "trading_state", "session_ready", "policy_version", "rejects", "risk_rejects", "soft_permille", "now_ns",
    "started_ns", "breakers_open", "breakers_cooling", "device_state",
    *(name for pair in ACCOUNT_LIMITS.values() for name in pair), "limit_positions",
}  # fmt: skip


def one_of(states: tuple[str, ...], value: int) -> Iterable[tuple[str, int]]:
    """1 for the state that is, 0 for the others; a state of a newer engine is its number."""
    known = [(name, int(i == value)) for i, name in enumerate(states)]
    return known if 0 <= value < len(states) else [*known, (str(value), 1)]


def ratio(used: int, limit: int) -> float:
    """Use of a limit, never below 0; a limit of 0 that is used at all is full."""
    return max(0, used) / limit if limit > 0 else float(used > 0)


def _up(r: Reading) -> Iterable[Sample]:
    yield (), int(r.alive)


def _heartbeat(r: Reading) -> Iterable[Sample]:
    if r.heartbeat_age_s is not None:
        yield (), r.heartbeat_age_s


def _status(value: Callable[[object], float]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        if r.status is not None:
            yield (), value(r.status)

    return samples


def _engine_state(r: Reading) -> Iterable[Sample]:
    if r.status is not None:
        state = r.status.state if r.alive or r.status.state == "ended" else "dead"
        yield from (((name,), int(name == state)) for name in (*STATES, "dead"))


def _latency(r: Reading) -> Iterable[Sample]:
    for shard, s in per_shard(r):
        for stage, view in s.histograms.items():
            pairs = [("+Inf" if bound is None else repr(bound / 1e9), n) for bound, n in cumulative(view)]
            yield (shard, stage), (pairs, view.sum / 1e9)


def _states(counter: str, states: tuple[str, ...]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        for shard, s in per_shard(r):
            yield from (((shard, name), on) for name, on in one_of(states, s[counter]))

    return samples


def _breakers(r: Reading) -> Iterable[Sample]:
    for shard, s in per_shard(r):
        yield from (((shard, name), int(bool(s["breakers_open"] & bit))) for bit, name in BREAKERS.items())


def _breaker_states(r: Reading) -> Iterable[Sample]:
    for shard, s in per_shard(r):
        for bit, name in BREAKERS.items():
            at = (1 if s["breakers_cooling"] & bit else 2) if s["breakers_open"] & bit else 0
            yield from (((shard, name, state), on) for state, on in one_of(BREAKER_STATES, at))


def _thread_shards(r: Reading) -> Iterable[Sample]:
    threads = [s["thread"] for s in r.shards]
    yield from (((shard,), threads.count(s["thread"])) for shard, s in per_shard(r))


def _symbol_count(r: Reading) -> Iterable[Sample]:
    yield from (((shard,), len(s.instruments)) for shard, s in per_shard(r))


def _gross(counter: str, of: Callable[[list[int]], int]) -> Callable[[Reading], Iterable[Sample]]:
    """Of the account's gross exposure, which leases divide among the shards: nothing where one shard has it all."""

    def samples(r: Reading) -> Iterable[Sample]:
        if len(r.shards) > 1:
            yield (), of([s[counter] for s in r.shards]) / r.shards[0].units_per_currency

    return samples


#: limit that is leased → counters of its budget, of what a shard has on lease, and of what it uses
LEASED = {"gross": ("limit_gross_units", "lease_units", "gross_units")}


def _leased(value: Callable[[list[tuple[int, int, int]]], Iterable[tuple[tuple[str, ...], int]]]) -> Callable[[Reading], Iterable[Sample]]:
    """`value` gives labels and money units from each shard's (budget, granted, used); nothing where one shard has it all."""

    def samples(r: Reading) -> Iterable[Sample]:
        if len(r.shards) > 1:
            for limit, counters in LEASED.items():
                rows = [tuple(s[c] for c in counters) for s in r.shards]
                yield from (((*labels, limit), n / r.shards[0].units_per_currency) for labels, n in value(rows))  # type: ignore[arg-type]

    return samples


def _of_each(column: int) -> Callable[[Reading], Iterable[Sample]]:
    return _leased(lambda rows: (((str(shard),), row[column]) for shard, row in enumerate(rows)))


def _excess(rows: list[tuple[int, int, int]]) -> Iterable[tuple[tuple[str, ...], int]]:
    budget = min(row[0] for row in rows)
    for of, column in (("granted", 1), ("used", 2)):
        yield (of,), max(0, sum(row[column] for row in rows) - budget)


def _venue_rejects(r: Reading) -> Iterable[Sample]:
    """All codes, seen or not: a series that begins above 0 hides its first rejects from `increase`."""
    for shard, s in per_shard(r):
        yield from (((shard, name.removeprefix("venue.")), n) for name, n in s.rejects.items() if name.startswith("venue."))


def _risk_rejects(r: Reading) -> Iterable[Sample]:
    for shard, s in per_shard(r):
        yield from (((shard, name), n) for name, n in s.rejects.items() if name != "pass" and not name.startswith("venue."))


def _account(value: Callable[[str, int, int, float], float]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        for shard, s in per_shard(r):
            for label, (used, limit) in (ACCOUNT_LIMITS | OPTIONAL_LIMITS).items():
                if limit in s.counters and (label in ACCOUNT_LIMITS or s[limit] > 0):
                    yield (shard, label), value(used, s[used], s[limit], s.units_per_currency)

    return samples


def _symbols(value: Callable[[object, object, float], Iterable[Sample]]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        for shard, s in per_shard(r):
            for i, row in enumerate(s.instruments):
                symbol = row["symbol"].decode("ascii", "replace").strip()
                bounds = s.limits[i] if i < len(s.limits) else None
                yield from (((shard, symbol, *labels), n) for labels, n in value(row, bounds, s.units_per_currency))

    return samples


def _column(name: str, currency: bool = False) -> Callable[[Reading], Iterable[Sample]]:
    return _symbols(lambda row, _, units: [((), int(row[name]) / (units if currency else 1))])  # type: ignore[index]


def _symbol_limits(value: Callable[[str, int, int, float], float]) -> Callable[[Reading], Iterable[Sample]]:
    def rows(_: object, bounds: object, units: float) -> Iterable[Sample]:
        if bounds is not None:
            for label, (used, limit) in SYMBOL_LIMITS.items():
                yield (label,), value(used, int(bounds[used]), int(bounds[limit]), units)  # type: ignore[index]

    return _symbols(rows)


def _money(name: str, units: float) -> float:
    return units if name.endswith("_units") else 1.0


def _of_counter(counter: str, scale: float) -> Callable[[Reading], Iterable[Sample]]:
    def samples(r: Reading) -> Iterable[Sample]:
        for shard, s in per_shard(r):
            if counter in s.counters:
                yield (shard,), s[counter] * scale / _money(counter, s.units_per_currency)

    return samples


def derived(counter: str, kind: str, meaning: str) -> Metric:
    """The metric of a counter by its name alone: `stale_ns`, a total, is `peregrine_stale_seconds_total`."""
    base, unit, scale = counter, "", 1.0
    for suffix, name, factor in (("_ns", "seconds", 1e-9), ("_bytes", "bytes", 1.0), ("_units", "currency", 1.0), ("_lots", "lots", 1.0)):
        if counter.endswith(suffix):
            base, unit, scale = counter.removesuffix(suffix) + f"_{name}", name, factor
    total = kind == "total"
    meaning = meaning.removesuffix(", money units")
    return Metric(f"peregrine_{base}" + "_total" * total, "counter" if total else "gauge", unit, ("shard",), meaning,
                  _of_counter(counter, scale), "shard")  # fmt: skip


def _metric(group: str, name: str, kind: str, unit: str, labels: str, text: str, samples: Callable[[Reading], Iterable[Sample]]) -> Metric:
    return Metric(f"peregrine_{name}", kind, unit, tuple(labels.split()), text, samples, group)  # type: ignore[arg-type]


METRICS: tuple[Metric, ...] = (
    _metric("engine", "up", "gauge", "", "", "1 while the engine's process lives and has not ended", _up),
    _metric("engine", "heartbeat_age_seconds", "gauge", "seconds", "", "time since the engine's heartbeat last moved", _heartbeat),
    _metric("engine", "engine_epoch", "gauge", "", "", "number of the segment: rises by one with each start of the engine",
            _status(lambda s: s.epoch)),  # type: ignore[attr-defined]
    _metric("engine", "engine_pid", "gauge", "", "", "process id of the engine", _status(lambda s: s.pid)),  # type: ignore[attr-defined]
    _metric("engine", "kill_level", "gauge", "", "", "kill word: 0 run, 1 no new orders and cancel all, 2 flatten too",
            _status(lambda s: s.kill_level)),  # type: ignore[attr-defined]
    _metric("engine", "engine_state", "gauge", "", "state", "1 for the state the engine's segment names, 0 for the others", _engine_state),
    _metric("latency", "stage_latency_seconds", "histogram", "seconds", "shard stage",
            "receive stamp to order handed to the socket (stage tick_to_order), and each stage of the way", _latency),
    _metric("shard", "feed_state", "gauge", "", "shard state", "1 for the state of the shard's books, 0 for the others", _states("feed_state", FEED_STATES)),
    _metric("shard", "trading_state", "gauge", "", "shard state", "1 for what the shard does, 0 for the others", _states("trading_state", TRADING_STATES)),
    _metric("shard", "session_ready", "gauge", "", "shard", "1 when the order session is reconciled and may trade", _of_counter("session_ready", 1)),
    _metric("shard", "last_input_timestamp_seconds", "gauge", "seconds", "shard", "time of the last input, since the epoch", _of_counter("now_ns", 1e-9)),
    _metric("rejects", "venue_rejects_total", "counter", "", "shard code",
            "orders the venue refused, by its code (63: that or higher)", _venue_rejects),
    _metric("rejects", "risk_rejects_total", "counter", "", "shard reason", "orders the gate refused, by reason", _risk_rejects),
    _metric("limits", "breaker_open", "gauge", "", "shard breaker", "1 while the breaker is tripped: no new orders until it is armed again", _breakers),
    _metric("limits", "breaker_state", "gauge", "", "shard breaker state",
            "1 for the breaker's state, 0 for the others: cooling, it cannot be armed again yet; awaits_rearm, somebody has to", _breaker_states),
    _metric("limits", "account_gross_currency", "gauge", "currency", "", "gross exposure of all shards; of an engine of several", _gross("gross_units", sum)),
    _metric("limits", "account_leased_currency", "gauge", "currency", "", "leases of gross exposure of all shards; of an engine of several", _gross("lease_units", sum)),
    _metric("limits", "account_gross_limit_currency", "gauge", "currency", "", "the account's limit that they are parts of; of an engine of several",
            _gross("limit_gross_units", min)),
    _metric("limits", "lease_budget_currency", "gauge", "currency", "limit", "what the shards of an engine have on lease together, at most: the account's limit",
            _leased(lambda rows: [((), min(row[0] for row in rows))])),
    _metric("limits", "lease_out_currency", "gauge", "currency", "limit", "what they have on lease together", _leased(lambda rows: [((), sum(row[1] for row in rows))])),
    _metric("limits", "lease_granted_currency", "gauge", "currency", "shard limit", "what the shard has on lease", _of_each(1)),
    _metric("limits", "lease_used_currency", "gauge", "currency", "shard limit", "what the shard uses of it; above it by orders that reduce, and by prices", _of_each(2)),
    _metric("limits", "lease_excess_currency", "gauge", "currency", "of limit",
            "by how much leases (of: granted) or what stands (of: used) come to more than the budget; 0 = within", _leased(_excess)),
    _metric("limits", "limit_used", "gauge", "", "shard limit",
            "what the shard uses of its part of an account limit: orders, currency, messages or symbols (gross: of the account's)", _account(lambda n, u, _, units: u / _money(n, units))),
    _metric("limits", "limit", "gauge", "", "shard limit", "that part itself, as in force",
            _account(lambda n, _, limit, units: limit / _money(n, units))),
    _metric("limits", "limit_use_ratio", "gauge", "ratio", "shard limit", "used / limit; a limit of 0 that is used is 1", _account(lambda _, u, limit, __: ratio(u, limit))),
    _metric("limits", "soft_ratio", "gauge", "ratio", "shard", "use from which a limit is in its soft state", _of_counter("soft_permille", 1e-3)),
    _metric("shard", "symbols", "gauge", "", "shard", "symbols of the shard, as configured", _symbol_count),
    _metric("shard", "thread_shards", "gauge", "", "shard", "shards that the shard's thread serves, itself included: above 1 they take turns", _thread_shards),
    _metric("shard", "device_state", "gauge", "", "shard state",
            "1 for the state of the shard's decision device, 0 for the others: probing, one decision asks it again; breaker_open, none does",
            _states("device_state", DEVICE_STATES)),
    _metric("symbols", "symbol_position_lots", "gauge", "lots", "shard symbol", "position, short below 0", _column("position_lots")),
    _metric("symbols", "symbol_working_lots", "gauge", "lots", "shard symbol", "lots of orders at the venue, unknown ones counted", _column("working_lots")),
    _metric("symbols", "symbol_pnl_currency", "gauge", "currency", "shard symbol", "realised and marked profit after fees", _column("pnl_units", True)),
    _metric("symbols", "symbol_state", "gauge", "", "shard symbol state", "1 for the symbol's state, 0 for the others",
            _symbols(lambda row, _, __: (((name,), on) for name, on in one_of(SYMBOL_STATES, int(row["state"]))))),  # type: ignore[index]
    _metric("symbols", "symbol_limit_used", "gauge", "", "shard symbol limit",
            "what is used of a symbol's limit, worst case over working and unknown orders: lots, orders or currency",
            _symbol_limits(lambda n, u, _, units: u / _money(n, units))),
    _metric("symbols", "symbol_limit", "gauge", "", "shard symbol limit", "the limit itself, as in force",
            _symbol_limits(lambda n, _, limit, units: limit / _money(n, units))),
    _metric("symbols", "symbol_limit_use_ratio", "gauge", "ratio", "shard symbol limit", "used / limit; a limit of 0 that is used is 1",
            _symbol_limits(lambda _, u, limit, __: ratio(u, limit))),
    *(derived(name, kind, meaning) for name, (kind, meaning) in COUNTERS.items() if name not in SHOWN_OTHERWISE),
)  # fmt: skip
