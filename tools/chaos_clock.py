"""The wall clock of a supervised tree stepped while it trades: by a fraction of a second, by seconds, by an hour, by a day, to
before the journal began, and back; alone, and together with deaths of engine and supervisor.

    python tools/chaos_clock.py --count 40 --seed 1 [--json]

This machine's clock is not touched: `tests/native/clock_shim.c`, compiled here, is preloaded into the tree and adds an offset to
CLOCK_REALTIME. First the steps alone, which nothing may be decided upon; then steps and deaths. The last two lines are the
verdicts; exit code 1 when anything was found.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chaos_limits import CONTROL, SUPERVISOR_LOST  # noqa: E402
from chaos_tree import TreeChaos, tell  # noqa: E402
from chaos_world import ROOT, ChaosError  # noqa: E402

from cxx import C_FLAGS, default_cc  # noqa: E402

SHIM = ROOT / "tests" / "native" / "clock_shim.c"
S = 1_000_000_000
#: what is added to the clock, seconds; None: to before the journal's first record
STEPS = (0.3, -0.3, 0.9, -0.9, 2.5, -2.5, 30.0, -30.0, 3600.0, -3600.0, 86_400.0, -86_400.0, None)
DECK = {"clock stepped": 6, "engine killed": 3, "supervisor killed": 2, "engine and supervisor killed": 1, "telemetry killed": 1, "line dropped": 1}
#: of the steps alone: a busy machine comes to nothing within these times, most steps would if anybody measured by the wall clock
PATIENT = {"feed.silence_ns": 20 * S, "execution.session.silence_ns": 20 * S, "supervise.lost_after_ms": 20_000, "supervise.stall_ms": 20_000,
           "supervise.stall_kill_ms": 28_000}  # fmt: skip
#: counters that move when the engine decides that something is wrong
QUIET = ("reconnects", "gaps", "snapshots", "stale_ns", "overruns", "breaker_trips", "rejects")


class SteppedClock:
    """The shim, made, and its file. `environment` is what the tree is started with."""

    def __init__(self, folder: Path) -> None:
        self.library, path = folder / "clock_shim.so", folder / "clock"
        subprocess.run([*default_cc(), *C_FLAGS, "-fvisibility=default", "-Wall", "-Werror", "-shared", "-o", str(self.library), str(SHIM), "-ldl"], check=True)
        path.write_bytes(bytes(16))
        with path.open("r+b") as file:
            self._words = mmap.mmap(file.fileno(), 16)
        self.environment = {"LD_PRELOAD": str(self.library), "PEREGRINE_CLOCK_FILE": str(path)}

    @property
    def offset_ns(self) -> int:
        """What is added now."""
        return int(struct.unpack_from("<q", self._words, 0)[0])

    @offset_ns.setter
    def offset_ns(self, value: int) -> None:
        struct.pack_into("<q", self._words, 0, value)

    @property
    def asked(self) -> int:
        """How often the tree has asked for the wall clock."""
        return int(struct.unpack_from("<q", self._words, 8)[0])


class ClockChaos(TreeChaos):
    """A tree whose clock steps. Every step is from where the clock stands: they add up, and some go back to the truth."""

    def __init__(self, folder: Path, count: int, seed: int, *, deaths: bool, rate: int = 1000, deck: dict[str, int] | None = None) -> None:
        self.clock = SteppedClock(folder)
        self.began_ns = time.time_ns()
        self.steps = 0
        self.deaths = deaths
        super().__init__(folder, count, seed, rate, preload=self.clock.environment, deck=deck or (DECK if deaths else {"clock stepped": 1}),
                         changes=None if deaths else PATIENT, faults=deaths,
                         venue_args=() if deaths else ("--silence", "20s"))  # fmt: skip

    def act(self, what: str) -> None:
        """One of the cards."""
        if what != "clock stepped":
            return super().act(what)
        seconds = self.rng.choice(STEPS)
        if seconds is None:
            offset_ns = self.began_ns - time.time_ns() - int(self.rng.uniform(60, 3600) * S)
        elif self.rng.random() < 0.25:
            offset_ns = 0
        else:
            offset_ns = self.clock.offset_ns + int(seconds * S)
        offset_ns = max(-26 * 3600 * S, min(26 * 3600 * S, offset_ns))
        before, asked = self.clock.offset_ns, self.clock.asked
        self.clock.offset_ns = offset_ns
        self.steps += 1
        self.note(what, f"by {(offset_ns - before) / S:+.1f} s, now {offset_ns / S:+.1f} s off")
        return self.sleep(1.2) if self.clock.asked == asked or not self.deaths else None  # it is looked at about once a second

    def run(self) -> None:
        """As any, and of the steps alone that nobody decided anything because of them."""
        super().run()
        if self.clock.asked < self.steps:
            raise ChaosError("the tree never asked for the clock: nothing was tried")

    def trades_again(self) -> None:
        """Remembers what stood before the first step."""
        super().trades_again()
        if not self.done:
            self.before = {k: self.tree.counters()[k] for k in QUIET}
            self.pids = {role: self.tree.pid(role) for role in ("supervisor", "engine", "telemetry")}
        elif not self.deaths:
            now = self.tree.counters()
            moved = [f"{k} went from {self.before[k]} to {now[k]}" for k in QUIET if now[k] != self.before[k]]
            moved += [f"the {role} is another process" for role, pid in self.pids.items() if self.tree.pid(role) != pid]
            state = self.tree.state()
            moved += [f"an alarm stands: {line}" for line in (state.alarms if state else ())]
            self.judge.differs += [f"after step {self.steps}: {sentence}" for sentence in moved]

    def end_well(self) -> None:
        """The judges' turn; what the engine itself says of the steps."""
        counters = self.tree.counters()
        self.seen_steps, self.seen_offset_ns = counters.get("clock_steps", 0), counters.get("clock_offset_ns", 0)
        super().end_well()
        if self.deaths:
            return
        from hotpath import _core

        lost = [seq for kind, seq, _, _, payload in _core.journal.Reader(str(self.tree.run)) if kind == CONTROL and payload[0] == SUPERVISOR_LOST]
        self.judge.differs += [f"record {seq}: the engine took its supervisor for lost" for seq in lost]

    def result(self) -> dict[str, Any]:
        """With the clock's part."""
        return {**super().result(), "steps": self.steps, "offset_s": self.clock.offset_ns / S, "asked": self.clock.asked,
                "seen_steps": self.seen_steps, "seen_offset_s": self.seen_offset_ns / S}  # fmt: skip


