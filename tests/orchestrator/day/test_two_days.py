"""Two trading days: one is closed with the venue's word, the next is opened on it at a venue that has begun anew, with other
locates, and nothing of the first is left but the positions and what they cost."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import yaml

pytest.importorskip("hotpath._core")
from day_rig import PASSWORDS, commands, desk, exchange, reconcile, start, status  # noqa: E402
from inside import inside  # noqa: E402
from tree_rig import Rig  # noqa: E402

from hotpath.execution.wire import decode_ouch  # noqa: E402
from orchestrator.day.archive import verify as verify_archive  # noqa: E402
from orchestrator.day.drop_copy import accepted, read_drop_copy  # noqa: E402
from orchestrator.day.fills import DayRecord, read_day  # noqa: E402
from orchestrator.day.marks import closing_marks  # noqa: E402
from orchestrator.day.positions import read_carry  # noqa: E402
from orchestrator.day.reconciler import read_status  # noqa: E402
from orchestrator.day.tca import report  # noqa: E402
from orchestrator.run.journals import verify_journal  # noqa: E402
from orchestrator.supervise.paths import VARIABLE  # noqa: E402
from orchestrator.supervise.view import read_view  # noqa: E402

pytestmark = pytest.mark.slow
SYMBOLS = ("PRGN", "FLCN")
INSTRUMENTS = [{"symbol": s} for s in SYMBOLS]
FEED, FEED_STATE, SESSION, INTENT = 16, 18, 19, 64


def records(run: Path, *kinds: int) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of a journal's records of these kinds."""
    from hotpath import _core

    reader = _core.journal.Reader(str(run))
    while (record := reader.find(list(kinds))) is not None:
        yield record[0], bytes(record[4])


def locates(run: Path) -> dict[str, int]:
    """Of each symbol, by the executions' and orders' messages in a journal: adds name symbol and locate."""
    found = {}
    for _, payload in records(run, FEED):
        message = payload[16:]
        if message[:1] in (b"A", b"F"):
            found[message[24:32].decode().strip()] = int.from_bytes(message[1:3], "big")
            if len(found) == len(SYMBOLS):
                break
    return found


def first_number(run: Path) -> int:
    """The first number that a request of a run took; a query takes none."""
    return next(n for _, payload in records(run, INTENT) if (n := int.from_bytes(payload[4:8], "little")))


def first_login(run: Path) -> tuple[str, int]:
    """Session, and the sequence number it began with."""
    return next(accepted(payload[1:]) for _, payload in records(run, SESSION) if payload[:1] == b"A")


def profit_units(run: Path, day: DayRecord, cost: dict[str, int]) -> int:
    """Oracle: what the day earned, in whole integers, from the fills, what was carried in and what it is worth at the end."""
    marks = closing_marks(run, day.close_lots())
    account = day.effective["account"]
    fee = {"A": account["maker_fee_units_per_lot"], "R": account["taker_fee_units_per_lot"]}
    worth = sum(lots * marks[symbol] for symbol, lots in day.close_lots().items() if lots)
    paid = sum(f.signed_lots * f.price_ticks for f in day.fills)
    return worth - paid - sum(cost.values()) - sum(abs(f.signed_lots) * fee[f.liquidity] for f in day.fills)


def fills_without_book(run: Path) -> int:
    """Executions in a journal while its books were not live: a machine that stood still may have some."""
    live, found = False, 0
    for kind, payload in records(run, FEED_STATE, SESSION):
        if kind == FEED_STATE:
            live = payload[0] == 2
        elif not live and payload[:2] == b"SE":
            found += 1
    return found


def hold_still(rig: Rig) -> None:
    """Stop trading at a moment at which something is held."""
    while True:
        rig.ask("pause", why="the day is to be rolled", who="test", shard=0)
        rig.wait(lambda: read_view(rig.name).open_orders() == 0)
        rig.wait(lambda: status(rig).state == "agreed")
        if any(ours for ours, _ in status(rig).positions.values()):
            return
        rig.ask("resume", why="nothing is held", who="test", shard=0)
        rig.wait(lambda: any(ours for ours, _ in status(rig).positions.values()))


def result(run: Path) -> dict[str, Any]:
    """The engine's own account of its end."""
    return json.loads((run / "result.json").read_text())


