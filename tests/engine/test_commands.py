"""Commands are inputs: what they change shows in the journal from there on, and a replay does the same."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from rig import (
    BANK_SWAP,
    CANCEL,
    DRAIN,
    ENTER,
    FLATTEN,
    KILL,
    LEASE_GRANT,
    LEASE_RETURN,
    LIMITS,
    MASS_CANCEL,
    NEW_RISK,
    PAUSE,
    RESUME,
    WEIGHTS,
    LiveEngine,
    commands,
    constant_policy,
    intents,
    records,
    replayer,
    until,
    verify,
)

from hotpath import _core
from orchestrator.config import load_profile
from orchestrator.control.bodies import RESUME_HELD
from orchestrator.run import plan
from orchestrator.run.virtual import run_virtual

HOLD, JOIN_BID, JOIN_ASK, TAKE_ASK, TAKE_BID = range(5)


@pytest.fixture
def live(tmp_path, engine_name, venue):
    """Starts an engine in this process against a venue: `live(policies…)` → (engine, judge)."""
    started: list[LiveEngine] = []

    def start(**changes: Any) -> tuple[LiveEngine, Any]:
        judge = venue(seed=7)
        started.append(LiveEngine(tmp_path, engine_name, judge, changes))
        started[-1].until("session_ready")
        return started[-1], judge

    yield start
    for one in started:
        one.stop()
    for leftover in Path("/dev/shm").glob(f"*{engine_name}*"):
        leftover.unlink()


@pytest.fixture
def members(tmp_path):
    """`policies.members` of constant policies: `members((action, options), …)`."""

    def make(*wanted: tuple[int, dict]) -> list[dict]:
        out = []
        for slot, (action, options) in enumerate(wanted):
            path = tmp_path / f"member{slot}.safetensors"
            path.write_bytes(constant_policy(action, f"m{slot}"))
            out.append({"file": str(path), "slot": slot, **options})
        return out

    return make


def between(folder: Path, kind: int, after: int = 0) -> tuple[list, list]:
    """Intents before and after the first command of `kind` past sequence `after`."""
    journal = records(folder)
    at = next(seq for seq, k in commands(journal) if k == kind and seq > after)
    every = intents(journal)
    return [i for i in every if i.seq < at], [i for i in every if i.seq > at]


def new(found: list) -> list:
    return [i for i in found if i.kind in NEW_RISK]


def test_a_bank_swap_between_two_inputs_changes_policy_and_version_and_replays(live, members) -> None:
    engine, _ = live(**{"policies.members": members((JOIN_BID, {"weight": 3}))})
    engine.until("orders", 2)
    version = engine.counters()["policy_version"]
    data = constant_policy(JOIN_ASK, "next")
    engine.command(BANK_SWAP, plan.bank_swap_body(0, data), 1, plan.bank_spec(0, data))
    until(lambda: engine.counters()["policy_version"] != version, "another policy version")
    orders = engine.counters()["orders"]
    engine.until("orders", orders + 2)
    summary = engine.stop()
    before, after = between(engine.folder, BANK_SWAP)
    assert {(i.side, i.action) for i in new(before) if i.decision} == {(0, JOIN_BID)}
    assert {(i.side, i.action) for i in new(after) if i.decision} == {(1, JOIN_ASK)}
    assert len({i.policy_version for i in new(before)}) == 1
    assert {i.policy_version for i in new(before)}.isdisjoint({i.policy_version for i in new(after)})
    verdict = verify(engine.folder)
    assert verdict["identical"], verdict
    assert verdict["state_hash"] == f"{summary['state_hash']:016x}"


def test_a_swap_back_needs_no_artifact(live, members) -> None:
    engine, _ = live(**{"policies.members": members((JOIN_BID, {}))})
    first = engine.until("orders", 1)["policy_version"]
    data = constant_policy(JOIN_ASK, "next")
    engine.command(BANK_SWAP, plan.bank_swap_body(0, data), 0, plan.bank_spec(0, data))
    until(lambda: engine.counters()["policy_version"] != first, "another policy version")
    engine.command(BANK_SWAP, struct.pack("<I", 0))
    until(lambda: engine.counters()["policy_version"] == first, "the first policy version")
    engine.stop()
    assert verify(engine.folder)["identical"]


def test_a_bank_swap_whose_body_is_not_its_policy_is_refused_when_posted(live, members) -> None:
    engine, _ = live(**{"policies.members": members((JOIN_BID, {}))})
    data, other = constant_policy(JOIN_ASK, "a"), constant_policy(HOLD, "b")
    spec = plan.bank_spec(0, data)
    for body in (b"", struct.pack("<I", 9), plan.bank_swap_body(1, data), plan.bank_swap_body(0, other),
                 plan.bank_swap_body(0, data)[:-1]):  # fmt: skip
        with pytest.raises(ValueError, match="bank swap"):
            engine.live.command(BANK_SWAP, body, 0, spec)
    with pytest.raises(ValueError, match="bank swap"):
        engine.live.command(BANK_SWAP, plan.bank_swap_body(0, data), 0, None)
    strange = {**spec, "action_map_hash": "11" * 32}
    with pytest.raises(ValueError, match="action map"):
        engine.live.command(BANK_SWAP, plan.bank_swap_body(0, data), 0, strange)
    engine.stop()
    assert commands(records(engine.folder))[0][1] == DRAIN


def test_weights_by_command_change_who_wins(live, members) -> None:
    engine, _ = live(**{"policies.members": members((JOIN_BID, {"weight": 3}), (JOIN_ASK, {"weight": 1}))})
    engine.until("orders", 2)
    engine.command(WEIGHTS, struct.pack("<8h", 1, 3, 0, 0, 0, 0, 0, 0))
    orders = engine.counters()["orders"]
    engine.until("orders", orders + 2)
    engine.stop()
    before, after = between(engine.folder, WEIGHTS)
    assert {i.action for i in new(before)} == {JOIN_BID}
    assert {i.action for i in new(after)} == {JOIN_ASK}
    assert verify(engine.folder)["identical"]


def limits(folder: Path, **changes: int) -> bytes:
    """RiskLimits of the account as the run has them, with changes; risk/limits.h."""
    parsed, _ = replayer(folder)
    d = {**parsed.config["shard"]["limits"], **changes}
    own = [d[k] for k in ("collar_ticks", "collar_bps", "max_order_lots", "max_order_notional", "max_working_orders",
                          "max_working_notional", "max_long_lots", "max_short_lots", "max_executions",
                          "execution_window_ns", "duplicate_window_ns", "max_quote_age_ns")]  # fmt: skip
    all_ = [d[k] for k in ("max_account_orders", "max_account_notional", "max_gross", "max_credit", "max_loss",
                           "max_drawdown", "max_messages", "message_window_ns", "cancel_reserve", "soft_permille")]  # fmt: skip
    return struct.pack("<II12q24x10q48x", 1, 0xFFFFFFFF, *own, *all_)


def test_limits_by_command_bind_from_the_next_input_on(live) -> None:
    engine, _ = live()
    engine.until("orders", 3)
    body = limits(engine.folder, max_order_lots=0)
    assert len(body) == 256
    engine.command(LIMITS, body)
    rejects = engine.counters()["risk_rejects"]
    engine.until("risk_rejects", rejects + 3)
    engine.stop()
    before, after = between(engine.folder, LIMITS)
    assert new(before)
    assert not new(after)
    assert verify(engine.folder)["identical"]


def test_limits_that_make_no_sense_change_nothing(live) -> None:
    engine, _ = live()
    engine.until("orders", 1)
    engine.command(LIMITS, limits(engine.folder, max_order_lots=-1))
    engine.command(LIMITS, b"short")
    orders = engine.counters()["orders"]
    engine.until("orders", orders + 2)
    engine.stop()
    assert verify(engine.folder)["identical"]


def test_pause_and_resume(live) -> None:
    engine, _ = live()
    engine.until("orders", 2)
    engine.command(PAUSE)
    until(lambda: engine.counters()["trading_state"] == 3, "a pause")
    orders = engine.counters()["orders"]
    engine.events(400)
    assert engine.counters()["orders"] == orders
    engine.command(RESUME)
    engine.until("orders", orders + 2)
    engine.stop()
    journal = records(engine.folder)
    (paused,) = [s for s, k in commands(journal) if k == PAUSE]
    (resumed,) = [s for s, k in commands(journal) if k == RESUME]
    assert not [i for i in intents(journal) if paused < i.seq < resumed and i.kind in NEW_RISK]
    assert verify(engine.folder)["identical"]


@pytest.mark.parametrize("kind", [DRAIN, KILL])
def test_drain_and_kill_by_command_cancel_everything_and_stay(live, kind) -> None:
    engine, judge = live()
    until(lambda: judge.summary()["open_orders"] > 0, "a working order")
    engine.command(kind)
    until(lambda: judge.summary()["open_orders"] == 0, "no working order")
    engine.events(300)
    summary = engine.stop()
    assert summary["killed"] is (kind == KILL)
    _, after = between(engine.folder, kind)
    assert not new(after)
    assert after[0].kind == MASS_CANCEL
    assert verify(engine.folder)["identical"]


def flat(engine: LiveEngine, judge: Any) -> bool:
    """By the venue's count, and nothing of the engine is on its way there."""
    return engine.counters()["working_orders"] == 0 and judge.summary()["open_orders"] == 0 and judge.position_lots() == 0


