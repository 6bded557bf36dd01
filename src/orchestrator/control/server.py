"""The control API's server: takes requests, decides who may, hands them on, and answers. No byte string stops it.

One thread receives. It judges each message (admission.py), sets the kill word for a `kill` at once, and gives everything to
one of three lanes: questions, changes, kills. So a flood of questions delays no change, and a kill waits for nothing: its
word stands in shared memory before anybody else looked at it, and its reply comes after `KILL_REPLY_S` even when the rest
of the control plane hangs.
"""

from __future__ import annotations

import os
import pwd
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

from orchestrator.config.models_operate import Control
from orchestrator.control import allow_list, keys
from orchestrator.control.admission import Admission, Refused, content_of
from orchestrator.control.audit import FILE, Audit
from orchestrator.control.doors import Door, FileDoor, NetworkDoor
from orchestrator.control.errors import ControlError
from orchestrator.control.kill_word import set_kill_word
from orchestrator.control.lanes import Job, Lane
from orchestrator.control.messages import COMMANDS, Caller, Handler, Problem, Reply
from orchestrator.control.rates import Rates
from orchestrator.control.refusals import Refusals
from orchestrator.control.replies import Replies, final
from orchestrator.control.reply_file import Record, ReplyFile, worth_keeping
from orchestrator.control.zap import ZapThread
from orchestrator.observe import log

KILL_REPLY_S = 1.0
BATCH = 64  # messages of one door before the other is looked at
POLL_MS = 200


