"""`peregrine report`: what the page and its tables say is what the engine itself says, to the unit."""

from __future__ import annotations

import csv
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from hotpath import _core
from orchestrator.cli.main import main
from orchestrator.observe.report_html import build, charts, curves, tables
from orchestrator.observe.report_html.curves import SPAN_DTYPE
from orchestrator.observe.report_html.numbers import Format
from orchestrator.observe.report_html.reading import Kept
from orchestrator.run import plan
from orchestrator.run.journals import read_header, replay_journal


@pytest.fixture
def peregrine(capsys):
    """Runs the command line in this process: `peregrine("report", …, code=1)` → (stdout, stderr)."""

    def run(*args: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(args))
        out, err = capsys.readouterr()
        assert ended.value.code == code, err or out
        return out, err

    return run


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    """A table as CSV has it."""
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def virtual_report(virtual_run, tmp_path_factory):
    """The report of the virtual run."""
    return build.build_report(virtual_run.folder, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def live_report(live_run, tmp_path_factory):
    """The report of the live run, made once."""
    return build.build_report(live_run.folder, tmp_path_factory.mktemp("report"))


def test_the_report_of_a_live_run_agrees_with_the_run_and_with_its_replay_to_the_unit(live_run, tmp_path, peregrine):
    out = tmp_path / "report"
    said = json.loads(peregrine("report", str(live_run.folder), "--out", str(out), "--json")[0])
    replayed = replay_journal(live_run.folder)
    assert said["identical"] and not said["notes"]
    for name in ("pnl_units", "fees_units", "orders", "fills", "position", "risk_reasons", "order_hash", "state_hash"):
        assert said[name] == live_run.said[name], name
    assert said["pnl_units"] == replayed.pnl_units and said["fills"] > 0
    fills = rows(out, "fills")
    assert len(fills) == said["fills"] and sum(int(f["fee_units"]) for f in fills) == said["fees_units"]
    assert sum(int(f["qty_lots"]) * (1 if f["side"] == "buy" else -1) for f in fills) == said["position"]
    by_symbol = {r["symbol"]: int(r["pnl_units"]) for r in rows(out, "symbols")}
    assert by_symbol == {name: s["pnl_units"] for name, s in live_run.said["symbols"].items()}
    assert sum(by_symbol.values()) == said["pnl_units"]
    page = (out / "report.html").read_text()
    assert f">{Format('USD', 10_000, 'UTC').money(said['pnl_units'])}<" in page
    assert "replayed: identical" in page and "three" in page


def test_the_last_point_of_each_curve_is_the_engines_own_last_value(live_run, live_report):
    story = live_report.story
    assert story.account("pnl_units").last == live_run.said["pnl_units"]
    assert story.account("fees_units").last == live_run.said["fees_units"]
    for shard in story.shards:
        for symbol, own in shard.symbol_lines.items():
            assert own["pnl_units"].last == live_run.said["symbols"][symbol]["pnl_units"]
            assert own["position_lots"].last == live_run.said["symbols"][symbol]["position_lots"]
    lasts: dict[tuple[str, str], int] = {(r["symbol"], r["curve"]): int(r["value"]) for r in rows(live_report.folder, "curves")}
    assert lasts["PRGN", "pnl_units"] == live_run.said["symbols"]["PRGN"]["pnl_units"]


def test_every_order_sent_has_a_row_and_none_is_left_open_that_the_engine_holds_closed(live_run, live_report):
    orders = rows(live_report.folder, "orders")
    assert len(orders) == live_run.said["orders"] == live_report.rows["orders"]
    assert sum(int(o["filled_lots"]) for o in orders) == live_run.said["filled_lots"]
    assert {o["state"] for o in orders} <= {"filled", "cancelled", "part filled", "replaced", "rejected", "never worked"}


def test_the_page_fetches_nothing_and_holds_everything(live_report):
    text = live_report.page.read_text()
    for tag, attribute in (("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")):
        assert not re.search(rf"<{tag}\b[^>]*\b{attribute}=", text), tag
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text) and "default-src 'none'" in text
    outside = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, outside
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert anchors <= set(re.findall(r'id="([^"]+)"', text))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)), "two drawings share an id"
    assert text.count("<svg ") == text.count("<figure>") >= 3


