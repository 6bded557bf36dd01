"""What the engine process tells its shards before their loop runs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control.bodies import KIND_NAMES, parse_origin
from orchestrator.supervise.engine_main import Plan, hold
from orchestrator.supervise.state_file import Hold


class Engine:
    """Shards with a pause or without; each has room for one command before its loop."""

    def __init__(self, paused: list[bool]) -> None:
        self.paused = paused
        self.told: dict[int, tuple[str, str]] = {}

    def summary(self) -> dict[str, Any]:
        return {"shards": [{"paused": p, "recovery_ns": 1, "recovered_inputs": 2} for p in self.paused]}

    def command(self, kind: int, body: bytes, key: int, policy: object, shard: int, origin: bytes) -> bool:
        if shard in self.told:
            return False
        self.told[shard] = (KIND_NAMES[kind], parse_origin(origin)["why"])
        return True


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_no_shard_begins_free_and_only_a_pause_of_our_own_is_ours_to_lift(shards):
    """Of each shard: is it paused by its journal, was that pause the supervisor's, has a person drained it?"""
    engine = Engine([paused for paused, _, _ in shards])
    drained = [Hold(shard=i, kind="drain", who="anna", why="lunch") for i, s in enumerate(shards) if s[2]]
    plan = Plan(config={}, folder="", runtime="", drained=drained, held_before=[i for i, s in enumerate(shards) if s[1]])
    made = hold(engine, plan, resumed=True)
    for i, (paused, ours, is_drained) in enumerate(shards):
        kind = engine.told.get(i, ("", ""))[0]
        assert paused or kind in ("pause", "drain"), "an order could leave"
        assert (kind == "drain") == is_drained
        persons = paused and not ours
        assert (i in made.paused_before) == persons
        assert (i in made.held) == ((paused or kind == "pause") and not persons)
    assert all(why == "still drained by anna (lunch)" for kind, why in engine.told.values() if kind == "drain")