class ControlServer:
    """Serves `handler` at `runtime_dir`/control.sock and, where configured, at TCP. Threads of its own.

    `kill(level)` sets the kill word and says "" or why it could not; without it the word of the engine that has the
    folder's name. `audit_path`: where control.log goes, None = into the folder. `replies_path`: where replies outlive this
    server, None = nowhere. Raises ControlError when it cannot begin.
    """

    def __init__(self, cfg: Control, handler: Handler, runtime_dir: Path, *, audit_path: Path | None = None,
                 replies_path: Path | None = None, kill: Callable[[str], str] | None = None) -> None:
        self._cfg = cfg
        name = runtime_dir.name
        self._kill = kill or (lambda level: set_kill_word(name, level))
        self.audit = Audit((audit_path or runtime_dir / FILE) if cfg.audit else None)
        self.refusals = Refusals(self._tell_refused)
        self.counts: Counter[str] = Counter()
        self._admission = Admission(Rates(cfg.max_requests_per_s))
        self._replies = Replies()
        self.reply_file = ReplyFile(replies_path)
        for record in self.reply_file.read():
            self._replies.restore(record.id, record.content, record.reply)
        self._context: zmq.Context[Any] = zmq.Context()
        self._doors: list[Door] = []
        self._zap: ZapThread | None = None
        self._allowed: allow_list.AllowList | None = None
        self._done: deque[Job] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._over = threading.Event()
        self._kills: list[Job] = []  # unanswered, oldest first
        self._lanes = {
            "kill": Lane("kill", handler, self._finished, 64),
            "change": Lane("change", handler, self._finished, 320, kept=64),
            "question": Lane("question", handler, self._finished, 512),
        }
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        try:
            self._open(runtime_dir)
        except BaseException:
            self._close_sockets()
            self.audit.close()
            raise

    def _open(self, folder: Path) -> None:
        self._doors.append(FileDoor(self._context, folder, _user()))
        if self._cfg.tcp is None:
            return
        if self._cfg.key_file is None or self._cfg.clients_file is None:
            raise ControlError("unavailable", "control.tcp without control.key_file and control.clients_file",
                               "TCP needs both: `peregrine keys new` makes keys")  # fmt: skip
        try:
            key = keys.read(Path(self._cfg.key_file))
            self._allowed = allow_list.AllowList(Path(self._cfg.clients_file))
        except (keys.KeyFileError, allow_list.AllowListError) as err:
            raise ControlError("unavailable", f"control: {err}", "docs/concepts/control.md says how they are made") from err
        self._zap = ZapThread(self._context, self._allowed, self.refusals.add)
        self._zap.start()
        self._doors.append(NetworkDoor(self._context, self._cfg.tcp, key, self._allowed))

    # ---- from outside

    def start(self) -> None:
        """Begin to serve."""
        for lane in self._lanes.values():
            lane.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop to serve: nothing more is taken, what is being done gets two seconds, no file is left behind."""
        if self._over.is_set():
            return
        self._over.set()
        if self._thread.is_alive():
            os.eventfd_write(self._wake, 1)
            self._thread.join(timeout=5)
            for lane in self._lanes.values():
                lane.stop(timeout_s=2)
        self.refusals.flush(whole=True)
        self._close_sockets()
        self.audit.close()
        os.close(self._wake)

    def addresses(self) -> dict[str, str]:
        """Where it is reached: `control`, and `control_tcp` with the port it really has."""
        return {"control" if d.via == "ipc" else "control_tcp": d.address for d in self._doors}

    def reload_clients(self) -> str:
        """Read the file of clients again now; "" or why it was not taken."""
        return (self._allowed.refresh(force=True) or "") if self._allowed is not None else ""

    def stats(self) -> dict[str, Any]:
        """Counters for people and for metrics."""
        return {
            "requests": dict(self.counts),
            "refused": self.refusals.counts(),
            "connections": 0 if self._zap is None else self._zap.accepted,
            "undelivered": sum(d.undelivered for d in self._doors),
            "audit_lines": self.audit.written,
            "audit_lost": self.audit.lost,
            "replies_kept": len(self._replies),
            "replies_lost": self.reply_file.lost,
        }

    # ---- the receiving thread

    def _serve(self) -> None:
        poller = zmq.Poller()
        for door in self._doors:
            poller.register(door.socket, zmq.POLLIN)
            if isinstance(door, NetworkDoor):
                poller.register(door.monitor, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while not self._over.is_set():
            try:
                poller.poll(20 if self._kills else POLL_MS)
                for door in self._doors:
                    self._take(door)
                self._deliver()
                self._overdue()
                self.refusals.flush()
            except zmq.ContextTerminated:
                return
            except Exception:  # a defect of ours must not end the service
                self.counts["internal"] += 1
                log.logger().error("the control server went on after a defect", exc_info=True)

    def _take(self, door: Door) -> None:
        if isinstance(door, NetworkDoor):
            for reason in door.failed_handshakes():
                self.refusals.add(reason)
        for _ in range(BATCH):
            arrival = door.receive()
            if arrival is None:
                return
            if arrival.caller is None:
                self.refusals.add("key", via=door.via)
                continue
            where = (door, arrival.route)
            try:
                if arrival.payload is None:
                    raise Refused("garbage", "a message is one frame, or an empty one and one")
                self._one(arrival.payload, arrival.caller, where)
            except Refused as refused:
                self._refuse(refused, arrival.caller, where)

    def _refuse(self, refused: Refused, caller: Caller, where: tuple[Door, tuple[bytes, ...]]) -> None:
        self.refusals.add(refused.reason, who=caller.name, via=caller.via, cmd=refused.command, id=refused.request_id,
                          message=str(refused))  # fmt: skip
        self._send(where, Reply(id=refused.request_id, ok=False, error=refused.problem()))

    def _one(self, payload: bytes, caller: Caller, where: tuple[Door, tuple[bytes, ...]]) -> None:
        request = self._admission.admit(payload, caller, time.time_ns())
        self.counts[request.cmd] += 1
        job = Job(request, caller, where, began_ns=time.monotonic_ns())
        if request.cmd == "kill":
            self._one_kill(job)
        elif not COMMANDS[request.cmd].changes:
            if not self._lanes["question"].put(job):
                raise self._full(job)
        else:
            content = content_of(request, caller)
            if self._known(job, content):
                return
            if not self._replies.begin(request.id, content) or not self._lanes["change"].put(job):
                self._replies.finish(request.id, Reply(id=request.id, ok=False, error=Problem("busy", "")))
                raise self._full(job)

    def _full(self, job: Job) -> Refused:
        return Refused("queue", "too much waits to be done", "try again in a moment", job.request.id, job.request.cmd)

    def _known(self, job: Job, content: bytes) -> bool:
        """An id that came before: answered with the first reply, or made to wait for it."""
        try:
            entry = self._replies.find(job.request.id, content)
        except KeyError:
            raise Refused("conflict", "this id came before with other content", "a new command needs a new id",
                          job.request.id, job.request.cmd) from None  # fmt: skip
        if entry is None:
            return False
        self.counts["duplicates"] += 1
        if entry.reply is not None:
            self._send(job.where, msgspec.structs.replace(entry.reply, duplicate=True))
        elif not self._replies.wait(entry, job.where):
            raise self._full(job)
        return True

    def _one_kill(self, job: Job) -> None:
        """The word first. An id that came before is not done again; a form of words never stands in a kill's way."""
        content = content_of(job.request, job.caller)
        try:
            entry = self._replies.find(job.request.id, content)
            if entry is not None and entry.reply is not None:
                self._known(job, content)
                return
            fresh = entry is None
        except KeyError:
            fresh = False
        job.word = self._kill(str(job.request.args.get("level", "cancel")))
        log.logger(id=job.request.id).warning("kill", who=job.request.who, why=job.request.why, word=job.word or "set")
        if fresh:
            self._replies.begin(job.request.id, content)
        if self._lanes["kill"].put(job):
            self._kills.append(job)
        else:
            job.reply = _kill_reply(Reply(id=job.request.id, ok=False, error=Problem("busy", "many kills wait to be journaled")), job.word)
            self._reply(job)

    # ---- replies

    def _finished(self, job: Job) -> None:
        """On the lane's thread: what a disk takes long over holds up its own kind only."""
        assert job.reply is not None
        if job.request.cmd == "kill":
            job.reply = _kill_reply(job.reply, job.word)
        if COMMANDS[job.request.cmd].changes and final(job.reply) and worth_keeping(job.request):
            self.reply_file.append(Record(job.request.id, content_of(job.request, job.caller), job.reply))
        self._done.append(job)
        os.eventfd_write(self._wake, 1)

    def _deliver(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return
        while self._done:
            self._reply(self._done.popleft())

    def _overdue(self) -> None:
        """Kills whose lane hangs: the word was set, and that is what is told."""
        now = time.monotonic_ns()
        self._kills = [job for job in self._kills if not job.answered]
        for job in self._kills:
            if now - job.began_ns > KILL_REPLY_S * 1e9:
                late = Reply(id=job.request.id, ok=False, error=Problem("timeout", "the engine's answer did not come in time"))
                job.reply = _kill_reply(late, job.word)
                self._reply(job)

    def _reply(self, job: Job) -> None:
        if job.answered:
            return
        job.answered = True
        reply = job.reply
        assert reply is not None
        waiters: list[Any] = []
        if COMMANDS[job.request.cmd].changes:
            waiters = self._replies.finish(job.request.id, reply)
            self._tell_change(job, reply)
        self._send(job.where, reply)
        for where in waiters:
            self._send(where, msgspec.structs.replace(reply, duplicate=True))

    def _send(self, where: tuple[Door, tuple[bytes, ...]], reply: Reply) -> None:
        try:
            encoded = msgspec.msgpack.encode(reply)
        except Exception as err:
            self.counts["internal"] += 1
            log.logger(id=reply.id).error("a reply could not be written", reason=str(err))
            problem = Problem("internal", "the reply could not be written", "the command may have been done")
            encoded = msgspec.msgpack.encode(Reply(id=reply.id, ok=False, effects=reply.effects, error=problem))
        where[0].send(where[1], encoded)

    # ---- log and audit

    def _tell_change(self, job: Job, reply: Reply) -> None:
        r = job.request
        fields: dict[str, Any] = {
            "id": r.id, "cmd": r.cmd, "who": r.who, "caller": job.caller.name, "role": job.caller.role, "via": job.caller.via,
            "why": r.why, "args": {k: v if not isinstance(v, bytes) else f"{len(v)} bytes" for k, v in r.args.items()},
            "ok": reply.ok, "effects": [{"shard": e.shard, "seq": e.seq} for e in reply.effects],
            "took_us": (time.monotonic_ns() - job.began_ns) // 1000,
        }  # fmt: skip
        if "token" in fields["args"]:
            fields["args"]["token"] = "…"
        if reply.error is not None:
            fields["error"] = f"{reply.error.code}: {reply.error.message}"
        self.audit.write({"event": "change", **fields})
        log.logger(**fields).info("command")

    def _tell_refused(self, fields: dict[str, Any]) -> None:
        self.audit.write(fields)
        told = {k: v for k, v in fields.items() if k != "event"}
        log.logger(**told).warning("refused")

    def _close_sockets(self) -> None:
        for door in self._doors:
            door.close()
        if self._zap is not None:
            self._zap.stop()
        self._context.term()


def _kill_reply(reply: Reply, word: str) -> Reply:
    """The kill acted when the word was set, whatever came of journaling who asked for it."""
    data: dict[str, Any] = {"kill_word": word == ""}
    if word:
        data["kill_word_problem"] = word
    if reply.error is not None and word == "":
        data["not_journaled"] = f"{reply.error.code}: {reply.error.message}"
        return Reply(id=reply.id, ok=True, effects=reply.effects, data=data)
    return msgspec.structs.replace(reply, data={**(reply.data if isinstance(reply.data, dict) else {}), **data})


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