@pytest.fixture(scope="module")
def days(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """Both days, lived through once; what each test looks at."""
    folder = tmp_path_factory.mktemp("days")
    rig, seen = Rig(folder), SimpleNamespace(folder=folder)
    env = {**PASSWORDS, VARIABLE: str(rig.runtime_base), "PEREGRINE_DROP_COPY_PASSWORD": PASSWORDS["DPW"]}
    sections = {"instruments": INSTRUMENTS, "day": reconcile(None)}
    with ExitStack() as beside:
        beside.callback(rig.sweep)
        with exchange(folder, "--rate", "400", "--symbols", "PRGN,FLCN", "--holdings", "held.json") as at:
            start(rig, desk(rig, at, **sections))
            seen.one = rig.run_folder()
            rig.wait(lambda: (s := status(rig)) and all(s.positions.get(symbol, (0, 0))[0] for symbol in SYMBOLS) and s.agreed > 20)
            with mock.patch.dict("os.environ", env):
                hold_still(rig)
            seen.live = json.loads(inside(folder, "day", "agreement", rig.name, "--json", **env).stdout)
            seen.rolled = json.loads(inside(folder, "day", "roll", rig.name, "-o", "days", "--json", **env).stdout)
            seen.again = json.loads(inside(folder, "day", "roll", rig.name, "-o", "days", "--json", **env).stdout)
            seen.carry = Path(seen.rolled["carry"])
            date = dt.date.fromisoformat(read_carry(folder / seen.carry)[0].session_date)
            with mock.patch("orchestrator.run.plan.today", lambda: date):  # also where midnight has passed meanwhile
                seen.too_early = inside(folder, "day", "open", str(seen.carry), "-c", "day.yaml", "-o", "early.yaml", code=78, **env).stderr
        seen.held = json.loads((folder / "held.json").read_text())
        with exchange(folder, "--rate", "400", "--seed", "8", "--symbols", "FLCN,PRGN", "--holdings", "held.json") as at:
            (folder / "day.yaml").write_text(yaml.safe_dump(desk(rig, at, **sections)))
            # somebody has another number in mind than the venue
            wrong = read_carry(folder / seen.carry)[0]
            wrong.positions = {**wrong.positions, "PRGN": wrong.positions["PRGN"] + 7}
            (folder / "wrong.yaml").write_text(wrong.text())
            seen.refused = inside(folder, "day", "open", "wrong.yaml", "-c", "day.yaml", "-o", "wrong-day.yaml", code=78, **env).stderr
            seen.despite = inside(folder, "day", "open", "wrong.yaml", "-c", "day.yaml", "-o", "wrong-day.yaml", "--despite", "the venue is late", **env)
            seen.opened = inside(folder, "day", "open", str(seen.carry), "-c", "day.yaml", "-o", "today.yaml", **env).stdout
            rig.call("up", "--detach", "-c", "today.yaml", **PASSWORDS)
            seen.two = rig.run_folder()
            rig.wait(lambda: status(rig).run == str(seen.two) and status(rig).agreed > 20)
            seen.report = rig.down()
            seen.told = read_drop_copy(at["ouch"], "DROP01", PASSWORDS["DPW"], quiet_s=0.3)
            # nobody who skips the check trades on it either
            careless = yaml.safe_load((folder / "wrong-day.yaml").read_text())
            careless["day"]["reconcile"]["start_positions"] = "if_told"
            (folder / "careless.yaml").write_text(yaml.safe_dump(careless))
            seen.careless = rig.call("up", "--detach", "-c", "careless.yaml", code=75, **PASSWORDS).stderr
        seen.held_two = json.loads((folder / "held.json").read_text())
        seen.verified = [verify_journal(run)["identical"] for run in (seen.one, seen.two)]
        seen.left, seen.name = rig.left(), rig.name
        yield seen


def test_the_day_is_rolled_once_and_everything_stands_where_it_says(days):
    assert days.live["state"] in ("agreed", "waiting") and days.live["start_told"]
    close = {s: n for s, n in read_day(days.one).close_lots().items() if n}
    assert [step["step"] for step in days.rolled["steps"]] == ["stop", "reconcile", "carry", "archive"] and days.rolled["reconciled"]
    assert {s: n for s, n in days.rolled["positions"].items() if n} == close and days.rolled["steps"][0]["open_orders"] == 0
    assert verify_archive(days.folder / days.rolled["archive"]).problems == []
    assert days.again["chain"] == days.rolled["chain"] and [s["step"] for s in days.again["steps"]] == ["reconcile", "carry", "archive"]
    assert {s: n for s, n in days.held["firms"]["DEM1"].items() if n} == close  # the venue's own file
    carry = read_carry(days.folder / days.carry)[0]
    assert carry.venue_session == first_login(days.one)[0] and carry.reconciled
    assert "a later session of the venue" in days.too_early and "a day that is not over" in days.too_early


def test_the_next_day_is_opened_only_on_what_the_venue_holds(days):
    lots = read_day(days.one).close_lots()["PRGN"]
    assert f"{lots + 7:+} lots carried, {lots:+} at the venue" in days.refused and "--despite WHY" in days.refused
    assert "opened all the same" in days.despite.stderr
    said = yaml.safe_load((days.folder / "wrong-day.yaml").read_text())["day"]
    assert said["opened"]["why"] == "the venue is late" and said["opened"]["who"] and "positions.PRGN" in said["opened"]["overridden"][0]
    assert said["reconcile"]["start_positions"] == "ignored"
    assert f"PRGN: the day began with {lots + 7:+} lots here, with {lots:+} at the venue" in days.careless
    assert "as the venue has them in session" in days.opened
    opened = read_day(days.two).effective["day"]["opened"]  # in the journal
    assert opened["venue_session"] == first_login(days.two)[0] and opened["carry"] == str(days.carry) and opened["overridden"] == []


def test_positions_go_over_by_symbol_and_everything_else_begins_anew(days):
    one, two = read_day(days.one), read_day(days.two)
    assert locates(days.one) == {"PRGN": 1, "FLCN": 2} and locates(days.two) == {"FLCN": 1, "PRGN": 2}
    assert two.start_lots == one.close_lots() and any(one.close_lots().values())
    assert {s: row["position_lots"] for s, row in result(days.two)["symbols"].items()} == two.close_lots()
    assert first_number(days.one) == first_number(days.two) == 1
    assert first_login(days.one)[1] == first_login(days.two)[1] == 1 and first_login(days.one)[0] != first_login(days.two)[0]
    mine: set[int] = set()  # no answer is to an order of yesterday
    for _, payload in records(days.two, INTENT, SESSION):
        if payload[:1] == b"S":
            answer = decode_ouch(payload[1:], from_host=True)
            assert answer is None or answer.get("user_ref_num") in (None, *mine), answer
        elif len(payload) > 48 and payload[0] in (1, 2, 3, 4, 5):
            mine.add(int.from_bytes(payload[4:8], "little"))
    assert days.verified == [True, True]
    assert days.report["open_orders"] == 0 and not days.report["notes"] and not days.left


def test_the_second_days_profit_begins_at_yesterdays_closing_marks(days):
    carry = read_carry(days.folder / days.carry)[0]
    two, said = read_day(days.two), result(days.two)
    cost = {s: lots * carry.marks[s] for s, lots in carry.positions.items() if lots}
    assert two.effective["account"]["start_cost_units"] == cost
    assert said["pnl_units"] == profit_units(days.two, two, cost)
    assert result(days.one)["pnl_units"] == profit_units(days.one, read_day(days.one), {})
    assert sum(row["pnl_units"] for row in said["symbols"].values()) == said["pnl_units"]


def test_fees_and_markouts_are_of_the_days_own_fills(days):
    for run in (days.one, days.two):
        found, said = report(run), result(run)
        assert found["fees_units"] == said["fees_units"] and found["fills"] == said["fills"] == len(read_day(run).fills) > 10
        assert sum(row["lots"] for row in found["by_flag"]) == said["filled_lots"]
        assert sum(row["without_mid"] for row in found["markouts"] if row["horizon_ns"] == 0) == fills_without_book(run)


def test_the_reconciler_agreed_to_the_end_of_both_days_and_the_venues_own_file_says_the_same(days):
    for run in (days.one, days.two):
        final = read_status(run)
        assert final.state == "ended" and final.agreed == len(read_day(run).fills) and final.breaks == 0 and final.start_told
        assert final.last_agreed_seq == final.last_seq and commands(run, "reconciler") == []
    close = {s: n for s, n in read_day(days.two).close_lots().items() if n}
    assert {s: n for s, n in days.held_two["firms"]["DEM1"].items() if n} == close
    traded = days.told.traded_lots()
    assert {s: (days.told.start_lots or {}).get(s, 0) + traded.get(s, 0) for s in SYMBOLS} == read_day(days.two).close_lots()
