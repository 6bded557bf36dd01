"""Broken configurations deployed to a supervised tree while it trades: cut off, of wrong types, with unknown keys, absurd sizes,
bytes that are no text, nesting without end, and good YAML that does the engine no good. Each is refused or taken back, the
limits in force stay, the engine stays the same process and trades on; at the end the venue's record judges.

    python tools/chaos_deploy.py --count 60 --seed 1 [--json]

One line a deploy; the last line is the verdict. Exit code 1 when anything was found; the folder is kept then.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chaos_tree import TreeChaos, tell  # noqa: E402
from chaos_world import ROOT, ChaosError  # noqa: E402

from orchestrator.deploy.door import ask, open_door  # noqa: E402
from orchestrator.deploy.history import VARIABLE, History  # noqa: E402

NOT_GOOD = (75, 78)  # exit codes: taken back or not begun; the configuration cannot be used
MOST_MB = 1500  # a command that reads a configuration needs no more, whatever stands in it
WRONG = ("abc", [], [1, 2], {}, {"a": 1}, 1.5, -1, 10**30, None, True, "0x", "١٢")
#: what validates and does no good: the gate refuses what is asked for, or nothing may be asked for any more
UNWELL: tuple[dict[str, Any], ...] = (
    {"risk.max_order_notional_units": 1}, {"risk.max_working_orders": 0, "risk.max_account_orders": 0},
    {"risk.max_gross_units": 1}, {"risk.max_executions": 0},
)  # fmt: skip
#: limits under which the gate refuses little: an engine that is refused most of what it asks for shows no change for the worse
WIDE = {"risk.max_long_lots": 1000, "risk.max_short_lots": 1000, "risk.max_working_orders": 16, "risk.max_account_orders": 16,
        "risk.max_account_notional_units": 2_000_000_000, "risk.max_working_notional_units": 2_000_000_000}  # fmt: skip

#: nobody dies of a busy machine: engine and supervisor are to be the same at the end
PATIENT = {"supervise.lost_after_ms": 20_000, "supervise.stall_ms": 20_000, "supervise.stall_kill_ms": 28_000}


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values of a tree, leaves and inner ones."""
    found = [path] if path else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the tree with another value there."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = put(tree[path[0]] if not isinstance(tree, dict) or path[0] in tree else {}, path[1:], value)
    return copy


def plain(tree: Any) -> bytes:
    """As a file."""
    return yaml.safe_dump(tree).encode()


