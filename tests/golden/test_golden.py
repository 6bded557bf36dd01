"""Golden journals replay to the hashes they were blessed with; only `tools/golden.py bless` changes those."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(HERE)]
import golden  # noqa: E402
from golden_scenarios import SCENARIOS  # noqa: E402

from hotpath import _core  # noqa: E402
from hotpath.journal.header import build_header, parse_header  # noqa: E402
from orchestrator.run import journals  # noqa: E402

TABLE = golden.table()


@pytest.mark.parametrize("name", TABLE)
def test_a_golden_journal_replays_to_its_hashes(name):
    assert golden.check(name, TABLE[name]) == []


def test_the_table_the_scenarios_and_the_files_are_the_same_journals():
    assert list(TABLE) == sorted(SCENARIOS)
    assert {p.name for p in HERE.glob("*.tar.zst")} == {f"{n}.tar.zst" for n in TABLE}
    assert len(TABLE) >= 12
    for name, entry in TABLE.items():
        assert (HERE / f"{name}.tar.zst").stat().st_size <= 100_000
        assert entry["semantics_version"] == _core.journal.SEMANTICS_VERSION, "bless what another engine made"
        assert entry["format_version"] == _core.journal.FORMAT_VERSION
        assert all(len(b["why"].split()) >= 3 for b in entry["blessed"])


#: what must happen in each for its name to be true: counters of the replay, at least
SEEN = {
    "plain_trading": {"orders": 30, "fills": 20, "replaces": 5},
    "fills_before_acks": {"orders": 15, "fills": 15},
    "replace_races": {"replaces": 15, "fills": 10},
    "stale_feed": {"gaps": 2, "snapshots": 2, "orders": 10},
    "halts": {"orders": 10, "cancels": 2},
    "kill": {"kills": 3, "orders": 10},
    "commands": {"risk_rejects": 10, "orders": 4},
    "user_signal": {"signal_raised": 20, "held": 20, "orders": 5},
    "risk_rejects": {"risk_rejects": 200, "kills": 1},
    "crashes": {"snapshots": 3, "orders": 20},
    "reconnects": {"connections": 4, "alarms": 1, "orders": 20},
    "saturation": {"malformed": 1, "orders": 5},
    "veto": {"orders": 10, "replaces": 5},
}


@pytest.mark.parametrize("name", TABLE)
def test_what_a_golden_is_named_for_happens_in_it(name, tmp_path):
    folder = golden.unpack(HERE / f"{name}.tar.zst", tmp_path)
    _, _, raw, _ = journals._replay(folder)
    for counter, least in SEEN[name].items():
        assert raw["summary"][counter] >= least, counter
    records = [(r[0], bytes(r[4])) for r in _core.journal.Reader(str(folder))]
    if name == "crashes":
        assert raw["recoveries"] == 3 and raw["unsent"] >= 1
    if name == "risk_rejects":
        assert len({body[29] for kind, body in records if kind == 65}) >= 6, "reasons"
    if name == "fills_before_acks":
        session = [body[:2] for kind, body in records if kind == 19]
        assert (b"SE", b"SA") in zip(session, session[1:], strict=False)
    if name == "saturation":
        assert any(body[16 + 20 : 16 + 24] == b"\xff" * 4 for kind, body in records if kind == 16 and body[16:17] == b"A")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_makes_the_same_journal_each_time(name, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert golden.tar_of(golden.make(name, one)) == golden.tar_of(golden.make(name, two))


# ---- blessing


@pytest.fixture
def copy(tmp_path):
    """The golden folder, to change at will."""
    for file in [*HERE.glob("*.tar.zst"), HERE / "golden.json"]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def alter(folder: Path, name: str, **changes) -> bytes:
    table = golden.table(folder)
    table[name] |= changes
    text = json.dumps(table).encode()
    (folder / "golden.json").write_bytes(text)
    return text


@pytest.mark.parametrize("why", ["", "   ", "because", "new hashes"])
def test_nothing_is_blessed_without_a_reason(copy, why):
    with pytest.raises(golden.Refused, match="--why"):
        golden.bless(["veto"], why, copy)


def test_what_replays_as_blessed_is_left_alone(copy):
    before = (copy / "golden.json").read_bytes()
    assert golden.bless(["halts"], "There is nothing to change here.", copy) == ["halts: as blessed, left alone"]
    assert (copy / "golden.json").read_bytes() == before


@pytest.mark.parametrize("fact", ["order_hash", "state_hash", "orders"])
def test_another_hash_under_the_same_semantics_version_is_refused(copy, fact):
    text = alter(copy, "halts", **{fact: 1 if fact == "orders" else "0" * 16})
    assert golden.check("halts", golden.table(copy)["halts"], copy)
    with pytest.raises(golden.Refused, match="kSemanticsVersion"):
        golden.bless(["halts"], "The engine decides better now, says who?", copy)
    assert (copy / "golden.json").read_bytes() == text, "nothing is written when it is refused"


def test_another_hash_is_blessed_when_the_semantics_version_has_risen(copy):
    alter(copy, "halts", state_hash="0" * 16, semantics_version=_core.journal.SEMANTICS_VERSION - 1)
    (said,) = golden.bless(["halts"], "The state hash folds one more field.", copy)
    assert said.startswith("halts: blessed")
    entry = golden.table(copy)["halts"]
    assert entry["state_hash"] == TABLE["halts"]["state_hash"]
    assert [b["why"] for b in entry["blessed"]][-1] == "The state hash folds one more field."
    assert golden.check("halts", entry, copy) == []


def test_a_new_scenario_is_blessed_as_it_is(copy):
    table = golden.table(copy)
    del table["kill"]
    (copy / "golden.json").write_text(json.dumps(table))
    golden.bless(["kill"], "A journal with kills in it was missing.", copy)
    assert golden.check("kill", golden.table(copy)["kill"], copy) == []


def test_a_changed_archive_is_seen(copy):
    path = copy / "veto.tar.zst"
    path.write_bytes(path.read_bytes() + b"\0")
    assert golden.check("veto", TABLE["veto"], copy) == ["veto.tar.zst is not the file that was blessed"]


def test_the_command_line_names_what_differs_and_refuses_what_it_does_not_know():
    def tool(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "tools/golden.py", *args], cwd=ROOT, capture_output=True, text=True)

    good = tool("check", "halts", "--json")
    assert good.returncode == 0 and json.loads(good.stdout) == {"checked": ["halts"], "wrong": {}}
    assert tool("check", "nonesuch").returncode == 64
    assert tool("bless", "--why", "no name given here").returncode == 64
    refused = tool("bless", "halts", "--why", "")
    assert refused.returncode == 1 and "not blessed" in refused.stderr


# ---- versions


def with_semantics(folder: Path, into: Path, version: int, wrote: str | None) -> Path:
    """The journal with another semantics version in its header record."""
    into.mkdir()
    appender = _core.journal.Appender(dir=str(into), name="other", ring_dir=str(into), ring_bytes=1 << 22)
    writer = _core.journal.Writer(appender, dir=str(into), allocate_ahead=False)
    for record in _core.journal.Reader(str(folder)):
        payload = bytes(record[4])
        if record[0] == 1:
            header = parse_header(payload)
            payload = build_header(type(header)(**{**header.__dict__, "semantics_version": version,
                                                   "machine": {"version": wrote} if wrote else {}}))
        assert appender.append(record[0], record[2], payload)
    writer.close()
    return into


@pytest.mark.parametrize("wrote", ["9.8.7", None])
@pytest.mark.parametrize("offset", [-1, 1])
def test_a_journal_of_other_semantics_is_refused_and_says_who_can_replay_it(tmp_path, offset, wrote):
    folder = golden.unpack(HERE / "fills_before_acks.tar.zst", tmp_path / "as-it-is")
    version = _core.journal.SEMANTICS_VERSION + offset
    other = with_semantics(folder, tmp_path / "other", version, wrote)
    for use in (journals.verify_journal, journals.replay_journal):
        with pytest.raises(journals.JournalUnreadable, match=f"semantics version {version}") as refused:
            use(other)
        assert ("Peregrine 9.8.7" if wrote else "the release that wrote it") in refused.value.hint
    done = subprocess.run([sys.executable, "-m", "orchestrator", "verify", str(other)], capture_output=True, text=True)
    assert done.returncode not in (0, 1) and "hint:" in done.stderr and "Traceback" not in done.stderr
    run = subprocess.run([sys.executable, "-m", "orchestrator", "run", "--for", "1s", "--resume", str(other)],
                         capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert run.returncode == done.returncode and f"semantics version {version}" in run.stderr


@pytest.mark.parametrize(("format_version", "says"), [(2, "a newer release wrote it"), (0, "an older release wrote it")])
def test_a_journal_of_another_format_is_refused_by_number(tmp_path, format_version, says):
    import struct

    from hotpath._core import crc32c

    folder = golden.unpack(HERE / "fills_before_acks.tar.zst", tmp_path)
    segment = folder / "journal-000001.pgj"
    data = bytearray(segment.read_bytes())
    struct.pack_into("<I", data, 8, format_version)
    struct.pack_into("<I", data, 124, crc32c(bytes(data[:124])))
    segment.write_bytes(data)
    with pytest.raises(journals.JournalUnreadable, match="unsupported-version") as refused:
        journals.verify_journal(folder)
    assert f"found {format_version}" in str(refused.value) and says in str(refused.value)
