"""kill -9 and SIGSTOP of a live engine, its journal writer and the venue, under load, at random points; then the venue's
own record says whether anything was lost or done twice.

    python tools/chaos.py --kills 50 --seed 1

Venue and engine are processes with real sockets between them. One line a kill; at the end how long recovery took, and a
last line of the form `N kills: 0 lost, 0 doubled, recovery p99 … ms`. Exit code 1 when anything was lost, doubled or
differs; the folder with journal, venue's day and logs is kept then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chaos_judge import Judge  # noqa: E402
from chaos_world import ENGINE_SILENCE_S, ROOT, VENUE_SILENCE_S, ChaosError, EngineRun, VenueRun, until  # noqa: E402
from thread_stop import NotPermitted, StoppedThread, permitted, thread_of  # noqa: E402

#: what is done, how often in one round of the deck
DECK = {
    "engine, under load": 3, "engine, at its start": 1, "engine, recovering its journal": 2, "engine, reconciling": 2,
    "engine, reconciling with a venue that hangs": 1, "engine, stopped and continued": 2, "engine, stopped and killed": 1,
    "writer stopped, engine killed": 2, "writer stopped until the ring is full, engine killed": 1,
    "writer, stopped and continued": 1, "venue": 3, "venue, stopped and continued": 1, "venue and engine": 1,
}  # fmt: skip
AT_START = ("engine, at its start", "engine, recovering its journal", "engine, reconciling", "engine, reconciling with a venue that hangs")


class Chaos:
    """One run of it."""

    def __init__(self, folder: Path, kills: int, seed: int, rate: int) -> None:
        self.rng = random.Random(seed)
        self.kills, self.seed = kills, seed
        args = ("--fault", "loss=0.5%,reorder=0.5%,dup=0.5%") if self.rng.random() < 0.5 else ()
        self.venue = VenueRun(folder, seed, rate, self.rng.random() < 0.5, args)
        self.venue.start()
        self.engine = EngineRun(folder, f"chaos{seed}-{os.getpid()}", self.venue)
        self.judge = Judge(self.venue)
        self.done = 0
        self.starting = False  # the engine's life has begun and nobody has waited for it
        self.pending: list[str] = []  # kills whose recovery is under way
        self.starts_ns: list[int] = []
        self.recoveries_ms: dict[str, list[float]] = {"engine": [], "venue": [], "after a stop": []}
        self.ring_only = self.rescued = 0
        self.began = time.monotonic()
        self.no_ptrace = permitted()

    # ---- what is waited for

    def start_engine(self) -> None:
        self.engine.start()
        self.starts_ns.append(self.engine.started_ns)
        self.starting = True

    def wait_ready(self) -> None:
        """Until the engine may trade again; says how long that took."""
        until(self.engine.ready, "an engine that may trade")
        if self.starting:
            self.recovered("engine", (time.time_ns() - self.engine.started_ns) / 1e6, first=self.done == 0)
        self.starting = False

    def load(self) -> None:
        """Lets it trade for a random while: at least one order."""
        orders = self.engine.counters().get("orders", 0)
        until(lambda: self.engine.counters().get("orders", 0) > orders, "an order")
        time.sleep(self.rng.random() * 0.5)

    def recovered(self, what: str, ms: float, first: bool = False) -> None:
        if first:
            return
        self.recoveries_ms[what].append(ms)
        for line in self.pending:
            print(f"{line}; recovery {ms:.0f} ms", flush=True)
        self.pending.clear()

    def note(self, what: str, detail: str = "") -> None:
        self.done += 1
        at = time.monotonic() - self.began
        self.pending = [f"{line}; killed again before it was ready" for line in self.pending]
        for line in self.pending:
            print(line, flush=True)
        self.pending = [f"{self.done:4d}  {at:6.1f} s  {what}{': ' + detail if detail else ''}"]

    # ---- kills

    def kill_engine(self, what: str, detail: str = "", stopped: StoppedThread | None = None) -> None:
        """kill -9 of the engine; the judge looks at what it left, and its next life begins."""
        assert self.engine.process is not None
        self.engine.process.kill()
        if stopped is not None:
            stopped.reap()
        self.engine.kill()
        ring = self.judge_dead()
        parts = [p for p in (detail, f"{ring} records only in the ring" if ring else "") if p]
        self.note(what, ", ".join(parts))

    def judge_dead(self) -> int:
        from hotpath import _core

        journal = str(self.engine.journal)
        self.judge.look(self.engine.journal)
        on_disk = _core.journal.summarize(journal, ring=False)["last_seq"]
        known, self.rescued = max(on_disk, self.rescued), max(self.judge.records, self.rescued)
        self.ring_only += max(0, self.judge.records - known)  # a recovery that was killed leaves them there once more
        return int(self.judge.records - on_disk)

    def engine_under_load(self, what: str) -> None:
        self.kill_engine(what)
        self.start_engine()

    def engine_at_start(self, what: str) -> None:
        """Somewhere between the process's start and its first order; `what` says where it is aimed at."""
        hang = what.endswith("hangs")
        if hang:
            os.kill(self.venue.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            if what == "engine, at its start":
                time.sleep(self.rng.random() * 0.7)
            elif what == "engine, recovering its journal":
                until(self.engine.phase, "the engine's segment")
                time.sleep(self.rng.random() * 0.1)
            else:
                until(lambda: self.engine.phase() == "trading", "the engine's loop")
                time.sleep(self.rng.random() * (0.3 if hang else 0.02))
            self.kill_engine(what, f"{(time.monotonic() - began) * 1e3:.0f} ms after its start")
        finally:
            if hang:
                os.kill(self.venue.pid, signal.SIGCONT)
        self.start_engine()

    def a_while(self, limit_s: float) -> float:
        """Short, or longer than what the other side bears."""
        return self.rng.uniform(0.01, 0.3) if self.rng.random() < 0.4 else self.rng.uniform(limit_s * 1.05, limit_s * 1.5)

    def engine_stopped(self, what: str) -> None:
        seconds = self.a_while(VENUE_SILENCE_S)
        os.kill(self.engine.pid, signal.SIGSTOP)
        time.sleep(seconds)
        if what.endswith("killed"):
            self.kill_engine(what, f"for {seconds * 1e3:.0f} ms")
            return self.start_engine()
        os.kill(self.engine.pid, signal.SIGCONT)
        self.note(what, f"for {seconds * 1e3:.0f} ms")
        return self.wait_again("after a stop", time.time_ns())

    def wait_again(self, what: str, since_ns: int, reconnects: int = 0) -> None:
        """Until a living engine has looked about after `since_ns` and may trade."""
        def again() -> bool:
            c = self.engine.ready()
            return c is not None and c["now_ns"] > since_ns + 20_000_000 and c["reconnects"] >= reconnects

        until(again, "an engine that may trade again")
        self.recovered(what, (time.time_ns() - since_ns) / 1e6)

    def writer_stopped(self, what: str) -> None:
        if self.no_ptrace:
            self.kill_engine("engine, under load", f"the writer alone cannot be stopped here: {self.no_ptrace}")
            return self.start_engine()
        tid = until(lambda: thread_of(self.engine.pid, "prg-journal"), "the writer's thread")
        free = self.engine.counters()["journal_free_bytes"]
        try:
            stopped = StoppedThread(tid)
        except NotPermitted as err:
            raise ChaosError(f"the writer cannot be stopped: {err}") from err
        if "full" in what:
            until(lambda: self.engine.counters().get("trading_state") == 6, "a ring so full that the engine stops trading")
            time.sleep(self.rng.random() * 0.3)
        else:
            wanted = free * self.rng.uniform(0.05, 0.6)
            until(lambda: self.engine.counters()["journal_free_bytes"] < free - wanted, "records in the ring")
        if what.endswith("continued"):
            stopped.resume()
            self.note(what)
            return self.wait_again("after a stop", time.time_ns())
        self.kill_engine(what, stopped=stopped)
        return self.start_engine()

    def venue_killed(self, what: str) -> None:
        reconnects = self.engine.counters()["reconnects"]
        self.venue.kill()
        self.note(what)
        time.sleep(self.rng.random() * 0.5)
        since_ns = time.time_ns()
        self.venue.start()
        self.wait_again("venue", since_ns, reconnects + 1)

    def venue_stopped(self, what: str) -> None:
        seconds = self.a_while(ENGINE_SILENCE_S)
        os.kill(self.venue.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.venue.pid, signal.SIGCONT)
        self.note(what, f"for {seconds * 1e3:.0f} ms")
        self.wait_again("after a stop", time.time_ns())

    def both_killed(self, what: str) -> None:
        first, second = self.rng.sample([self.venue.pid, self.engine.pid], 2)
        os.kill(first, signal.SIGKILL)
        time.sleep(self.rng.random() * 0.01)
        os.kill(second, signal.SIGKILL)
        self.venue.kill()
        engine_first = self.rng.random() < 0.5
        self.kill_engine(what, "the engine is back first" if engine_first else "the venue is back first")
        if engine_first:
            self.start_engine()
            time.sleep(self.rng.random() * 0.5)
        self.venue.start()
        if not engine_first:
            self.start_engine()

    # ---- the whole

    def deck(self) -> Callable[[], str]:
        """Draws from a shuffled deck, again and again."""
        cards: list[str] = []

        def draw() -> str:
            if not cards:
                cards.extend(name for name, n in DECK.items() for _ in range(n))
                self.rng.shuffle(cards)
            return cards.pop()

        return draw

    def run(self) -> None:
        self.start_engine()
        self.wait_ready()
        draw = self.deck()
        while self.done < self.kills:
            what = draw()
            if what in AT_START:
                if not self.starting:
                    self.load()
                    self.engine_under_load("engine, under load")
                if self.done < self.kills:
                    self.engine_at_start(what)
                continue
            self.wait_ready()
            self.load()
            act = {"engine, under load": self.engine_under_load, "venue": self.venue_killed, "venue and engine": self.both_killed,
                   "venue, stopped and continued": self.venue_stopped}.get(what)  # fmt: skip
            if act is None:
                act = self.writer_stopped if what.startswith("writer") else self.engine_stopped
            act(what)
        self.wait_ready()
        self.load()
        report = self.engine.finish()
        self.venue.kill()
        self.judge.conclude(self.engine.journal, report)

    def end(self) -> None:
        """No process and no shared memory is left."""
        with contextlib.suppress(Exception):
            self.engine.clean_up()
        with contextlib.suppress(Exception):
            self.venue.kill()

    # ---- what is told

    def phases_ms(self) -> dict[str, list[float]]:
        """Of every life that came to trade after a kill, by the stamps of its own journal."""
        out: dict[str, list[float]] = {"process start": [], "journal": [], "reconcile": [], "start to trading-ready": []}
        for life in self.judge.lives:
            if not life.ready_ns:
                continue
            started_ns = max(s for s in self.starts_ns if s <= life.recovered_ns)
            out["process start"].append((life.recovered_ns - started_ns) / 1e6)
            out["journal"].append((life.loop_ns - life.recovered_ns) / 1e6)
            out["reconcile"].append((life.ready_ns - life.loop_ns) / 1e6)
            out["start to trading-ready"].append((life.ready_ns - started_ns) / 1e6)
        return out

    def tell(self) -> bool:
        """The distribution, what was found, and the last line; whether all is well."""
        j = self.judge
        print(f"\n{j.records} journal records of {len(j.lives) + 1} lives, {j.orders} orders and {j.executions} executions at the "
              f"venue, {self.ring_only} records recovered from the ring alone")  # fmt: skip
        print(f"\n{'recovery, ms':28}{'n':>5}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}")
        phases = self.phases_ms()
        rows = {**phases, "venue back to trading": self.recoveries_ms["venue"], "stop over to trading": self.recoveries_ms["after a stop"]}
        for name, values in rows.items():
            if values:
                cells = (percentile(values, p) for p in (50, 90, 99, 100))
                print(f"{name:28}{len(values):5d}" + "".join(f"{v:9.1f}" for v in cells))
        if self.no_ptrace:
            print(f"\nskipped: stopping the writer's thread alone ({self.no_ptrace}); the engine was killed instead")
        for sentence in [*j.lost, *j.doubled, *j.differs][:50]:
            print(f"FOUND: {sentence}")
        if j.differs:
            print(f"{len(j.differs)} differences between engine, venue and replay")
        total = phases["start to trading-ready"] or [0.0]
        print(f"{self.done} kills: {len(j.lost)} lost, {len(j.doubled)} doubled, recovery p99 {percentile(total, 99):.0f} ms", flush=True)
        return j.good


def percentile(values: list[float], p: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * p // 100) - 1).__int__()]


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="kill a live engine, its writer and its venue, and let the venue's record judge")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="of what is done when; default: by the clock")
    parser.add_argument("--rate", type=int, default=2000, help="flow events a second and symbol")
    parser.add_argument("--folder", type=Path, default=None, help="default: build/chaos/seed-SEED")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a good run too")
    options = parser.parse_args(argv)
    seed = time.time_ns() // 1_000_000_000 % 1_000_000 if options.seed is None else options.seed
    folder: Path = (options.folder or ROOT / "build" / "chaos" / f"seed-{seed}").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"chaos: seed {seed}, {options.kills} kills, in {folder}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chaos: Chaos | None = None
    good = False
    try:
        chaos = Chaos(folder, options.kills, seed, options.rate)
        chaos.run()
        good = chaos.tell()
    except ChaosError as err:
        print(f"FAILED: {err}", flush=True)
        if chaos is not None:
            for line in chaos.pending:
                print(f"the last: {line}")
            for sentence in [*chaos.judge.lost, *chaos.judge.doubled, *chaos.judge.differs]:
                print(f"FOUND: {sentence}")
    finally:
        if chaos is not None:
            chaos.end()
    if good and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    if not good:
        print(f"kept: {folder}\nagain: make chaos N={options.kills} SEED={seed}  (the same kills at the same drawn points; "
              "the machine's timing is its own)", file=sys.stderr)  # fmt: skip
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