def run(folder: Path, count: int, seed: int, *, deaths: bool, as_json: bool) -> bool:
    """One of the two parts, to its verdict."""
    folder.mkdir(parents=True)
    print(f"the clock stepped {'among deaths' if deaths else 'alone'}: seed {seed}, {count} times, in {folder}", flush=True)
    chaos: ClockChaos | None = None
    good = False
    try:
        chaos = ClockChaos(folder, count, seed, deaths=deaths)
        chaos.run()
        found = chaos.result()
        good = found["good"]
        if as_json:
            print(json.dumps(found), flush=True)
        else:
            tell(found)
            print(f"clock: {found['steps']} steps, asked for {found['asked']} times; the engine's last life saw {found['seen_steps']} steps, "
                  f"{found['seen_offset_s']:+.1f} s off", flush=True)  # fmt: skip
    except ChaosError as err:
        print(f"FAILED: {err}", flush=True)
        for line in chaos.pending if chaos is not None else ():
            print(f"the last: {line}")
    finally:
        if chaos is not None:
            chaos.end()
    return good


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="step the wall clock of a supervised tree, and let the records judge")
    parser.add_argument("--count", type=int, default=40, help="disturbances of the second part; the first has half as many steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="default: build/chaos/clock-SEED")
    parser.add_argument("--part", choices=["alone", "deaths"], default=None, help="only this one")
    parser.add_argument("--json", action="store_true", help="each result as one JSON object")
    options = parser.parse_args(argv)
    folder: Path = (options.folder or ROOT / "build" / "chaos" / f"clock-{options.seed}").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    good = True
    for part in ("alone", "deaths"):
        if options.part in (None, part):
            count = options.count if part == "deaths" else max(1, options.count // 2)
            good = run(folder / part, count, options.seed, deaths=part == "deaths", as_json=options.json) and good
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept: {folder}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
