"""A tree under test: real processes on loopback, a runtime folder of its own, and a check that nothing is left."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.cli.main import main
from orchestrator.config import effective, load_profile
from orchestrator.control.client import ControlClient
from orchestrator.control.doors import SOCKET
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Reply
from orchestrator.observe.segment import FOLDER, process_start_ticks
from orchestrator.supervise import paths, state_file
from orchestrator.supervise.daemon import Order
from orchestrator.supervise.ending import bring_down
from orchestrator.supervise.process import marked
from orchestrator.supervise.state_file import TreeState

_count = itertools.count()
#: longest wait for anything: only what hangs waits so long
PATIENCE_S = 2 * float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "90"))

SMALL = {
    "engine.mlock": "false", "engine.idle": "sleep", "venue.rate_per_s": "300", "journal.ring_mb": "4", "journal.segment_mb": "16",
    "journal.sync": "none", "supervise.restart.backoff_ms": "50", "supervise.ready_timeout_s": "150", "supervise.stop_timeout_s": "60",
    "supervise.lost_after_ms": "60000", "supervise.stall_ms": "60000", "supervise.stall_kill_ms": "120000", "report.histograms": "false", "observe.metrics": "null",
}  # fmt: skip


DYING = """
import os, sys
from orchestrator.supervise.launch import take_over
from orchestrator.supervise.takeover import DIE_AT
for line in sys.stdin:
    if (pid := os.fork()) == 0:
        os.environ[DIE_AT] = line.strip()
        take_over(sys.argv[1]).run()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Patient(ControlClient):
    """A client that does as it is told where the engine got no core for two seconds: it asks again with the same id."""

    def call(self, cmd: str, args: dict[str, Any] | None = None, **more: Any) -> Reply:
        """As a ControlClient's, but for a `timeout` of the engine's."""
        more.setdefault("request_id", uuid.uuid4().hex)
        for _ in range(30):
            try:
                return super().call(cmd, args, **more)
            except ControlError as err:
                if err.code != "timeout":
                    raise
        return super().call(cmd, args, **more)


