"""Bad attempts against a control server: wrong or no key, wrong role, replayed, oversized, garbage, wrong version.

    python tools/control_attack.py tcp://HOST:PORT KEYS_FOLDER 10000      prints how many of each it made, as JSON

KEYS_FOLDER holds server.key (its public part is used) and viewer.key, a key that is in the server's list with the least
role. Every kind of attempt is made as often as every other. None may be accepted; what comes back as a good reply is counted
under `accepted`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import msgspec  # noqa: E402
import zmq  # noqa: E402

from orchestrator.control import keys  # noqa: E402
from orchestrator.control.messages import MAX_REQUEST_BYTES, Reply, Request  # noqa: E402

CHANGES = ("pause", "limits.set", "revive", "stop", "deploy", "policy.load", "note")
#: kinds that need no handshake, and the share of the others that make one
CONNECTING = ("no key", "plain bytes", "unknown key", "wrong server key")
CONNECTED = ("wrong role", "replayed", "oversized", "garbage", "wrong version", "unknown fields", "deep nesting", "many frames")


class Attacker:
    """Makes attempts with what an attacker might have: the address, a viewer's key, packets seen before."""

    def __init__(self, endpoint: str, server_public: str, viewer: keys.KeyPair, seed: int = 1) -> None:
        self.endpoint, self.server_public, self.viewer = endpoint, server_public, viewer
        self.random = random.Random(seed)
        self.context = zmq.Context()
        self.made: Counter[str] = Counter()
        self.accepted = 0
        self._viewer = self._dealer(viewer, server_public)
        self._seen: list[bytes] = []

    def close(self) -> None:
        """Let go."""
        self.context.destroy(linger=0)

    def _dealer(self, pair: keys.KeyPair | None, server_public: str, *, connect: bool = True) -> zmq.Socket[bytes]:
        s = self.context.socket(zmq.DEALER)
        s.linger = 0
        s.setsockopt(zmq.RECONNECT_IVL, -1)  # one attempt is one attempt
        s.setsockopt(zmq.SNDHWM, 10_000)
        s.setsockopt(zmq.RCVHWM, 10_000)
        if pair is not None:
            s.curve_publickey, s.curve_secretkey, s.curve_serverkey = pair.public.encode(), pair.secret.encode(), server_public.encode()
        if connect:
            s.connect(self.endpoint)
        return s

    def attempt(self, kind: str) -> None:
        """One of this kind."""
        self.made[kind] += 1
        getattr(self, "_" + kind.replace(" ", "_"))()

    # ---- without a connection that counts

    def _handshake(self, pair: keys.KeyPair | None, server_public: str) -> None:
        """A connection that must not come to be; its request is not even read."""
        s = self._dealer(pair, server_public, connect=False)
        events = s.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                                      | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        s.connect(self.endpoint)
        with contextlib.suppress(zmq.Again):  # it may be over already
            s.send(msgspec.msgpack.encode(Request(cmd="kill", why="attack")), zmq.NOBLOCK)
        poller = zmq.Poller()
        poller.register(events, zmq.POLLIN)
        poller.register(s, zmq.POLLIN)
        ready = dict(poller.poll(5000))
        if s in ready:
            self.accepted += 1
        s.disable_monitor()
        events.close(0)
        s.close(0)

    def _no_key(self) -> None:
        self._handshake(None, "")

    def _unknown_key(self) -> None:
        self._handshake(keys.make("nobody"), self.server_public)

    def _wrong_server_key(self) -> None:
        self._handshake(self.viewer, keys.make("other").public)

    def _plain_bytes(self) -> None:
        host, port = self.endpoint.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as s:
            # Not all zmq: some of it begins like a good greeting, with another mechanism or a lie after it.
            greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + self.random.choice([b"NULL", b"CURVE", b"PLAIN"]).ljust(20, b"\0") + bytes(32)
            what = self.random.choice([b"GET / HTTP/1.1\r\n\r\n", os.urandom(200), greeting + os.urandom(300), b"\0" * 64])
            s.settimeout(0.01)
            try:
                s.sendall(what)
                s.recv(64)
            except OSError:
                pass

    # ---- with a viewer's key

    def _wrong_role(self) -> None:
        args: dict[str, Any] = {"text": "x"} if self.random.random() < 0.5 else {}
        self._viewer.send(msgspec.msgpack.encode(Request(cmd=self.random.choice(CHANGES), why="attack", args=args, who="admin")))

    def _replayed(self) -> None:
        """Bytes of a good change of somebody else's, seen before or old: the connection's key still counts."""
        if not self._seen:
            old = Request(cmd="resume", why="good morning", who="a-operator", args={"all": True}, when_ns=time.time_ns() - 3600 * 10**9)
            self._seen = [msgspec.msgpack.encode(old), msgspec.msgpack.encode(Request(cmd="resume", why="good", args={"all": True}))]
        self._viewer.send(self.random.choice(self._seen))

    def _oversized(self) -> None:
        self._viewer.send(b"\xc6" + bytes(MAX_REQUEST_BYTES + self.random.randrange(4096)))

    def _garbage(self) -> None:
        self._viewer.send(self.random.randbytes(self.random.randrange(1, 300)))

    def _wrong_version(self) -> None:
        self._viewer.send(msgspec.msgpack.encode(Request(cmd="status", v=self.random.choice([0, 2, -1, 2**63]))))

    def _unknown_fields(self) -> None:
        self._viewer.send(msgspec.msgpack.encode({"v": 1, "id": "x", "cmd": "status", "role": "admin", "sudo": True}))

    def _deep_nesting(self) -> None:
        self._viewer.send(msgspec.msgpack.encode({"v": 1, "cmd": "status"})[:1] + b"\xa4args" + b"\x81\xa1a" * 20_000 + b"\xc0")

    def _many_frames(self) -> None:
        self._viewer.send_multipart([b"", b"", msgspec.msgpack.encode(Request(cmd="kill"))])

    def drain(self, wait_s: float = 0.0) -> int:
        """Read what came back; none of it may be a good reply. How many there were."""
        n = 0
        while self._viewer.poll(int(wait_s * 1000)):
            n += 1
            if msgspec.msgpack.decode(self._viewer.recv_multipart()[-1], type=Reply).ok:
                self.accepted += 1
        return n


def attack(endpoint: str, server_public: str, viewer: keys.KeyPair, attempts: int, seed: int = 1) -> dict[str, Any]:
    """That many attempts, of every kind the same number; how many of each, and what was accepted."""
    attacker = Attacker(endpoint, server_public, viewer, seed)
    kinds = [*CONNECTING, *CONNECTED]
    order = [kinds[i % len(kinds)] for i in range(attempts)]
    attacker.random.shuffle(order)
    answered = 0
    for kind in order:
        attacker.attempt(kind)
        answered += attacker.drain()
    expected = sum(n for kind, n in attacker.made.items() if kind in CONNECTED)
    deadline = time.monotonic() + 30
    while answered < expected and time.monotonic() < deadline:
        answered += attacker.drain(0.2)
    attacker.close()
    return {"made": dict(attacker.made), "answered": answered, "accepted": attacker.accepted}


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    print(json.dumps(attack(sys.argv[1], keys.read(folder / "server.key").public, keys.read(folder / "viewer.key"), int(sys.argv[3]))))
