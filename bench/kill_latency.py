"""How long from a kill that is asked for to the last order and the cancels? Quiet, and under a flood of commands.

    PYTHONPATH=src:sim python bench/kill_latency.py [--kills 20] [--json FILE]

A live engine trades with a simulated venue in a process of its own; it is killed and revived again and again, by the word,
by the signal and by a command, and its journal tells the times: when it was asked for (the word's stamp, the signal's, the
command's origin), when it was an input, when the last order made before it and when the last byte of the cancels had been
handed to the socket. The flood is a second process that keeps the command ring full. The noise floor is the gap a bare spinning thread saw
in the same run: what is not above it is the machine's, not the engine's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "src"), str(ROOT / "sim")]

from chaos_world import EngineRun, VenueRun, environment, until  # noqa: E402

from orchestrator.control import kills  # noqa: E402
from orchestrator.control.engine_link import EngineLink  # noqa: E402
from orchestrator.control.messages import Request  # noqa: E402
from orchestrator.observe import machine  # noqa: E402

FLOOD = """
import sys
from hotpath import _core
from orchestrator.control import bodies
writer = _core.CommandWriter(_core.Segment.attach(sys.argv[1], write=True))
note = bodies.command("note", bodies.note("x" * 300), 0, b"")
print("on", flush=True)
while True:
    writer.push(note)
"""
HOWS = ("word", "signal", "command")


def settled(engine: EngineRun) -> bool:
    """Killed, and nothing works; False too while a reading under way cannot be had."""
    now = engine.counters()
    return now.get("trading_state") == 5 and now.get("working_orders") == 0


def trades_on(engine: EngineRun, orders: int) -> bool:
    """That many orders by now, and one at work."""
    now = engine.counters()
    return now.get("orders", 0) >= orders and now.get("working_orders", 0) > 0


def killed_again_and_again(engine: EngineRun, name: str, hows: tuple[str, ...], times: int, by_ring: bool) -> list[tuple[str, int]]:
    """(how, when it was asked for) of each kill; the engine trades between them."""
    asked = []
    with_link = EngineLink(name) if by_ring else None
    from hotpath import _core

    word = _core.Segment.attach(name, write=True)
    for n in range(times):
        how = hows[n % len(hows)]
        orders = until(engine.counters, "a reading")["orders"]
        until(lambda orders=orders: trades_on(engine, orders + 3), "orders at work")
        at = time.time_ns()
        if how == "word":
            word.set_kill(1)
        elif how == "signal":
            os.kill(engine.pid, signal.SIGUSR1)
        else:
            assert with_link is not None
            with_link.send("kill", shard=0, request=Request(cmd="kill", who="bench", when_ns=at))
        asked.append((how, at))
        until(lambda: settled(engine), "killed and settled")
        if how == "signal":
            break  # a signal's kill cannot be lifted: the process keeps it
        word.set_kill(0)
        if how == "command":
            assert with_link is not None
            with_link.send("revive", shard=0, request=Request(cmd="revive", who="bench"))
    if with_link is not None:
        with_link.close()
    return asked


def measure(what: str, times: int, hows: tuple[str, ...], beside: Callable[[EngineRun, str], Any]) -> dict[str, Any]:
    """One engine's life under `beside`; its kills out of its journal."""
    with tempfile.TemporaryDirectory(prefix="kill-latency-") as at:
        folder = Path(at)
        venue = VenueRun(folder, 7, 2000, False)
        venue.start()
        name = f"killbench{os.getpid()}"
        engine = EngineRun(folder, name, venue, {"engine.idle": "yield"})
        trouble = None
        try:
            engine.start()
            until(engine.ready, "an engine that may trade")
            trouble = beside(engine, name)
            asked = killed_again_and_again(engine, name, hows, times, "command" in hows)
            if trouble is not None:
                trouble.kill()
                trouble.wait()
                trouble = None
            report = engine.finish()
            told = kills.history_of(engine.journal)
        finally:
            if trouble is not None:
                trouble.kill()
            engine.clean_up()
            venue.kill()
    assert len(told) == len(asked), (len(told), asked)
    rows = [
        {"how": how, "seen": k["seen_ns"] - at, "last_order": max(0, (k["last_order_ns"] or 0) - k["seen_ns"]),
         "cancels": (k["cancels_sent_ns"] or 2**62) - k["seen_ns"], "new_after": k["new_after"]}
        for (how, at), k in zip(asked, told, strict=True)
    ]  # fmt: skip
    return {"scenario": what, "kills": rows, "noise_ns": report["noise_ns"], "still_open": report["kills"][-1]["still_open"] if report["kills"] else 0}


def quiet(engine: EngineRun, name: str) -> None:
    """Nothing beside it."""


def flooded(engine: EngineRun, name: str) -> subprocess.Popen[str]:
    """Another process keeps the command ring full."""
    flooder = subprocess.Popen([sys.executable, "-c", FLOOD, name], stdout=subprocess.PIPE, text=True, env=environment())
    assert flooder.stdout is not None and flooder.stdout.readline() == "on\n"
    return flooder


def show(result: dict[str, Any]) -> None:
    """A row a way of killing."""
    for how in HOWS:
        rows = [k for k in result["kills"] if k["how"] == how]
        if not rows:
            continue
        cells = []
        for name in ("seen", "last_order", "cancels"):
            values = sorted(k[name] for k in rows)
            cells.append(f"{values[len(values) // 2] / 1e3:10.1f}{values[-1] / 1e3:10.1f}")
        print(f"{result['scenario']:10}{how:9}{len(rows):5}" + "".join(cells) + f"{sum(k['new_after'] for k in rows):6}"
              f"{result['noise_ns']['p99_9'] / 1e3:10.1f}{result['noise_ns']['max'] / 1e3:10.1f}", flush=True)  # fmt: skip


def main(argv: list[str]) -> int:
    """The command line above; exit code 1 when an order was made after a kill."""
    parser = argparse.ArgumentParser(description="time of the kill switch under load")
    parser.add_argument("--kills", type=int, default=20, help="of each scenario")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(argv)
    print(machine.one_line(machine.describe()))
    print("microseconds, median and worst: asked to seen, seen to the last order handed over (0: it was before), seen to the cancels handed over")
    print(f"{'scenario':10}{'by':9}{'n':>5}{'seen':>10}{'worst':>10}{'order':>10}{'worst':>10}{'cancels':>10}{'worst':>10}{'new':>6}{'noise99.9':>10}{'max':>10}")
    results = []
    for what, hows, beside in (("quiet", ("word", "command"), quiet), ("flooded", ("word",), flooded), ("quiet", ("signal",), quiet)):
        results.append(measure(what, options.kills if hows != ("signal",) else 1, hows, beside))
        show(results[-1])
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine.describe(), "results": results}, indent=1) + "\n")
    return 1 if any(k["new_after"] for r in results for k in r["kills"]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
