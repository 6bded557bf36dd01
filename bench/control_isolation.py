"""How much of what befalls the control plane does an order feel?

    python bench/control_isolation.py [--pairs 5] [--seconds 8] [--only NAME ...] [--anywhere] [--json FILE]

For each disturbance a whole tree is started as `peregrine up` does. Then windows alternate, undisturbed and disturbed, which
of the two first alternating too; in each the engine's own histogram from receive to send is read before and after. The table
has the medians over the windows and their ratio. The goal is p50 at most 1.1 times and p99 at most 1.5 times the undisturbed
twin's.

Two rows are twins. `nothing` disturbs nothing and is measured like the others; the worst ratio that comes of calling the one
or the other window of each of its pairs disturbed is what chance alone can make here. Where that passes the goal, this machine
cannot judge. `busy` is one process in an endless loop on the CPUs beside the engine:
what any work at all there costs, whoever does it.

Who attacks or asks sits on another machine; here it has to share this one. It runs on the CPUs that the tree leaves to
everything but the engine: on the engine's own core a stranger takes time from it by being there, whatever he sends.
`--anywhere` leaves him to the kernel, which shows how much that is.

Under each disturbance, at the end, the kill word and then (after a revival) SIGUSR1 must stop the engine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for _folder in (ROOT / "src", ROOT / "sim", ROOT / "tools"):
    sys.path.insert(0, str(_folder))

import msgspec  # noqa: E402
import numpy as np  # noqa: E402
import zmq  # noqa: E402
from control_attack import CONNECTED, CONNECTING, Attacker  # noqa: E402

from orchestrator.control import keys  # noqa: E402
from orchestrator.control.client import ControlClient  # noqa: E402
from orchestrator.control.kill_word import set_kill_word  # noqa: E402
from orchestrator.control.messages import Request  # noqa: E402
from orchestrator.observe import machine  # noqa: E402
from orchestrator.observe.segment import Segment  # noqa: E402
from orchestrator.observe.shards import read_engine  # noqa: E402
from orchestrator.observe.telemetry import HistogramView  # noqa: E402
from orchestrator.supervise import paths, state_file  # noqa: E402

GOAL = {"p50": 1.1, "p99": 1.5}
KILLED = 5
STATUS_PER_S = 1000
SYMBOLS = "PRGN,FLCN,HAWK,KITE"


class Tree:
    """A supervised engine of its own; `name` in a runtime folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"isolation-{os.getpid()}"
        os.environ[paths.VARIABLE] = str(folder / "rt")
        self.viewer, self.server = keys.make("viewer"), keys.make("server")
        keys.write(self.server, folder / "server.key")
        (folder / "clients").write_text(self.viewer.line("viewer") + "\n")
        settings = {
            "engine.name": self.name, "engine.mlock": "false", "journal.dir": str(folder / "runs"), "journal.ring_mb": "16",
            "instruments": "[" + ",".join(f"{{symbol: {s}}}" for s in SYMBOLS.split(",")) + "]", "venue.rate_per_s": "2000",
            "execution.min_resting_ns": "0", "execution.take_interval_ns": "1_000_000",
            "risk.max_account_orders": "64", "risk.max_drawdown_units": "2_000_000_000", "risk.max_loss_units": "2_000_000_000",
            "supervise.engine_loss_policy": "trade", "observe.metrics": "127.0.0.1:0",
            "control.tcp": "127.0.0.1:0", "control.key_file": str(folder / "server.key"), "control.clients_file": str(folder / "clients"),
        }  # fmt: skip
        self.peregrine("up", "--detach", *[w for k, v in settings.items() for w in ("--set", f"{k}={v}")])
        self.state = state_file.read(paths.runtime_dir(self.name))
        self.attempts = 0
        #: where the tree puts what is not the engine
        self.beside = {cpu for p in self.state.processes if p.role != "engine" for cpu in p.cpus}

    def peregrine(self, *args: str) -> None:
        """One command to its end."""
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "sim")])}
        done = subprocess.run([sys.executable, "-m", "orchestrator", *args], capture_output=True, text=True, env=env, cwd=self.folder)
        if done.returncode:
            raise SystemExit(f"peregrine {' '.join(args[:1])}: {done.stderr[-2000:]}")

    def reading(self) -> tuple[HistogramView, dict[str, int]]:
        """Receive to send so far, and the counters."""
        with Segment(self.name) as segment:
            found = read_engine(segment)
        return found.histograms["tick_to_order"], found.counters

    def window(self, seconds: float) -> dict[str, int]:
        """Percentiles of what was sent within it."""
        before, _ = self.reading()
        time.sleep(seconds)
        after, _ = self.reading()
        view = HistogramView("window", np.asarray(after.counts) - np.asarray(before.counts), after.sub_bits, after.max)
        return {"p50": view.percentile(50), "p99": view.percentile(99), "orders": view.count}

    def killed(self) -> bool:
        """Has it stopped, with nothing left at the venue?"""
        counters = self.reading()[1]
        return counters["trading_state"] == KILLED and counters["working_orders"] == 0

    def down(self) -> None:
        """Nothing of it is left."""
        with suppress(SystemExit):
            self.peregrine("down", self.name)


