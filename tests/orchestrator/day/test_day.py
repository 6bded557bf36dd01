"""A trading day from its journals: fills, positions, what is carried over, what is put away, what the venue says of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import yaml

pytest.importorskip("hotpath._core")
from inside import inside  # noqa: E402

from hotpath.execution.wire import encode_ouch, encode_soup  # noqa: E402
from orchestrator.config import load_file  # noqa: E402
from orchestrator.day.archive import ArchiveError, archive, restore, verify  # noqa: E402
from orchestrator.day.drop_copy import DropCopy, DropCopyError, read_drop_copy  # noqa: E402
from orchestrator.day.fills import DayRecord, Fill, read_day  # noqa: E402
from orchestrator.day.positions import Carry, carry_of, opening_problems, read_carry  # noqa: E402
from orchestrator.day.reconcile import reconcile  # noqa: E402
from orchestrator.day.tca import price_fills, report  # noqa: E402
from tests.traded_run import run_until  # noqa: E402


def call(cwd: Path, *args: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """One command to its end, in this process."""
    return inside(cwd, *args, code=code, **env)


@contextlib.contextmanager
def venue(cwd: Path) -> Iterator[dict]:
    """The simulated exchange in a process of its own; where it is reached."""
    process = subprocess.Popen([sys.executable, "-m", "orchestrator", "venue", "--rate", "800", "--no-cancel-on-disconnect", "--for", "3600s"],
                               stdout=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def traded(tmp_path_factory) -> Iterator[tuple[Path, Path, dict, dict]]:
    """(folder, run, the run's report, where its venue is still reached) of a few seconds against a venue with a drop copy."""
    folder, name = tmp_path_factory.mktemp("day"), f"day{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with venue(folder) as at:
        tree = {
            "extends": "laptop", "name": "day", "account": {"start_position_lots": {"PRGN": 300}},
            "venue": {"kind": "external", **{k: at[k] for k in ("ouch", "itch_a", "itch_b", "retransmit", "glimpse")}, "interface": "127.0.0.1",
                      "cancel_on_disconnect": False, "account": {"username": "DEMO01", "password_env": "PW"}},
            "risk": {"max_drawdown_units": 2_000_000_000, "max_loss_units": 2_000_000_000},
            "engine": {"name": name, "mlock": False, "idle": "sleep"}, "journal": {"dir": "runs", "ring_mb": 4, "sync": "none"},
        }  # fmt: skip
        (folder / "day.yaml").write_text(yaml.safe_dump(tree))
        report = run_until(folder, name, lambda seen: seen["fills"] >= 20, "-c", "day.yaml", PW="PEREGRINE1")
        yield folder, (folder / "runs/latest").resolve(), report, at


def test_fills_and_positions_are_those_of_the_engine_and_the_venue_agrees_execution_by_execution(traded):
    folder, run, report, at = traded
    day = read_day(run)
    assert report["fills"] > 5 and len(day.fills) == report["fills"] and sum(abs(f.signed_lots) for f in day.fills) == report["filled_lots"]
    assert day.close_lots() == {"PRGN": report["symbols"]["PRGN"]["position_lots"]} and day.start_lots == {"PRGN": 300}
    told = read_drop_copy(at["ouch"], "DROP01", "PEREGRINE1")
    assert len(told.fills) == report["fills"] and reconcile(day, told).agreed
    assert told.traded_lots()["PRGN"] == sum(f.signed_lots for f in day.fills) and told.start_lots is None  # that venue was not told what the firms hold
    fill = day.fills[3]
    del told.fills[fill.key]
    told.fills[999_999, 1] = (5, 10, "A")
    lots, price_ticks, flag = told.fills[day.fills[0].key]
    told.fills[day.fills[0].key] = (lots + 1, price_ticks, flag)
    problems = reconcile(day, told).problems
    assert len(problems) == 3 and any("not in the venue's record" in p for p in problems) and any("our journals have not" in p for p in problems)
    assert len(reconcile(day, told, whole_firm=False).problems) == 2
    told.fills[day.fills[0].key] = (lots, price_ticks, flag)
    symbol, sign = told.orders[day.fills[0].order_ref]
    assert symbol == "PRGN" and sign == (1 if day.fills[0].signed_lots > 0 else -1)
    told.orders[day.fills[0].order_ref] = (symbol, -sign)
    assert "by the venue we" in reconcile(day, told, whole_firm=False).problems[0]
    assert day.closed and day.open_orders == 0 and day.venue_session == told.session


def test_a_day_is_closed_with_the_venues_word_and_the_next_one_opened_on_it(traded):
    folder, run, report, at = traded
    lots = report["symbols"]["PRGN"]["position_lots"]
    said = call(folder, "day", "reconcile", str(run), "--drop-copy", at["ouch"], PEREGRINE_DROP_COPY_PASSWORD="PEREGRINE1").stdout
    assert f"{report['fills']} fills agree" in said
    call(folder, "day", "carry", str(run), "-o", "close.yaml", "--drop-copy", at["ouch"], PEREGRINE_DROP_COPY_PASSWORD="PEREGRINE1")
    found, problems = read_carry(folder / "close.yaml")
    assert not problems and found is not None and found.reconciled and found.positions == {"PRGN": lots}
    assert set(found.marks) == ({"PRGN"} if lots else set())
    with mock.patch("orchestrator.run.plan.today", lambda: dt.date.fromisoformat(found.session_date)):  # also where midnight has passed
        assert "a day that is not over" in call(folder, "day", "open", "close.yaml", "-c", "day.yaml", "-o", "next.yaml", code=78).stderr
    found.session_date, found.limits = "2020-01-02", {"max_loss_units": 1_000_000_000}
    (folder / "close.yaml").write_text(found.text())
    call(folder, "day", "open", "close.yaml", "-c", "day.yaml", "-o", "next.yaml")
    opened = load_file(folder / "next.yaml")
    assert opened.account.start_cost_units == {symbol: lots * ticks for symbol, ticks in found.marks.items()}
    assert opened.account.start_position_lots == {"PRGN": lots} and opened.risk.max_loss_units == 1_000_000_000
    assert "PEREGRINE_DROP_COPY_PASSWORD is not set" in call(folder, "day", "reconcile", str(run), "--drop-copy", at["ouch"], code=64, PEREGRINE_DROP_COPY_PASSWORD="").stderr
    refused = call(folder, "day", "reconcile", str(run), "--drop-copy", at["ouch"], code=69, PEREGRINE_DROP_COPY_PASSWORD="WRONG").stderr
    assert "refused the login" in refused and "WRONG" not in refused


def test_an_archive_reads_back_and_shows_every_change(traded, tmp_path):
    _, run, report, _ = traded
    manifest = archive(run, tmp_path / "a", {"fills": report["fills"]})
    assert not verify(tmp_path / "a").problems and manifest["chain"] == verify(tmp_path / "a").chain
    restore(tmp_path / "a", tmp_path / "back")
    files = sorted(p.relative_to(run) for p in run.rglob("*") if p.is_file())
    assert sorted(p.relative_to(tmp_path / "back") for p in (tmp_path / "back").rglob("*") if p.is_file()) == files
    assert all((tmp_path / "back" / f).read_bytes() == (run / f).read_bytes() for f in files)
    assert read_day(tmp_path / "back").close_lots() == read_day(run).close_lots()
    with pytest.raises(ArchiveError, match="is there already"):
        archive(run, tmp_path / "a", {})
    with pytest.raises(ArchiveError, match="no journal"):
        archive(tmp_path / "a", tmp_path / "b", {})

    def damaged(change) -> list[str]:
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "a", copy)
        told = json.loads((copy / "manifest.json").read_text())
        change(copy, told)
        (copy / "manifest.json").write_text(json.dumps(told))
        try:
            return verify(copy).problems
        finally:
            shutil.rmtree(copy)

    name = f"{files[0]}.zst"
    last = next(p for p in (tmp_path / "a/files").iterdir() if p.is_file() and p.stat().st_size > 60)

    def flip(copy: Path, at: int) -> None:
        file = copy / "files" / last.name
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(bytes(data))

    assert damaged(lambda copy, told: None) == []
    for at in (0, 8, 30, -1):
        assert damaged(lambda copy, told, at=at: flip(copy, at)), at
    assert damaged(lambda copy, told: (copy / "files" / name).unlink())
    assert damaged(lambda copy, told: (copy / "files/extra.zst").write_bytes(b"x")) == ["extra.zst: not in the manifest"]
    assert damaged(lambda copy, told: told["files"].pop(1))
    assert damaged(lambda copy, told: told["files"].reverse())
    assert damaged(lambda copy, told: told["files"][0].update(bytes=1))
    assert damaged(lambda copy, told: told.update(fills=report["fills"] + 1)) == ["the manifest's facts or its last chain were changed"]
    assert damaged(lambda copy, told: told["files"][0].update(name="../../etc/passwd"))


