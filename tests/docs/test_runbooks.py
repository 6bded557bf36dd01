"""Every runbook followed, command by command, against a real engine that was brought into the page's situation.

Each fenced `bash` block is run as it stands; the `text` block after it is what must come of it, line by line and in order,
`…` standing for anything. A block that only looks is repeated until it shows that, as the index tells people to do. What
happens in the world meanwhile (the exchange comes back) stands as `<!-- test: … -->` in the page and is done here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests/supervise", ROOT / "tests/orchestrator/day", ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from copy_proxy import CopyProxy  # noqa: E402
from test_both_died import power_cut  # noqa: E402
from test_tree import orders  # noqa: E402
from tree_rig import Rig, Venue  # noqa: E402

PAGES = sorted(p for p in (ROOT / "docs/runbooks").glob("*.md") if p.name != "index.md")
LOOKS = re.compile(r"^peregrine (status|limits get|tail --once|day agreement)|^df ")
PATIENCE_S = float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "90"))
LONG = {"disk-full", "failed-recovery", "stale-book"}  # half a minute and more each: `make runbooks` has them
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("orchestrator.cli.status") is None, reason="this build has no control API"),
]

DESK = """\
extends: laptop
engine: {{name: {name}, mlock: false, idle: sleep}}
venue: {{kind: embedded, rate_per_s: 300, faults: "{faults}"}}
feed: {{silence_ns: 1_000_000_000}}
journal: {{ring_mb: 4, segment_mb: {segment_mb}, sync: none}}
supervise: {{restart: {{backoff_ms: 50}}}}
risk: {{max_loss_units: 4_000_000_000, max_drawdown_units: 4_000_000_000}}
observe: {{metrics: "127.0.0.1:0"}}
report: {{histograms: false}}
"""


@dataclass
class Step:
    """One thing of a page: commands with what they print and their exit code, or an event of the world."""

    line: int
    commands: str = ""
    code: int = 0
    expected: list[str] = field(default_factory=list)
    event: str = ""


def steps_of(page: Path) -> list[Step]:
    """The steps of a page, in order."""
    steps: list[Step] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    i = 0
    while i < len(lines):
        if event := re.match(r"^<!-- test: (.+) -->$", lines[i]):
            steps.append(Step(i + 1, event=event[1]))
        elif block := re.match(r"^```(bash|text)(?: exit:(\d+))?$", lines[i]):
            end = lines.index("```", i + 1)
            if block[1] == "bash":
                steps.append(Step(i + 1, commands="\n".join(lines[i + 1 : end]), code=int(block[2] or 0)))
            else:
                steps[-1].expected = [line for line in lines[i + 1 : end] if line.strip()]
            i = end
        i += 1
    return steps


def missing(expected: list[str], shown: str) -> str:
    """The first expected line that no line of the output, in order, is like; "" when all are there."""
    rest = [line.strip() for line in shown.splitlines()]
    for line in expected:
        words = [".*".join(re.escape(part) for part in word.split("…")) for word in line.split()]
        # a `…` between blanks may be any number of words, none too
        pattern = re.compile(r"\s*".join(rf"\s*{w}" if w == ".*" else w for w in words).replace(r"\s*\s*", r"\s*"))
        hit = next((i for i, found in enumerate(rest) if pattern.fullmatch(found)), None)
        if hit is None:
            return line
        rest = rest[hit + 1 :]
    return ""


class Desk:
    """A folder with `desk.yaml`, a shell where `peregrine` is the tree under test, and the world around."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig(folder)
        self.folder = folder
        tools = folder / "bin"
        tools.mkdir()
        for name, command in (("peregrine", "-m orchestrator "), ("python3", "")):
            (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}"$@"\n')
            (tools / name).chmod(0o755)
        self.env = {**self.rig.environment(), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160"}
        self.mounted = False
        self.drop_copy: CopyProxy | None = None
        self.venue: Venue | None = None  # somebody else's

    def configure(self, *, faults: str = "", segment_mb: int = 16, more: str = "") -> None:
        """Write the desk's configuration."""
        text = DESK.format(name=self.rig.name, faults=faults, segment_mb=segment_mb) + more
        (self.folder / "desk.yaml").write_text(text)

    def shell(self, commands: str) -> subprocess.CompletedProcess[str]:
        """Run a block."""
        return subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=self.folder, env=self.env, capture_output=True,
                              text=True, timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip

    def do(self, commands: str) -> str:
        """Run something of the world, which must work."""
        done = self.shell(commands)
        assert done.returncode == 0, done.stdout + done.stderr + self.rig.logs()
        return done.stdout

    def up(self, **settings) -> None:
        """The engine trades."""
        self.configure(**settings)
        self.do("peregrine up -c desk.yaml --detach")

    def follow(self, step: Step) -> None:
        """Run a step's commands until they show what stands below them."""
        until = time.monotonic() + (PATIENCE_S if LOOKS.match(step.commands) else 0)
        while True:
            done = self.shell(step.commands)
            lacking = missing(step.expected, done.stderr + done.stdout)
            if done.returncode == step.code and not lacking:
                return
            assert time.monotonic() < until, (f"line {step.line}: {step.commands}\nexit {done.returncode}, expected {step.code}; lacking: {lacking!r}\n"
                                              f"{done.stdout}{done.stderr}{self.rig.logs()}")  # fmt: skip
            time.sleep(1)

    def end(self) -> None:
        """Nothing is left."""
        if self.drop_copy is not None:
            self.drop_copy.close()
        self.rig.sweep()
        if self.venue is not None:
            self.venue.server.stop()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder / "runs")], check=True)


