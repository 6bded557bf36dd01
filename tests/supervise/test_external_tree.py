"""A tree of two shards at somebody else's exchange, under a service manager, whose telemetry and engine die."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import urllib.request

import pytest
from test_tree import orders
from tree_rig import Venue, quiet_port

from orchestrator.run.journals import verify_journal
from orchestrator.run.shards import folders


class Manager:
    """A NOTIFY_SOCKET, and what came through it. Nobody reads before the first question: its queue is full by then."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.told: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while text := self.socket.recv(65536).decode():
            self.told.append(text)

    def heard(self, word: str) -> list[str]:
        """The messages so far that hold this word."""
        if not self.reader.ident:
            self.reader.start()
        return [told for told in self.told if word in told]

    def close(self) -> None:
        """Read no more."""
        self.socket.shutdown(socket.SHUT_RD)
        self.reader.join()
        self.socket.close()


def healthy(port: int) -> bool:
    """Does telemetry answer there?"""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def take(port: int) -> socket.socket | None:
    """The port for us, None while another has it."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("127.0.0.1", port))
        one.listen()
    except OSError:
        one.close()
        return None
    return one


@pytest.mark.slow
def test_two_shards_at_an_external_exchange_outlive_their_telemetry_and_are_recovered(make_rig):
    port = quiet_port()
    venue = Venue()
    rig = make_rig({**venue.settings(), "observe.metrics": f"127.0.0.1:{port}", "supervise.restart.backoff_ms": "300"})
    del rig.settings["venue.rate_per_s"]
    manager = Manager(str(rig.runtime_base / "notify"))
    here = {"SUP_TEST_WORD": "PEREGRINE1", "NOTIFY_SOCKET": str(rig.runtime_base / "notify"), "WATCHDOG_USEC": "900000"}
    tree = json.loads(rig.call("up", "--detach", "--json", *rig.options(), **here).stdout)
    assert [p["name"] for p in tree["processes"]] == ["engine", "telemetry"] and tree["threads"] == [[0, 1]]
    rig.wait(lambda: manager.heard("READY=1"))
    assert "STATUS=trading" in manager.heard("READY=1")[0] and "READY=1" not in manager.told[0], "and not before"
    beaten = len(manager.heard("WATCHDOG=1"))
    rig.wait(lambda: len(manager.heard("WATCHDOG=1")) > beaten and orders(rig) > 0)
    said = rig.call("status", "--name", rig.name).stdout
    assert "2 shards on 1 thread: 0,1" in said and rig.ask("status")["threads"] == [[0, 1]]

    first, engine = rig.pid("telemetry"), rig.pid("engine")
    supervisor = rig.state().supervisor_pid
    os.kill(supervisor, signal.SIGSTOP)  # the port is taken before it starts another
    os.kill(first, signal.SIGKILL)
    other = rig.wait(lambda: take(port))
    os.kill(supervisor, signal.SIGCONT)
    rig.wait(lambda: any(f"127.0.0.1:{port} is another process's" in p.reason for p in rig.state().processes))
    state = rig.state()
    assert state.state == "trading" and rig.pid("engine") == engine and rig.pid("telemetry") != first
    assert next(p.restarts for p in state.processes if p.role == "telemetry") == 1
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before)
    other.close()
    rig.wait(lambda: healthy(port))

    os.kill(engine, signal.SIGKILL)
    rig.wait(lambda: rig.state().state == "trading" and rig.pid("engine") not in (0, engine))
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before)
    report = rig.down()
    assert report["restarts"] == {"engine": 1, "telemetry": 1} and report["open_orders"] == 0 and report["code"] == 0
    assert rig.left() == [] and manager.heard("STOPPING=1")
    assert venue.total("open_orders") == 0 and venue.total("accepted") > 0
    result = json.loads((rig.run_folder() / "result.json").read_text())
    held = sum(s["position_lots"] for s in result["symbols"].values())
    assert held == venue.total("bought") - venue.total("sold"), "nothing lost, nothing doubled"
    for folder in folders(rig.run_folder()):
        assert verify_journal(folder)["identical"]
    venue.server.stop()
    manager.close()
