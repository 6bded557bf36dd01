"""Telling systemd how we are: the protocol of sd_notify(3), without its library.

A datagram of lines `NAME=value` to the socket named by NOTIFY_SOCKET. Without that variable nothing listens and every
call does nothing, so a supervisor says the same wherever it runs. Nothing here ever blocks or raises: an order never waits
for a service manager.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

SOCKET, WATCHDOG_USEC, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class Notifier:
    """One per supervisor. `environment` is read once; `forget` keeps children from speaking in our name."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        env = os.environ if environment is None else environment
        name = env.get(SOCKET, "")
        # `@` stands for the zero byte of an abstract name; other kinds of address (vsock) are not spoken here
        self._address = ("\0" + name[1:] if name.startswith("@") else name) if name[:1] in ("/", "@") else ""
        self._watchdog_us = _watchdog_us(env)
        self._socket: socket.socket | None = None
        self._last = ""
        self.lost = 0  # messages that could not be handed over

    @property
    def enabled(self) -> bool:
        """Does anybody listen?"""
        return bool(self._address)

    def watchdog_interval_s(self) -> float | None:
        """How often `watchdog` is to be called: a third of what the unit's WatchdogSec allows; None: no watchdog."""
        return self._watchdog_us / 3e6 if self._watchdog_us else None

    def ready(self, status: str = "") -> bool:
        """All of it is up: Type=notify units count as started now."""
        return self.send({"READY": "1", "STATUS": status})

    def status(self, text: str) -> bool:
        """A line for `systemctl status`; the same line again is not sent."""
        if text == self._last:
            return self.enabled
        self._last = text
        return self.send({"STATUS": text})

    def watchdog(self) -> bool:
        """We are alive. To be said only when the tree was really looked at."""
        return self.send({"WATCHDOG": "1"})

    def failing(self, text: str) -> bool:
        """Let the watchdog act now instead of waiting for its time to run out."""
        return self.send({"WATCHDOG": "trigger", "STATUS": text})

    def stopping(self, status: str = "") -> bool:
        """An orderly end has begun."""
        return self.send({"STOPPING": "1", "STATUS": status})

    def reloading(self, status: str = "") -> bool:
        """A configuration is being changed; `ready` says that it is done."""
        return self.send({"RELOADING": "1", "MONOTONIC_USEC": str(time.monotonic_ns() // 1000), "STATUS": status})

    def main_pid(self, pid: int) -> bool:
        """Another process is the one to be watched: after a takeover."""
        return self.send({"MAINPID": str(pid)})

    def extend_timeout(self, seconds: float) -> bool:
        """Starting or stopping takes longer: so much more from now on (a recovery replays a day)."""
        return self.send({"EXTEND_TIMEOUT_USEC": str(int(seconds * 1e6))})

    def send(self, fields: Mapping[str, str]) -> bool:
        """One datagram; empty fields are left out, line ends become blanks. False when nobody took it."""
        if not self._address:
            return False
        lines = [f"{name}={' '.join(value.split())}" for name, value in fields.items() if value]
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            self.lost += 1
            return False
        return True

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def forget(environment: dict[str, str]) -> dict[str, str]:
    """An environment for a child: without the variables, as only the supervisor speaks for the unit."""
    return {name: value for name, value in environment.items() if name not in (SOCKET, WATCHDOG_USEC, WATCHDOG_PID)}


def _watchdog_us(env: Mapping[str, str]) -> int:
    pid, usec = env.get(WATCHDOG_PID, ""), env.get(WATCHDOG_USEC, "")
    if pid and pid != str(os.getpid()):
        return 0
    return int(usec) if usec.isdigit() else 0
