"""What the client says before anything has gone out: of a request without bytes, and of a socket nobody is behind."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import pytest

from orchestrator.control.client import ControlClient, _encoded
from orchestrator.control.doors import SOCKET
from orchestrator.control.engine_link import EngineLink, EngineLinkError
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Request
from orchestrator.supervise import state_file
from orchestrator.supervise.state_file import TreeState

UNWRITABLE = os.fsdecode(b"news \xff")  # as a command line gives it


@pytest.mark.parametrize("request_", [Request(cmd="note", args={"text": UNWRITABLE}, why="x"), Request(cmd="pause", why=UNWRITABLE),
                                      Request(cmd="limits.set", args={"limits": {"max_order_lots": 10**30}}, why="x")])  # fmt: skip
def test_what_cannot_be_written_is_a_mistake_of_the_caller(request_):
    with pytest.raises(ControlError) as told:
        _encoded(request_)
    assert told.value.code == "usage"


def test_a_kill_goes_out_whatever_its_words_are():
    assert b"kill" in _encoded(Request(cmd="kill", who=UNWRITABLE, why=UNWRITABLE))


def test_a_socket_that_a_dead_supervisor_left_is_told_at_once_and_a_living_one_is_asked(monkeypatch):
    base = tempfile.mkdtemp(prefix="prg")
    monkeypatch.setenv("PEREGRINE_RUNTIME_DIR", base)
    (Path(base) / "desk").mkdir(0o700)
    s = socket.socket(socket.AF_UNIX)
    try:
        s.bind(f"{base}/desk/{SOCKET}")
        s.listen()
        ControlClient.local("desk").close()
        s.close()
        for state, hint in (("trading", "takes its engine over or starts it again"), ("stopped", "its last run is over (asked to stop by anna)")):
            state_file.write(Path(base) / "desk", TreeState(name="desk", supervisor_pid=1, supervisor_start_ticks=0, state=state, reason="asked to stop by anna"))
            with pytest.raises(ControlError, match="no supervisor of desk is here") as told:
                ControlClient.local("desk")
            assert hint in told.value.hint
    finally:
        s.close()
        shutil.rmtree(base)


def test_an_engine_that_was_let_go_of_while_it_was_waited_for_is_unavailable_and_no_defect():
    class Closed:
        def status(self):
            raise ValueError("mmap closed or invalid")

        def region(self, name):
            raise ValueError("mmap closed or invalid")

    link = EngineLink.__new__(EngineLink)
    link.name, link._reader, link._locks = "desk", Closed(), [threading.Lock()]
    assert not link.alive()
    with pytest.raises(EngineLinkError) as told:
        link.expect("pause", shard=0, request=Request(cmd="pause"), post=lambda key: None)
    assert told.value.code == "unavailable"
