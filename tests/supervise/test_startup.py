"""The last stage of a start: what is lifted, and what is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.config import load_profile
from orchestrator.control import bodies
from orchestrator.control.messages import Effect
from orchestrator.supervise.engine_main import MADE, Made, read, write
from orchestrator.supervise.holds import Holds
from orchestrator.supervise.startup import Startup
from orchestrator.supervise.state_file import Hold


@pytest.mark.parametrize(
    ("known", "told"),
    [([0], [("resume", 0)]), ([], [("drain", 0), ("resume", 0)])],
)
def test_what_persons_stopped_and_the_engine_does_not_know_is_given_before_the_hold_is_lifted(tmp_path, known, told):
    sent: list[tuple[str, int]] = []

    def own(kind: str, *, shard: int, **_: Any) -> Effect:
        sent.append((kind, shard))
        return Effect(shard, 1, 0)

    holds = Holds()
    holds.restore([Hold(shard=0, kind="drain", who="anna"), Hold(shard=1, kind="pause", who="bob"),
                   Hold(shard=-1, kind="pause_symbol", symbol="PRGN", owed=True)])
    tree: Any = SimpleNamespace(cfg=load_profile("laptop"), run=tmp_path, holds=holds, trading_enabled=False, has_traded=False, save=lambda: None)
    process = SimpleNamespace(pid=7)
    member = SimpleNamespace(process=process, last=(7, 1), life=SimpleNamespace(state="ready", reason=""))
    lifted: list[Made] = []
    killed = [False, True]
    engine: Any = SimpleNamespace(member=member, link=SimpleNamespace(own=own, instruments={"PRGN": (1, 0)}), lifted=False, start=None, write_lifted=lifted.append, hand_on_kill=lambda: killed.pop(0))
    write(tmp_path / MADE, Made(pid=7, resumed=True, held=[0, 1], paused_before=[], drained=known))
    startup = Startup(tree, engine, None, None)
    startup._lift_by_itself("all is ready")
    assert not sent and not tree.trading_enabled, "a kill is owed and could not be handed on"
    startup._lift_by_itself("all is ready")
    assert sent == [("pause_symbol", 1), *told[:-1], ("pause", 1), told[-1]] and tree.trading_enabled and tree.has_traded
    assert [h.kind for h in holds.listed()] == ["drain", "pause"], "a symbol's pause is the journal's to keep"
    assert lifted == [read(tmp_path / MADE, Made)]


@pytest.mark.parametrize("killed", [False, True])
def test_what_reduces_is_given_as_who_asked_for_it_said_and_not_after_a_kill_that_came_since(tmp_path, killed):
    sent: list[tuple[str, int, bytes, str, int]] = []

    def own(kind: str, *, shard: int, body: bytes = b"", request: Any, timeout_s: float) -> Effect:
        sent.append((kind, shard, body, request.who, request.when_ns))
        return Effect(shard, 9, 0)

    holds = Holds()
    holds.restore([Hold(shard=0, kind="flatten", owed=True, who="anna", when_ns=5), Hold(shard=1, kind="reduce_only", owed=True, after_kill=True, who="bob", when_ns=6)])
    tree: Any = SimpleNamespace(cfg=load_profile("laptop"), run=tmp_path, holds=holds, trading_enabled=False, has_traded=False, save=lambda: None)
    member = SimpleNamespace(process=SimpleNamespace(pid=7), last=(7, 1), life=SimpleNamespace(state="ready", reason=""))
    engine: Any = SimpleNamespace(member=member, link=SimpleNamespace(own=own, instruments={}), lifted=False, start=None, write_lifted=lambda made: None,
                                  hand_on_kill=lambda: True, killed=lambda: killed)  # fmt: skip
    write(tmp_path / MADE, Made(pid=7, resumed=True, held=[0, 1], paused_before=[]))
    Startup(tree, engine, None, None)._lift_by_itself("recovered")
    given = [("flatten", 0, b"", "anna", 5), ("reduce_only", 1, bodies.number(1), "bob", 6)]
    assert sent[:-2] == given[killed:] and [(kind, shard, who) for kind, shard, _, who, _ in sent[-2:]] == [("resume", 0, "supervisor"), ("resume", 1, "supervisor")]
    assert holds.listed() == []
