"""Twenty kills of engine, writer and venue under load, judged by the venue's own record; and proof that the judge judges."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import chaos  # noqa: E402
from chaos_judge import ENTER, INTENT, RECOVERED, REPLACE, SESSION, Judge  # noqa: E402
from chaos_world import ChaosError, EngineRun, VenueRun, until  # noqa: E402
from thread_stop import StoppedThread, permitted, thread_of  # noqa: E402

LAST_LINE = re.compile(r"(\d+) kills: (\d+) lost, (\d+) doubled, recovery p99 (\d+) ms")


def test_twenty_kills_under_load_lose_nothing_and_double_nothing(tmp_path):
    seed = os.environ.get("PEREGRINE_CHAOS_SEED", "1")
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/chaos.py"), "--kills", "20", "--seed", seed, "--folder", str(tmp_path / "chaos")],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-3000:]
    last = LAST_LINE.fullmatch(result.stdout.splitlines()[-1])
    assert last, result.stdout[-500:]
    assert [int(x) for x in last.groups()[:3]] == [20, 0, 0]
    kills = [line for line in result.stdout.splitlines() if re.match(r" +\d+ +\d", line)]
    assert len(kills) == 20
    for what in ("engine, under load", "reconciling", "recovering its journal", "venue", "stopped"):
        assert any(what in line for line in kills), f"seed {seed} never tried: {what}"
    if not permitted():
        assert any("writer stopped" in line and "only in the ring" in line for line in kills)
    assert not (tmp_path / "chaos").exists(), "a good run leaves nothing"


# ---- the judge can find things

class Story:
    """A short life of engine and venue, one kill in it, and what is left of it. It ends when there is `enough` to judge."""

    def __init__(self, folder: Path, enough: Callable[[Story], bool] = lambda story: True) -> None:
        folder.mkdir()
        self.folder = folder
        self.venue = VenueRun(folder, 5, 1000, cancel_on_disconnect=False)
        self.venue.start()
        engine = EngineRun(folder, f"judge{os.getpid()}", self.venue)
        try:
            for life in range(2):
                engine.start()
                until(engine.ready, "an engine that may trade")
                fills = engine.counters()["fills"]
                until(lambda fills=fills: engine.counters()["fills"] >= fills + 5, "fills")
                if life == 0:
                    engine.kill()
            until(lambda: enough(self), "enough to judge")
            self.report = engine.finish()
            self.journal = engine.journal
        finally:
            engine.clean_up()
            self.venue.kill()

    def records(self):
        from hotpath import _core

        return [(r[0], r[2], bytes(r[4])) for r in _core.journal.Reader(str(self.journal))]

    def rewritten(self, records) -> Path:
        """A journal of these records."""
        from hotpath import _core

        journal = self.folder / f"altered-{len(list(self.folder.glob('altered-*')))}"
        journal.mkdir()
        appender = _core.journal.Appender(dir=str(journal), name=f"altered{os.getpid()}", ring_dir=str(self.folder), ring_bytes=1 << 26)
        writer = _core.journal.Writer(appender, dir=str(journal))
        for kind, ts_ns, payload in records:
            assert appender.append(kind, ts_ns, payload)
        writer.close()
        return journal

    def judged(self, records=None, report=None) -> Judge:
        """The judge's findings about this journal (rewritten when given) and this report."""
        journal = self.journal if records is None else self.rewritten(records)
        judge = Judge(self.venue)
        judge.conclude(journal, {**self.report, **(report or {})})
        return judge


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    return Story(tmp_path_factory.mktemp("judge") / "story")


def nth(records, kind: int, accept, n: int = 2) -> int:
    return [i for i, r in enumerate(records) if r[0] == kind and accept(r[2])][n]


def is_new_order(payload: bytes) -> bool:
    return payload[0] in (ENTER, REPLACE)


def test_the_judge_finds_nothing_in_an_honest_journal(story):
    judge = story.judged()
    assert judge.good, (judge.lost, judge.doubled, judge.differs)
    assert judge.orders > 5 and judge.executions > 5 and len(judge.lives) == 1
    assert judge.lives[0].ready_ns > judge.lives[0].recovered_ns


