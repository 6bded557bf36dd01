"""Stand-ins for the engine and its supervisor, and a server between them and clients."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import zmq

from orchestrator.config import load_profile
from orchestrator.config.models_operate import Control
from orchestrator.control import keys
from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Caller, Effect, Reply, Request
from orchestrator.control.server import ControlServer
from orchestrator.supervise.state_file import ProcessState, TreeState

_count = itertools.count()
#: longest wait for anything: only what hangs waits so long
PATIENCE_S = float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "90"))
#: what a handler that hangs waits for the test to let it go: longer than anybody waits for an answer
HANGS_S = 4 * PATIENCE_S


def fresh_name() -> str:
    """An engine name nobody else has."""
    return f"ctl{os.getpid()}n{next(_count)}"


class FakeLink:
    """An engine that takes every command at once and remembers each: (kind, shard, body, request)."""

    def __init__(self, name: str = "fake", shards: int = 2) -> None:
        self.name, self.shards, self.epoch = name, shards, 1
        self.instruments = {f"SYM{i}": (i % shards, i // shards) for i in range(4)}
        self.sent: list[tuple[str, int, bytes, Request]] = []
        self.word: list[int] = []
        self.kill_word: int | None = None  # what there is to be lifted; None: whatever is asked for
        self.broken: dict[int, ControlError] = {}  # shard → what it says instead
        self._seq = itertools.count(100)

    def send(self, kind: str, *, shard: int, body: bytes = b"", request: Request, timeout_s: float = 2.0, part: int = 0) -> Effect:
        if shard in self.broken:
            raise self.broken[shard]
        self.sent.append((kind, shard, body, request))
        return Effect(shard, next(self._seq), time.time_ns())

    def expect(self, kind: str, *, shard: int, request: Request, post: Any, timeout_s: float = 2.0) -> Effect:
        post(request.key())
        return self.send(kind, shard=shard, request=request)

    def kill(self, level: int) -> None:
        self.word.append(level)

    def lift_kill(self, seen: int) -> bool:
        if self.kill_word is not None and seen != self.kill_word:
            return False
        self.word.append(0)
        return True

    def alive(self) -> bool:
        return True

    def kinds(self) -> list[tuple[str, int]]:
        return [(kind, shard) for kind, shard, _, _ in self.sent]


class FakeTree:
    """A supervisor that notes what it is asked for."""

    def __init__(self, name: str = "fake", run: str = "", link: Any = None) -> None:
        self.name, self.run, self._link = name, run, link
        self.cfg = load_profile("laptop")
        self.asked: list[tuple[str, Any]] = []
        self.engine_state = "ready"

    def state(self) -> TreeState:
        engine = ProcessState(name="engine", role="engine", pid=os.getpid(), state=self.engine_state)  # type: ignore[arg-type]
        return TreeState(name=self.name, supervisor_pid=os.getpid(), supervisor_start_ticks=0, run=self.run, processes=[engine])

    def config(self) -> Any:
        return self.cfg

    def link(self) -> Any:
        return self._link

    def _note(self, what: str, value: Any) -> dict[str, str]:
        self.asked.append((what, value))
        return {"did": what}

    def enable_trading(self, request: Request) -> Any:
        return self._note("enable_trading", request)

    def stop_tree(self, request: Request) -> Any:
        return self._note("stop_tree", request)

    def restart_engine(self, request: Request) -> Any:
        return self._note("restart_engine", request)

    def keep(self, request: Request) -> Any:
        return self._note("keep", request)

    def take_back(self, request: Request) -> Any:
        return self._note("take_back", request)

    def set_log_level(self, level: str) -> Any:
        return self._note("set_log_level", level)

    def deploy(self, request: Request) -> Any:
        return self._note("deploy", request)

    def deployed(self, request_id: str, after: int) -> Any:
        return self._note("deployed", (request_id, after))


class Recorder:
    """A handler that does nothing but remember, and can be made to hang."""

    def __init__(self) -> None:
        self.seen: list[tuple[Request, Caller]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.hang: set[str] = set()

    def handle(self, request: Request, caller: Caller) -> Reply:
        self.seen.append((request, caller))
        if request.cmd in self.hang:
            self.gate.wait(HANGS_S)
        if request.args.get("text") == "raise":
            raise RuntimeError("on purpose")
        return Reply(id=request.id, ok=True, effects=[Effect(0, len(self.seen), 1)], data={"n": len(self.seen)})

    def commands(self) -> list[str]:
        return [r.cmd for r, _ in self.seen]


class Rig:
    """A server on loopback with its keys, in a folder of its own. Use as a context manager."""

    def __init__(self, folder: Path, handler: Any, *, tcp: bool = False, **settings: Any) -> None:
        self.folder, self.handler = folder, handler
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.server_key = keys.make("server")
        self.keys = {role: keys.make(f"a-{role}") for role in ("viewer", "operator", "risk", "admin")}
        self.clients = folder / "clients"
        self.clients.write_text("".join(k.line(role) + "\n" for role, k in self.keys.items()))  # type: ignore[arg-type]
        self.clients.chmod(0o600)
        if tcp:
            keys.write(self.server_key, folder / "server.key")
            settings |= {"tcp": "127.0.0.1:0", "key_file": str(folder / "server.key"), "clients_file": str(self.clients)}
        self.killed: list[str] = []
        self.server = ControlServer(Control(**settings), handler, folder, replies_path=folder / "control.replies", kill=self._kill)
        self.context = zmq.Context()

    def _kill(self, level: str) -> str:
        self.killed.append(level)
        return ""

    def __enter__(self) -> Rig:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)
        self.server.stop()

    @property
    def port(self) -> str:
        return self.server.addresses()["control_tcp"].removeprefix("tcp://")

    def dealer(self, role: str | None = None) -> zmq.Socket[bytes]:
        """A raw socket: to the file, or over TCP with the key of a role."""
        s = self.context.socket(zmq.DEALER)
        s.linger = 0
        if role is not None:
            pair = self.keys[role]
            s.curve_publickey, s.curve_secretkey = pair.public.encode(), pair.secret.encode()
            s.curve_serverkey = self.server_key.public.encode()
        s.connect(self.server.addresses()["control" if role is None else "control_tcp"])
        return s

    def refused(self) -> dict[str, int]:
        return self.server.refusals.counts()


def ask(s: zmq.Socket[bytes], request: Request | bytes, timeout_s: float = PATIENCE_S) -> Reply:
    """Send and wait for one reply."""
    s.send(request if isinstance(request, bytes) else msgspec.msgpack.encode(request))
    return reply_of(s, timeout_s)


def reply_of(s: zmq.Socket[bytes], timeout_s: float = PATIENCE_S) -> Reply:
    """The next reply."""
    assert s.poll(int(timeout_s * 1000)), "no reply came"
    return msgspec.msgpack.decode(s.recv(), type=Reply)


def at_once(s: zmq.Socket[bytes], requests: list[Request]) -> list[Reply]:
    """Send all of them before the first answer is looked at: nothing of a rate is refilled while a slow machine waits."""
    for request in requests:
        s.send(msgspec.msgpack.encode(request))
    return [reply_of(s) for _ in requests]


def until(what: Any, timeout_s: float = PATIENCE_S) -> None:
    """Wait for it to be true. Patience is counted in looks: a machine that stood still has used none of it up."""
    for _ in range(int(timeout_s / 0.005)):
        if what():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come to be")