def test_flatten_reduces_to_zero_and_never_beyond(live) -> None:
    engine, judge = live()
    until(lambda: judge.position_lots() != 0, "a position")
    engine.command(FLATTEN)
    until(lambda: flat(engine, judge), "flat")
    engine.events(200)
    assert judge.position_lots() == 0
    summary = engine.stop()
    assert summary["symbols"]["PRGN"]["position_lots"] == 0
    journal = records(engine.folder)
    (at,) = [s for s, k in commands(journal) if k == FLATTEN]
    numbers = {i.user_ref_num for i in intents(journal) if i.seq > at and i.kind == ENTER}
    position = 0
    for e in (e for e in judge.ours() if e["kind"] == "executed"):
        signed = e["qty"] if e["side"] == "B" else -e["qty"]
        if e["user_ref_num"] in numbers:
            assert position * signed < 0
            assert abs(signed) <= abs(position)
        position += signed
    assert verify(engine.folder)["identical"]


def test_lifting_a_hold_leaves_a_flatten_as_it_is_and_a_plain_resume_ends_it(live) -> None:
    engine, judge = live()
    until(lambda: judge.position_lots() != 0, "a position")
    engine.command(FLATTEN)
    until(lambda: flat(engine, judge), "flat")
    engine.command(PAUSE)
    until(lambda: engine.counters()["trading_state"] == 3, "a pause")
    engine.command(RESUME, struct.pack("<I", RESUME_HELD))
    until(lambda: engine.counters()["trading_state"] == 1, "no pause")
    orders = engine.counters()["orders"]
    engine.events(400)
    assert engine.counters()["orders"] == orders
    engine.command(RESUME)
    engine.until("orders", orders + 2)
    engine.stop()
    assert verify(engine.folder)["identical"]


