"""The worked example of docs/formats-journal.md is what the code writes, byte for byte."""

import re
from pathlib import Path

import journal_reader as oracle
import pytest

from hotpath import journal

DOC = Path(__file__).resolve().parents[2] / "docs" / "formats-journal.md"
FALLBACK = DOC.with_name("formats.md")  # once the fragment is merged into it


def hex_block(title: str) -> bytes:
    """Bytes of the hex listing under a line `<!-- vector: title -->`."""
    text = (DOC if DOC.exists() else FALLBACK).read_text()
    match = re.search(rf"<!-- vector: {re.escape(title)} -->\s*```text\n(.*?)```", text, re.S)
    assert match, f"no vector {title!r} in the document"
    lines = [line.partition("|")[0] for line in match[1].splitlines()]
    return bytes.fromhex("".join(line.partition(":")[2] for line in lines))


def golden(bench) -> bytes:
    """The example's journal: two records in one closed segment."""
    bench.recover()
    appender = journal.Appender(str(bench.dir), "t", str(bench.shm), journal_id=0x1122334455667788)
    writer = journal.Writer(appender, str(bench.dir))
    appender.append(journal.RecordType.TIMER, 1_577_716_200_000_000_000, bytes(range(16)))
    appender.append(journal.RecordType.SESSION, 1_577_716_200_000_000_500, b"H")
    writer.close()
    return bench.segment().read_bytes()


def test_the_documented_segment_is_what_the_writer_writes(bench):
    assert golden(bench) == hex_block("segment")


def test_the_documented_segment_reads_back(bench):
    bench.dir.mkdir()
    bench.segment().write_bytes(hex_block("segment"))
    expected = [(22, 1, 1_577_716_200_000_000_000, 1, bytes(range(16))), (19, 2, 1_577_716_200_000_000_500, 1, b"H")]
    assert bench.read() == expected and bench.verify()["good"]
    assert [(r.type, r.seq, r.ts_ns, r.generation, r.payload) for r in oracle.read_journal(bench.dir).records] == expected


def test_the_documented_snapshot_is_what_is_written(tmp_path):
    journal.write_snapshot(str(tmp_path), 2, 0xABCDEF, b"state", generation=1, journal_id=0x1122334455667788)
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == hex_block("snapshot")
    assert path.name in (DOC if DOC.exists() else FALLBACK).read_text()


@pytest.mark.parametrize("version", [journal.FORMAT_VERSION])
def test_the_documented_versions_are_the_codes(version):
    text = (DOC if DOC.exists() else FALLBACK).read_text()
    assert f"format version {version}" in text and f"semantics version {journal.SEMANTICS_VERSION}" in text
