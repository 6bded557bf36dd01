"""Who ended a tree, and with what: in its report, in the journal, in the log of control."""

from __future__ import annotations

import getpass
import json

from orchestrator.control import bodies
from orchestrator.supervise import ending

COMMAND = 21  # journal/record.h


def whys(folder) -> list[str]:
    """Of the journal's commands, of those that were given by somebody."""
    from hotpath import _core

    found = []
    for payload in (bytes(r[4]) for r in _core.journal.Reader(str(folder)) if r[0] == COMMAND):
        said, size = int.from_bytes(payload[10:12], "little"), int.from_bytes(payload[12:16], "little")
        if said:
            found.append(str(bodies.parse_origin(payload[16 + size :][:said])["why"]))
    return found


def test_a_down_is_told_with_the_name_of_who_asked_and_a_signal_as_one(rig, monkeypatch):
    rig.up()
    report = rig.down()
    why = f"asked to stop by {getpass.getuser()}: peregrine down"
    assert report["reason"] == why == rig.state().reason and report["code"] == 0
    assert whys(rig.run_folder())[-1] == why
    said = [json.loads(line) for line in (rig.run_folder() / "control.log").read_text().splitlines()]
    assert [(line["cmd"], line["who"], line["why"]) for line in said if line["event"] == "change"] == [("stop", getpass.getuser(), "peregrine down")]

    monkeypatch.setattr(ending, "_told", lambda *_: False)  # its control API does not answer
    rig.up()
    report = rig.down()
    assert report["reason"] == "asked to stop by SIGTERM" and report["open_orders"] == 0
