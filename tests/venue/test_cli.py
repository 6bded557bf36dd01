"""`peregrine venue` as a person or a script runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import client as c
import pytest

from orchestrator.cli import venue

ROOT = Path(__file__).resolve().parents[2]


def popen(*args: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'sim'}"}
    return subprocess.Popen([sys.executable, "-m", "orchestrator", "venue", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=env, cwd=ROOT)


def test_it_prints_one_json_line_trades_with_a_stranger_and_sums_up_on_interrupt():
    process = popen("--seed", "5", "--symbols", "PRGN,FLCN=250.00", "--rate", "500")
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert set(ready) == {"ouch", "itch_a", "itch_b", "retransmit", "glimpse", "session", "seed", "symbols"}
        assert (ready["seed"], ready["symbols"], len(ready["session"])) == (5, ["PRGN", "FLCN"], 10)
        for account in venue.DEMO_ACCOUNTS[:2]:
            client = c.OuchClient(ready["ouch"], account["user"], account["password"])
            client.request(c.enter(1, "B", 100, 0x7FFFFFFF, symbol="FLCN"))
            assert 2_400_000 < client.until("E")["price"] < 2_600_000
            client.close()
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=c.PATIENCE_S)
    assert process.returncode == 0 and out == ""
    assert "DEMO01: 1 accepted" in err and "feed messages" in err


def test_it_stops_by_itself_after_the_asked_time():
    process = popen("--for", "300ms", "--rate", "0", "--session", "TEST")
    out, err = process.communicate(timeout=c.PATIENCE_S)
    assert process.returncode == 0 and json.loads(out)["session"] == "TEST" and "line_a" in err


@pytest.mark.parametrize(("args", "says"), [
    (("--for", "soon"), "is not a time"), (("--symbols", "prgn"), "not usable"), (("--fault", "los=1%"), "unknown"),
    (("--symbols", "PRGN=x"), "not a number"), (("--symbols", "PRGN,PRGN"), "twice"), (("--session", "ELEVENCHARS"), "longer"),
    (("--recording", "/nowhere.itch"), "not a file"), (("--itch-a", "nowhere"), "not an address"),
])  # fmt: skip
def test_a_bad_option_says_what_is_wrong_with_exit_code_64(args, says):
    process = popen("--for", "1s", *args)
    out, err = process.communicate(timeout=c.PATIENCE_S)
    assert (process.returncode, out) == (64, "") and says in err


def test_midnight_is_that_of_new_york():
    assert venue.midnight_ns(1_577_977_200) == 1_577_941_200_000_000_000  # 2020-01-02 10:00 EST
    assert venue.midnight_ns(1_593_619_200) == 1_593_576_000_000_000_000  # 2020-07-01 12:00 EDT