def test_a_lease_bounds_what_may_be_held_and_is_given_back_unused(live) -> None:
    engine, _ = live()
    engine.until("orders", 2)

    def three_refused_for_it() -> None:
        least = engine.refused("lease") + 3
        until(lambda: engine.refused("lease") >= least, "three more orders refused for the lease")

    # Levels: from here on nothing may be held at all, so nothing new passes.
    engine.command(LEASE_GRANT, struct.pack("<Qqq", 2, 0, 0))
    three_refused_for_it()
    engine.command(LEASE_GRANT, struct.pack("<Qqq", 2, 10**15, 10**9))  # a repeated epoch is refused
    three_refused_for_it()
    engine.command(LEASE_GRANT, struct.pack("<Qqq", 3, 10**12, 10**6))
    orders = engine.counters()["orders"]
    engine.until("orders", orders + 2)
    engine.command(LEASE_RETURN, struct.pack("<Qqq", 4, 10**12, 10**6))  # everything that is not used
    three_refused_for_it()
    summary = engine.stop()
    refused = sum(n for reason, n in summary["risk_reasons"].items() if reason.startswith("lease"))
    assert refused >= 9, summary["risk_reasons"]
    assert verify(engine.folder)["identical"]


def test_a_command_with_a_key_seen_before_is_journaled_and_ignored(live) -> None:
    engine, _ = live()
    engine.until("orders", 1)
    engine.command(PAUSE, b"", 77)
    until(lambda: engine.counters()["trading_state"] == 3, "a pause")
    engine.command(RESUME, b"", 78)
    until(lambda: engine.counters()["trading_state"] != 3, "trading")
    engine.command(PAUSE, b"", 77)
    orders = engine.counters()["orders"]
    engine.until("orders", orders + 2)
    engine.stop()
    assert [k for _, k in commands(records(engine.folder))][:3] == [PAUSE, RESUME, PAUSE]
    assert verify(engine.folder)["identical"]