def test_an_order_without_its_intent_counts_as_lost(story):
    records = story.records()
    del records[nth(records, INTENT, is_new_order)]
    judge = story.judged(records)
    assert any("no intent" in s for s in judge.lost) and any("before an intent" in s for s in judge.lost)
    assert judge.differs  # and it does not replay


def test_an_intent_journaled_after_its_answer_counts_as_lost(story):
    records = story.records()
    at = nth(records, SESSION, lambda p: p[:2] == b"SA")
    number = records[at][2][10:14]
    intent = nth(records, INTENT, lambda p: is_new_order(p) and p[4:8] == number[::-1], 0)
    records.insert(at, records.pop(intent))
    assert any("before an intent" in s for s in story.judged(records).lost)


def test_an_execution_that_was_not_heard_counts_as_lost(story):
    records = story.records()
    at = nth(records, SESSION, lambda p: p[:2] == b"SE")
    del records[at]
    judge = story.judged(records)
    assert judge.lost and judge.differs


def test_a_number_used_twice_counts_as_doubled(story):
    records = story.records()
    at = nth(records, INTENT, lambda p: p[0] == ENTER)
    records.insert(at, records[at])
    judge = story.judged(records)
    assert any("order number" in s for s in judge.doubled) and any("ClOrdId" in s for s in judge.doubled)


def test_a_message_the_venue_never_said_differs(story):
    records = story.records()
    at = nth(records, SESSION, lambda p: p[:2] == b"SE")
    kind, ts_ns, payload = records[at]
    records[at] = (kind, ts_ns, payload[:-1] + bytes([payload[-1] ^ 1]))
    assert any("the venue said" in s for s in story.judged(records).differs)


@pytest.mark.parametrize("key", ["position", "fees_units", "fills", "unknown_orders", "order_hash", "state_hash"])
def test_a_report_that_counts_otherwise_differs(story, key):
    wrong = {key: "0" * 16 if key.endswith("hash") else story.report[key] + 1}
    assert story.judged(report=wrong).differs


def test_the_generations_of_a_journal_are_counted_by_both(story):
    records = [r for r in story.records() if r[0] != RECOVERED]
    assert story.judged(records).differs


# ---- the tool itself

def test_a_failing_run_says_so_keeps_its_folder_and_how_to_do_it_again(tmp_path, monkeypatch, capsys):
    def fails(self) -> None:
        raise ChaosError("told to")

    monkeypatch.setattr(chaos.Chaos, "run", fails)
    folder = tmp_path / "kept"
    assert chaos.main(["--kills", "3", "--seed", "42", "--folder", str(folder)]) == 1
    said = capsys.readouterr()
    assert "FAILED: told to" in said.out and "make chaos N=3 SEED=42" in said.err
    assert (folder / "venue.day").exists()


def test_one_thread_of_a_child_can_be_stopped_alone(tmp_path):
    if why := permitted():
        pytest.skip(f"the kernel forbids it: {why}")
    code = (
        "import threading, time, pathlib, sys\n"
        "def write():\n"
        " pathlib.Path('/proc/self/task/%d/comm' % threading.get_native_id()).write_text('victim')\n"
        " while True: a.write_text(str(time.time_ns())); time.sleep(0.002)\n"
        f"a, b = pathlib.Path({str(tmp_path / 'a')!r}), pathlib.Path({str(tmp_path / 'b')!r})\n"
        "threading.Thread(target=write, daemon=True).start()\n"
        "while True: b.write_text(str(time.time_ns())); time.sleep(0.002)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        tid = until(lambda: thread_of(child.pid, "victim"), "its thread")
        until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists(), "both files")
        stopped = StoppedThread(tid)
        a, b = (tmp_path / "a").read_text(), (tmp_path / "b").read_text()
        until(lambda: (tmp_path / "b").read_text() not in ("", b), "the other thread to go on")
        assert (tmp_path / "a").read_text() == a
        stopped.resume()
        until(lambda: (tmp_path / "a").read_text() not in ("", a), "the thread to go on")
        again = StoppedThread(tid)
        child.kill()
        again.reap()
        assert child.wait(timeout=20) == -9
    finally:
        child.kill()
