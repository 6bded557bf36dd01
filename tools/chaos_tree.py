"""Chaos over a supervised tree: at moments drawn by seed, under trading, any process of `peregrine up` is killed or stopped and
continued, the line to the venue fails, the venue dies; a new supervisor comes after the old one's death, as a service manager
would bring it. Of several shards one is now and then drained or given to another thread, and the limit that they have on
lease is lowered and raised. Then the venue's own record and the journals say whether all was kept, for the account too.

    python tools/chaos_tree.py --count 100 --seed 1 [--shards 2] [--json]

One line a disturbance; the last line is `tree: N disturbances, 0 lost, 0 doubled, 0 differ, limits kept, …` (with --json one
object). Exit code 1 when anything was found; the folder with journal, venue's day and logs is kept then.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chaos import percentile  # noqa: E402
from chaos_account import AccountDay, AccountLimits, judge_account, lowest_bids  # noqa: E402
from chaos_judge import Judge  # noqa: E402
from chaos_limits import Limits, journal_faults, limits_passed  # noqa: E402
from chaos_line import Line  # noqa: E402
from chaos_supervised import LOST_AFTER_S, STALL_KILL_S, TreeRun, send  # noqa: E402
from chaos_world import ENGINE_SILENCE_S, PATIENCE_S, ROOT, VENUE_SILENCE_S, ChaosError, VenueRun  # noqa: E402

from orchestrator.config import effective, load_file  # noqa: E402
from orchestrator.control.client import ControlClient  # noqa: E402
from orchestrator.control.errors import ControlError  # noqa: E402
from orchestrator.observe.segment import process_start_ticks  # noqa: E402
from orchestrator.run.journals import replay_journal  # noqa: E402
from orchestrator.run.shards import folders  # noqa: E402
from orchestrator.supervise.stopping import read_result  # noqa: E402

#: what is done, how often in one round of the deck
DECK = {
    "engine killed": 3, "engine killed as it recovers": 2, "engine stopped": 3,
    "supervisor killed": 3, "supervisor killed as it takes over": 2, "supervisor stopped": 2,
    "telemetry killed": 1, "telemetry stopped": 1,
    "engine and supervisor killed": 2, "all three killed": 1, "all three stopped": 1,
    "line dropped": 3, "line stalled": 1, "venue killed": 2, "venue stopped": 1, "venue and engine killed": 1,
}  # fmt: skip
#: besides, where there are several shards
SHARDS_DECK = {"shard drained": 2, "shard moved": 2, "limit lowered": 3}
POLICIES = ("trade", "stop", "cancel")  # those that end when a supervisor is there again


class TreeChaos:
    """One run of it."""

    def __init__(self, folder: Path, count: int, seed: int, rate: int = 1000, changes: dict[str, Any] | None = None,
                 preload: dict[str, str] | None = None, deck: dict[str, int] | None = None, faults: bool = True,
                 venue_args: tuple[str, ...] = (), shards: int = 1) -> None:  # fmt: skip
        self.rng = random.Random(seed)
        self.count, self.seed = count, seed
        self.shards = shards
        self.cards = deck or {**DECK, **(SHARDS_DECK if shards > 1 else {})}
        losing = ("--fault", "loss=0.5%,reorder=0.5%,dup=0.5%") if self.rng.random() < 0.5 and faults else ()
        self.policy = self.rng.choice(POLICIES)
        if shards > 1 and seed % 2 == 0:  # the others have one thread for all shards: there is nowhere to move to
            changes = {"engine.topology": "pipelined", "engine.shards_per_thread": 1, **(changes or {})}
        self.venue = VenueRun(folder, seed, rate, self.rng.random() < 0.5, (*losing, *venue_args), shards)
        self.venue.start()
        self.line = Line(self.venue.ready["ouch"])
        self.tree = TreeRun(folder, f"tree{seed}-{os.getpid()}", self.venue, self.line.address,
                            {"supervise.engine_loss_policy": self.policy, **(changes or {})}, preload)  # fmt: skip
        self.judges = [Judge(self.venue, shard) for shard in range(shards)]
        self.judge = self.judges[0]
        self.account = AccountDay()
        self.passed: list[str] = []
        self.owed: list[tuple[str, dict[str, Any]]] = []  # commands that must be taken before the tree is as it was
        self.done = 0
        self.later: list[tuple[float, Callable[[], None]]] = []  # what is to be done when
        self.pending: list[str] = []  # disturbances the tree has not come back from
        self.quiet_s = 0.0  # monotonic: the last disturbance was over
        self.recoveries_ms: list[float] = []
        self.did: dict[str, int] = {}
        self.runs: set[str] = set()
        self.began = time.monotonic()
        self.report: dict[str, Any] = {}

    # ---- time

    def step(self) -> None:
        """What is due is done, and an end that nobody meant is attended to."""
        now = time.monotonic()
        due = [entry for entry in self.later if entry[0] <= now]
        self.later = [entry for entry in self.later if entry[0] > now]
        for _, act in sorted(due, key=lambda entry: entry[0]):
            act()
            self.quiet_s = time.monotonic()
        self.tree.attend()

    def sleep(self, seconds: float) -> None:
        """A while, in which what is due is done."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
            time.sleep(0.005)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true value. ChaosError when it does not come."""
        end = time.monotonic() + PATIENCE_S
        while True:
            self.step()
            if value := condition():
                return value
            if time.monotonic() > end:
                raise ChaosError(f"waited {PATIENCE_S:.0f} s for {what}: {self.tree.state()} {self.tree.counters()}")
            time.sleep(0.01)

    def in_a_while(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something then."""
        self.later.append((time.monotonic() + seconds, act))

    # ---- what is waited for

    def trades_again(self) -> None:
        """Until nothing is under way any more and the whole tree trades: an order more than before."""
        self.until(lambda: not self.later, "what is due")
        self.until(self.pay, "a supervisor that takes commands")
        self.until(self.tree.whole, "a tree that is whole and trades")
        orders = self.tree.counters().get("orders", 0)
        self.until(lambda: (c := self.tree.whole()) and c["orders"] > orders, "an order")
        self.runs.add(str(self.tree.run))
        ms = (time.monotonic() - self.quiet_s) * 1e3
        if self.done:
            self.recoveries_ms.append(ms)
        for line in self.pending:
            print(f"{line}; trades again after {ms:.0f} ms", flush=True)
        self.pending.clear()

    # ---- what is done

    def note(self, what: str, detail: str = "") -> None:
        self.done += 1
        self.did[what] = self.did.get(what, 0) + 1
        self.quiet_s = time.monotonic()
        for line in self.pending:
            print(f"{line}; not back before the next", flush=True)
        self.pending = [f"{self.done:4d}  {time.monotonic() - self.began:6.1f} s  {what}{': ' + detail if detail else ''}"]

    def a_while(self, limit_s: float) -> float:
        """Short, or longer than what the other side bears."""
        return self.rng.uniform(0.01, 0.3) if self.rng.random() < 0.4 else self.rng.uniform(limit_s * 1.05, limit_s * 1.5)

    def kill(self, role: str) -> None:
        """kill -9; a new supervisor comes after a drawn while."""
        if self.tree.kill(role) and role == "supervisor":
            self.in_a_while(self.rng.choice([0.0, self.rng.uniform(0, 3 * LOST_AFTER_S)]), self.new_supervisor)

    def new_supervisor(self) -> None:
        if not self.tree.pid("supervisor"):
            self.tree.start()

    def stop(self, role: str, seconds: float) -> None:
        """SIGSTOP now and SIGCONT then."""
        pid = self.venue.pid if role == "venue" else self.tree.pid(role)
        ticks = process_start_ticks(pid)
        if pid and send(pid, ticks, signal.SIGSTOP):
            self.in_a_while(seconds, lambda: send(pid, ticks, signal.SIGCONT) and None)

    # ---- what is asked of the supervisor, where there are several shards

    def ask(self, cmd: str, args: dict[str, Any]) -> str:
        """One command; "" when it was taken, else why not."""
        try:
            with ControlClient.local(self.tree.name, timeout_s=2.0) as control:
                control.call(cmd, args, why=f"chaos {self.done}", who="chaos")
        except (ControlError, OSError) as err:
            return str(err) or type(err).__name__
        return ""

    def pay(self) -> bool:
        """Asks once more for what was refused so far; whether nothing is left."""
        while self.owed:
            if self.ask(*self.owed[0]):
                return False
            self.owed.pop(0)
        return True

    def act_on_shard(self, what: str) -> None:
        """A shard drained and let go again, or given to a thread; the leased limit lowered and raised again."""
        rng = self.rng
        shard = rng.randrange(self.shards)
        if what == "shard moved":
            thread = rng.randrange(self.shards)
            refused = self.ask("move", {"shard": shard, "thread": thread})
            self.note(what, f"{shard} to thread {thread}{', refused: ' + refused if refused else ''}")
            return
        if what == "shard drained":
            cmd, args, back = "drain", {"shard": shard}, ("resume", {"shard": shard})
            detail = f"{shard}"
        else:
            limit = int(self.leased_units * rng.uniform(0.1, 0.8))
            cmd, args, back = "limits.set", {"limits": {"max_gross_units": limit}}, ("limits.set", {"limits": {"max_gross_units": self.leased_units}})
            detail = f"to {limit}"
        refused = self.ask(cmd, args)
        self.note(what, detail + (f", refused: {refused}" if refused else ""))
        self.in_a_while(rng.uniform(0.2, 2.0), lambda: self.owed.append(back))  # refused or not: it may have been done

    def act(self, what: str) -> None:
        """One disturbance; those that take time go on while others begin."""
        who, _, how = what.partition(" ")
        rng = self.rng
        if what in SHARDS_DECK:
            return self.act_on_shard(what)
        if what == "line dropped":
            self.line.drop(rng.choice(["fin", "rst"]))
            return self.note(what)
        if what == "line stalled":
            seconds = self.a_while(min(VENUE_SILENCE_S, ENGINE_SILENCE_S))
            self.line.stall(seconds)
            self.note(what, f"for {seconds * 1e3:.0f} ms")
            return self.in_a_while(seconds, lambda: None)
        if what in ("venue killed", "venue and engine killed"):
            self.venue.kill()
            if what != "venue killed":
                self.sleep(rng.random() * 0.02)
                self.kill("engine")
            self.in_a_while(rng.uniform(0, 1.0), self.venue.start)
            return self.note(what)
        if how == "stopped":
            limit = {"engine": STALL_KILL_S if rng.random() < 0.4 else VENUE_SILENCE_S, "supervisor": LOST_AFTER_S,
                     "venue": ENGINE_SILENCE_S}.get(who, 1.0)  # fmt: skip
            seconds = self.a_while(limit)
            self.stop(who, seconds)
            return self.note(what, f"for {seconds * 1e3:.0f} ms")
        if what == "all three stopped":
            for role in rng.sample(["supervisor", "engine", "telemetry"], 3):
                self.stop(role, self.a_while(VENUE_SILENCE_S))
            return self.note(what)
        if what == "engine killed as it recovers":
            self.kill("engine")
            first = self.tree.pid("engine")
            self.until(lambda: self.tree.pid("engine") not in (0, first) or self.later, "the engine's next life")
            self.sleep(rng.uniform(0, 1.2))
            phase = self.tree.phase() or "before its memory"
            self.kill("engine")
            return self.note(what, f"in phase {phase}")
        if what == "supervisor killed as it takes over":
            self.tree.kill("supervisor")
            if rng.random() < 0.3:
                self.tree.kill("engine")
            self.new_supervisor()
            self.sleep(rng.uniform(0.2, 1.5))
            self.kill("supervisor")
            return self.note(what)
        roles = {"engine and supervisor killed": ["engine", "supervisor"], "all three killed": ["engine", "supervisor", "telemetry"]}.get(what, [who])
        for role in rng.sample(roles, len(roles)):
            self.kill(role)
            if len(roles) > 1:
                self.sleep(rng.random() * rng.choice([0.01, 0.3]))
        return self.note(what)

    # ---- the whole

    def run(self) -> None:
        """Start, disturb, end, judge."""
        self.tree.start()
        self.trades_again()
        self.leased_units = effective(load_file(self.tree.config))["risk"]["max_gross_units"]
        cards: list[str] = []
        while self.done < self.count:
            if not cards:
                cards = [name for name, n in self.cards.items() for _ in range(n)]
                self.rng.shuffle(cards)
            self.act(cards.pop())
            if self.rng.random() < 0.25:
                self.sleep(self.rng.uniform(0, 1.5))  # the next one comes while this one is not over
            else:
                self.trades_again()
                self.sleep(self.rng.random() * 0.5)
        self.trades_again()
        self.end_well()

    def end_well(self) -> None:
        """`down`, and the judges' turn."""
        tree = self.tree
        if self.rng.random() < 0.5:
            self.report = tree.stop()
        else:
            tree.killed_by_us = True
            down = tree.call("down", tree.name, "--json", timeout=2 * PATIENCE_S)
            if down.returncode:
                raise ChaosError(f"down: {down.returncode}: {down.stdout}{down.stderr}{tree.logs()}")
            self.report = json.loads(down.stdout)
        self.venue.kill()
        result = read_result(tree.run)
        if result is None:
            raise ChaosError(f"the engine left no result: {self.report}")
        j = self.judge
        whole, said = folders(tree.run), result.to_json()
        if len(whole) != self.shards:
            raise ChaosError(f"the run has {len(whole)} journals, expected {self.shards}")
        for judge, folder in zip(self.judges, whole, strict=True):
            own = said if self.shards == 1 else replay_journal(folder).to_json()
            judge.conclude(folder, own)
            judge.differs += journal_faults(folder, loss_policy=self.policy)
            for key in ("position", "fees_units", "fills", "unknown_orders") if self.shards > 1 else ():
                said[key] -= own[key]
        if self.shards > 1:
            j.differs += [f"{key}: the shards' journals and the engine's end differ by {said[key]}"
                          for key in ("position", "fees_units", "fills", "unknown_orders") if said[key]]  # fmt: skip
        risk = effective(load_file(tree.config))["risk"]
        self.passed = limits_passed(self.venue, Limits.of(risk))
        self.account = self.account_day(risk)
        self.passed += self.account.passed
        j.differs += [f"left behind: {what}" for what in tree.left()]
        if len(self.runs) != 1:
            j.differs.append(f"the day has {len(self.runs)} runs: {sorted(self.runs)}")
        if self.report["open_orders"] != 0:
            j.lost.append(f"the tree says of its end: {self.report}")
        self.risk_rejects = result.risk_rejects

    def account_day(self, risk: dict[str, Any]) -> AccountDay:
        """All ports of the account together, out of the venue's record and feed alone."""
        from hotpath import _venue

        config = self.venue.config()
        day = _venue.VenueDay(config)
        day.catch_up()
        record, ports = day.record(0), [self.venue.port(shard) for shard in range(self.shards)]
        began_ns = min((e["ts_ns"] for e in record if e["port"] in ports and e["kind"] == "accepted"), default=0)
        lowest = lowest_bids(day.itch_messages(), self.venue.names(), config["midnight_ns"], began_ns - risk["max_quote_age_ns"])
        return judge_account(record, ports, AccountLimits.of(risk), lowest)

    def result(self) -> dict[str, Any]:
        """What came of it, for machines."""
        found: dict[str, list[str]] = {}
        for name in ("lost", "doubled", "differs"):
            found[name] = [f"shard {j.shard}: {one}" if self.shards > 1 else one for j in self.judges for one in getattr(j, name)]
        ms = self.recoveries_ms or [0.0]
        return {
            "disturbances": self.done, "seed": self.seed, "did": self.did, "loss_policy": self.policy, "shards": self.shards,
            **{name: sentences[:50] for name, sentences in found.items()}, "limits_passed": self.passed[:50],
            "records": sum(j.records for j in self.judges), "account": self.account.peaks(), "lives": len(self.judge.lives) + 1, "supervisors": self.tree.starts, "decisions_for_take_over": self.tree.decisions,
            "orders": sum(j.orders for j in self.judges), "executions": sum(j.executions for j in self.judges), "risk_rejects": self.risk_rejects, "line_drops": self.line.drops,
            "trades_again_ms": {f"p{p}": round(percentile(ms, p)) for p in (50, 90, 99, 100)},
            "seconds": round(time.monotonic() - self.began, 1), "good": all(j.good for j in self.judges) and not self.passed,
        }  # fmt: skip

    def end(self) -> None:
        """No process and no shared memory is left."""
        self.tree.clean_up()
        self.venue.kill()
        self.line.close()