class Breaker:
    """Makes broken configurations of a good one; `kinds` maps a name to a maker of bytes."""

    def __init__(self, good: dict[str, Any], rng: random.Random) -> None:
        self.good, self.rng, self.text = good, rng, plain(good)
        self.kinds: dict[str, Callable[[], bytes]] = {
            "cut off": self.cut, "wrong type": self.wrong_type, "unknown key": self.unknown_key, "bytes": self.some_bytes,
            "deep nesting": self.deep, "absurd size": self.absurd, "another document": self.another, "unwell": self.unwell,
        }  # fmt: skip

    def cut(self) -> bytes:
        """The file ends too early, but not in its last line, which a file may well end in."""
        return self.text[: self.rng.randrange(self.text.rstrip().rfind(b"\n"))]

    def wrong_type(self) -> bytes:
        """A limit or another number that is no number any more, or one that cannot be."""
        numbers = [p for p in places(self.good) if isinstance(self.value(p), int) and not isinstance(self.value(p), bool) and p != ("version",)]
        return plain(put(self.good, self.rng.choice(numbers), self.rng.choice(WRONG)))

    def value(self, path: tuple[Any, ...]) -> Any:
        """What stands there."""
        at: Any = self.good
        for key in path:
            at = at[key]
        return at

    def unknown_key(self) -> bytes:
        """A key nobody knows, in any section."""
        sections = [p for p in places(self.good) if isinstance(self.value(p), dict) and p != ("risk", "by_symbol")]
        name = self.rng.choice(["no_such_key", "max_order_lot", "__class__", "", " ", "risk", "ключ", "a" * 5000])
        where = self.rng.choice([(), *sections])
        if name == "risk" and where == ():
            name = "risks"
        return plain(put(self.good, (*where, name), self.rng.choice([1, None, {}, "x"])))

    def some_bytes(self) -> bytes:
        """No text: noise, zeros, another encoding, or a few bytes of noise in the middle."""
        rng = self.rng
        how = rng.randrange(5)
        if how == 0:
            return rng.randbytes(rng.randrange(1, 100_000))
        if how == 1:
            return bytes(rng.randrange(1, 5000))
        if how == 2:
            return b"\xff\xfe" + self.text.decode().encode("utf-16-le")[:-1]
        if how == 3:
            return b"\x1f\x8b\x08" + rng.randbytes(500)
        at = rng.randrange(len(self.text))
        return self.text[:at] + bytes(rng.randrange(128, 256) for _ in range(4)) + b"\xff" + self.text[at:]

    def deep(self) -> bytes:
        """Brackets, mappings, aliases that stand for billions of values, an alias of itself."""
        n = self.rng.choice([50, 1000, 20_000])
        return self.text + self.rng.choice([
            b"deep: " + b"[" * n + b"]" * n + b"\n", b"deep: " + b"{a: " * n + b"1" + b"}" * n + b"\n",
            b"deep: &a [*a]\n", b"deep: " + b"- " * n + b"1\n",
            b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 10)),
        ])  # fmt: skip

    def absurd(self) -> bytes:
        """Too much of something."""
        rng = self.rng
        symbols = [{"symbol": f"S{i}", "increment_ticks": 100, "round_lot_lots": 100} for i in range(3000)]
        return rng.choice([
            lambda: plain({**self.good, "name": "x" * 1_000_000}), lambda: plain(put(self.good, ("risk", "max_order_lots"), 10**4000)),
            lambda: plain({**self.good, "instruments": symbols}), lambda: self.text + b"x: [" + b"1, " * 200_000 + b"1]\n",
            lambda: plain(put(self.good, ("journal", "ring_mb"), 2**62)), lambda: plain({**self.good, "risk": {f"k{i}": i for i in range(5000)}}),
        ])()  # fmt: skip

    def another(self) -> bytes:
        """No mapping, two documents, a tag that would run code, a key twice, nothing."""
        return self.rng.choice([
            b"", b"# nothing\n", b"--- 7\n", b"[1, 2]\n", b"just words\n", self.text + b"---\n" + self.text, b"\xef\xbb\xbf[]\n",
            b"!!python/object/apply:os.system ['true']\n", self.text + b"risk: {}\n", self.text.replace(b"name: chaos", b"name: *nobody"),
            self.text + b"<<: {risk: {max_order_lots: 1}}\nname: twice\n", b"%YAML 9.9\n---\n" + self.text, self.text + b"\tname: tab\n",
        ])  # fmt: skip

    def unwell(self) -> bytes:
        """Good YAML, good types, allowed values, and the engine cannot work with them."""
        tree = self.good
        for place, value in self.rng.choice(UNWELL).items():
            tree = put(tree, tuple(place.split(".")), value)
        return plain(tree)


