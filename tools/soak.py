"""A live engine and venue under load for a long while: resident size flat, no file left open, no stall, and the journal
of all of it replays.

    python tools/soak.py --minutes 10

Every few seconds both processes are looked at from outside (/proc, /dev/shm, telemetry). After a warm-up a line is
fitted to the engine's resident size. It passes as flat when what the line gains from warm-up to end is at most
`GROWTH_KIB` (or, over a longer run, `GROWTH_KIB_PER_HOUR`), or when its slope is not three standard errors above zero.
The venue keeps every message of its day by design (they can be asked for again): it must stay below
`VENUE_BYTES_PER_MESSAGE` for each message it sent. Exit code 1 when anything is found. Numbers go to
build/soak/latest.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chaos_world import ROOT, ChaosError, EngineRun, VenueRun, until  # noqa: E402

GROWTH_KIB = 1024
GROWTH_KIB_PER_HOUR = 3072
VENUE_BYTES_PER_MESSAGE = 200
RING_MB = 16
#: what a run may say of the machine it had
OF_THE_MACHINE = ("not locked into memory", "hot threads", "the kernel dropped")


@dataclass
class Sample:
    """What was seen at one moment."""

    at_s: float
    engine_kib: int
    engine_anon_kib: int
    engine_files: int
    engine_threads: int
    venue_kib: int
    venue_files: int
    ring_free_bytes: int
    shm_kib: int
    inputs: int
    orders: int
    fills: int
    journal_seq: int
    t2o_p50_ns: int  # of the interval before
    t2o_p99_ns: int
    ack_p50_ns: int


def memory_of(pid: int) -> dict[str, int]:
    """The Vm and Rss lines of a process, KiB; and its threads."""
    out = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.startswith(("Vm", "Rss")) or name == "Threads":
            out[name] = int(value.split()[0])
    return out


def files_of(pid: int) -> int:
    """Open file descriptors."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def slope_of(xs: list[float], ys: list[float]) -> tuple[float, float]:
    """Least squares: slope and its standard error."""
    n = len(xs)
    mx, my = sum(xs) / n, sum(ys) / n
    sxx = sum((x - mx) ** 2 for x in xs)
    slope = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sxx
    rest = sum((y - my - slope * (x - mx)) ** 2 for x, y in zip(xs, ys, strict=True))
    return slope, (rest / max(1, n - 2) / sxx) ** 0.5


