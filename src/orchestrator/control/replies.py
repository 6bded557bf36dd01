"""The replies of changes, by the request's id: the same id again is not done again. Bounded; the oldest go first.

An id is new, pending (being done now: who asks again waits for the same reply), or done. The same id with other content
is a conflict. Replies after which asking again is right (busy, unavailable, timeout) are not kept: the engine itself knows
the id of what it has done. What is kept is on disk too (reply_file.py), and known to the next supervisor.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from orchestrator.control.messages import Reply

MAX_REPLIES = 4096
MAX_WAITERS = 16
ASK_AGAIN = frozenset({"busy", "unavailable", "timeout"})


def final(reply: Reply) -> bool:
    """Is it the answer whenever the id comes again?"""
    return reply.error is None or reply.error.code not in ASK_AGAIN


@dataclass
class Entry:
    """One id: a digest of the content, who waits for the reply, the reply."""

    content: bytes
    waiters: list[Any] = field(default_factory=list)
    reply: Reply | None = None


class Replies:
    """Used by one thread."""

    def __init__(self, most: int = MAX_REPLIES) -> None:
        self._most = most
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, request_id: str, content: bytes) -> Entry | None:
        """What is known of this id; None = nothing. Raises KeyError for an id that came with other content."""
        entry = self._entries.get(request_id)
        if entry is not None and entry.content != content:
            raise KeyError(request_id)
        return entry

    def begin(self, request_id: str, content: bytes) -> bool:
        """It is being done now. False when as many as fit are being done already."""
        while len(self._entries) >= self._most:
            oldest = next((k for k, e in self._entries.items() if e.reply is not None), None)
            if oldest is None:
                return False
            del self._entries[oldest]
        self._entries[request_id] = Entry(content)
        return True

    def restore(self, request_id: str, content: bytes, reply: Reply) -> None:
        """One that an earlier supervisor gave."""
        self._entries.pop(request_id, None)
        if self.begin(request_id, content):
            self._entries[request_id].reply = reply

    def wait(self, entry: Entry, waiter: Any) -> bool:
        """Another one waits for a pending reply. False when too many do."""
        if len(entry.waiters) >= MAX_WAITERS:
            return False
        entry.waiters.append(waiter)
        return True

    def finish(self, request_id: str, reply: Reply) -> list[Any]:
        """It is done; returns who else waits for the reply."""
        entry = self._entries.get(request_id)
        if entry is None or entry.reply is not None:
            return []
        waiters, entry.waiters = entry.waiters, []
        if not final(reply):
            del self._entries[request_id]
        else:
            entry.reply = reply
        return waiters
