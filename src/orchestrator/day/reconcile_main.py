"""The reconciler as a process of a supervised tree: `python -m orchestrator.day.reconcile_main PLAN`.

The plan is the engine's own (engine_main.py): configuration, folders, where the embedded exchange is. Its first line on
stdout says that both sides agree and trading may begin; with SIGHUP it begins anew, from the first record of both; it ends
with SIGTERM, after it has compared the last record. That of a `peregrine run` ends so when its input does.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, EXIT_USAGE
from orchestrator.config import ConfigError, from_effective
from orchestrator.config.models import Config, EmbeddedVenue
from orchestrator.config.secrets import drop_copy_password
from orchestrator.day.copy_line import CopyLine
from orchestrator.day.door import ControlDoor
from orchestrator.day.our_side import OurSide
from orchestrator.day.reconciler import Counted, Reconciler
from orchestrator.observe import log
from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import region_names
from orchestrator.observe.telemetry import TelemetryError
from orchestrator.observe.telemetry import read as read_telemetry
from orchestrator.observe.vitals import Vitals
from orchestrator.supervise.engine_main import PLAN, Plan, read, ready_line
from orchestrator.supervise.once import when_input_ends

MS = 1_000_000


def login_of(cfg: Config, venue: dict[str, str] | None) -> tuple[str, str, str]:
    """Address, account and password of the drop copy. Raises ConfigError."""
    login = cfg.day.reconcile.login
    if isinstance(cfg.venue, EmbeddedVenue):
        from orchestrator.cli.venue import DEMO_ACCOUNTS

        firm = next(a["firm"] for a in DEMO_ACCOUNTS if a["user"] == cfg.venue.username)
        account = next(a for a in DEMO_ACCOUNTS if a.get("drop_copy_of") == firm)
        assert venue is not None
        return login.address or venue["ouch"], account["user"], account["password"]
    return login.address or cfg.venue.ouch, login.username, drop_copy_password(login)


def counted(name: str) -> Counted | None:
    """The engine's own numbers out of shared memory; None while there is none to be read."""
    try:
        with Segment(name) as segment:
            if not segment.status().alive:
                return None
            shards = [read_telemetry(segment.region(region)) for region in region_names(segment)]
    except (SegmentError, TelemetryError, OSError):
        return None
    lots = {row["symbol"].decode("ascii", "replace").strip(): int(row["position_lots"]) for s in shards for row in s.instruments}
    return Counted([bool(s["session_ready"]) for s in shards], lots)


def make(plan: Plan) -> Reconciler:
    """The reconciler of a plan. Raises ConfigError."""
    cfg, run = from_effective(plan.config), Path(plan.folder)
    settings = cfg.day.reconcile
    venue = ready_line(Path(plan.venue_ready), cfg.supervise.ready_timeout_s) if isinstance(cfg.venue, EmbeddedVenue) else None
    address, user, password = login_of(cfg, venue)
    line = CopyLine(address, user, password, reconnect_ns=settings.reconnect_ms * MS, silence_ns=settings.silence_ms * MS)
    name = cfg.engine.name
    return Reconciler(settings, name, run, OurSide(run, cfg.engine.shards), line, ControlDoor(name),
                      counted=lambda: counted(name), folder=Path(plan.runtime))  # fmt: skip


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code: 0 agreed, 75 a difference stands, 69 no drop copy."""
    path = Path(arguments[0]) if len(arguments) == 1 else Path(PLAN)
    plan = read(path, Plan)
    if plan is None:
        print("error: one argument, the plan a supervisor wrote", file=sys.stderr)
        return EXIT_USAGE
    over, anew = threading.Event(), threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: anew.set())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    if plan.ends_with_supervisor:
        when_input_ends(over.set)
    log.configure("reconciler", level=plan.config.get("observe", {}).get("log_level", "info"))
    try:
        reconciler = make(plan)
    except ConfigError as err:
        print(str(err), file=sys.stderr)
        return EXIT_UNAVAILABLE
    said = False
    with Vitals(Path(plan.runtime), "reconciler") as vitals:
        while not over.is_set():
            if anew.is_set():
                anew.clear()
                log.logger().info("both records are read again from their beginnings")
                reconciler.line.close()
                reconciler = make(plan)
            reconciler.round()
            vitals.beat()
            if why := reconciler.refused:
                reconciler.tell()
                print(f"the venue's record disagrees: {why}", file=sys.stderr, flush=True)
                return EXIT_TRY_AGAIN
            if not said and reconciler.line.stats.problem.startswith("refused"):
                print(f"the drop copy at {reconciler.line.address} {reconciler.line.stats.problem}", file=sys.stderr, flush=True)
                return EXIT_UNAVAILABLE
            if not said and reconciler.ready:
                said = True
                print(json.dumps({"drop_copy": reconciler.line.address, "session": reconciler.line.session}), flush=True)
                log.logger().info("agrees so far", session=reconciler.line.session, seq=reconciler.line.next_seq - 1)
    status = reconciler.finish()
    log.logger().info("ended", state=status.state, agreed=status.agreed, standing=status.standing)
    return EXIT_TRY_AGAIN if status.standing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