class Rig:
    """Commands on one tree. `settings` change what `SMALL` sets."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.name = f"sup-{os.getpid()}-{next(_count)}"
        self.runtime_base = Path(tempfile.mkdtemp(prefix="prg"))  # short: a socket's path has little room
        self.settings = {**SMALL, "engine.name": self.name, "journal.dir": str(folder / "runs"), **(settings or {})}
        self.others: list[subprocess.Popen[Any]] = []

    @property
    def runtime(self) -> Path:
        """Its runtime folder."""
        return self.runtime_base / self.name

    def environment(self, **more: str) -> dict[str, str]:
        """Of every command."""
        return {**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                paths.VARIABLE: str(self.runtime_base), **more}  # fmt: skip

    def options(self) -> list[str]:
        """The settings for a command line."""
        return [word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]

    def call(self, *args: str, code: int | None = 0, timeout: float = PATIENCE_S, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = subprocess.run([sys.executable, "-m", "orchestrator", *args], capture_output=True, text=True, cwd=self.folder,
                              timeout=timeout, env=self.environment(**environment))  # fmt: skip
        if code is not None:
            assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}{done.stderr}{self.logs()}"
        return done

    def here(self, *args: str, code: int = 0) -> str:
        """A command run in this process, so that it is begun at once: what it prints."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setenv(paths.VARIABLE, str(self.runtime_base))
            with pytest.raises(SystemExit) as end:
                main(list(args))
        assert end.value.code == code, f"{args}: {end.value.code}\n{out.getvalue()}{err.getvalue()}{self.logs()}"
        return out.getvalue() + err.getvalue()

    def begin(self, *args: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        process = subprocess.Popen([sys.executable, "-m", "orchestrator", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, cwd=self.folder, env=self.environment(**environment), start_new_session=True)  # fmt: skip
        self.others.append(process)
        return process

    def up(self, *, code: int | None = 0, **environment: str) -> dict[str, Any]:
        """`up --detach --json`: the tree, ready. One that is to get ready is started without the command before it."""
        if code == 0:
            cfg = load_profile("laptop", [f"{key}={value}" for key, value in self.settings.items()])
            return self._daemon(Order(config=effective(cfg)), **environment)
        done = self.call("up", "--detach", "--json", *self.options(), code=code, **environment)
        return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr}

    def _daemon(self, order: Order, **environment: str) -> dict[str, Any]:
        daemon = subprocess.Popen([sys.executable, "-m", "orchestrator.supervise.daemon"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  cwd=self.folder, start_new_session=True, env=self.environment(**environment))  # fmt: skip
        self.others.append(daemon)
        assert daemon.stdin and daemon.stdout
        daemon.stdin.write(msgspec.json.encode(order))
        daemon.stdin.close()
        last = [json.loads(line) for line in daemon.stdout][-1]
        daemon.stdin = None
        assert "ready" in last, f"{last}\n{self.logs()}"
        return dict(last["ready"])

    def take_overs(self, states: Iterable[str]) -> Iterator[tuple[str, int]]:
        """A takeover that dies at each of these states, one after the other, and how it ended: each a process of its own,
        forked from one that has loaded everything once."""
        with subprocess.Popen([sys.executable, "-c", DYING, self.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              cwd=self.folder, env=self.environment()) as dying:  # fmt: skip
            assert dying.stdin and dying.stdout
            for state in states:
                dying.stdin.write(f"{state}\n")
                dying.stdin.flush()
                yield state, int(dying.stdout.readline())

    def down(self, *, code: int | None = 0) -> dict[str, Any]:
        """`down --json`: what it came to. A supervisor that lives is asked without the command before it."""
        if self.state().supervisor_alive():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(paths.VARIABLE, str(self.runtime_base))
                report = bring_down(self.name, timeout_s=PATIENCE_S)
            assert report is not None and code in (None, report.code), f"{report}\n{self.logs()}"
            return dict(msgspec.to_builtins(report))
        return json.loads(self.call("down", self.name, "--json", code=code).stdout)

    def state(self) -> TreeState:
        """The state file as it is."""
        return state_file.read(self.runtime)

    def pid(self, role: str) -> int:
        """Of the process of that role now; 0 while there is none."""
        return next(p.pid for p in self.state().processes if p.role == role)

    def wait(self, what: Any, timeout_s: float = PATIENCE_S) -> Any:
        """Wait until `what()` is true, and return it. Patience is counted in looks: a machine that stood still has used none up."""
        for _ in range(int(timeout_s / 0.02)):
            with contextlib.suppress(state_file.StateFileError, FileNotFoundError):
                if found := what():
                    return found
            time.sleep(0.02)
        raise AssertionError(f"not within {timeout_s} s: {self.logs()}")

    def ask(self, cmd: str, why: str = "", who: str = "", **args: Any) -> Any:
        """A command of the control API; its data. Raises ControlError."""
        client = Patient(f"ipc://{self.runtime / SOCKET}", self.name, timeout_s=PATIENCE_S)
        try:
            return client.call(cmd, args, why=why, who=who).data
        finally:
            client.close()

    def kill_supervisor(self) -> int:
        """SIGKILL to it, and its pid, gone."""
        pid = self.state().supervisor_pid
        os.kill(pid, signal.SIGKILL)
        self.wait(lambda: process_start_ticks(pid) == 0)
        return pid

    def run_folder(self) -> Path:
        """Of the newest run."""
        return (self.folder / "runs" / "latest").resolve()

    def logs(self) -> str:
        """What the newest run's logs say, for a failure's message."""
        texts = []
        with contextlib.suppress(OSError):
            for path in sorted((self.run_folder() / "logs").iterdir()):
                texts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(texts)

    def left(self) -> list[str]:
        """What of the tree is still there: processes, shared memory, sockets."""
        found = [f"process {name} {pid}" for name, pid, _ in marked(self.runtime)]
        found += [str(p) for p in FOLDER.iterdir() if self.name in p.name]
        if self.runtime.is_dir():
            found += [str(p) for p in self.runtime.iterdir() if p.is_socket()]
        return found

    def sweep(self) -> None:
        """End whatever a failed test has left."""
        for process in self.others:
            if process.poll() is None:
                process.kill()
            process.communicate()
        with contextlib.suppress(state_file.StateFileError):
            state = self.state()
            if state.supervisor_alive():
                os.kill(state.supervisor_pid, signal.SIGKILL)
        for _, pid, _ in marked(self.runtime):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.runtime_base, ignore_errors=True)
        for path in FOLDER.iterdir():
            if self.name in path.name:
                path.unlink(missing_ok=True)


def quiet_port() -> int:
    """A TCP port of loopback that nobody gets by chance between now and its use: below those that the kernel deals out."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    span = min(first, 32_768) - 20_000
    for n in range(1_000):
        port = 20_000 + (os.getpid() * 37 + n) % span
        with contextlib.suppress(OSError), contextlib.closing(socket.create_server(("127.0.0.1", port))):
            return port
    raise AssertionError("no free port below those the kernel deals out")


class Venue:
    """A simulated exchange in this process, external to the tree: two symbols, a port for each of two shards."""

    def __init__(self, *, cancel_on_disconnect: bool = True) -> None:
        from hotpath import _venue
        from orchestrator.cli.venue import venue_config

        config = venue_config(symbols="PRGN,FLCN", rate=300, shards=2, cancel_on_disconnect=cancel_on_disconnect)
        self.cancel_on_disconnect = cancel_on_disconnect
        self.users = [p["user"] for p in config["ports"] if p["user"] == "DEMO01" or p["user"].startswith("D1SH")]
        self.server = _venue.VenueServer(config)
        self.server.start()

    def settings(self) -> dict[str, str]:
        """Of a tree that trades here; the password is in SUP_TEST_WORD."""
        s = self.server
        instruments = [{"symbol": name, "increment_ticks": 100, "round_lot_lots": 100} for name in ("PRGN", "FLCN")]
        venue = {
            "kind": "external", "ouch": s.ouch, "itch_a": s.itch_a, "itch_b": s.itch_b, "retransmit": s.retransmit, "glimpse": s.glimpse,
            "interface": "127.0.0.1", "cancel_on_disconnect": self.cancel_on_disconnect, "account": {"username": "DEMO01", "password_env": "SUP_TEST_WORD"},
            "shard_logins": [{"username": user, "password_env": "SUP_TEST_WORD"} for user in self.users[1:]],
        }  # fmt: skip
        return {"venue": json.dumps(venue), "instruments": json.dumps(instruments), "engine.shards": "2"}

    def total(self, name: str) -> int:
        """Of all ports of the account."""
        return sum(int(self.server.summary(user)[name]) for user in self.users)