def nothing_runs(desk: Desk) -> None:
    """There is a configuration and no engine."""
    desk.configure()


def engine_trades(desk: Desk) -> None:
    """All is well."""
    desk.up()


def limit_too_small(desk: Desk) -> None:
    """Somebody has made a limit smaller than it should be."""
    desk.up()
    desk.do("peregrine limits set max_long_lots=10 max_short_lots=10 --why 'a slip of the hand'")


def venue_hangs(desk: Desk) -> None:
    """The exchange's process is there and does nothing."""
    desk.up()
    os.kill(desk.rig.pid("venue"), signal.SIGSTOP)


def feed_loses(desk: Desk) -> None:
    """Both lines lose packets, and the re-request server hardly answers."""
    desk.up(faults="loss=5%,r.loss=95%")
    desk.rig.wait(lambda: "gaps climb" in desk.shell(next(s.commands for s in steps_of(ROOT / "docs/runbooks/stale-book.md"))).stdout)


def disk_fills(desk: Desk) -> None:
    """Something else has filled the journal's disk. Needs the right to mount one."""
    (desk.folder / "runs").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(desk.folder / "runs")], capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    desk.mounted = True
    desk.up(segment_mb=1)
    with (desk.folder / "runs/other").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def journal_damaged(desk: Desk) -> None:
    """Engine and supervisor are killed, and a record in the middle of the journal is not what was written."""
    desk.up(segment_mb=16)
    journal = desk.rig.run_folder()
    desk.rig.wait(lambda: counter(desk, "journal_bytes") > 300_000)
    engine = desk.rig.pid("engine")
    desk.rig.kill_supervisor()
    os.kill(engine, signal.SIGKILL)
    for snapshot in journal.glob("snapshot-*"):
        snapshot.unlink()
    with next(journal.glob("journal-*.pgj")).open("r+b") as file:
        file.seek(150_000)
        there = file.read(64)
        file.seek(150_000)
        file.write(bytes(b ^ 0xFF for b in there))


