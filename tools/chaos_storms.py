"""What a day may do to an engine besides killing it, judged by the venue's own record: a venue that drops the connection
thousands of times, a disk that is full, processes stopped and continued and killed at random, a broken configuration file.

    python tools/chaos_storms.py --storm disconnects --count 5000 --seed 1

One storm a run; the last line is `NAME: N times, 0 lost, 0 doubled, 0 differ, limits kept`. Exit code 1 otherwise; the
folder with journal, venue's day and logs is kept then.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chaos_judge import Judge  # noqa: E402
from chaos_world import ROOT, ChaosError, EngineRun, VenueRun, environment, until  # noqa: E402

MAX_LOTS = 1000  # risk.max_long_lots and max_short_lots of the profile
STOPPED_BY_JOURNAL = 6


class Storm:
    """A venue and an engine that trades with it, and the judge of both."""

    made: ClassVar[list[Storm]] = []

    def __init__(self, folder: Path, seed: int, args: tuple[str, ...] = (), changes: dict[str, object] | None = None) -> None:
        Storm.made.append(self)
        self.rng = random.Random(seed)
        self.folder = folder
        self.venue = VenueRun(folder, seed, 1000, self.rng.random() < 0.5, args)
        self.venue.start()
        self.engine = EngineRun(folder, f"storm{seed}-{os.getpid()}", self.venue, changes)
        self.judge = Judge(self.venue)
        self.engine.start()
        until(self.engine.ready, "an engine that may trade")

    def trades(self, more: int = 2) -> None:
        """Lets it send that many orders."""
        orders = self.engine.counters().get("orders", 0)
        until(lambda: self.engine.counters().get("orders", 0) >= orders + more, "orders")

    def restart(self) -> None:
        """kill -9 and the next life."""
        self.engine.kill()
        self.judge.look(self.engine.journal)
        self.engine.start()
        until(self.engine.ready, "an engine that may trade")

    def limits_passed(self) -> list[str]:
        """Sentences about every moment at which the venue's record shows more of a symbol than was allowed: the position,
        and all orders of one side executed on top of it."""
        from hotpath import _venue

        day = _venue.VenueDay(self.venue.config())
        day.catch_up()
        held: dict[int, int] = {}
        opened: dict[int, tuple[int, bool, int]] = {}
        found = []
        for e in day.record(0):
            if e["port"] != 0 or e["kind"] not in ("accepted", "replaced", "executed", "canceled", "prevented", "modified"):
                continue
            number, buy = e["user_ref_num"], e["side"] == "B"
            if e["kind"] == "replaced":
                opened.pop(e["orig_ref_num"], None)
            if e["kind"] == "executed":
                held[e["symbol"]] = held.get(e["symbol"], 0) + (e["qty"] if buy else -e["qty"])
            opened[number] = (e["symbol"], buy, e["open"])
            if e["open"] == 0:
                del opened[number]
            for symbol, position in held.items():
                buys = sum(lots for s, b, lots in opened.values() if s == symbol and b)
                sells = sum(lots for s, b, lots in opened.values() if s == symbol and not b)
                if position + buys > MAX_LOTS or sells - position > MAX_LOTS:
                    found.append(f"symbol {symbol} at {e['ts_ns']}: position {position}, buys {buys}, sells {sells}")
        return found

    def end(self) -> None:
        """No process and no shared memory is left."""
        if hasattr(self, "engine"):
            self.engine.clean_up()
        self.venue.kill()


def disconnects(folder: Path, seed: int, count: int) -> tuple[Storm, int]:
    """The venue drops every connection many times a second, whatever is under way on it."""
    storm = Storm(folder, seed, ("--fault", "disconnect=60ms"), {"execution.session.reconnect_delay_ns": 1_000_000})
    began, last = time.monotonic(), 0

    def reached() -> bool:
        nonlocal last
        now = storm.engine.counters().get("reconnects", 0)
        if now >= last + 500:
            last = now
            print(f"{now:6} disconnects in {time.monotonic() - began:.0f} s, {storm.engine.counters().get('orders', 0)} orders", flush=True)
        return now >= count and storm.engine.counters().get("orders", 0) > 0

    until(reached, f"{count} disconnects", timeout_s=60 + count * 0.5)
    return storm, storm.engine.counters()["reconnects"]


def disk_full(folder: Path, seed: int, count: int) -> tuple[Storm, int]:
    """The journal's files cannot grow: no new orders, cancels from the reserve, and after a restart it goes on."""
    storm = Storm(folder, seed, changes={"journal.snapshot_records": 0})
    for n in range(count):
        storm.trades()
        written = max(f.stat().st_size for f in storm.engine.journal.glob("journal-*.pgj"))
        before = resource.prlimit(storm.engine.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(storm.engine.pid, resource.RLIMIT_FSIZE, (min(4096 * storm.rng.randrange(1, 50), written), before[1]))
        until(lambda: storm.engine.counters().get("trading_state") == STOPPED_BY_JOURNAL, "an engine that its journal stops")
        orders = storm.engine.counters()["orders"]
        until(lambda: storm.engine.counters()["working_orders"] == 0, "nothing works any more")
        time.sleep(0.2)
        if storm.engine.counters()["orders"] != orders:
            raise ChaosError("it made an order that no disk holds")
        print(f"{n + 1:6} full: stopped after {orders} orders, nothing works", flush=True)
        storm.restart()
    return storm, count


def stops(folder: Path, seed: int, count: int) -> tuple[Storm, int]:
    """Any process of the tree is stopped and continued, or killed, at random."""
    storm = Storm(folder, seed)
    for n in range(count):
        storm.trades()
        who = storm.rng.choice(["engine", "venue", "both"])
        what = storm.rng.choice(["stopped", "stopped", "killed"])
        pids = {"engine": [storm.engine.pid], "venue": [storm.venue.pid], "both": [storm.engine.pid, storm.venue.pid]}[who]
        seconds = storm.rng.uniform(0.01, 2.5)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        if what == "stopped":
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        else:
            if who != "engine":
                storm.venue.kill()
                storm.venue.start()
            if who != "venue":
                storm.restart()
        since = time.time_ns()
        until(lambda since=since: (c := storm.engine.ready()) is not None and c["now_ns"] > since + 20_000_000, "an engine that may trade again")  # type: ignore[misc]
        print(f"{n + 1:6} {who} {what} after {seconds * 1e3:.0f} ms", flush=True)
    return storm, count


def bad_config(folder: Path, seed: int, count: int) -> tuple[Storm, int]:
    """The configuration file is damaged while it trades: it is refused by name, and the engine trades on."""
    storm = Storm(folder, seed)
    good = storm.engine.config.read_bytes()
    for _ in range(count):
        data = bytearray(good)
        at = storm.rng.randrange(len(data))
        how = storm.rng.choice(["cut", "key", "type", "bytes"])
        if how == "cut":
            data = data[:at] + b"\n  : ["
        elif how == "key":
            data += b"\nno_such_section: {a: 1}\n"
        elif how == "type":
            data = bytearray(data.replace(b"idle: sleep", b"idle: 7"))
        else:
            data[at : at + 4] = bytes(storm.rng.randrange(0xF8, 0x100) for _ in range(4))  # in no text at all
        storm.engine.config.write_bytes(bytes(data))
        checked = subprocess.run([sys.executable, "-m", "orchestrator", "config", "check", str(storm.engine.config)],
                                 capture_output=True, text=True, env=environment(), timeout=120)  # fmt: skip
        if checked.returncode != 78 or "Traceback" in checked.stderr:
            raise ChaosError(f"a configuration damaged by {how} got {checked.returncode}: {checked.stderr[-500:]}")
        storm.trades()
    storm.engine.config.write_bytes(good)
    return storm, count


STORMS: dict[str, tuple[Callable[[Path, int, int], tuple[Storm, int]], int]] = {
    "disconnects": (disconnects, 5000), "disk-full": (disk_full, 10), "stops": (stops, 40), "bad-config": (bad_config, 20),
}  # fmt: skip


def run(name: str, count: int, seed: int, folder: Path) -> bool:
    """One storm to its verdict."""
    storm, done = STORMS[name][0](folder, seed, count)
    report = storm.engine.finish()
    storm.venue.kill()
    storm.judge.conclude(storm.engine.journal, report)
    passed = storm.limits_passed()
    j = storm.judge
    for sentence in [*j.lost, *j.doubled, *j.differs, *passed][:50]:
        print(f"FOUND: {sentence}")
    print(f"{j.records} journal records, {j.orders} orders and {j.executions} executions at the venue")
    kept = "limits kept" if not passed else f"limits passed {len(passed)} times"
    print(f"{name}: {done} times, {len(j.lost)} lost, {len(j.doubled)} doubled, {len(j.differs)} differ, {kept}", flush=True)
    return j.good and not passed


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="storms over a live engine, judged by the venue's record")
    parser.add_argument("--storm", choices=sorted(STORMS), required=True)
    parser.add_argument("--count", type=int, default=None, help="how often; default: by the storm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="default: build/chaos/STORM")
    options = parser.parse_args(argv)
    folder: Path = (options.folder or ROOT / "build" / "chaos" / options.storm).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    good = False
    try:
        good = run(options.storm, options.count or STORMS[options.storm][1], options.seed, folder)
    except ChaosError as err:
        print(f"FAILED: {err}", flush=True)
    finally:
        for storm in Storm.made:
            storm.end()
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept: {folder}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
