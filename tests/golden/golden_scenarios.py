"""What each golden journal is about. A scenario drives a Stage; its name is the journal's."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from golden_stage import (
    BANK_SWAP,
    FLATTEN,
    HEALTHY,
    KILL,
    KILL_WORD,
    LEASE_GRANT,
    LEASE_RETURN,
    LIMITS,
    MS,
    PAUSE,
    RESUME,
    SEND_RESULT,
    SUPERVISOR_LOST,
    UNHEALTHY,
    US,
    WEIGHTS,
    Stage,
    constant_policy,
)

from orchestrator.run import plan

HOLD, JOIN_BID, JOIN_ASK, TAKE_ASK, TAKE_BID = range(5)
Scenario = Callable[[Path], None]


def plain_trading(folder: Path) -> None:
    """The shipped policy trades an ordinary second and a half."""
    s = Stage(folder)
    s.open()
    s.run(1500)
    s.end()


def fills_before_acks(folder: Path) -> None:
    """The venue tells executions before the acceptance they belong to."""
    s = Stage(folder, members=[(constant_policy(TAKE_ASK, "taker"), {})], fills_first=True, seed=11,
              answer_ns=400 * US, **{"execution.max_inventory_lots": 1000, "execution.take_interval_ns": 5 * MS})
    s.open()
    s.run(900)
    s.end()


def replace_races(folder: Path) -> None:
    """Quotes follow a fast market with slow answers: fills, cancels and replacements cross."""
    s = Stage(folder, members=[(constant_policy(JOIN_BID, "bid"), {"weight": 2}), (constant_policy(JOIN_ASK, "ask"), {})],
              seed=13, rate_per_s=1200, order_ns=4 * MS, answer_ns=6 * MS, fills_first=True, **{"execution.min_resting_ns": 0})  # fmt: skip
    s.open()
    for k in range(6):
        s.run(150)
        s.command(WEIGHTS, struct.pack("<8h", 1 + k % 2, 2 - k % 2, *[0] * 6))
    s.end()


def stale_feed(folder: Path) -> None:
    """A gap nothing closes, twice; the books come back from the snapshot service."""
    s = Stage(folder, seed=3)
    s.open()
    for _ in range(2):
        s.run(350)
        s.lose_feed()
        s.run(60)
        s.rebuild()
    s.run(350)
    s.end()


def halts(folder: Path) -> None:
    """Halted, paused, quotation only, short sales restricted, and at last the market closes."""
    s = Stage(folder, seed=5)
    s.open()
    for state in "HPQ":
        s.run(250)
        s.halt(state)
        s.run(80)
        s.halt("T")
    s.exchange.set_short_sale(0, "1", s.now)
    s.run(250)
    s.exchange.set_session_state("closed", s.now)
    s.run(150)
    s.end()


def kill(folder: Path) -> None:
    """Killed by command, revived; killed by the word with flatten; flattened; the supervisor lost."""
    s = Stage(folder, seed=17, **{"supervise.engine_loss_policy": "kill"})
    s.open()
    s.run(300)
    s.command(KILL, key=1)
    s.run(150)
    s.control(KILL_WORD, 0)
    s.run(300)
    s.control(KILL_WORD, 2)
    s.run(350)
    s.control(KILL_WORD, 0)
    s.command(RESUME)
    s.run(250)
    s.command(FLATTEN)
    s.run(350)
    s.control(SUPERVISOR_LOST)
    s.run(150)
    s.end()


def commands(folder: Path) -> None:
    """Limits, weights, bank swaps and back, pause, leases; keys seen twice and bodies that make no sense."""
    s = Stage(folder, members=[(constant_policy(JOIN_BID, "a"), {"weight": 3}), (constant_policy(JOIN_ASK, "b"), {"weight": 1})],
              seed=19)  # fmt: skip
    s.open()
    s.run(200)
    s.command(WEIGHTS, struct.pack("<8h", 1, 3, *[0] * 6), key=10)
    s.run(150)
    s.command(WEIGHTS, struct.pack("<8h", 9, 1, *[0] * 6), key=10)  # a key seen before
    s.command(LIMITS, limits(s, max_order_lots=50), key=11)
    s.run(150)
    s.command(LIMITS, limits(s, max_order_lots=-1), key=12)
    s.command(LIMITS, b"short")
    s.command(LIMITS, limits(s), key=13)
    s.command(BANK_SWAP, plan.bank_swap_body(1, constant_policy(TAKE_BID, "c")), key=14)
    s.run(150)
    s.command(BANK_SWAP, struct.pack("<I", 1), key=15)
    s.command(PAUSE)
    s.run(120)
    s.command(RESUME)
    s.command(LEASE_GRANT, struct.pack("<Qqq", 2, 150_000_000, 200))
    s.run(200)
    s.command(LEASE_RETURN, struct.pack("<Qqq", 3, 100_000_000, 150))
    s.run(200)
    s.end()


def limits(s: Stage, **changes: int) -> bytes:
    """RiskLimits of the account with changes; risk/limits.h."""
    d = {**s.spec["limits"], **changes}
    own = ("collar_ticks", "collar_bps", "max_order_lots", "max_order_notional", "max_working_orders", "max_working_notional",
           "max_long_lots", "max_short_lots", "max_executions", "execution_window_ns", "duplicate_window_ns", "max_quote_age_ns")  # fmt: skip
    all_ = ("max_account_orders", "max_account_notional", "max_gross", "max_credit", "max_loss", "max_drawdown", "max_messages",
            "message_window_ns", "cancel_reserve", "soft_permille")  # fmt: skip
    return struct.pack("<II12q24x10q48x", 1, 0xFFFFFFFF, *(d[k] for k in own), *(d[k] for k in all_))


def user_signal(folder: Path) -> None:
    """A signal of the user's own: values of every size, and now and then none."""
    values = [0, 1, -1, 2**31 - 1, -(2**31), 4096, -70_000]
    asked = iter(range(1 << 30))

    def value(features: list[int]) -> tuple[int, int]:
        n = next(asked)
        return (0, 1) if n % 9 == 4 else (values[n % 7] + (features[2] if abs(values[n % 7]) < 100_000 else 0), 0)

    s = Stage(folder, seed=23, signal=value, user_signal=True)
    s.open()
    s.run(1000)
    s.end()


