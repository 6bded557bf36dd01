"""The supervisor's side of a run: a heartbeat, the panel's readings, and the loss of the account over all shards.

A loss cannot be leased: each shard stops by itself at its own part of the account's limit, and what the parts come to
together is watched here, every `report.refresh_ms`. That interval is the lag with which the account's own limit acts.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.config.models import Config
from orchestrator.observe.segment import KILL_LEVELS, Segment, SegmentError
from orchestrator.observe.shards import read_engine, shards_of
from orchestrator.observe.telemetry import Snapshot, TelemetryError

OnTick = Callable[[Snapshot], None]
BEST = "account.json"  # in the run's folder: {"best_units": …}, for the engine that goes on with the run


class AccountBreaker:
    """Loss and drawdown of the whole account, from readings of its engine, against the limits in force. It trips once and
    stays tripped until somebody arms it again. The account's best of the day is kept in the file `kept`, from which the
    next life of the engine goes on. Threads may share it."""

    def __init__(self, max_loss_units: int, max_drawdown_units: int, kept: Path | None = None) -> None:
        self._max_loss_units = max_loss_units
        self._max_drawdown_units = max_drawdown_units
        self._kept = kept
        self._peak_units = self._kept_units = _best_of(kept)
        self._pnl_units = 0
        self._lock = threading.Lock()
        self.reason = ""
        self.history: list[dict[str, Any]] = []  # as control.breakers tells trips; of no journal, so without numbers

    def follow(self, max_loss_units: int, max_drawdown_units: int) -> None:
        """These limits are in force from now on."""
        with self._lock:
            self._max_loss_units, self._max_drawdown_units = max_loss_units, max_drawdown_units

    def tripped_by(self, pnl_units: int) -> bool:
        """Take one reading; true when it trips now. `reason` says of what."""
        with self._lock:
            self._pnl_units = pnl_units
            if self.reason:
                return False
            self._peak_units = max(self._peak_units, pnl_units)
            self._keep()
            drawdown_units = self._peak_units - pnl_units
            if -pnl_units >= self._max_loss_units:
                self._trip("loss", -pnl_units, self._max_loss_units)
            elif drawdown_units >= self._max_drawdown_units:
                self._trip("drawdown", drawdown_units, self._max_drawdown_units)
            return bool(self.reason)

    def _trip(self, what: str, value: int, limit: int) -> None:
        self.reason = f"the account's {what}, {value} units, reached {limit}"
        self.history.append({"shard": None, "breaker": f"account_{what}", "seq": None, "ts_ns": time.time_ns(), "value": value, "limit": limit,
                             "rearmed_seq": None, "rearmed_ns": None, "rearmed_by": None, "why": None})  # fmt: skip

    def _keep(self) -> None:
        if self._kept is None or self._peak_units == self._kept_units:
            return
        new = self._kept.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk: the next reading tries again
            new.write_text(json.dumps({"best_units": self._peak_units}))
            new.replace(self._kept)
            self._kept_units = self._peak_units

    def rearm(self, who: str, why: str, now_ns: int, pnl_units: int | None = None) -> bool:
        """Arm it again by a person's word; False while the loss is still at its limit. The drawdown counts from here, which
        is the last reading unless it is given."""
        with self._lock:
            pnl_units = self._pnl_units if pnl_units is None else pnl_units
            if not self.reason or -pnl_units >= self._max_loss_units:
                return False
            self.reason = ""
            self._peak_units = pnl_units
            self._keep()
            self.history[-1].update(rearmed_ns=now_ns, rearmed_by=who, why=why)
            return True

    def still(self) -> str:
        """What keeps it from being armed again; "" when nothing does."""
        with self._lock:
            if self.reason and -self._pnl_units >= self._max_loss_units:
                return f"{self.reason}, and the loss is {-self._pnl_units} units, the limit {self._max_loss_units}"
            return ""


def _best_of(kept: Path | None) -> int:
    try:
        return int(json.loads(kept.read_text())["best_units"]) if kept is not None else 0
    except (OSError, ValueError, KeyError, TypeError):  # none yet
        return 0


class Watcher:
    """A thread beside the engine for the life of a run in `folder`. `notes` says what it did."""

    def __init__(self, cfg: Config, on_tick: OnTick | None, beat: Callable[[], None] | None, folder: Path | None = None) -> None:
        self._name = cfg.engine.name
        self._every_s = cfg.report.refresh_ms / 1000
        self._on_tick = on_tick
        self._beat = beat
        self.breaker: AccountBreaker | None = None
        if cfg.engine.shards > 1:
            self.breaker = AccountBreaker(cfg.risk.max_loss_units, cfg.risk.max_drawdown_units, folder / BEST if folder else None)
        self._needed = on_tick is not None or (beat is not None and cfg.engine.supervisor_timeout_ms > 0) or self.breaker is not None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="panel", daemon=True)
        self.notes: list[str] = []
        self.trips: list[dict[str, Any]] = self.breaker.history if self.breaker is not None else []

    def start(self) -> None:
        """Begin, when there is anything to do."""
        if self._needed:
            self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            if self._beat is not None:
                self._beat()  # the engine stops by itself when its supervisor falls silent
            if self._on_tick is None and self.breaker is None:
                continue
            with contextlib.suppress(SegmentError, TelemetryError), Segment(self._name, write=self.breaker is not None) as segment:
                snapshot = read_engine(segment)
                if self.breaker is not None and all(s["lease_epoch"] for s in shards_of(snapshot)):  # each has shown itself
                    self._judge(self.breaker, segment, snapshot)
                if self._on_tick is not None:
                    self._on_tick(snapshot)

    def _judge(self, breaker: AccountBreaker, segment: Segment, snapshot: Snapshot) -> None:
        breaker.follow(snapshot["limit_loss_units"], snapshot["limit_drawdown_units"])  # what the shards' parts come to
        if breaker.tripped_by(snapshot["pnl_units"]):
            segment.kill(KILL_LEVELS["cancel"])
            self.notes.append(f"killed: {breaker.reason}")
        elif breaker.reason and segment.status().kill_level == 0:
            # Lifted past the breaker, by whatever way: it guards again from here, or the kill stands.
            if breaker.rearm("revive", "the kill was lifted", time.time_ns()):
                self.notes.append("the account's breaker was armed again: the kill was lifted")
            else:
                segment.kill(KILL_LEVELS["cancel"])
                self.notes.append(f"killed again: {breaker.still()}")