def tell(found: dict[str, Any]) -> None:
    """For people."""
    print(f"\n{found['records']} journal records of {found['lives']} lives under {found['supervisors']} supervisors, {found['orders']} orders and "
          f"{found['executions']} executions at the venue, {found['risk_rejects']} refused by the gate")  # fmt: skip
    if found["shards"] > 1:
        print(f"the account of {found['shards']} shards, at most, by the venue's record: " + ", ".join(f"{k} {v:,}" for k, v in found["account"].items()))
    print("trades again after, ms: " + ", ".join(f"{k} {v}" for k, v in found["trades_again_ms"].items()))
    for sentence in [*found["lost"], *found["doubled"], *found["differs"], *found["limits_passed"]]:
        print(f"FOUND: {sentence}")
    kept = "limits kept" if not found["limits_passed"] else f"limits passed {len(found['limits_passed'])} times"
    print(f"tree: {found['disturbances']} disturbances, {len(found['lost'])} lost, {len(found['doubled'])} doubled, "
          f"{len(found['differs'])} differ, {kept}", flush=True)  # fmt: skip


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="disturb a supervised tree, and let the venue's record judge")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="of what is done when; default: by the clock")
    parser.add_argument("--rate", type=int, default=1000, help="flow events a second and symbol")
    parser.add_argument("--folder", type=Path, default=None, help="default: build/chaos/tree-SEED")
    parser.add_argument("--shards", type=int, default=2, choices=range(1, 5), help="of the engine, with one account")
    parser.add_argument("--only", action="append", help="only this card of the deck; may be repeated")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object in the last line")
    options = parser.parse_args(argv)
    seed = time.time_ns() // 1_000_000_000 % 1_000_000 if options.seed is None else options.seed
    folder: Path = (options.folder or ROOT / "build" / "chaos" / f"tree-{seed}").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"chaos over the tree: seed {seed}, {options.count} disturbances, in {folder}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chaos: TreeChaos | None = None
    good = False
    try:
        chaos = TreeChaos(folder, options.count, seed, options.rate, deck={k: {**DECK, **SHARDS_DECK}[k] for k in options.only} if options.only else None,
                          shards=options.shards)  # fmt: skip
        chaos.run()
        found = chaos.result()
        good = found["good"]
        print(json.dumps(found)) if options.json else tell(found)
    except ChaosError as err:
        print(f"FAILED: {err}", flush=True)
        for line in chaos.pending if chaos is not None else ():
            print(f"the last: {line}")
    finally:
        if chaos is not None:
            chaos.end()
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept: {folder}\nagain: python tools/chaos_tree.py --count {options.count} --seed {seed}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