def power_fails(desk: Desk) -> None:
    """Orders are open at somebody else's exchange, and only the journal's folder is left."""
    desk.venue = venue = Venue(cancel_on_disconnect=False)
    desk.env["SUP_TEST_WORD"] = "PEREGRINE1"
    there = venue.settings()
    desk.configure()
    lines = (desk.folder / "desk.yaml").read_text().replace("idle: sleep", f"idle: sleep, shards: {there['engine.shards']}").splitlines()
    kept = [line for line in lines if not line.startswith("venue:")]
    (desk.folder / "desk.yaml").write_text("\n".join([*kept, f"venue: {there['venue']}", f"instruments: {there['instruments']}"]))
    desk.do("peregrine up -c desk.yaml --detach")
    desk.rig.wait(lambda: orders(desk.rig) > 0 and venue.total("open_orders"))
    power_cut(desk.rig)


def drop_copy_disagrees(desk: Desk) -> None:
    """The venue's drop copy tells one execution at another price than the order session did."""
    import json

    desk.drop_copy = CopyProxy(lambda: json.loads((desk.rig.run_folder() / "logs/venue.ready").read_text())["ouch"])
    login = f"login: {{address: '{desk.drop_copy.address}'}}"
    desk.up(more=f"day: {{reconcile: {{enabled: true, grace_ms: 500, status_ms: 50, {login}}}}}\n")
    desk.drop_copy.plant("price")


def venue_puts_it_right(desk: Desk) -> None:
    """The venue has found its mistake."""
    assert desk.drop_copy is not None
    desk.drop_copy.plan.clear()


def counter(desk: Desk, name: str) -> int:
    """A counter of the engine."""
    import json

    return json.loads(desk.do("peregrine status --json"))["engine"]["counters"][name]


SITUATIONS = {
    "start": nothing_runs, "stop": engine_trades, "limit-breach": limit_too_small, "venue-down": venue_hangs,
    "drop-copy-disagrees": drop_copy_disagrees, "stale-book": feed_loses, "disk-full": disk_fills, "failed-recovery": journal_damaged,
    "both-died": power_fails,
}  # fmt: skip
EVENTS = {
    "the venue is back": lambda desk: os.kill(desk.rig.pid("venue"), signal.SIGCONT),
    "the venue puts its record right": venue_puts_it_right,
    "the line is repaired": lambda desk: desk.configure(),
    "somebody makes room": lambda desk: (desk.folder / "runs/other").unlink(),
}


@pytest.fixture
def desk(tmp_path):
    """A desk of the test's own; what it leaves is swept away."""
    made = Desk(tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_runbook_leads_out_of_its_situation(page, desk):
    if page.stem in LONG and not os.environ.get("PEREGRINE_RUNBOOKS"):
        pytest.skip("make runbooks runs it")
    SITUATIONS[page.stem](desk)
    for step in steps_of(page):
        if step.event:
            EVENTS[step.event](desk)
        else:
            desk.follow(step)
    if page.stem != "stop":
        desk.do("peregrine down")
    assert desk.rig.left() == []


def test_every_page_has_a_situation_its_four_parts_and_a_way_from_the_index():
    index = (ROOT / "docs/runbooks/index.md").read_text()
    assert {p.stem for p in PAGES} == set(SITUATIONS)
    for page in PAGES:
        text = page.read_text()
        assert "**Symptom:**" in text and re.findall(r"^## (.*)$", text, flags=re.M) == ["Check", "Act", "Verify"], page.name
        assert f"({page.name})" in index
        assert {s.event for s in steps_of(page) if s.event} <= set(EVENTS)


@pytest.mark.parametrize(
    ("expected", "shown", "lacks"),
    [
        (["a … c"], "a b c", ""), (["a … c"], "a c", ""), (["a … c"], "a b d", "a … c"), (["a", "b"], "b\na\n", "b"),
        (["0 live … 0 0 …"], "0  live  ready  12  0  0  7", ""), (["gaps climb"], "no gaps climb", "gaps climb"),
        (["x: … records…"], "x: 5 records, 3 orders", ""), (["…, trading"], "desk, trading", ""),
    ],
)  # fmt: skip
def test_an_expected_line_is_found_or_missed(expected, shown, lacks):
    assert missing(expected, shown) == lacks


def test_there_is_a_shell_to_follow_pages_in():
    assert shutil.which("bash")
