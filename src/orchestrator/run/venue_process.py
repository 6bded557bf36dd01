"""The embedded exchange: `peregrine venue` as a child process, started, read and ended."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from orchestrator.config.models import Config, EmbeddedVenue

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


class VenueError(Exception):
    """The embedded exchange did not start; the text carries its own words."""


class VenueProcess:
    """A running embedded exchange. Use as a context manager; `ready` is its ready line as a dict.

    Raises VenueError when it does not get ready in time.
    """

    def __init__(self, cfg: Config, *, cores: Iterable[int] | None = None) -> None:
        self.accounts = accounts_of(cfg)
        command = [sys.executable, *arguments_of(cfg), "--until-input-ends"]  # which our death does, however it comes
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the engine: it cancels first, then ends the exchange
        )
        if cores is not None:
            os.sched_setaffinity(self._process.pid, set(cores))
        try:
            self.ready = self._read_ready()
        except BaseException:
            self.close()
            raise

    def _read_ready(self) -> dict[str, Any]:
        lines: queue.Queue[str] = queue.Queue()
        stdout = self._process.stdout
        assert stdout is not None
        threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=READY_TIMEOUT_S)
        except queue.Empty:
            raise VenueError(f"the embedded exchange was not ready within {READY_TIMEOUT_S:.0f} s") from None
        if not line:
            self._process.wait(timeout=STOP_TIMEOUT_S)
            words = self._process.stderr.read().strip() if self._process.stderr else ""
            raise VenueError(f"the embedded exchange ended at once: {words or 'no words'}")
        ready: dict[str, Any] = json.loads(line)
        return ready

    def close(self) -> None:
        """Ends it: SIGTERM, then SIGKILL when it does not listen."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.communicate(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> VenueProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def accounts_of(cfg: Config) -> list[dict[str, str]]:
    """The demo accounts of a configuration's shards. Raises VenueError for one the embedded exchange does not have."""
    from orchestrator.cli.venue import DEMO_ACCOUNTS, shard_accounts

    assert isinstance(cfg.venue, EmbeddedVenue)
    username, shards = cfg.venue.username, cfg.engine.shards
    if username not in [a["user"] for a in DEMO_ACCOUNTS]:
        names = ", ".join(a["user"] for a in DEMO_ACCOUNTS if "drop_copy_of" not in a)
        raise VenueError(f"the embedded exchange has no account {username!r}: it has {names}")
    return shard_accounts(username, shards)


def arguments_of(cfg: Config) -> list[str]:
    """What this interpreter is called with for the exchange of a configuration."""
    venue = cfg.venue
    assert isinstance(venue, EmbeddedVenue)
    symbols = venue.symbols or [i.symbol for i in cfg.instruments]
    out = ["-m", "orchestrator", "venue", "--seed", str(venue.seed), "--rate", str(venue.rate_per_s), "--symbols", ",".join(symbols)]
    if venue.faults:
        out += ["--fault", venue.faults]
    if venue.flow_file:
        out += ["--recording", venue.flow_file]
    if venue.extra_symbols:
        out += ["--extra-symbols", str(venue.extra_symbols)]
    if venue.orders_per_symbol != 340:
        out += ["--orders-per-symbol", str(venue.orders_per_symbol)]
    if cfg.engine.shards > 1:
        out += ["--shards", str(cfg.engine.shards)]
    if venue.holdings:
        out += ["--holdings", venue.holdings]
    if venue.cancel_on_disconnect:
        out += ["--cancel-on-disconnect"]
    return out