def test_the_colours_of_the_charts_are_the_pages_variables(live_report):
    text = live_report.page.read_text()
    drawn = "".join(re.findall(r"<svg .*?</svg>", text, flags=re.S))
    assert "var(--buy)" in drawn and "var(--sell)" in drawn and "var(--pnl)" in drawn
    assert not re.search(r"#[0-9a-f]{6}\b", drawn.replace("url(#", "")), "a colour that is none of the page's"
    style = text[text.index("<style>"):text.index("</style>")]
    for name in charts.COLOURS:
        assert name in ("ground",) or style.count(f"--{name}:") >= 2, f"{name} has no light and dark"


# ---- the watched replay against a slow and obvious one

def stepped(folder: Path) -> list[tuple[int, dict[str, int]]]:
    """(stamp, values) after each input, from single steps of the same shard and its full summary."""
    parsed, _ = read_header(folder)
    engine = _core.StepEngine(parsed.config["shard"], [p.spec for p in plan.policies_of_header(parsed)], parsed.config["quorum"])
    out = []
    for kind, seq, ts_ns, _, payload in _core.journal.Reader(str(folder)):
        if not 16 <= kind < 64:
            continue
        engine.step(kind, seq, ts_ns, bytes(payload))
        s = engine.summary()
        symbol = next(iter(s["symbols"].values()))
        out.append((ts_ns, {"pnl_units": s["pnl_units"], "fees_units": s["fees_units"], "position_lots": symbol["position_lots"]}))
    return out


