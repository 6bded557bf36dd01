"""A real Prometheus and Alertmanager from Debian on loopback ports, and a receiver for what Alertmanager sends.

`apt-get install -y prometheus prometheus-alertmanager` brings both, promtool and amtool; without them tests skip.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.models_operate import AlertRule
from orchestrator.observe import rules

TOOLS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
needs_prometheus = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} missing: apt-get install -y prometheus prometheus-alertmanager"
)
PATIENCE_S = float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "60"))
#: rules that fire within seconds: rates over 6 s, nothing held back
QUICK = {"window_s": 6, "hold_s": 0, "stale_after_s": 1, "heartbeat_after_s": 1, "leak_window_s": 6}

#: what this session has read back: (alert, its labels, severity, seconds waited), and (panel, query, series)
FIRED: list[tuple[str, dict[str, str], str, float]] = []
PANELS: list[tuple[str, str, int]] = []


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition`; fails the test after the timeout."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.1)
    return value


def get(url: str) -> Any:
    """The JSON at a URL; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def port_of(pid: int) -> int | None:
    """The TCP port a process of ours listens on."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(fd.readlink()).removeprefix("socket:[").rstrip("]"))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                return int(fields[1].rpartition(":")[2], 16)
    return None


class Receiver:
    """What Alertmanager posts, by receiver name."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.posts.append((self.path.strip("/"), json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def heard(self, receiver: str) -> set[str]:
        """Names of firing alerts a receiver was told of."""
        return {
            alert["labels"]["alertname"] for name, post in self.posts if name == receiver
            for alert in post["alerts"] if alert["status"] == "firing"
        }  # fmt: skip


class Monitoring:
    """Prometheus and Alertmanager with the shipped files, their times shortened. Use as a context manager."""

    def __init__(self, folder: Path, rule: AlertRule | None = None, *, scrape: str = "500ms",
                 windows: dict[Any, tuple[int, int, int]] | None = None, leak_mb_per_hour: int = 64) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._scrape = scrape
        self._targets: list[str] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self.receiver = Receiver()
        quick = windows or dict.fromkeys(rules.WINDOWS, (0, 1, 3600))
        (folder / "alerts.yml").write_text(rules.rules_yaml(rule or AlertRule(**QUICK), leak_mb_per_hour))
        (folder / "alertmanager.yml").write_text(rules.alertmanager_yaml(self.receiver.url, quick))
        self.alertmanager = self._start("prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
                                        f"--storage.path={folder}/am", "--cluster.listen-address=", "/-/ready")  # fmt: skip
        self._write()
        self.prometheus = self._start("prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/db",
                                      "--web.enable-lifecycle", "/-/ready")  # fmt: skip

    def _start(self, program: str, *options: str) -> str:
        *options, ready = options
        with (self.folder / f"{program}.log").open("ab") as log:
            process = subprocess.Popen([program, *options, "--web.listen-address=127.0.0.1:0"], stdout=log, stderr=log, cwd=self.folder)
        self._processes.append(process)

        def address() -> str | None:
            if process.poll() is not None:
                pytest.fail(f"{program} ended: {(self.folder / f'{program}.log').read_text()[-2000:]}")
            port = port_of(process.pid)
            if port is None:
                return None
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=2) as answer:
                return f"127.0.0.1:{port}" if answer.status == 200 else None
            return None

        return until(address, program)

    def _write(self) -> None:
        text = rules.prometheus_yaml(self._targets, alertmanager=self.alertmanager)
        text = text.replace("_interval: 5s", f"_interval: {self._scrape}").replace("scrape_timeout: 5s", f"scrape_timeout: {self._scrape}")
        (self.folder / "prometheus.yml").write_text(text)

    def watch(self, *addresses: str) -> None:
        """Scrape these too, from now on; returns when each has been reached."""
        self._targets += addresses
        self._write()
        urllib.request.urlopen(urllib.request.Request(f"http://{self.prometheus}/-/reload", method="POST"), timeout=10).close()
        until(lambda: {r["metric"]["instance"] for r in self.query("up == 1")} >= set(addresses), "Prometheus to reach what it scrapes")

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant query's result. Fails the test when Prometheus refuses the query."""
        url = f"http://{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expr})
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as err:
            pytest.fail(f"{expr}: {err.read().decode()}")
        except OSError:
            return []
        assert found["status"] == "success", found
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def firing(self, name: str, **labels: str) -> dict[str, Any] | None:
        """An alert that Prometheus says fires, with these labels."""
        found = get(f"http://{self.prometheus}/api/v1/alerts") or {"data": {"alerts": []}}
        for alert in found["data"]["alerts"]:
            if alert["state"] == "firing" and {"alertname": name, **labels}.items() <= alert["labels"].items():
                return dict(alert)
        return None

    def received(self, name: str, **labels: str) -> dict[str, Any] | None:
        """The same alert as Alertmanager has it, inhibited or not."""
        for alert in get(f"http://{self.alertmanager}/api/v2/alerts?active=true&inhibited=true") or []:
            if {"alertname": name, **labels}.items() <= alert["labels"].items():
                return dict(alert)
        return None

    def expect(self, name: str, **labels: str) -> None:
        """Wait until the alert fires in Prometheus and stands in Alertmanager."""
        began = time.monotonic()
        alert = until(lambda: self.firing(name, **labels), f"{name} {labels} to fire; firing now: {self.names()}")
        until(lambda: self.received(name, **labels), f"Alertmanager to have {name}")
        FIRED.append((name, labels, alert["labels"]["severity"], time.monotonic() - began))

    def names(self) -> set[str]:
        """Everything that fires now."""
        found = get(f"http://{self.prometheus}/api/v1/alerts") or {"data": {"alerts": []}}
        return {alert["labels"]["alertname"] for alert in found["data"]["alerts"] if alert["state"] == "firing"}

    def __enter__(self) -> Monitoring:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.receiver.close()


class ExporterRun:
    """The telemetry process as the supervisor starts it. Use as a context manager."""

    def __init__(self, name: str, *options: str) -> None:
        self._command = [sys.executable, "-m", "orchestrator.observe.exporter", "--name", name, *options]
        self.process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}
        self.start()

    def start(self, listen: str = "127.0.0.1:0") -> None:
        """Start it (again, at the address it had)."""
        self.process = subprocess.Popen([*self._command, "--listen", listen], stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())

    @property
    def address(self) -> str:
        """host:port of its endpoint."""
        return str(self.ready["metrics"])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as err:
            return err.code, err.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        assert self.process is not None and self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        self.process.stdout.close()
        return code

    def __enter__(self) -> ExporterRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
