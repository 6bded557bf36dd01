"""A tree from start to end: readiness in order, orders only after it, recovery, and nothing left behind."""

from __future__ import annotations

from hotpath import _core

PAUSE, RESUME, DRAIN = 4, 5, 6


def commands_and_intents(folder) -> list[str]:
    """The run's commands by kind and its intents, in journal order."""
    out = []
    reader = _core.journal.Reader(str(folder))
    for record in reader:
        if record.type == "command":
            out.append({PAUSE: "pause", RESUME: "resume", DRAIN: "drain"}.get(int.from_bytes(record.payload[8:10], "little"), "other"))
        elif record.type == "intent":
            out.append("intent")
    return out


def test_a_tree_trades_only_after_its_resume_and_leaves_nothing_behind(rig):
    tree = rig.up()
    assert tree["state"] == "trading" and tree["trading_enabled"] and tree["generation"] == 1
    assert [p["name"] for p in tree["processes"]][:2] == ["venue", "engine"]
    assert all(p["state"] in ("ready", "trading") for p in tree["processes"])
    report = rig.down()
    assert report["code"] == 0 and report["open_orders"] == 0 and report["notes"] == []
    assert rig.left() == []
    state = rig.state()
    assert state.state == "stopped" and not state.trading_enabled and all(p.pid == 0 for p in state.processes)
    rows = commands_and_intents(rig.run_folder())
    assert rows[0] == "pause", "the first command of a run holds it"
    assert rows.index("resume") < (rows.index("intent") if "intent" in rows else len(rows))
    assert "drain" in rows