class DeployChaos(TreeChaos):
    """A tree to which broken configurations are deployed."""

    def __init__(self, folder: Path, count: int, seed: int, kinds: dict[str, int] | None = None) -> None:
        self.history = folder / "state"
        super().__init__(folder, count, seed, changes={"observe.metrics": None, **WIDE, **PATIENT}, preload={VARIABLE: str(self.history)}, deck=kinds or {
            "cut off": 3, "wrong type": 4, "unknown key": 2, "bytes": 2, "deep nesting": 2, "absurd size": 2, "another document": 3, "unwell": 2,
        })  # fmt: skip
        self.breaker = Breaker(self.tree.settings, self.rng)
        self.codes: dict[str, int] = {}
        self.most_mb = 0
        self.file = folder / "broken.yaml"

    def trades_again(self) -> None:
        """Remembers what must stay."""
        super().trades_again()
        if not self.done:
            self.limits, self.stays = self.in_force(), self.who()

    def in_force(self) -> Any:
        """The engine's limits now, as its journal has them; not where in the journal they stand, nor what is used of them."""
        door = open_door(self.tree.name)
        try:
            found = ask(door, "limits.get", {}, who="chaos", why="").data
        finally:
            door.close()
        return {**{key: found[key] for key in ("account", "symbols_default", "symbols")}, "shards": [s["account"] for s in found["shards"]]}

    def who(self) -> tuple[int, int, int]:
        """The processes, and how often one was started again."""
        state = self.tree.state()
        return self.tree.pid("supervisor"), self.tree.pid("engine"), sum(p.restarts for p in state.processes) if state else -1

    def act(self, what: str) -> None:
        """One deploy."""
        self.file.write_bytes(self.breaker.kinds[what]())
        was = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        done = self.tree.call("config", "deploy", "-c", str(self.file), "--why", f"chaos {self.done}", "--window", "5s" if what == "unwell" else "1s", timeout=120)
        now = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.most_mb = max(self.most_mb, now // 1024 if now > was else 0)
        said = (done.stderr.strip().splitlines() or [""])[0][:140]
        self.note(what, f"{done.returncode}, {said}")
        self.codes[str(done.returncode)] = self.codes.get(str(done.returncode), 0) + 1
        expected = (75,) if what == "unwell" else NOT_GOOD
        found = []
        if done.returncode not in expected:
            found.append(f"exit code {done.returncode}, not one of {expected}: {done.stdout[-200:]} {done.stderr[-300:]}")
        if "Traceback" in done.stderr:
            found.append(f"a traceback: {done.stderr[-400:]}")
        if (limits := self.in_force()) != self.limits:
            found.append(f"limits in force are {limits}, were {self.limits}")
        if (stays := self.who()) != self.stays:
            found.append(f"supervisor, engine, restarts are {stays}, were {self.stays}")
        if found:  # what is not as it was then is the next one's beginning
            self.limits, self.stays = limits, stays
            kept = self.file.with_name(f"broken-{self.done}.yaml")
            kept.write_bytes(self.file.read_bytes())
            self.judge.differs += [f"deploy {self.done} ({what}, {kept.name}): {sentence}" for sentence in found]

    def end_well(self) -> None:
        """The judges' turn; the history has no good one."""
        states = {m.state for m in History(self.tree.name, self.history / self.tree.name / "deploys").all()}
        super().end_well()
        if not states <= {"rolled back"}:
            self.judge.differs.append(f"the history has deploys that are {states}")
        if self.most_mb > MOST_MB:
            self.judge.differs.append(f"a command took {self.most_mb} MiB")

    def result(self) -> dict[str, Any]:
        """With the deploys' part."""
        return {**super().result(), "codes": self.codes, "most_mb": self.most_mb}


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="deploy broken configurations to a tree that trades")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="default: build/chaos/deploy-SEED")
    parser.add_argument("--only", action="append", help="only this kind; may be repeated")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object in the last line")
    options = parser.parse_args(argv)
    folder: Path = (options.folder or ROOT / "build" / "chaos" / f"deploy-{options.seed}").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chaos: DeployChaos | None = None
    good = False
    try:
        chaos = DeployChaos(folder, options.count, options.seed, dict.fromkeys(options.only, 1) if options.only else None)
        chaos.run()
        found = chaos.result()
        good = found["good"]
        if options.json:
            print(json.dumps(found))
        else:
            tell(found)
            print(f"deploys: {found['disturbances']} broken ones, exit codes {found['codes']}, at most {found['most_mb']} MiB", flush=True)
    except ChaosError as err:
        print(f"FAILED: {err}", flush=True)
    finally:
        if chaos is not None:
            chaos.end()
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept: {folder}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
