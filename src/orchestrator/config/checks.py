"""What no single field can know: checks between settings. Each yields (path, found, expected, hint)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.config import models as m
from orchestrator.config.memory import memory_mb, memory_parts
from orchestrator.config.yaml_tree import Path

Finding = tuple[Path, str, str, str]
_MAX_LOTS = 999_999


def _symbols(instruments: list[m.Instrument]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for i, instrument in enumerate(instruments):
        first = seen.setdefault(instrument.symbol, i)
        if first != i:
            yield (
                ("instruments", i, "symbol"),
                f"{instrument.symbol} again",
                "each symbol once",
                f"it is instruments[{first}] already",
            )


def _venue_symbols(instruments: list[m.Instrument], venue: Any) -> Iterator[Finding]:
    if venue.kind == "embedded" and venue.symbols:
        for i, instrument in enumerate(instruments):
            if instrument.symbol not in venue.symbols:
                yield (
                    ("instruments", i, "symbol"),
                    f"{instrument.symbol}, which the embedded venue does not list",
                    f"one of {', '.join(venue.symbols)}",
                    "add it to venue.symbols, or leave venue.symbols out to list every instrument",
                )


def _credentials(venue: Any) -> Iterator[Finding]:
    if venue.kind != "external":
        return
    account = venue.account
    if (account.password_env is None) == (account.password_file is None):
        found = "neither" if account.password_env is None else "both"
        yield (
            ("venue", "account"),
            f"{found} of password_env and password_file",
            "exactly one of them",
            "password_env: PEREGRINE_PASSWORD, or password_file: a file only you can read",
        )
    for name in ("ouch", "itch_a", "itch_b", "retransmit", "glimpse"):
        address = getattr(venue, name)
        if address is not None and not 1 <= int(address.rpartition(":")[2]) <= 65535:
            yield ("venue", name), f"port {address.rpartition(':')[2]}", "a port from 1 to 65535", ""


def _policies(policies: m.Policies) -> Iterator[Finding]:
    seen: dict[int, int] = {}
    for i, member in enumerate(policies.members):
        path: Path = ("policies", "members", i)
        if seen.setdefault(member.slot, i) != i:
            yield (
                (*path, "slot"),
                f"slot {member.slot} again",
                "a slot of its own",
                f"members[{seen[member.slot]}] has it",
            )
        if member.role == "risk" and not member.veto_actions:
            yield (*path, "veto_actions"), "a risk policy without a veto", "at least one action", "or make it a trader"
        if member.role == "trader" and member.veto_actions:
            yield (*path, "veto_actions"), "a veto of a trader", "role: risk", "only a risk policy may veto"
    if all(member.weight <= 0 for member in policies.members):
        yield ("policies", "members"), "no policy with a weight above 0", "at least one", "nobody could ever decide"


def _order_size(risk: m.Risk, execution: m.Execution) -> Iterator[Finding]:
    if execution.order_qty_lots > risk.max_order_lots:
        yield (
            ("execution", "order_qty_lots"),
            f"{execution.order_qty_lots}",
            f"at most risk.max_order_lots, {risk.max_order_lots}",
            "the gate would refuse every order",
        )
    if execution.max_inventory_lots > min(risk.max_long_lots, risk.max_short_lots):
        yield (
            ("execution", "max_inventory_lots"),
            f"{execution.max_inventory_lots}",
            f"at most risk.max_long_lots and max_short_lots, {min(risk.max_long_lots, risk.max_short_lots)}",
            "the tactic would ask for what the gate refuses",
        )
    if execution.min_resting_ns > execution.max_resting_ns:
        yield (
            ("execution", "min_resting_ns"),
            f"{execution.min_resting_ns}",
            f"at most max_resting_ns, {execution.max_resting_ns}",
            "swap the two",
        )
    if execution.order_qty_lots > _MAX_LOTS:
        yield (
            ("execution", "order_qty_lots"),
            f"{execution.order_qty_lots}",
            f"at most {_MAX_LOTS}",
            "OUCH takes no more",
        )
    if execution.strategy not in risk.authorised_strategies:
        yield (
            ("execution", "strategy"),
            f"{execution.strategy}",
            f"one of risk.authorised_strategies, {risk.authorised_strategies}",
            "the gate would refuse every order",
        )


def _limits(risk: m.Risk) -> Iterator[Finding]:
    pairs = (
        ("max_order_lots", "max_long_lots"),
        ("max_order_notional_units", "max_working_notional_units"),
        ("max_working_orders", "max_account_orders"),
        ("max_working_notional_units", "max_account_notional_units"),
        ("max_drawdown_units", "max_credit_units"),
        ("max_loss_units", "max_credit_units"),
    )
    for small, large in pairs:
        if getattr(risk, small) > getattr(risk, large):
            yield (
                ("risk", small),
                f"{getattr(risk, small)}",
                f"at most {large}, {getattr(risk, large)}",
                "the wider limit could never be reached",
            )
    yield from _reserve(risk)


def _reserve(risk: m.Risk) -> Iterator[Finding]:
    if risk.cancel_reserve_messages >= risk.max_messages:
        yield (
            ("risk", "cancel_reserve_messages"),
            f"{risk.cancel_reserve_messages}",
            f"less than max_messages, {risk.max_messages}",
            "no message would be left for orders",
        )


def _reserve_of_a_shard(risk: m.Risk, engine: m.Engine) -> Iterator[Finding]:
    n = engine.shards
    if n > 1 and risk.max_messages >= n and risk.cancel_reserve_messages // n >= risk.max_messages // n:
        yield (
            ("risk", "cancel_reserve_messages"),
            f"{risk.cancel_reserve_messages // n} of {risk.max_messages // n} messages a shard",
            "less",
            "no message would be left for the orders of a shard",
        )


def between_limits(risk: m.Risk, engine: m.Engine) -> Iterator[tuple[tuple[str, ...], Finding]]:
    """What is wrong between limits of the account that can be changed while the engine runs, with the names it is between.

    A soft level above its limit is none of it: the limit holds all the same, and can always be lowered."""
    for finding in [*_reserve(risk)] or [*_reserve_of_a_shard(risk, engine)]:
        yield ("cancel_reserve_messages", "max_messages"), finding


def _restricted(instruments: list[m.Instrument], risk: m.Risk) -> Iterator[Finding]:
    if all(i.symbol in risk.restricted_symbols for i in instruments):
        yield ("risk", "restricted_symbols"), "every instrument", "at least one that may be traded", "remove a symbol"


def _by_symbol(instruments: list[m.Instrument], risk: m.Risk) -> Iterator[Finding]:
    known = [i.symbol for i in instruments]
    for symbol in risk.by_symbol:
        if symbol not in known:
            yield ("risk", "by_symbol", symbol), "a symbol that is no instrument", f"one of {', '.join(known)}", ""


def _start_positions(instruments: list[m.Instrument], account: m.Account, risk: m.Risk) -> Iterator[Finding]:
    known = {i.symbol for i in instruments}
    for symbol, lots in account.start_position_lots.items():
        if symbol not in known:
            yield (
                ("account", "start_position_lots", symbol),
                "a symbol that is no instrument",
                "a configured symbol",
                "",
            )
        elif not -risk.max_short_lots <= lots <= risk.max_long_lots:
            yield (
                ("account", "start_position_lots", symbol),
                f"{lots}",
                f"from -risk.max_short_lots to risk.max_long_lots, -{risk.max_short_lots} to {risk.max_long_lots}",
                "only reducing orders would pass",
            )


def _start_costs(account: m.Account) -> Iterator[Finding]:
    for symbol, cost in account.start_cost_units.items():
        lots = account.start_position_lots.get(symbol, 0)
        if (cost > 0) != (lots > 0) or (cost < 0) != (lots < 0):
            yield (
                ("account", "start_cost_units", symbol),
                f"{cost} for {lots} lots",
                "the sign of the position",
                "a long position has cost something, a short one has brought it in",
            )


def _engine(engine: m.Engine) -> Iterator[Finding]:
    cores, pipelined = engine.cores, engine.topology == "pipelined"
    named = cores.engine if isinstance(cores.engine, list) else [cores.engine]
    threads = shard_threads(engine)
    hot = [("engine", core) for core in named]
    hot += [("feed", cores.feed), ("session", cores.session)] if pipelined else []
    fixed = [(name, core) for name, core in hot if isinstance(core, int)]
    for i, (name, core) in enumerate(fixed):
        if core in [c for _, c in fixed[:i]]:
            yield ("engine", "cores", name), f"core {core} twice", "a core of its own", "both are hot threads"
    if (isinstance(cores.engine, list) and len(cores.engine) != threads) or (isinstance(cores.engine, int) and threads > 1):
        yield (
            ("engine", "cores", "engine"),
            f"{len(named)} core{'s' * (len(named) > 1)} for {threads} thread{'s' * (threads > 1)} that trade",
            f"a list of {threads}, `auto` or none" if threads > 1 else "one core, `auto` or none",
            "",
        )
    if engine.refuse_shared_cores:
        for name in ("journal", "helper"):
            core = getattr(cores, name)
            if core is not None and core != "auto" and core in [c for _, c in fixed]:
                yield (
                    ("engine", "cores", name),
                    f"core {core}, a hot thread's",
                    "another core",
                    "or refuse_shared_cores: false on a machine with too few",
                )
    if not pipelined:
        for name in ("feed", "session"):
            if getattr(cores, name) is not None:
                yield (
                    ("engine", "cores", name),
                    f"a core for a {name} thread",
                    "topology: pipelined",
                    f"inline has no {name} thread",
                )
        if engine.shards_per_thread not in (None, engine.shards):
            yield (
                ("engine", "shards_per_thread"),
                f"{engine.shards_per_thread} of {engine.shards}",
                "all of them: inline is one thread",
                "leave it out, or topology: pipelined",
            )
    elif engine.shards_per_thread is not None and engine.shards_per_thread > engine.shards:
        yield (
            ("engine", "shards_per_thread"),
            f"{engine.shards_per_thread}",
            f"at most engine.shards, {engine.shards}",
            "",
        )
    if engine.feed_ring_kb & (engine.feed_ring_kb - 1):
        yield (
            ("engine", "feed_ring_kb"),
            f"{engine.feed_ring_kb}",
            "a power of two",
            f"{1 << engine.feed_ring_kb.bit_length()} would do",
        )


def shard_threads(engine: m.Engine) -> int:
    """Threads that trade: one when inline, else as many as the shards need."""
    if engine.topology == "inline":
        return 1
    return -(-engine.shards // (engine.shards_per_thread or 1))


def _shards(instruments: list[m.Instrument], engine: m.Engine) -> Iterator[Finding]:
    if engine.shards > len(instruments):
        yield (
            ("engine", "shards"),
            f"{engine.shards} shards for {len(instruments)} instrument{'s' * (len(instruments) > 1)}",
            f"at most {len(instruments)}",
            "a symbol belongs to one shard: a shard without one would do nothing",
        )
    if len(instruments) > engine.shards * engine.symbols_per_shard:
        yield (
            ("engine", "symbols_per_shard"),
            f"{len(instruments)} instruments for {engine.shards} shards of {engine.symbols_per_shard}",
            f"at least {-(-len(instruments) // engine.shards)}",
            "or more shards",
        )


#: limits of the account that are dealt to the shards: none may come to nothing on the way
SHARED_LIMITS = (
    "max_account_orders", "max_account_notional_units", "max_gross_units", "max_credit_units", "max_loss_units",
    "max_drawdown_units", "max_messages", "max_positions", "soft_positions",
)  # fmt: skip


def _shared_limits(risk: m.Risk, engine: m.Engine) -> Iterator[Finding]:
    n = engine.shards
    for name in SHARED_LIMITS:
        value = getattr(risk, name)
        if 0 < value < n:
            yield (
                ("risk", name),
                f"{value}, nothing for some of {n} shards",
                f"at least engine.shards, {n}",
                "limits of the account are divided among the shards",
            )
    yield from _reserve_of_a_shard(risk, engine)


def _shard_logins(venue: Any, engine: m.Engine) -> Iterator[Finding]:
    if venue.kind != "external":
        return
    if len(venue.shard_logins) != engine.shards - 1:
        yield (
            ("venue", "shard_logins"),
            f"{len(venue.shard_logins)} login{'s' * (len(venue.shard_logins) != 1)}",
            f"{engine.shards - 1}: one for each shard after the first",
            "each shard has a port of its own at the venue; the first one uses venue.account",
        )
    seen = {venue.account.username}
    for i, login in enumerate(venue.shard_logins):
        if login.username in seen:
            yield ("venue", "shard_logins", i, "username"), f"{login.username} again", "an account of its own", ""
        seen.add(login.username)
        if (login.password_env is None) == (login.password_file is None):
            found = "neither" if login.password_env is None else "both"
            yield (
                ("venue", "shard_logins", i),
                f"{found} of password_env and password_file",
                "exactly one of them",
                "password_env: PEREGRINE_PASSWORD_2, or password_file: a file only you can read",
            )


def _journal(journal: m.Journal, engine: m.Engine) -> Iterator[Finding]:
    if journal.ring_mb & (journal.ring_mb - 1):
        yield (
            ("journal", "ring_mb"),
            f"{journal.ring_mb}",
            "a power of two",
            f"{1 << journal.ring_mb.bit_length()} would do",
        )
    if journal.ring_mb > engine.memory_budget_mb:
        yield (
            ("journal", "ring_mb"),
            f"{journal.ring_mb}",
            f"within engine.memory_budget_mb, {engine.memory_budget_mb}",
            "raise the budget or shrink the ring",
        )


def _memory(instruments: list[m.Instrument], feed: m.Feed, journal: m.Journal, engine: m.Engine) -> Iterator[Finding]:
    parts = memory_parts(instruments, feed, journal, engine)
    needed = memory_mb(instruments, feed, journal, engine)
    if needed > engine.memory_budget_mb >= journal.ring_mb:
        largest = ", ".join(f"{name} {size >> 20}" for name, size in sorted(parts.items(), key=lambda p: -p[1])[:3])
        yield (
            ("engine", "memory_budget_mb"),
            f"{engine.memory_budget_mb}",
            f"at least {needed}: what the pools come to ({largest} MiB …)",
            "raise it, or shrink journal.ring_mb, engine.max_orders, engine.shards or feed.window_messages",
        )


def _virtual(virtual: m.Virtual) -> Iterator[Finding]:
    for name in ("feed_latency", "order_latency", "answer_latency"):
        model = getattr(virtual, name)
        if model.kind == "uniform" and model.low_ns > model.high_ns:
            yield ("virtual", name, "low_ns"), f"{model.low_ns}", f"at most high_ns, {model.high_ns}", "swap the two"


#: (sections a check needs, the check)
def _drop_copy(venue: Any, day: Any) -> Iterator[Finding]:
    login = day.reconcile.login
    if not day.reconcile.enabled or venue.kind == "embedded":
        return
    if (login.password_env is None) == (login.password_file is None):
        found = "neither" if login.password_env is None else "both"
        yield (("day", "reconcile", "login"), f"{found} of password_env and password_file", "exactly one of them",
               "password_env: PEREGRINE_DROP_COPY_PASSWORD, or password_file: a file only you can read")  # fmt: skip


CHECKS: list[tuple[tuple[str, ...], Callable[..., Iterator[Finding]]]] = [
    (("instruments",), _symbols),
    (("instruments", "venue"), _venue_symbols),
    (("venue",), _credentials),
    (("policies",), _policies),
    (("risk", "execution"), _order_size),
    (("risk",), _limits),
    (("instruments", "risk"), _restricted),
    (("instruments", "risk"), _by_symbol),
    (("instruments", "account", "risk"), _start_positions),
    (("account",), _start_costs),
    (("engine",), _engine),
    (("instruments", "engine"), _shards),
    (("risk", "engine"), _shared_limits),
    (("venue", "engine"), _shard_logins),
    (("journal", "engine"), _journal),
    (("instruments", "feed", "journal", "engine"), _memory),
    (("virtual",), _virtual),
    (("venue", "day"), _drop_copy),
]
