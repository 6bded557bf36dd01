"""A journal to write into: its directory, its ring's folder, and short ways to make, kill and read it."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracles"))

from hotpath import journal  # noqa: E402


class Bench:
    """One journal on a disk and a shared memory of its own (two folders of the test's)."""

    def __init__(self, base: Path) -> None:
        self.dir = base / "journal"
        self.shm = base / "shm"
        self.shm.mkdir()
        self.appender: journal.Appender | None = None
        self.writer: journal.Writer | None = None

    def recover(self, **options):
        """recover() with this bench's folders."""
        return journal.recover(str(self.dir), ring_name="t", ring_dir=str(self.shm), **options)

    def start(self, *, ring_bytes=65536, reserve_bytes=0, segment_bytes=1 << 20, **options):
        """Recover, then an appender and a writer; returns what recover() said."""
        found = self.recover(**({"disk": options["disk"]} if options.get("disk") else {}))
        self.appender = journal.Appender(
            str(self.dir), "t", str(self.shm), ring_bytes, found["generation"], found["next_seq"],
            found["journal_id"], reserve_bytes)
        self.writer = journal.Writer(self.appender, str(self.dir), segment_bytes=segment_bytes, **options)
        return found

    def append(self, payloads, kind=journal.RecordType.FEED, ts=0) -> list[int]:
        """Append each payload; the sequence numbers."""
        return [self.appender.append(kind, ts + i, p) for i, p in enumerate(payloads)]

    def drain(self, now_ns=0) -> int:
        """Drain until nothing moves; bytes moved."""
        return sum(itertools.takewhile(bool, iter(lambda: self.writer.drain_once(now_ns), None)))

    def crash(self) -> None:
        """What kill -9 leaves: nothing drained, nothing closed."""
        if self.writer is not None:
            self.writer.abandon()
        if self.appender is not None:
            self.appender.abandon()
        self.writer = self.appender = None

    def close(self) -> None:
        """A clean end."""
        self.writer.close()
        self.crash()

    def power_cut(self) -> None:
        """As crash, and shared memory is gone too."""
        self.crash()
        for f in self.shm.iterdir():
            f.unlink()

    def read(self, **options):
        """All records."""
        return list(journal.Reader(str(self.dir), **options))

    def verify(self):
        """What verify_chain says."""
        return journal.verify_chain(str(self.dir))

    def segment(self, number=1) -> Path:
        """Path of a segment."""
        return self.dir / f"journal-{number:06d}.pgj"


@pytest.fixture
def bench(tmp_path):
    """A fresh Bench."""
    b = Bench(tmp_path)
    yield b
    b.crash()


@pytest.fixture
def make_bench(tmp_path):
    """As many Benches as a property test needs."""
    made = []
    counter = itertools.count()

    def make() -> Bench:
        base = tmp_path / f"b{next(counter)}"
        base.mkdir()
        made.append(Bench(base))
        return made[-1]

    yield make
    for b in made:
        b.crash()