def test_the_archive_commands_say_where_and_end_with_their_codes(traded, tmp_path):
    _, run, _, _ = traded
    made = json.loads(call(tmp_path, "day", "archive", str(run), "-o", "a", "--json").stdout)
    assert json.loads(call(tmp_path, "day", "verify", "a", "--json", "--chain", made["chain"]).stdout)["ok"]
    assert not json.loads(call(tmp_path, "day", "verify", "a", "--json", "--chain", "0" * 64, code=69).stdout)["ok"]
    call(tmp_path, "day", "restore", "a", "back")
    call(tmp_path, "verify", "back")
    (tmp_path / "a/manifest.json").write_text("{")
    assert "manifest is damaged" in call(tmp_path, "day", "verify", "a", code=69).stderr


def carried(**changes) -> Carry:
    return Carry(**{"session_date": "2026-01-05", "run": "/r", "reconciled": True, "positions": {"A": 5, "B": 0}, "marks": {"A": 90}, "limits": {}, **changes})


def test_a_carry_over_file_changed_by_hand_or_wrong_is_told_with_its_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(carried().text())
    assert read_carry(file) == (carried(), [])
    file.write_text(carried().text().replace('"A": 5', '"A": 6'))
    found, problems = read_carry(file)
    assert found is not None and [(p.path, p.line) for p in problems] == [("sha256", 8)]
    for text, path in (("positions: {A: 1.5}\nversion: 1\n", "positions.A"), ("version: 2\n", "version"), ("version: 1\npositoins: {}\n", "positoins"),
                       ("version: 1\npositions: [1]\n", "positions"), ("[", "")):  # fmt: skip
        file.write_text(text)
        assert path in [p.path for p in read_carry(file)[1]], text
    assert read_carry(tmp_path / "none")[0] is None


