"""A running engine changes its supervisor: the same process, no order lost, never two supervisors."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.observe.segment import Segment, SegmentError, process_start_ticks
from orchestrator.supervise.lock import Locked, SupervisorLock
from orchestrator.supervise.takeover import MOVES, STATES, Takeover, TakeoverRefused


@given(st.lists(st.sampled_from(STATES), max_size=12))
def test_a_takeover_goes_through_its_states_in_order_or_is_refused(path):
    order = STATES[:8]
    one = Takeover.__new__(Takeover)
    one.state = "locking"
    at = 0
    for wanted in path:
        next_one = at + 1 < len(order) and wanted == order[at + 1]
        refusal = wanted == "refused" and one.state in ("locking", "reading", "checking")
        if next_one or refusal:
            one.move(wanted)
            at = order.index(wanted) if next_one else len(order)
        else:
            with pytest.raises(AssertionError):
                one.move(wanted)
    assert ("refused" in {b for _, b in MOVES}) and not any(a in ("done", "refused") for a, _ in MOVES)


def test_nothing_to_take_over_is_said_with_the_way_out(tmp_path):
    one = Takeover(tmp_path)
    lock = one.lock()
    with pytest.raises(TakeoverRefused) as refused:
        one.read()
    assert "no supervisor has run here" in str(refused.value) and "peregrine up" in refused.value.hint
    assert one.state == "refused"
    lock.close()


def test_two_takeovers_at_once_are_one(tmp_path):
    lock = Takeover(tmp_path).lock()
    second = Takeover(tmp_path)
    with pytest.raises(Locked):
        second.lock()
    assert second.state == "refused"
    lock.close()
    SupervisorLock(tmp_path).close()


@pytest.mark.slow
def test_a_takeover_killed_at_each_of_its_states_is_done_by_the_next_one(make_rig):
    from test_tree import orders, story, verify

    rig = make_rig()
    rig.up()
    engine, venue, ticks = rig.pid("engine"), rig.pid("venue"), process_start_ticks(rig.pid("engine"))
    rig.kill_supervisor()
    generation = 1
    for state, ended in rig.take_overs(STATES[:8]):
        assert ended == -signal.SIGKILL, state
        assert not rig.state().supervisor_alive(), state
        assert process_start_ticks(engine) == ticks, state
        generation = rig.state().generation
    assert generation == 2, "only the last of them had come so far as to write"
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before)  # nobody has told it to stop
    rig.call("up", "--detach", *rig.options())  # the same command as at first takes it over too
    state = rig.state()
    assert state.supervisor_alive() and state.generation == 3 and state.state == "trading" and state.trading_enabled
    assert (rig.pid("engine"), rig.pid("venue")) == (engine, venue)
    assert rig.call("up", "--take-over", "--name", rig.name, "--detach", code=75).stderr.count("supervised already") == 1
    report = rig.down()
    assert report["generation"] == 3 and report["open_orders"] == 0 and report["restarts"] == {}
    rows = story(rig.run_folder())
    assert rows.count("pause") == 1 and rows.count("resume") == 1, "no takeover touched the engine's orders"
    verify(rig.run_folder())


@pytest.mark.slow
def test_an_engine_that_died_with_its_supervisor_is_recovered_by_the_next_one(rig):
    rig.up()
    first, venue = rig.pid("engine"), rig.pid("venue")
    rig.kill_supervisor()
    os.kill(first, signal.SIGKILL)
    rig.wait(lambda: process_start_ticks(first) == 0)
    rig.call("up", "--take-over", "--detach")
    state = rig.state()
    assert state.state == "trading" and state.generation == 2
    assert rig.pid("venue") == venue and rig.pid("engine") != first
    assert rig.down()["open_orders"] == 0


def test_without_a_supervisor_the_engine_follows_its_policy_and_a_takeover_is_ready_when_it_trades_again(make_rig):
    from test_tree import orders

    rig = make_rig({"supervise.lost_after_ms": "3000", "supervise.heartbeat_ms": "50", "supervise.engine_loss_policy": "cancel"})
    rig.up()
    rig.wait(lambda: orders(rig) > 0)
    rig.kill_supervisor()

    from orchestrator.supervise.view import PAUSED, read_view

    def stopped() -> bool:
        view = read_view(rig.name)
        return view is not None and view.shards[0].trading_state == PAUSED and view.open_orders() == 0

    rig.wait(stopped)
    os.kill(rig.pid("engine"), signal.SIGSTOP)  # it cannot take note of its new supervisor
    plan, patient = rig.run_folder() / "plan.json", (rig.run_folder() / "plan.json").read_text()
    plan.write_text(patient.replace('"ready_timeout_s": 150', '"ready_timeout_s": 1'))
    refused = rig.call("up", "--take-over", "--detach", code=69)
    assert "not ready after 1 s: the engine is " in refused.stderr and f"status --name {rig.name}" in refused.stderr
    plan.write_text(patient)
    assert rig.state().supervisor_alive()
    rig.kill_supervisor()
    taking = rig.begin("up", "--take-over", "--detach", "--json")
    rig.wait(lambda: rig.state().generation == 3)
    with pytest.raises(subprocess.TimeoutExpired):
        taking.wait(0.5)
    os.kill(rig.pid("engine"), signal.SIGCONT)
    out, err = taking.communicate()
    assert taking.returncode == 0 and json.loads(out)["state"] == "trading" and not stopped(), err
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before)
    assert rig.down()["code"] == 0


def memory_of(name: str) -> int:
    """Whose memory lies under the engine's name; 0 where there is none, or one half made."""
    try:
        return Segment(name).status().pid
    except SegmentError:
        return 0


def test_down_ends_a_tree_that_has_lost_its_supervisor(rig):
    rig.up()
    rig.kill_supervisor()
    report = rig.down()
    assert report["code"] == 0 and report["open_orders"] == 0 and report["generation"] == 2
    assert rig.left() == [] and rig.state().state == "stopped"


@pytest.mark.slow
def test_another_configuration_does_not_take_over_what_runs(rig):
    rig.up()
    rig.kill_supervisor()
    refused = rig.call("up", "--detach", *rig.options(), "--set", "risk.max_loss_units=5", code=69)
    assert "another configuration" in refused.stderr and "--take-over" in refused.stderr
    rig.down()


@pytest.mark.slow
def test_an_engine_that_is_just_starting_is_taken_over_with_its_own_memory_and_not_the_dead_ones(make_rig):
    """The memory of an engine that was killed stays under its name until the next engine makes its own."""
    from test_tree import orders

    rig = make_rig({"supervise.restart.max_restarts": "100"})
    rig.up()
    second = rig.pid("engine")
    first = 0
    while memory_of(rig.name) != first:  # until one is stopped before it has made its own: it may be quicker than we are given a core
        first = second
        os.kill(first, signal.SIGKILL)
        second = rig.wait(lambda: (pid := rig.pid("engine")) not in (0, first) and pid)  # noqa: B023
        os.kill(second, signal.SIGSTOP)
    rig.kill_supervisor()
    assert memory_of(rig.name) == first
    taking = rig.begin("up", "--take-over", "--name", rig.name, "--detach")
    rig.wait(lambda: rig.state().generation == 2)
    os.kill(second, signal.SIGCONT)
    assert taking.wait() == 0, taking.communicate()
    rig.wait(lambda: rig.state().state == "trading")
    assert rig.pid("engine") == second
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before)
    assert rig.down()["open_orders"] == 0