def risk_rejects(folder: Path) -> None:
    """Limits so small, and an account so poor, that the gate refuses for one reason after the other."""
    members = [(constant_policy(JOIN_BID, "bid"), {"weight": 1}), (constant_policy(JOIN_ASK, "ask"), {"weight": 3})]
    s = Stage(folder, seed=29, members=members, rate_per_s=900, **{
        "risk.max_long_lots": 300, "risk.max_short_lots": 300, "execution.max_inventory_lots": 300, "risk.max_executions": 2,
        "risk.duplicate_window_ns": 200 * MS, "execution.min_resting_ns": 0})  # fmt: skip
    s.open()
    s.run(200)
    small = ({"max_working_orders": 0}, {"max_gross": 1_000}, {"max_credit": 1_000}, {"max_order_notional": 1_000},
             {"max_quote_age_ns": 0}, {"collar_ticks": 0, "collar_bps": 0}, {"max_long_lots": 0, "max_short_lots": 0},
             {"max_messages": 10, "cancel_reserve": 9}, {"max_drawdown": 0})  # fmt: skip
    for k, change in enumerate(small):
        s.command(WEIGHTS, struct.pack("<8h", 3 - 2 * (k % 2), 1 + 2 * (k % 2), *[0] * 6))
        s.command(LIMITS, limits(s, **change))
        s.run(110)
    s.end()


def crashes(folder: Path) -> None:
    """Killed three times, once between an input and its orders; four lives, one journal."""
    s = Stage(folder, seed=31)
    s.open()
    s.run(350)
    s.crash()
    s.run(350)
    s.crash(mid_step=True)
    s.run(350)
    s.control(UNHEALTHY)
    s.run(20)
    s.crash()
    s.run(350)
    s.end()