def test_the_four_points_of_a_span_are_those_of_all_values_in_it(virtual_run):
    parsed, _ = read_header(virtual_run.folder)
    truth = stepped(virtual_run.folder)
    found = _core.journal.summarize(str(virtual_run.folder))
    first, last, columns = found["first_ts_ns"], found["last_ts_ns"], 37
    replay = _core.WatchedReplay(parsed.config["shard"], [p.spec for p in plan.policies_of_header(parsed)], parsed.config["quorum"])
    raw = replay.run(str(virtual_run.folder), first, last, columns, 5, [], lambda *_: None)
    assert raw["identical"] and raw["inputs"] == len(truth)
    symbol = next(iter(replay.symbol_curves.values()))
    for name, spans in (("pnl_units", replay.account_curves["pnl_units"]), ("fees_units", replay.account_curves["fees_units"]),
                        ("position_lots", symbol["position_lots"])):  # fmt: skip
        expected: dict[int, list[tuple[int, int]]] = {}
        before = None if name != "position_lots" else 0
        for at, values in truth:
            if values[name] != before:
                expected.setdefault((at - first) * columns // (last - first + 1), []).append((at, values[name]))
            before = values[name]
        table = np.frombuffer(spans, SPAN_DTYPE)
        assert len(table) == len(expected) > 5
        for row, (_, points) in zip(table, sorted(expected.items()), strict=True):
            assert (int(row["first_at"]), int(row["first"])) == points[0]
            assert (int(row["last_at"]), int(row["last"])) == points[-1]
            assert int(row["low"]) == min(v for _, v in points) and int(row["high"]) == max(v for _, v in points)
            assert (int(row["low_at"]), int(row["low"])) in points and (int(row["high_at"]), int(row["high"])) in points


def test_the_largest_drawdown_is_that_of_every_input(virtual_run, virtual_report):
    peak = worst = 0
    for _, values in stepped(virtual_run.folder):
        peak = max(peak, values["pnl_units"])
        worst = max(worst, peak - values["pnl_units"])
    assert virtual_report.story.max_drawdown() == (worst, True)


def test_sums_over_shards_are_the_sums_of_what_is_in_force_at_each_time():
    ends = curves.column_ends(100, 199, 10)
    a = curves.Line(np.array([105, 150]), np.array([3, 7]))
    b = curves.Line(np.array([120]), np.array([-2]))
    assert curves.total([a, b], ends).values.tolist() == [3, 3, 1, 1, 1, 5, 5, 5, 5, 5]
    assert curves.total([a, curves.EMPTY], ends) is a and not len(curves.total([], ends))
    assert ends.tolist() == list(range(109, 200, 10))


def test_the_page_keeps_what_it_says_and_the_tables_keep_all(virtual_run, tmp_path):
    report = build.build_report(virtual_run.folder, tmp_path, kept=Kept(columns=50, latency_rows=4, orders=5))
    assert len(report.story.newest["orders"]) == 5 < report.rows["orders"] == len(rows(tmp_path, "orders"))
    assert f"The newest 5 of {report.rows['orders']:,} orders" in report.page.read_text()
    assert all(len(line) <= 4 * 50 for line in report.story.shards[0].account.values())


def test_a_breaker_that_trips_is_named_with_the_record_at_which_it_did(tmp_path):
    from orchestrator.config import load_profile
    from orchestrator.run.virtual import run_virtual

    result = run_virtual(load_profile("replay", {"journal.dir": str(tmp_path), "risk.max_drawdown_units": 5_000}), for_ns=2_000_000_000)
    assert result.stopped_by == "breaker"
    report = build.build_report(Path(result.journal), tmp_path / "report")
    tripped = {what: (seq, now) for seq, _, what, _, now in report.story.shards[0].changes if what in ("drawdown_breaker", "killed", "loss_breaker")}
    assert tripped["drawdown_breaker"][1] == tripped["killed"][1] == 1 and "loss_breaker" not in tripped
    text = report.page.read_text()
    assert re.search(rf">{tripped['drawdown_breaker'][0]:,}</td><td>drawdown breaker</td><td>armed</td><td>tripped<", text)
    assert report.story.max_drawdown()[0] >= 5_000
    (trip,) = report.story.trips()
    assert (trip["breaker"], trip["limit"]) == ("drawdown", 5_000) and trip["value"] > 5_000
    shown = text.partition("Breakers that tripped")[2].partition("</table>")[0]
    assert all(f">{words}<" in shown for words in ("drawdown", "0.5000")) and "not armed again" in shown


# ---- without the extra, and files

def test_csv_and_parquet_hold_the_same(virtual_report):
    pq = pytest.importorskip("pyarrow.parquet")
    for name, columns in tables.TABLES.items():
        whole = pq.read_table(virtual_report.folder / f"{name}.parquet").to_pylist()
        text = rows(virtual_report.folder, name)
        assert len(whole) == len(text)
        for a, b in zip(whole, text, strict=True):
            for column, kind in columns.items():
                assert ("" if a[column] is None else str(a[column])) == b[column].removeprefix("'"), (name, column, kind)


def test_without_the_extra_there_are_csv_tables_and_a_page_that_says_what_is_missing(virtual_run, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "parquet_possible", lambda: False)
    monkeypatch.setattr(build, "charts_possible", lambda: False)
    report = build.build_report(virtual_run.folder, tmp_path)
    assert not list(tmp_path.glob("*.parquet")) and len(list(tmp_path.glob("*.csv"))) == len(tables.TABLES)
    assert report.notes == [charts.NO_CHARTS, tables.NO_PARQUET]
    text = report.page.read_text()
    assert "<svg" not in text and "matplotlib is not installed" in text and "pip install" in text


def test_a_journal_that_replays_to_something_else_is_reported_as_different_and_ends_with_1(virtual_run, tmp_path, peregrine):
    altered = tmp_path / "altered"
    rewrite(virtual_run.folder, altered)
    out, err = peregrine("report", str(altered), "--out", str(tmp_path / "out"), code=1)
    assert "DIFFERENT" in out and "replay differs" in err
    assert "replayed: DIFFERENT" in (tmp_path / "out/report.html").read_text()


def rewrite(source: Path, target: Path) -> None:
    """The same journal with one price of one order intent changed, its CRCs and trailer hash right again."""
    import hashlib
    import shutil

    target.mkdir()
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("snapshot-*"))
    (path,) = target.glob("journal-*.pgj")
    data = bytearray(path.read_bytes())
    at, changed = 128, False
    while at < len(data):
        length, kind = struct.unpack_from("<IH", data, at)
        if kind == 64 and data[at + 32] == 1 and not changed:
            changed = True
            price = struct.unpack_from("<q", data, at + 32 + 16)[0]
            struct.pack_into("<q", data, at + 32 + 16, price + 1)
        if kind == 2:
            data[at + 56:at + 88] = hashlib.sha256(data[:at]).digest()
        struct.pack_into("<I", data, at + 28, 0)
        struct.pack_into("<I", data, at + 28, _core.crc32c(bytes(data[at:at + length])))
        at += length
    path.write_bytes(data)


def test_what_is_no_run_is_refused_with_what_to_do(tmp_path, peregrine):
    _, err = peregrine("report", str(tmp_path / "nowhere"), code=64)
    assert "is not the folder of a run" in err and "hint:" in err
    _, err = peregrine("report", str(tmp_path), code=69)
    assert "no journal" in err and "hint:" in err


def test_a_damaged_journal_is_refused_with_the_place(virtual_run, tmp_path, peregrine):
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(virtual_run.folder, damaged, ignore=shutil.ignore_patterns("snapshot-*", "report"))
    (path,) = damaged.glob("journal-*.pgj")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    _, err = peregrine("report", str(damaged), code=69)
    assert "journal-000001.pgj" in err and "hint:" in err and not (damaged / "report/report.html").exists()
