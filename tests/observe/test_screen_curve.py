"""`peregrine top --remote`: over TCP with CURVE keys to a real engine's control plane; the role of the key decides, and one id leads from the key that was pressed to the journal."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from control_world import World
from rig import records
from test_screen import cells, log, press_and_type, until

from orchestrator.control import keys
from orchestrator.observe.screen.app import TopApp
from orchestrator.observe.screen.source import WHY, ControlSource, SourceError, remote_source
from orchestrator.run.shards import folders


@pytest.fixture
def far(tmp_path, engine_name, runtime_folder):
    """An engine of two shards whose control plane listens on loopback: `far.source(role)` is the screen's source with such a key."""
    server = keys.make("server")
    people = {role: keys.make(f"a-{role}") for role in ("viewer", "operator", "stranger")}
    for name, pair in {"server": server, **people}.items():
        keys.write(pair, tmp_path / f"{name}.key")
    (tmp_path / "clients").write_text("".join(people[role].line(role) + "\n" for role in ("viewer", "operator")))
    control = {"tcp": "127.0.0.1:0", "key_file": str(tmp_path / "server.key"), "clients_file": str(tmp_path / "clients")}
    with World(tmp_path, engine_name, shards=2, for_s=1800, control=control) as world:
        def source(role: str) -> ControlSource:
            return remote_source(world.addresses["control_tcp"].removeprefix("tcp://"), tmp_path / f"{role}.key", server.public)

        yield SimpleNamespace(source=source, world=world)


def test_a_viewer_watches_and_may_not_pause_an_operator_pauses_and_a_stranger_sees_nothing(far):
    async def viewer() -> None:
        app = TopApp(far.source("viewer"), refresh_s=0.2)
        async with app.run_test(size=(180, 50)) as pilot:
            await until(pilot, lambda: app.reading is not None and len(app.reading.shard_latency) == 2)
            assert sorted(cells(app, "#symbols", 0)) == ["FLCN", "PRGN"] and cells(app, "#shards", 0) == ["0", "1"]
            await pilot.press("p")
            await until(pilot, lambda: "pause needs operator or risk" in log(app, "#alerts"))
            await press_and_type(app, pilot, "k", *app.reading.name, "enter")
            await until(pilot, lambda: "kill needs" in log(app, "#alerts"))
            before = app.reading["orders"]
            await until(pilot, lambda: app.reading["orders"] > before)
            assert app.reading.kill_level == 0 and {s.state for s in app.reading.symbols} <= {0, 1}

    async def operator() -> None:
        app = TopApp(far.source("operator"), refresh_s=0.2)
        async with app.run_test(size=(180, 50)) as pilot:
            await until(pilot, lambda: app.reading is not None)
            await pilot.press("p")
            await until(pilot, lambda: app.selected_symbol().state == 3)
            await until(pilot, lambda: f"a-operator: {WHY}" in " ".join(log(app, "#commands").split()))
            await pilot.press("p")
            await until(pilot, lambda: app.selected_symbol().state == 1)

    asyncio.run(viewer())
    asyncio.run(operator())
    stranger = far.source("stranger")
    stranger._client.timeout_s = 0.5
    with pytest.raises(SourceError):
        stranger.read()
    stranger.close()
    follow_one_command(far.world)


def follow_one_command(world: World) -> None:
    """The operator's pause by its one id: in the log of control, in the supervisor's log, in the journal of its shard, and in status."""
    audit = [json.loads(line) for line in (world.run_folder / "control.log").read_text().splitlines()]
    (pause,) = [line for line in audit if line["event"] == "change" and line["cmd"] == "pause" and line["ok"]]
    number, (effect,) = pause["id"], pause["effects"]
    logged = [json.loads(line) for line in (world.run_folder / "supervisor.log").read_text().splitlines() if number in line]
    assert [(line["cmd"], line["who"], line["effects"]) for line in logged] == [("pause", "a-operator", [effect])]
    holding = [(shard, r.seq) for shard, folder in enumerate(folders(world.run_folder)) for r in records(folder) if number.encode() in r.payload]
    assert holding == [(effect["shard"], effect["seq"])]
