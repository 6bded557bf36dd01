"""A start that fails, at each of its stages: one reason, one exit code, and nothing left behind."""

from __future__ import annotations

import signal
import socket

import pytest


def refused(rig, code: int) -> str:
    """The start's own words; afterwards nothing of it is there, and the state file says it failed."""
    error = rig.up(code=code)["error"]
    assert error.startswith("error: ") and error.count("Traceback") == 0, error
    assert rig.left() == []
    state = rig.state()
    assert state.state == "failed" and not state.supervisor_alive() and not any(p.alive() for p in state.processes)
    return error


def test_a_venue_that_does_not_start_says_why(make_rig):
    error = refused(make_rig({"venue.faults": "nonsense=1%"}), 69)
    assert "the embedded exchange did not start" in error and "nonsense" in error


def test_an_engine_whose_policy_is_not_there_says_which(make_rig):
    error = refused(make_rig({"policies.members.0.file": "/nowhere/policy.safetensors"}), 78)
    assert "the engine did not start" in error and "/nowhere/policy.safetensors" in error


def test_a_name_that_another_engine_has_is_refused_and_the_other_left_alone(make_rig, tmp_path):
    from hotpath import _core

    rig = make_rig()
    segment = _core.Segment.create(rig.name, [_core.RegionSpec("x", 4096)])
    error = rig.up(code=69)["error"]
    assert "the engine did not start" in error and rig.name in error
    assert rig.left() == [f"/dev/shm/peregrine.{rig.name}"], "it is not ours to remove"
    del segment
    rig.sweep()


def test_a_venue_nobody_answers_at_is_waited_for_no_longer_than_told(make_rig):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound and never listening: a connection is refused
        here = f"127.0.0.1:{port}"
        account = f"{{kind: external, ouch: '{here}', itch_a: '{here}', account: {{username: DEMO01, password_env: SUP_TEST_WORD}}, cancel_on_disconnect: true}}"
        rig = make_rig({"supervise.ready_timeout_s": "1", "supervise.stop_timeout_s": "4"})
        del rig.settings["venue.rate_per_s"]
        rig.settings["venue"] = account
        error = rig.up(code=69, SUP_TEST_WORD="PEREGRINE1")["error"]
    assert "not ready" in error and "ready_timeout_s" in error
    assert rig.left() == []


def test_a_configuration_that_cannot_be_placed_is_refused_before_anything_starts(make_rig):
    rig = make_rig({"engine.cores.engine": "4095"})
    error = rig.up(code=78)["error"]
    assert "engine.cores.engine" in error and rig.left() == [] and not (rig.folder / "runs").exists()


@pytest.mark.parametrize("stage", ["waiting for venue", "waiting for engine"])
def test_a_ctrl_c_during_the_start_ends_what_had_been_started(rig, stage):
    up = rig.begin("up", "--no-panel", *rig.options())
    assert up.stderr is not None
    while stage not in up.stderr.readline():
        assert up.poll() is None
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=180)
    assert up.returncode == 0
    assert rig.left() == [] and rig.state().state == "stopped"