def test_positions_are_opened_only_where_somebody_watches_them():
    view = {"instruments": [{"symbol": "A"}], "risk": {"max_loss_units": 1}}

    def paths(**changes) -> list[str]:
        return [p.path for p in opening_problems(carried(**changes), view, "2026-01-06", "f")]

    assert paths() == []
    assert paths(session_date="2026-01-06") == ["session_date"] and paths(reconciled=False) == ["reconciled"]
    assert paths(marks={}) == ["marks.A"] and paths(positions={"Z": 1}, marks={"Z": 1}) == ["positions.Z"] and paths(positions={"Z": 0}) == [] and paths(limits={"nothing": 1}) == ["limits.nothing"]


def test_a_broken_trade_counts_on_neither_side():
    fill = Fill(0, 1, 1, "A", 100, 50, "A", 7, 70)
    day = DayRecord(Path("/r"), "2026-01-05", {}, {"A": 10}, fills=[], broken=[fill])
    assert reconcile(day, DropCopy(broken={7})).agreed and carry_of(day, {}, reconciled=True).positions == {"A": 10}
    assert not reconcile(day, DropCopy(fills={(7, 70): (100, 50, "A")})).agreed
    day.fills, day.broken = [fill], []
    assert "broken at the venue" in reconcile(day, DropCopy(broken={7})).problems[0]


