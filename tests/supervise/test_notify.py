"""The words said to a service manager, as they arrive at a real socket."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines import numa2
from orchestrator.config import load_profile
from orchestrator.observe.topology import read_topology
from orchestrator.supervise.notify import Notifier, forget
from orchestrator.supervise.unit import slice_unit, template, unit_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def manager(short):
    """A socket as systemd has one: `manager()` gives the next datagram as a dict, None when there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(short / "notify"))
        listening.setblocking(False)

        def take() -> dict[str, str] | None:
            try:
                text = listening.recv(65536).decode()
            except BlockingIOError:
                return None
            return dict(line.split("=", 1) for line in text.split("\n"))

        take.address = str(short / "notify")
        yield take


def test_a_life_is_told_in_the_words_of_the_protocol(manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    assert notifier.enabled
    notifier.status("syncing")
    notifier.ready("trading")
    notifier.watchdog()
    notifier.reloading()
    notifier.main_pid(77)
    notifier.extend_timeout(1.5)
    notifier.failing("engine stalled")
    notifier.stopping("draining")
    told = [manager() for _ in range(8)]
    assert told[0] == {"STATUS": "syncing"}
    assert told[1] == {"READY": "1", "STATUS": "trading"}
    assert told[2] == {"WATCHDOG": "1"}
    assert told[3]["RELOADING"] == "1" and int(told[3]["MONOTONIC_USEC"]) > 0 and "STATUS" not in told[3]
    assert told[4:] == [{"MAINPID": "77"}, {"EXTEND_TIMEOUT_USEC": "1500000"}, {"WATCHDOG": "trigger", "STATUS": "engine stalled"},
                        {"STOPPING": "1", "STATUS": "draining"}]  # fmt: skip
    assert manager() is None and notifier.lost == 0
    notifier.close()


def test_the_same_status_twice_is_said_once(manager):
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    assert notifier.status("trading") and notifier.status("trading")
    assert (manager(), manager()) == ({"STATUS": "trading"}, None)
    notifier.close()


@settings(deadline=None)
@given(st.text())
def test_a_status_is_one_line_whatever_it_holds(text):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    notifier = Notifier({"NOTIFY_SOCKET": "/nowhere"})
    notifier._socket = FakeSocket(ours)
    notifier.send({"READY": "1", "STATUS": text})
    got = theirs.recv(1 << 20).decode(errors="surrogatepass").split("\n")
    assert got[0] == "READY=1" and len(got) == (2 if text.split() else 1 if not text else 2)
    ours.close()
    theirs.close()


class FakeSocket:
    """Hands datagrams to a pair's other end."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def sendto(self, data: bytes, address: str) -> None:
        self.end.send(data)


def test_an_abstract_address_is_reached_too():
    name = f"peregrine-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
        assert notifier.ready()
        assert listening.recv(100) == b"READY=1"
        notifier.close()


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}, {"NOTIFY_SOCKET": "relative"}])
def test_without_a_manager_nothing_is_said_and_nothing_fails(environment):
    notifier = Notifier(environment)
    assert not notifier.enabled and not notifier.ready() and not notifier.watchdog()
    assert notifier.lost == 0


def test_a_manager_that_is_gone_or_does_not_read_costs_a_count_and_no_time(short):
    gone = Notifier({"NOTIFY_SOCKET": str(short / "gone")})
    assert not gone.ready() and gone.lost == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(short / "full"))
        full = Notifier({"NOTIFY_SOCKET": str(short / "full")})
        said = sum(full.watchdog() for _ in range(5000))
        assert 0 < said < 5000 and full.lost == 5000 - said
        full.close()


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [({"WATCHDOG_USEC": "30000000"}, 10.0), ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
     ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None), ({}, None), ({"WATCHDOG_USEC": "soon"}, None)],
)  # fmt: skip
def test_the_watchdog_is_fed_three_times_in_what_the_unit_allows(environment, interval_s):
    assert Notifier(environment).watchdog_interval_s() == interval_s


def test_a_child_does_not_speak_for_the_unit():
    assert forget({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "HOME": "/h"}) == {"HOME": "/h"}


def test_the_files_in_ops_are_what_the_program_would_print():
    for unit in (template(), slice_unit()):
        assert (ROOT / "ops/systemd" / unit.name).read_text() == unit.text


def verified(folder: Path, *names: str) -> str:
    """What systemd-analyze has to say of units in a folder."""
    done = subprocess.run(["systemd-analyze", "verify", *[str(folder / n) for n in names]], capture_output=True, text=True,
                          env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@needs_systemd
def test_systemd_takes_the_units_without_a_word(tmp_path):
    for unit in (template(), slice_unit(), unit_for(load_profile("pinned"), None)):
        (tmp_path / unit.name).write_text(unit.text)
    said = verified(tmp_path, "peregrine@desk1.service", "peregrine-peregrine.service", SLICE_NAME)
    assert not [line for line in said.splitlines() if "peregrine" in line]


SLICE_NAME = "peregrine.slice"


@needs_systemd
def test_a_mistake_in_a_unit_would_be_seen(tmp_path):
    text = template().text.replace("WatchdogSec=10", "WatchdogSec=often").replace("KillMode=process", "KillMode=gently")
    (tmp_path / "peregrine@.service").write_text(text)
    (tmp_path / SLICE_NAME).write_text(slice_unit().text)
    said = subprocess.run(["systemd-analyze", "verify", str(tmp_path / "peregrine@desk1.service")], capture_output=True, text=True,
                          env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}).stderr  # fmt: skip
    assert "often" in said and "gently" in said


def test_a_unit_for_a_machine_names_its_cpus_and_the_configurations_times(tmp_path):
    cfg = load_profile("pinned", ["engine.name=desk1", "supervise.ready_timeout_s=90"])
    unit = unit_for(cfg, Path("/etc/peregrine/desk.yaml"), read_topology(numa2(tmp_path)))
    assert unit.path == "/etc/systemd/system/peregrine-desk1.service"
    assert "CPUAffinity=0-15\n" in unit.text and "TimeoutStartSec=180\n" in unit.text
    assert re.search(r"^ExecStart=\S+ -m orchestrator up -c /etc/peregrine/desk.yaml$", unit.text, flags=re.M)
    assert "#   engine: CPUs 0,2,4,6,8,10,12,14" in unit.text
