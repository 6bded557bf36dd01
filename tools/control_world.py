"""A live engine with a control plane beside it, each a process of its own: the world of the control API's tests and bench.

    python tools/control_world.py engine RUNTIME_FOLDER run …     `peregrine run …` with an agent on RUNTIME_FOLDER/engine.sock
    python tools/control_world.py control NAME RUN_FOLDER         the API for a running engine; prints a line when it serves

The control process is a supervisor without a tree: it links to the engine, beats, publishes readings and answers. Settings
come as JSON in PEREGRINE_CONTROL_SETTINGS. It is left by closing its standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
for _folder in (ROOT / "src", ROOT / "sim"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from orchestrator.observe.segment import Segment, SegmentError  # noqa: E402
from orchestrator.observe.shards import read_engine, shards_of  # noqa: E402
from orchestrator.observe.telemetry import TelemetryError  # noqa: E402
from orchestrator.supervise import paths  # noqa: E402

SETTINGS = "PEREGRINE_CONTROL_SETTINGS"
PATIENCE_S = float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "90"))
#: wide enough that no breaker ends a run before its time
WIDE = {"max_account_orders": 64, "max_drawdown_units": 2_000_000_000, "max_loss_units": 2_000_000_000}


def environment() -> dict[str, str]:
    """For child processes: this tree's packages."""
    found = [str(ROOT / "src"), str(ROOT / "sim"), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(found)), "OPENBLAS_NUM_THREADS": "1"}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class World:
    """One engine on the embedded venue, and its control process. Use as a context manager; leaves nothing behind.

    `folder` takes journals and logs. PEREGRINE_RUNTIME_DIR must name a folder of the caller's own.
    """

    def __init__(self, folder: Path, name: str, *, shards: int = 1, rate_per_s: int = 800, for_s: int = 300,
                 settings: dict[str, Any] | None = None, control: dict[str, Any] | None = None) -> None:
        self.folder, self.name = folder, name
        self.runtime = paths.runtime_dir(name, make=True)
        tree: dict[str, Any] = {
            "extends": "laptop", "version": 1, "name": "control",
            "instruments": [{"symbol": "PRGN"}, {"symbol": "FLCN"}],
            "venue": {"kind": "embedded", "rate_per_s": rate_per_s},
            "risk": WIDE,
            "engine": {"name": name, "mlock": False, "idle": "sleep", "shards": shards},
            "journal": {"dir": str(folder / "runs"), "ring_mb": 4, "segment_mb": 64, "sync": "none"},
        }  # fmt: skip
        for path, value in (settings or {}).items():
            at = tree
            *parents, last = path.split(".")
            for key in parents:
                at = at.setdefault(key, {})
            at[last] = value
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(tree))
        self._control_settings = control or {}
        self.control: subprocess.Popen[str] | None = None
        self.addresses: dict[str, str] = {}
        self._log = (folder / "log").open("ab")
        self.engine = subprocess.Popen(
            [sys.executable, str(Path(__file__)), "engine", str(self.runtime), "run", "--one-process", "--config", str(config), "--json",
             "--for", f"{for_s}s"],
            stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment(), preexec_fn=_die_with_parent, cwd=folder,
        )  # fmt: skip

    def __enter__(self) -> World:
        try:
            self.until(lambda: self.counters().get("orders", 0) >= 3, "the engine to trade")
            self.start_control()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start_control(self, **limits: int) -> None:
        """The control process; `fsize_bytes` limits every file it writes."""
        def prepare() -> None:
            _die_with_parent()
            if size := limits.get("fsize_bytes"):
                import resource

                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        env = {**environment(), SETTINGS: json.dumps(self._control_settings)}
        self.control = subprocess.Popen(
            [sys.executable, str(Path(__file__)), "control", self.name, str(self.run_folder)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._log, text=True, env=env, preexec_fn=prepare,
        )  # fmt: skip
        assert self.control.stdout is not None
        line = self.control.stdout.readline()
        assert line, (self.folder / "log").read_text()[-3000:]
        self.addresses = json.loads(line)

    def stop_control(self) -> None:
        """End the control process, even a stopped one."""
        if self.control is not None:
            self.control.kill()
            self.control.communicate()
            self.control = None

    @property
    def run_folder(self) -> Path:
        """Of the run."""
        return (self.folder / "runs" / "latest").resolve()

    def counters(self) -> dict[str, int]:
        """Of the engine; {} while there are none."""
        assert self.engine.poll() is None, (self.folder / "log").read_text()[-3000:]
        try:
            with Segment(self.name) as segment:
                return dict(read_engine(segment).counters)
        except (SegmentError, TelemetryError, OSError):
            return {}

    def states(self) -> list[int]:
        """`trading_state` of each shard by its own showing; [] while there are none."""
        with contextlib.suppress(SegmentError, TelemetryError, OSError), Segment(self.name) as segment:
            return [int(shard["trading_state"]) for shard in shards_of(read_engine(segment))]
        return []

    def until(self, condition: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for it. Patience is counted in looks: a machine that stood still has used none of it up."""
        for _ in range(int(timeout_s / 0.01)):
            if condition():
                return
            time.sleep(0.01)
        raise AssertionError(f"waited {timeout_s:.0f} s for {what}; the engine: {self.shown()}")

    def shown(self) -> list[dict[str, int]]:
        """What each shard counts and what its gate refused, for a failure's message."""
        with contextlib.suppress(SegmentError, TelemetryError, OSError), Segment(self.name) as segment:
            return [{k: v for k, v in {**s.counters, **s.rejects}.items() if v} for s in shards_of(read_engine(segment))]
        return []

    def result(self, number: int | None = signal.SIGTERM) -> dict[str, Any]:
        """The engine's report, after a signal or its own end."""
        if number is not None:
            self.engine.send_signal(number)
        out, _ = self.engine.communicate(timeout=PATIENCE_S)
        found: dict[str, Any] = json.loads(out)
        return found

    def close(self) -> None:
        """Nothing of it is left."""
        self.stop_control()
        if self.engine.poll() is None:
            self.engine.send_signal(signal.SIGTERM)
            try:
                self.engine.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                self.engine.kill()
                self.engine.communicate()
        self._log.close()
        for leftover in Path("/dev/shm").glob(f"*{self.name}*"):
            with contextlib.suppress(OSError):
                leftover.unlink()


# ---- what the two processes do


class Tree:
    """A supervisor of nothing: it knows the engine's name and run, and says no to the rest."""

    def __init__(self, name: str, run: Path, link: Any, settings: dict[str, Any]) -> None:
        from orchestrator.config import load_profile

        self.name, self._run, self._link = name, run, link
        self._cfg = load_profile("laptop", [f"control.{k}={json.dumps(v)}" for k, v in settings.items()])

    def state(self) -> Any:
        """Only names."""
        from orchestrator.supervise.state_file import TreeState

        return TreeState(name=self.name, supervisor_pid=os.getpid(), supervisor_start_ticks=0, run=str(self._run), state="trading")

    def config(self) -> Any:
        """The laptop's, with the control section it was given."""
        return self._cfg

    def link(self) -> Any:
        """While the engine lives."""
        return self._link if self._link.alive() else None

    def _no(self, *_: Any) -> Any:
        from orchestrator.control.errors import ControlError

        raise ControlError("unavailable", "there is no tree here")

    enable_trading = stop_tree = restart_engine = deploy = deployed = keep = take_back = _no

    def set_log_level(self, level: str) -> None:
        """Of this process."""
        from orchestrator.observe import log

        log.set_level(level)


def control(name: str, run: Path) -> None:
    """The control process."""
    import zmq

    from orchestrator.control.dispatch import Dispatcher
    from orchestrator.control.engine_agent import AgentClient
    from orchestrator.control.engine_link import EngineLink
    from orchestrator.control.server import ControlServer
    from orchestrator.observe import log

    class PatientLink(EngineLink):
        """An engine without a core for seconds is waited for: what is done is asked here, not how soon."""

        def expect(self, kind: str, *, timeout_s: float = 0.0, **rest: Any) -> Any:
            return super().expect(kind, timeout_s=PATIENCE_S, **rest)

    folder = paths.runtime_dir(name, make=True)
    log.configure("supervisor", path=run / "supervisor.log")
    link = PatientLink(name)
    tree = Tree(name, run, link, json.loads(os.environ.get(SETTINGS, "{}")))
    servers: list[ControlServer] = []
    dispatcher = Dispatcher(tree.link, tree, agent=lambda: AgentClient(folder), server_stats=lambda: servers[0].stats())
    server = ControlServer(tree.config().control, dispatcher, folder, audit_path=run / "control.log", replies_path=run / "control.replies")
    servers.append(server)
    server.start()
    context = zmq.Context()
    publisher = context.socket(zmq.PUB)
    publisher.linger = 0
    publisher.bind(f"ipc://{folder}/telemetry.sock")
    over = threading.Event()

    def publish() -> None:
        while not over.wait(0.1):
            link.beat()
            with contextlib.suppress(Exception):
                publisher.send_multipart([b"snapshot", bytes(dispatcher.status.reading())], zmq.NOBLOCK)

    threading.Thread(target=publish, daemon=True).start()
    print(json.dumps(server.addresses()), flush=True)
    sys.stdin.read()
    over.set()
    server.stop()
    link.close()


def engine(folder: Path, args: list[str]) -> None:
    """The engine process: the command line as it is, its run with an agent beside it."""
    from hotpath import _core
    from orchestrator.cli.main import main
    from orchestrator.control.engine_agent import EngineAgent

    class Run(_core.LiveRun):  # type: ignore[misc]
        def run(self) -> Any:
            agent = EngineAgent(self, folder)
            agent.start()
            try:
                return super().run()
            finally:
                agent.stop()

    _core.LiveRun = Run  # type: ignore[misc]
    main(args)


if __name__ == "__main__":
    if sys.argv[1] == "engine":
        engine(Path(sys.argv[2]), sys.argv[3:])
    else:
        control(sys.argv[2], Path(sys.argv[3]))