def test_a_drop_copy_in_any_pieces_is_read_to_its_end_and_a_lost_line_is_no_end():
    executed = {"type": "E", "ts_ns": 1, "user_ref_num": 2, "quantity": 100, "price_ticks": 50, "liquidity": "A", "match": 7,
                "appendage": [{"tag": 1, "name": "secondary_order_ref", "value": 70}]}  # fmt: skip
    broken = {"type": "B", "ts_ns": 2, "user_ref_num": 2, "match": 8, "reason": "E", "cl_ord_id": ""}
    packets = [encode_soup({"type": "A", "session": "S", "sequence": 1})]
    packets += [encode_soup({"type": "S", "hex": encode_ouch(m, from_host=True).hex()}) for m in (executed, {**executed, "match": 8}, broken)]

    def serve(data: bytes, piece: int) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            with listener, listener.accept()[0] as line:
                line.recv(1000)
                for i in range(0, len(data), piece):
                    line.sendall(data[i : i + piece])

        threading.Thread(target=run, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    ended = b"".join(packets) + encode_soup({"type": "Z"})
    for piece in (1, 7, len(ended)):
        told = read_drop_copy(serve(ended, piece), "D", "P")
        assert told.fills == {(7, 70): (100, 50, "A")} and told.broken == {8} and told.ended and told.messages == 3
    with pytest.raises(DropCopyError, match="closed the connection"):
        read_drop_copy(serve(b"".join(packets), 5), "D", "P")
    with pytest.raises(DropCopyError, match="refused the login"):
        read_drop_copy(serve(encode_soup({"type": "J", "reason": "A"}), 5), "D", "P")


def slow_mids(run: Path) -> list[tuple[int, int, int | None]]:
    """(ts_ns, seq, bid + ask) after every record of a run of one symbol: a Python book that keeps all history."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "oracles"))
    from market_book import OracleMarket

    from hotpath import _core

    book, live, out = OracleMarket(), False, []
    for kind, seq, ts_ns, _, payload in _core.journal.Reader(str(run)):
        payload = bytes(payload)
        if kind in (16, 17):
            if kind == 17 and int.from_bytes(payload[:8], "little") == 1:
                book = OracleMarket()
            book.on_message(payload[16:])
        elif kind == 18:
            live = payload[0] == 2
        if kind in (16, 17, 18, 19):
            sides = [book.levels("PRGN", side, 1) for side in ("B", "S")] if live else [[], []]
            out.append((ts_ns, seq, sides[0][0][0] + sides[1][0][0] if sides[0] and sides[1] else None))
    return out


def test_costs_are_those_of_a_slow_book_that_looks_every_moment_up_and_fees_those_of_the_engine(traded):
    _, run, said, _ = traded
    horizons = (1_000_000, 50_000_000, 1_000_000_000)
    priced, _ = price_fills(run, horizons)
    history = slow_mids(run)
    last_ns = history[-1][0]
    expected = dict.fromkeys(((role, h) for role in ("maker", "taker") for h in (0, *horizons)), (0, 0, 0))
    for one in priced:
        before = [mid for ts_ns, seq, mid in history if seq <= one.fill.seq][-1]
        assert one.at_mid2 == before
        for horizon in (0, *horizons):
            due = one.fill.ts_ns + horizon
            mid = before if horizon == 0 else [m for ts_ns, _, m in history if ts_ns <= due][-1] if due <= last_ns else None
            assert horizon == 0 or one.later_mid2[horizon] == mid, (one, horizon)
            known, unknown, total = expected[one.role, horizon]
            gain = 0 if mid is None else one.fill.signed_lots * (mid - 2 * one.fill.price_ticks)
            expected[one.role, horizon] = (known + (mid is not None), unknown + (mid is None), total + gain)
    found = report(run, horizons)
    assert found["fees_units"] == said["fees_units"] and found["fills"] == said["fills"] == sum(r["fills"] for r in found["by_flag"])
    rows = {(r["role"], r["horizon_ns"]): (r["fills"], r["without_mid"], r["markout_units"]) for r in found["markouts"]}
    assert rows == {key: (k, u, t // 2) for key, (k, u, t) in expected.items() if key in rows} and len(rows) >= 4
    shown = json.loads(call(run, "day", "tca", str(run), "--horizon", "50ms", "--horizon", "1ms", "--json").stdout)
    assert {r["horizon_ns"] for r in shown["markouts"]} == {0, 1_000_000, 50_000_000}
