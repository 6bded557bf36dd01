"""The telemetry process: shows one engine to Prometheus, to health checks and to subscribers, and never disturbs it.

    python -m orchestrator.observe.exporter --name NAME [--listen HOST:PORT] [--publish-ms N]

    /metrics   Prometheus' text format      /healthz   200 or 503: this process, the engine's heartbeat
    /          what is here                 /readyz    200 or 503 with every reason why no order would be sent

It outlives the engine: without one it says so, with the next one it goes on. One JSON line on standard output when it
serves: {"ready": true, "name", "pid", "metrics": "127.0.0.1:9464", "telemetry": path of the socket}. While another process
holds the port it publishes all the same ("metrics": "") and tries again every second.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import zmq
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from orchestrator.observe import log
from orchestrator.observe.health import health, readiness
from orchestrator.observe.metrics import EngineCollector
from orchestrator.observe.publish import Publisher
from orchestrator.observe.reading import Reader
from orchestrator.observe.vitals import Vitals, vitals
from orchestrator.supervise.paths import RuntimeFolderError, runtime_dir

DEFAULT_LISTEN = "127.0.0.1:9464"
MOST_AT_ONCE = 16  # requests; more are told to come again
TIMEOUT_S = 10.0  # of a client that says nothing
BIND_AGAIN_S = 1.0
EXIT_UNAVAILABLE = 69


class Exporter:
    """HTTP server and publisher over one reader. `start` returns when both serve."""

    def __init__(self, name: str, *, listen: str = DEFAULT_LISTEN, publish_ms: int = 250, heartbeat_after_s: float = 2.0,
                 reader: Reader | None = None) -> None:
        """`listen` may be "none". Raises OSError for an address that is not ours (a port in use is waited for), ValueError
        for one that is none, RuntimeFolderError and zmq.ZMQError for the socket file."""
        self.reader = reader or Reader(name)
        self._publish_s = publish_ms / 1000
        self._heartbeat_after_s = heartbeat_after_s
        self._over = threading.Event()
        self.vitals: Vitals | None = None  # beats with each reading
        self._publisher = Publisher(runtime_dir(name, make=True))
        self._server: _Server | None = None
        self._at = parse_address(listen)
        self._threads = [threading.Thread(target=self._publish, name="publish", daemon=True)]
        try:
            waiting = self._at is not None and not self._bind()
        except BaseException:
            self._publisher.close()
            raise
        if self._at is not None:
            self._threads.append(threading.Thread(target=self._serve, args=(waiting,), name="http", daemon=True))

    @property
    def address(self) -> str:
        """host:port it is bound to; "" while it is not."""
        if self._server is None:
            return ""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def ready_line(self) -> dict[str, Any]:
        """What is printed once it serves."""
        return {"ready": True, "name": self.reader.name, "pid": os.getpid(), "metrics": self.address, "telemetry": str(self._publisher.path)}

    def start(self) -> None:
        """Serve from now on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both, and wait for them."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._publisher.close()
        self.reader.close()

    def _bind(self) -> bool:
        """False while another process holds the port."""
        assert self._at is not None
        try:
            self._server = _Server(self._at, self._answers())
        except OSError as err:
            if err.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def _serve(self, waiting: bool) -> None:
        if waiting:
            log.logger().error("the port is taken: metrics are not served until it is free", listen=":".join(map(str, self._at or ())))
        while waiting and not self._over.wait(BIND_AGAIN_S):
            waiting = not self._bind()
        if self._server is None:
            return
        with self._server as server:
            server.timeout = 0.1
            while not self._over.is_set():
                server.handle_request()

    def _publish(self) -> None:
        while not self._over.wait(self._publish_s):
            if self.vitals is not None:
                self.vitals.beat()
            try:
                self._publisher.send(self.reader.read())
            except Exception as err:  # one reading that cannot be shown must not end the rest
                log.logger().error("a reading was not published", error=repr(err))

    def _answers(self) -> dict[str, Callable[[str], tuple[int, str, bytes]]]:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(EngineCollector(self.reader))

        def metrics(accept: str) -> tuple[int, str, bytes]:
            encode, content_type = choose_encoder(accept)
            return 200, content_type, encode(registry)

        def healthz(_: str) -> tuple[int, str, bytes]:
            found = health(self.reader.read(), self._heartbeat_after_s)
            return (200 if found["ok"] else 503), "application/json", _json(found)

        def readyz(_: str) -> tuple[int, str, bytes]:
            found = readiness(self.reader.read(), self._heartbeat_after_s)
            return (200 if found["ready"] else 503), "application/json", _json(found)

        def index(_: str) -> tuple[int, str, bytes]:
            return 200, "application/json", _json({"engine": self.reader.name, "paths": sorted(answers)})

        answers = {"/": index, "/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
        return answers


def parse_address(text: str) -> tuple[str, int] | None:
    """(host, port) of "host:port"; None for "none". Raises ValueError."""
    if text == "none":
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address: host:port, or none")
    return host or "127.0.0.1", int(port)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], answers: dict[str, Callable[[str], tuple[int, str, bytes]]]) -> None:
        self.answers = answers
        self.slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each, as long as there are not too many."""
        if not self.slots.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Gives the slot back, whatever came of it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of our business; anything else is logged."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.logger().error("a request failed", error=repr(error))


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT_S
    server_version = "peregrine"
    sys_version = ""

    def do_GET(self) -> None:
        answer = self.server.answers.get(self.path.partition("?")[0])
        if answer is None:
            self._send(404, "application/json", _json({"error": "nothing here", "paths": sorted(self.server.answers)}))
            return
        self._send(*answer(self.headers.get("Accept", "")))

    do_HEAD = do_GET

    def _send(self, code: int, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: there is one every few seconds, for ever."""


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. 0, or 69 when it cannot serve."""
    parser = argparse.ArgumentParser(prog="orchestrator.observe.exporter", description="Show one engine to Prometheus.")
    parser.add_argument("--name", required=True, help="name of the engine")
    parser.add_argument("--listen", default=DEFAULT_LISTEN, help="host:port of the endpoint, port 0 takes a free one; or none")
    parser.add_argument("--publish-ms", type=int, default=250, help="between two published readings")
    parser.add_argument("--heartbeat-after-s", type=float, default=2.0, help="an engine without a heartbeat so long is not healthy")
    parser.add_argument("--log", default="", help="file of the log; default: stderr")
    parser.add_argument("--log-level", default="info", choices=list(log.LEVELS), help="how much is logged")
    parser.add_argument("--json-ready", action="store_true", help="print the ready line (it always is; for those who ask)")
    options = parser.parse_args(argv)
    log.configure("telemetry", path=Path(options.log) if options.log else None, level=options.log_level)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        exporter = Exporter(options.name, listen=options.listen, publish_ms=options.publish_ms, heartbeat_after_s=options.heartbeat_after_s)
    except (OSError, ValueError, RuntimeFolderError, zmq.ZMQError) as err:
        print(f"error: the exporter cannot serve {options.listen}: {err}", file=sys.stderr)
        print("hint: host:port of this machine, port 0 takes a free one; none only publishes", file=sys.stderr)
        return EXIT_UNAVAILABLE
    exporter.start()
    print(json.dumps(exporter.ready_line()), flush=True)
    log.logger().info("serving", engine=options.name, metrics=exporter.address)
    with vitals(runtime_dir(options.name), "telemetry") as exporter.vitals:
        over.wait()
        exporter.stop()
    log.logger().info("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