@contextmanager
def nothing(tree: Tree) -> Iterator[None]:
    """The undisturbed twin of the undisturbed."""
    yield


@contextmanager
def busy(tree: Tree) -> Iterator[None]:
    """A process that has nothing to do with us."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def supervisor_stopped(tree: Tree) -> Iterator[None]:
    """SIGSTOP."""
    os.kill(tree.state.supervisor_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(tree.state.supervisor_pid, signal.SIGCONT)


@contextmanager
def subscriber_hung(tree: Tree) -> Iterator[None]:
    """Connected to telemetry.sock, never reads."""
    context: zmq.Context[Any] = zmq.Context()
    s = context.socket(zmq.SUB)
    s.setsockopt(zmq.RCVHWM, 1)
    s.subscribe(b"")
    s.connect(f"ipc://{paths.runtime_dir(tree.name)}/telemetry.sock")
    try:
        yield
    finally:
        context.destroy(linger=0)


@contextmanager
def log_disk_full(tree: Tree) -> Iterator[None]:
    """The supervisor can write no file any more (RLIMIT_FSIZE; the same errors as a full disk, without one)."""
    pid = tree.state.supervisor_pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        with ControlClient.local(tree.name) as control:
            control.call("note", {"text": "so that there is something to log"}, why="bench")
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def _beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def status_flood(tree: Tree) -> Iterator[None]:
    """A thousand status requests a second."""

    def work(over: threading.Event) -> None:
        context: zmq.Context[Any] = zmq.Context()
        s = context.socket(zmq.DEALER)
        s.connect(f"ipc://{paths.runtime_dir(tree.name)}/control.sock")
        began, sent = time.monotonic(), 0
        while not over.is_set():
            with suppress(zmq.Again):
                while sent < (time.monotonic() - began) * STATUS_PER_S:
                    s.send(msgspec.msgpack.encode(Request(cmd="status")), zmq.NOBLOCK)
                    sent += 1
                    tree.attempts += 1
                while s.poll(0):
                    s.recv()
            time.sleep(0.002)
        context.destroy(linger=0)

    with _beside(work):
        yield


@contextmanager
def attacked(tree: Tree) -> Iterator[None]:
    """Bad attempts of every kind, one after the other."""

    def work(over: threading.Event) -> None:
        attacker = Attacker(tree.state.addresses["control_tcp"], tree.server.public, tree.viewer)
        kinds = [*CONNECTING, *CONNECTED]
        n = 0
        while not over.is_set():
            attacker.attempt(kinds[n % len(kinds)])
            attacker.drain()
            n += 1
            tree.attempts += 1
        attacker.close()
        if attacker.accepted:
            raise SystemExit(f"{attacker.accepted} bad attempts were accepted")

    with _beside(work):
        yield


DISTURBANCES = {f.__name__: f for f in (nothing, busy, supervisor_stopped, subscriber_hung, log_disk_full, status_flood, attacked)}


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Did it come to be?"""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def kills(tree: Tree, disturbance: Callable[[Tree], Any]) -> dict[str, bool]:
    """Do the word and the signal stop the engine under this disturbance?"""
    with disturbance(tree):
        set_kill_word(tree.name, "cancel")
        by_word = until(tree.killed)
    with ControlClient.local(tree.name) as control:
        token = control.call("revive", why="bench").data["token"]
        control.call("revive", {"token": token}, why="bench")
    until(lambda: not tree.killed())
    with disturbance(tree):
        with Segment(tree.name) as segment:
            os.kill(segment.status().pid, signal.SIGUSR1)
        by_signal = until(tree.killed)
    return {"kill_word": by_word, "signal": by_signal}


