"""Threads that do what was asked for, a lane each for questions, changes and kills: none of them waits for another.

A lane has one thread, so changes happen in the order they came, and a queue with an end: beyond it a request is refused.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.control.errors import problem_of
from orchestrator.control.messages import STOPPING, Caller, Handler, Reply, Request
from orchestrator.observe import log


@dataclass
class Job:
    """A request on its way: where its reply goes, and what must be kept about it."""

    request: Request
    caller: Caller
    where: Any  # door and identity of the sender
    began_ns: int = 0
    word: str = ""  # kill: what came of the kill word, for the reply
    answered: bool = False  # by the receiving thread, which did not wait longer
    reply: Reply | None = None
    others: list[Any] = field(default_factory=list)


class Lane:
    """One thread of the server's. `done(job)` is called on it with the reply in the job. `kept` of its places are for commands
    that stop something (messages.STOPPING): they keep their turn, and find room where others are refused."""

    def __init__(self, name: str, handler: Handler, done: Callable[[Job], None], room: int, kept: int = 0) -> None:
        self._handler = handler
        self._done = done
        self._open = room - kept
        self._queue: queue.Queue[Job | None] = queue.Queue(room)
        self._thread = threading.Thread(target=self._work, name=f"control-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, job: Job) -> bool:
        """Have it done. False when the lane is full. Called by one thread."""
        if self._queue.qsize() >= self._open and job.request.cmd not in STOPPING:
            return False
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    def stop(self, timeout_s: float) -> None:
        """Take nothing more up; wait for what is being done, at most this long."""
        while True:
            try:
                self._queue.put_nowait(None)
                break
            except queue.Full:
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    continue
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job.reply = answer(self._handler, job.request, job.caller)
            self._done(job)


def answer(handler: Handler, request: Request, caller: Caller) -> Reply:
    """The handler's reply; what it raises becomes the reply's problem."""
    try:
        reply = handler.handle(request, caller)
        reply.id = request.id
        return reply
    except Exception as err:
        problem = problem_of(err)
        if problem.code == "internal":
            log.logger(id=request.id).error("command failed", cmd=request.cmd, exc_info=True)
        return Reply(id=request.id, ok=False, effects=list(getattr(err, "effects", [])), error=problem)