class Watch:
    """Samples of a run, and the latencies between two of them."""

    def __init__(self, engine: EngineRun, venue: VenueRun) -> None:
        self.engine, self.venue = engine, venue
        self.samples: list[Sample] = []
        self.began = time.monotonic()
        self._histograms: dict[str, Any] = {}

    def look(self) -> Sample:
        """One more sample."""
        from orchestrator.observe.segment import Segment
        from orchestrator.observe.telemetry import REGION, read

        self.engine.check_alive()
        with Segment(self.engine.name) as segment:
            seen = read(segment.region(REGION))
        engine, venue = memory_of(self.engine.pid), memory_of(self.venue.pid)
        shm = sum(p.stat().st_blocks // 2 for p in Path("/dev/shm").glob(f"*{self.engine.name}*"))
        t2o, ack = self._interval(seen, "tick_to_order"), self._interval(seen, "order_to_ack")
        self._histograms = dict(seen.histograms)
        sample = Sample(
            round(time.monotonic() - self.began, 2), engine["VmRSS"], engine["RssAnon"], files_of(self.engine.pid), engine["Threads"],
            venue["VmRSS"], files_of(self.venue.pid), seen["journal_free_bytes"], shm, seen["inputs"], seen["orders"], seen["fills"],
            seen["journal_seq"], t2o.percentile(50), t2o.percentile(99), ack.percentile(50),
        )  # fmt: skip
        self.samples.append(sample)
        return sample

    def _interval(self, seen: Any, name: str) -> Any:
        from orchestrator.observe.telemetry import HistogramView

        now, before = seen.histograms[name], self._histograms.get(name)
        return now if before is None else HistogramView(name, now.counts - before.counts, now.sub_bits, 0)


def judge(samples: list[Sample], warm_s: float, feed_messages: int) -> tuple[list[str], dict[str, Any]]:
    """What is wrong, and the figures it was judged by."""
    warm = [s for s in samples if s.at_s >= warm_s]
    found: list[str] = []
    if len(warm) < 5:
        return [f"only {len(warm)} samples after the warm-up of {warm_s:.0f} s"], {}
    xs = [s.at_s for s in warm]
    length_s = xs[-1] - xs[0]
    slope, error = slope_of(xs, [float(s.engine_kib) for s in warm])
    gained, bound = slope * length_s, max(GROWTH_KIB, GROWTH_KIB_PER_HOUR * length_s / 3600)
    if gained > bound and slope > 3 * error:
        found.append(f"the engine's resident size grows: {gained:+.0f} KiB in {length_s:.0f} s, at most {bound:.0f} KiB is noise")
    third = max(1, len(warm) // 3)
    for name in ("engine_files", "engine_threads", "venue_files"):
        first, last = max(getattr(s, name) for s in warm[:third]), max(getattr(s, name) for s in warm[-third:])
        if last > first:
            found.append(f"{name} went from {first} to {last}")
    if (low := min(s.ring_free_bytes for s in warm)) < RING_MB * 2**20 // 4:
        found.append(f"the journal's ring came down to {low} free bytes of {RING_MB} MiB")
    if max(s.shm_kib for s in warm) > warm[0].shm_kib + 64:
        found.append(f"/dev/shm grew from {warm[0].shm_kib} to {max(s.shm_kib for s in warm)} KiB")
    for a, b in zip(samples, samples[1:], strict=False):
        if b.inputs <= a.inputs or b.journal_seq <= a.journal_seq:
            found.append(f"a stall: no input from {a.at_s:.0f} s to {b.at_s:.0f} s")
    if warm[-1].orders <= warm[len(warm) // 2].orders:
        found.append("no order in the second half")
    venue_slope, _ = slope_of(xs, [float(s.venue_kib) for s in warm])
    a_message = (warm[-1].venue_kib - samples[0].venue_kib) * 1024 / max(1, feed_messages)
    if a_message > VENUE_BYTES_PER_MESSAGE:
        found.append(f"the venue keeps {a_message:.0f} bytes for each feed message, at most {VENUE_BYTES_PER_MESSAGE} are its day")
    figures = {
        "engine_first_kib": warm[0].engine_kib, "engine_last_kib": warm[-1].engine_kib,
        "engine_slope_kib_per_hour": round(slope * 3600, 1), "engine_slope_error_kib_per_hour": round(error * 3600, 1),
        "engine_gained_kib": round(gained, 1), "engine_bound_kib": round(bound, 1),
        "venue_slope_kib_per_hour": round(venue_slope * 3600, 1), "venue_bytes_per_feed_message": round(a_message, 1),
        "feed_messages": feed_messages, "ring_free_low_bytes": low, "warm_samples": len(warm), "warm_seconds": round(length_s, 1),
    }  # fmt: skip
    return found, figures


def soak(seconds: float, folder: Path, *, rate: int, idle: str, every_s: float, quiet: bool = False) -> dict[str, Any]:
    """Runs it; the samples, the figures and what was found."""
    venue = VenueRun(folder, 7, rate, cancel_on_disconnect=False)
    engine: EngineRun | None = None
    try:
        venue.start()
        changes = {"journal.ring_mb": RING_MB, "journal.segment_mb": 64, "engine.idle": idle,
                   "journal.snapshot_records": min(200_000, int(seconds * 200)),  # the first few fall into the warm-up
                   "execution.session.silence_ns": 15_000_000_000, "engine.mlock": True}  # fmt: skip
        engine = EngineRun(folder, f"soak{os.getpid()}", venue, changes)
        engine.start()
        until(engine.ready, "an engine that may trade")
        watch = Watch(engine, venue)
        end = watch.began + seconds
        shown = 0.0
        while time.monotonic() < end:
            time.sleep(max(0.0, min(every_s, end - time.monotonic())))
            s = watch.look()
            if not quiet and (s.at_s - shown >= seconds / 20 or len(watch.samples) == 1):
                if len(watch.samples) == 1:
                    print("  seconds  engine KiB (anon)    fd  thr  venue KiB    fd   ring free MiB  orders    t2o p50/p99 us  ack p50 us")
                shown = s.at_s
                print(f"{s.at_s:9.0f}{s.engine_kib:12d} ({s.engine_anon_kib}){s.engine_files:5d}{s.engine_threads:5d}{s.venue_kib:11d}"
                      f"{s.venue_files:6d}{s.ring_free_bytes / 2**20:16.1f}{s.orders:8d}{s.t2o_p50_ns / 1e3:11.1f} /{s.t2o_p99_ns / 1e3:7.1f}"
                      f"{s.ack_p50_ns / 1e3:12.1f}", flush=True)  # fmt: skip
        report = engine.finish()
        from hotpath import _venue

        venue.kill()
        day = _venue.VenueDay(venue.config())
        day.catch_up()
        messages, summary = len(day.itch_messages()), day.summary("DEMO01")
        found, figures = judge(watch.samples, min(120.0, seconds / 2), messages)
        if (report["position"], report["fees_units"]) != (summary["bought"] - summary["sold"], summary["fees_ticks"]):
            found.append("engine and venue count position or fees differently")
        from orchestrator.run.journals import verify_journal

        verdict = verify_journal(engine.journal)
        if not verdict["identical"] or verdict["order_hash"] != report["order_hash"]:
            found.append("the journal of the run does not replay")
        found += [f"the run warned: {w}" for w in report["warnings"] if not any(said in w for said in OF_THE_MACHINE)]
    finally:
        with contextlib.suppress(Exception):
            if engine is not None:
                engine.clean_up()
        venue.kill()
    return {
        "seconds": seconds, "rate": rate, "idle": idle, "found": found, "figures": figures,
        "run": {k: report[k] for k in ("events", "decisions", "orders", "fills", "journal_records", "snapshots", "tick_to_order_ns", "warnings")},
        "verify": {k: verdict[k] for k in ("identical", "records", "orders", "snapshots", "snapshots_differ")},
        "samples": [asdict(s) for s in watch.samples],
    }  # fmt: skip


def tell(out: dict[str, Any]) -> None:
    """The figures for people."""
    f, run, v = out["figures"], out["run"], out["verify"]
    if f:
        print(f"\nengine: {f['engine_first_kib']} KiB after warm-up, {f['engine_last_kib']} KiB at the end; the fitted line gains "
              f"{f['engine_gained_kib']:+.0f} KiB in {f['warm_seconds']:.0f} s (bound {f['engine_bound_kib']:.0f}), "
              f"{f['engine_slope_kib_per_hour']:+.0f} ± {f['engine_slope_error_kib_per_hour']:.0f} KiB an hour")
        print(f"venue: {f['venue_bytes_per_feed_message']:.0f} bytes for each of {f['feed_messages']} feed messages it keeps "
              f"(bound {VENUE_BYTES_PER_MESSAGE}), {f['venue_slope_kib_per_hour'] / 1024:+.1f} MiB an hour")
        print(f"journal: {run['journal_records']} records, {run['snapshots']} snapshots; the ring never had less than "
              f"{f['ring_free_low_bytes'] / 2**20:.1f} of {RING_MB} MiB free")
    print(f"verify: {'identical' if v['identical'] else 'DIFFERENT'}, {v['orders']} orders, {v['snapshots']} snapshots, "
          f"{v['snapshots_differ']} of them different")  # fmt: skip
    for sentence in out["found"]:
        print(f"FOUND: {sentence}")
    print(f"{out['seconds'] / 60:.1f} minutes, {run['orders']} orders, {run['fills']} fills: {'flat' if not out['found'] else 'NOT GOOD'}")


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="soak a live engine and venue; resident size must be flat")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=2000, help="flow events a second and symbol")
    parser.add_argument("--idle", choices=("spin", "yield", "sleep"), default="yield", help="of the engine's loop")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two samples")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "soak")
    options = parser.parse_args(argv)
    folder: Path = options.folder.resolve()
    shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "run").mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        out = soak(options.minutes * 60, folder / "run", rate=options.rate, idle=options.idle, every_s=options.every)
    except ChaosError as err:
        print(f"FAILED: {err}\nkept: {folder / 'run'}")
        return 1
    (folder / "latest.json").write_text(json.dumps(out))
    tell(out)
    print(f"numbers: {folder / 'latest.json'}")
    if not out["found"]:
        shutil.rmtree(folder / "run", ignore_errors=True)
    return 1 if out["found"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