@contextmanager
def placed(cpus: set[int]) -> Iterator[None]:
    """This process, and what it starts meanwhile, on those."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(name: str, pairs: int, seconds: float, anywhere: bool) -> dict[str, Any]:
    """One disturbance, on a tree of its own."""
    disturbance = DISTURBANCES[name]
    folder = Path(tempfile.mkdtemp(prefix="prg"))
    try:
        tree = Tree(folder)
        try:
            tree.window(1.0)  # warm
            calm, hurt = [], []
            with placed(os.sched_getaffinity(0) if anywhere else tree.beside):
                for pair in range(pairs):
                    for disturbed in (False, True) if pair % 2 == 0 else (True, False):
                        with disturbance(tree) if disturbed else nothing(tree):
                            (hurt if disturbed else calm).append(tree.window(seconds))
            row: dict[str, Any] = {"disturbance": name, "orders": sum(w["orders"] for w in [*calm, *hurt]), "attempts": tree.attempts}
            for p, goal in GOAL.items():
                row[f"calm_{p}_ns"] = int(statistics.median(w[p] for w in calm))
                row[f"hurt_{p}_ns"] = int(statistics.median(w[p] for w in hurt))
                row[f"ratio_{p}"] = round(row[f"hurt_{p}_ns"] / max(1, row[f"calm_{p}_ns"]), 2)
                row[f"good_{p}"] = row[f"ratio_{p}"] <= goal
                row[f"spread_{p}"] = round(max(w[p] for w in calm) / max(1, min(w[p] for w in calm)), 2)
                row[f"chance_{p}"] = by_chance([w[p] for w in calm], [w[p] for w in hurt])
            return {**row, **kills(tree, disturbance)}
        finally:
            tree.down()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def by_chance(calm: list[int], hurt: list[int]) -> float:
    """The largest ratio of medians, over every way of calling one of each pair the disturbed."""
    ratios = []
    for swaps in itertools.product((False, True), repeat=len(calm)):
        pairs = [(h, c) if swap else (c, h) for c, h, swap in zip(calm, hurt, swaps, strict=True)]
        ratios.append(statistics.median(h for _, h in pairs) / max(1, statistics.median(c for c, _ in pairs)))
    return round(max(ratios), 2)


def verdict(row: dict[str, Any], nothing: dict[str, Any]) -> str:
    """Does it hold, a percentile at a time? Where chance alone passes the goal, neither yes nor no says much."""
    words = []
    for p, goal in GOAL.items():
        noisy = nothing[f"chance_{p}"] > goal
        words.append(f"{p} {'holds' if row[f'good_{p}'] else 'not met' if noisy else 'MISSED'}{' (noisy)' if noisy else ''}")
    return ", ".join(words)


def main() -> int:
    """Measure, print; 0 when every kill worked, whatever the times are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one window (default: 8)")
    parser.add_argument("--only", choices=sorted(DISTURBANCES), action="append", help="may be given again; `nothing` is always measured")
    parser.add_argument("--anywhere", action="store_true", help="let what disturbs run on the engine's core too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{'disturbance':20} {'orders':>7} {'p50 calm':>9} {'hurt':>9} {'ratio':>6} {'spread':>6}  {'p99 calm':>9} {'hurt':>9} {'ratio':>6} {'spread':>6} {'attempts':>8}  {'kill word, signal':18} verdict")
    for name in DISTURBANCES:
        if options.only and name not in ["nothing", *options.only]:
            continue
        r = measure(name, options.pairs, options.seconds, options.anywhere)
        rows.append(r)
        r["verdict"] = "" if name in ("nothing", "busy") else verdict(r, rows[0])
        kills_work = f"{'works' if r['kill_word'] else 'FAILS'}, {'works' if r['signal'] else 'FAILS'}"
        print(f"{name:20} {r['orders']:7,} {r['calm_p50_ns']:9,} {r['hurt_p50_ns']:9,} {r['ratio_p50']:6} {r['spread_p50']:6}  "
              f"{r['calm_p99_ns']:9,} {r['hurt_p99_ns']:9,} {r['ratio_p99']:6} {r['spread_p99']:6} {r['attempts']:8,}  {kills_work:18} {r['verdict']}", flush=True)  # fmt: skip
    print(f"ns from receive to send, medians of {options.pairs} windows of {options.seconds:g} s; goal: p50 at most {GOAL['p50']} times, p99 at most {GOAL['p99']} times.")
    chance = ", ".join(f"{p} {rows[0][f'chance_{p}']}" for p in GOAL)
    print("spread: highest of the undisturbed windows over their lowest. busy: an endless loop beside the engine, the baseline.")
    print(f"noise: where nothing is disturbed, chance makes ratios of up to {chance}; (noisy): that passes the goal, so this machine cannot judge.")
    print("What disturbs ran on " + ("any CPU, the engine's too." if options.anywhere else "the CPUs the tree leaves to everything but the engine."))
    if options.json:
        found = {"machine": machine.describe(), "goal": GOAL, "anywhere": options.anywhere, "rows": rows}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(r["kill_word"] and r["signal"] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