def reconnects(folder: Path) -> None:
    """Connections lost with orders under way, sends that would block or fail, a journal that is full for a while."""
    s = Stage(folder, seed=37, order_ns=2 * MS, answer_ns=3 * MS)
    s.open()
    s.run(250)
    s.disconnect()
    s.run(50)
    s.connect()
    s.run(250)
    s.consume(SEND_RESULT, struct.pack("<QIi", 0, 50, -11))
    s.run(60)
    s.consume(SEND_RESULT, struct.pack("<QIi", 0, 50, 50))
    s.run(150)
    s.disconnect(reason=3, wire_lost=False)
    s.run(5)
    s.connect()
    s.run(250)
    s.consume(SEND_RESULT, struct.pack("<QIi", 0, 50, -32))
    s.disconnect(reason=2)
    s.connect()
    s.run(150)
    s.control(UNHEALTHY)
    s.run(80)
    s.control(HEALTHY)
    s.run(200)
    s.end()


def saturation(folder: Path) -> None:
    """Prices and sizes at the ends of their ranges: features saturate, sums do not overflow, books stay sound or say so."""
    s = Stage(folder, seed=41)
    s.open()
    s.run(200)
    ref = 1 << 63
    for price, shares, side in ((1, 2**32 - 1, b"B"), (2**32 - 1, 2**32 - 1, b"S"), (2**31 - 1, 1, b"S"), (0, 1, b"B")):
        ref += 1
        s.feed(add(ref, side, shares, price))
    for n in range(40):
        top = s.exchange.levels(0, "B", 1)
        price = top[0]["price_ticks"] if top and isinstance(top[0], dict) else (top[0][0] if top else 990_000)
        s.feed(add(ref + 10 + n, b"B", 2**32 - 1, price))
        s.run(5)
    s.run(200)
    for n in range(40):
        s.feed(struct.pack(">cHHHIQIQ", b"E", 1, 0, 0, 0, ref + 10 + n, 2**32 - 1, n))
        s.run(5)
    s.feed(struct.pack(">cHHHIQIQ", b"E", 1, 0, 0, 0, ref + 1, 5, 1 << 60))  # unknown reference, no harm
    s.feed(b"A" + bytes(10))  # cut short: malformed
    s.run(250)
    s.end()


def add(ref: int, side: bytes, shares: int, price: int) -> bytes:
    """An ITCH add of locate 1."""
    return struct.pack(">cHHHIQcI8sI", b"A", 1, 0, 0, 0, ref, side, shares, b"PRGN    ", price)


def veto(folder: Path) -> None:
    """Three policies vote on two symbols, one of them in the risk role with a veto, under changing weights."""
    s = Stage(folder, seed=43, symbols=("PRGN", "FLCN"), rate_per_s=500, members=[
        (plan.builtin_policy_path().read_bytes(), {"weight": 2}),
        (constant_policy(JOIN_ASK, "ask"), {"weight": 1}),
        (constant_policy(TAKE_BID, "guard"), {"role": "risk", "veto_actions": [TAKE_ASK], "forced_action": HOLD}),
    ])  # fmt: skip
    s.open()
    s.run(350)
    s.command(WEIGHTS, struct.pack("<8h", 1, 3, 1, *[0] * 5))
    s.run(250)
    s.command(BANK_SWAP, plan.bank_swap_body(2, constant_policy(TAKE_ASK, "strict")))
    s.run(250)
    s.command(BANK_SWAP, struct.pack("<I", 2))
    s.run(250)
    s.end()


SCENARIOS: dict[str, Scenario] = {f.__name__: f for f in (
    plain_trading, fills_before_acks, replace_races, stale_feed, halts, kill, commands, user_signal, risk_rejects, crashes,
    reconnects, saturation, veto)}  # fmt: skip