def test_commands_by_shared_ring_are_the_same_inputs(live) -> None:
    engine, _ = live()
    engine.until("orders", 1)
    segment = _core.Segment.attach(engine.name, write=True) if hasattr(_core, "Segment") else None
    if segment is None:
        pytest.skip("no shared segments from Python in this build")
    writer = _core.CommandWriter(segment)
    for kind in (PAUSE, RESUME):
        assert writer.push(struct.pack("<QHHI", 0, kind, 0, 0))
        until(lambda k=kind: (engine.counters()["trading_state"] == 3) == (k == PAUSE), "the command's effect")
    assert writer.push(struct.pack("<QHHI", 0, BANK_SWAP, 0, 12) + bytes(12))  # an artifact cannot come this way
    assert writer.push(struct.pack("<QHHI", 0, PAUSE, 0, 99))
    assert writer.push(b"short")
    orders = engine.counters()["orders"]
    engine.until("orders", orders + 2)
    body = limits(engine.folder, max_order_lots=0)  # the longest command there is
    assert writer.push(struct.pack("<QHHI", 0, LIMITS, 0, len(body)) + body)
    until(lambda: commands(records(engine.folder))[-1][1] == LIMITS, "the command consumed")
    rejects = engine.counters()["risk_rejects"]
    engine.until("risk_rejects", rejects + 3)
    writer.release()
    engine.stop()
    journal = records(engine.folder)
    assert [k for _, k in commands(journal)] == [PAUSE, RESUME, LIMITS, DRAIN]
    assert not new(between(engine.folder, LIMITS)[1])
    assert verify(engine.folder)["identical"]


# ---- several policies, in virtual time

def decided(tmp_path: Path, listed: list[dict], quorum: int = 128) -> set[int]:
    cfg = load_profile("replay", {"journal.dir": str(tmp_path / "runs"), "journal.ring_mb": 4, "engine.mlock": False,
                                  "engine.max_orders": 65_536, "policies.members": listed, "policies.quorum_q8": quorum})  # fmt: skip
    run = run_virtual(cfg, for_ns=1_000_000_000)
    assert verify(Path(run.journal))["identical"]
    assert run.decisions > 100
    return {i.action for i in intents(records(Path(run.journal))) if i.kind == ENTER}


def test_eight_policies_vote_by_weight(tmp_path, members) -> None:
    votes = [(JOIN_BID, {"weight": 1})] * 5 + [(JOIN_ASK, {"weight": 2})] * 3
    assert decided(tmp_path, members(*votes), quorum=0) == {JOIN_ASK}
    votes = [(JOIN_BID, {"weight": 1})] * 5 + [(JOIN_ASK, {"weight": 1})] * 3
    assert decided(tmp_path, members(*votes), quorum=0) == {JOIN_BID}


def test_without_the_quorum_nothing_is_sent(tmp_path, members) -> None:
    votes = [(JOIN_BID, {"weight": 1}), (JOIN_ASK, {"weight": 1}), (HOLD, {"weight": 1})]
    assert decided(tmp_path, members(*votes), quorum=128) == set()


def test_a_risk_policy_forces_its_action(tmp_path, members) -> None:
    votes = [(JOIN_BID, {"weight": 5}), (TAKE_BID, {"weight": 0, "role": "risk", "veto_actions": [TAKE_BID], "forced_action": JOIN_ASK})]
    assert decided(tmp_path, members(*votes)) == {JOIN_ASK}
    votes[1] = (HOLD, votes[1][1])
    assert decided(tmp_path, members(*votes)) == {JOIN_BID}


@pytest.mark.parametrize(("action", "side", "tif"), [(JOIN_BID, 0, 48), (JOIN_ASK, 1, 48), (TAKE_ASK, 0, 51), (TAKE_BID, 1, 51)])
def test_each_action_means_its_order(tmp_path, members, action, side, tif) -> None:
    """Joins are post-only day orders at the touch, takes immediate-or-cancel through it, none beyond the inventory."""
    cfg = load_profile("replay", {"journal.dir": str(tmp_path / "runs"), "journal.ring_mb": 4, "engine.mlock": False,
                                  "engine.max_orders": 65_536, "policies.members": members((action, {})),
                                  "execution.max_inventory_lots": 300, "execution.min_resting_ns": 5_000_000,
                                  "execution.max_resting_ns": 5_000_000})  # fmt: skip
    run = run_virtual(cfg, for_ns=2_000_000_000)
    journal = intents(records(Path(run.journal)))
    entered = [i for i in journal if i.kind == ENTER]
    assert entered
    assert {(i.side, i.action, i.qty_lots <= 100) for i in entered} == {(side, action, True)}
    post_only = {b"\x02\x0cP" in i.message for i in entered}
    assert post_only == {action in (JOIN_BID, JOIN_ASK)}
    assert {i.tif for i in entered} == {tif}
    if action in (JOIN_BID, JOIN_ASK):
        assert [i for i in journal if i.kind == CANCEL], "a quote too old is cancelled"
        assert all(i.qty_lots == 100 for i in entered)
    assert abs(run.position_lots) <= 300
    assert verify(Path(run.journal))["identical"]
