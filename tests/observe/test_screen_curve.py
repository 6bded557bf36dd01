"""`peregrine top --remote`: over TCP with CURVE keys to a real engine's control plane; the role of the key decides."""

from __future__ import annotations

import asyncio

import pytest
from control_world import World
from test_screen import cells, log, until

from orchestrator.control import keys
from orchestrator.observe.screen.app import TopApp
from orchestrator.observe.screen.source import WHY, ControlSource, SourceError, remote_source


@pytest.fixture
def far(tmp_path, engine_name, runtime_folder):
    """An engine of two shards whose control plane listens on loopback: `far(role)` is the screen's source with such a key."""
    server = keys.make("server")
    people = {role: keys.make(f"a-{role}") for role in ("viewer", "operator", "stranger")}
    for name, pair in {"server": server, **people}.items():
        keys.write(pair, tmp_path / f"{name}.key")
    (tmp_path / "clients").write_text("".join(people[role].line(role) + "\n" for role in ("viewer", "operator")))
    control = {"tcp": "127.0.0.1:0", "key_file": str(tmp_path / "server.key"), "clients_file": str(tmp_path / "clients")}
    with World(tmp_path, engine_name, shards=2, control=control) as world:
        def source(role: str) -> ControlSource:
            return remote_source(world.addresses["control_tcp"].removeprefix("tcp://"), tmp_path / f"{role}.key", server.public)

        yield source


def test_a_viewer_watches_and_may_not_pause_an_operator_pauses_and_a_stranger_sees_nothing(far):
    async def viewer() -> None:
        app = TopApp(far("viewer"), refresh_s=0.2)
        async with app.run_test(size=(180, 50)) as pilot:
            await until(pilot, lambda: app.reading is not None and len(app.reading.shard_latency) == 2)
            assert sorted(cells(app, "#symbols", 0)) == ["FLCN", "PRGN"] and cells(app, "#shards", 0) == ["0", "1"]
            await pilot.press("p")
            await until(pilot, lambda: "pause needs operator or risk" in log(app, "#alerts"))
            await pilot.press("k", *app.reading.name, "enter")
            await until(pilot, lambda: "kill needs" in log(app, "#alerts"))
            before = app.reading["orders"]
            await until(pilot, lambda: app.reading["orders"] > before)
            assert app.reading.kill_level == 0 and {s.state for s in app.reading.symbols} <= {0, 1}

    async def operator() -> None:
        app = TopApp(far("operator"), refresh_s=0.2)
        async with app.run_test(size=(180, 50)) as pilot:
            await until(pilot, lambda: app.reading is not None)
            await pilot.press("p")
            await until(pilot, lambda: app.selected_symbol().state == 3)
            await until(pilot, lambda: f"a-operator: {WHY}" in " ".join(log(app, "#commands").split()))
            await pilot.press("p")
            await until(pilot, lambda: app.selected_symbol().state == 1)

    asyncio.run(viewer())
    asyncio.run(operator())
    stranger = far("stranger")
    stranger._client.timeout_s = 0.5
    with pytest.raises(SourceError):
        stranger.read()
    stranger.close()
