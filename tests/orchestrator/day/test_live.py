"""A live engine whose drop copy is made to lie: each fault halts trading and is named, nobody else is told off, and a reconciler
that was killed goes on where it was."""

from __future__ import annotations

import os
import signal

import pytest

pytest.importorskip("hotpath._core")
from copy_proxy import CopyProxy  # noqa: E402
from day_rig import commands, desk, exchange, reconcile, start, status  # noqa: E402
from inside import inside  # noqa: E402
from tree_rig import Rig  # noqa: E402

from orchestrator.supervise.paths import VARIABLE  # noqa: E402
from orchestrator.supervise.view import read_view  # noqa: E402

pytestmark = pytest.mark.slow
TRADING, PAUSED = 1, 3
NAMES = {"more": "the venue's drop copy has", "less": "the venue's drop copy has not", "price": "our price is", "quantity": "our quantity is"}


@pytest.fixture
def rig(tmp_path):
    """A tree of the test's own; what it leaves fails the test."""
    made = Rig(tmp_path)
    yield made
    left = made.left()
    made.sweep()
    assert not left, left


def trading_state(rig: Rig) -> int:
    """Of the one shard."""
    view = read_view(rig.name)
    return view.shards[0].trading_state if view and view.shards else -1


def test_every_fault_in_the_drop_copy_halts_the_engine_and_a_killed_reconciler_goes_on(rig, tmp_path):
    with exchange(tmp_path, "--rate", "400", "--holdings", "held.json") as at:
        proxy, env = CopyProxy(at["ouch"]), {VARIABLE: str(rig.runtime_base)}
        start(rig, desk(rig, at, day=reconcile(proxy.address, grace_ms=500, lost_after_ms=4_000, on_break="cancel", on_lost="halt")))
        run = rig.run_folder()
        assert rig.wait(lambda: (s := status(rig)) and s.agreed > 3 and s.state in ("agreed", "waiting"))
        # an engine that is killed and recovered differs in nothing: what was executed meanwhile is told to both
        before, engine = status(rig), rig.pid("engine")
        os.kill(engine, signal.SIGKILL)
        rig.wait(lambda: rig.pid("engine") not in (0, engine) and trading_state(rig) == TRADING and status(rig).agreed > before.agreed)
        assert status(rig).standing == [] and commands(run, "reconciler") == []
        for n, (fault, words) in enumerate(NAMES.items(), 1):
            proxy.plant(fault)
            rig.wait(lambda n=n: len(status(rig).standing) == n)
            rig.wait(lambda: trading_state(rig) == PAUSED)
            rig.wait(lambda: read_view(rig.name).open_orders() == 0)  # and what worked is cancelled
            said = commands(run, "reconciler")
            assert len(said) == n and said[-1]["kind"] == "pause" and words in said[-1]["why"] and "PRGN match" in said[-1]["why"], said
            assert said[-1]["why"] == status(rig).standing[-1]
            inside(tmp_path, "resume", "--name", rig.name, "--all", "--why", f"asked the venue about {fault}", **env)
            rig.wait(lambda: trading_state(rig) != PAUSED)
        # killed: the next one reads all of it again, finds the same, and does not act on it twice
        before = status(rig)
        os.kill(rig.pid("reconciler"), signal.SIGKILL)
        after = rig.wait(lambda: (s := status(rig)) and s.pid != before.pid and s.agreed > before.agreed and len(s.standing) >= 4 and s)
        assert set(after.standing) == set(before.standing) and all(act.done for act in after.acts)
        assert len(commands(run, "reconciler")) == 4 and trading_state(rig) != PAUSED
        # the drop copy is gone
        proxy.down = True
        proxy.cut()
        rig.wait(lambda: trading_state(rig) == PAUSED)
        last = commands(run, "reconciler")[-1]
        assert "the drop copy is lost" in last["why"] and last["value"] == 0 and said[-1]["value"] == 1  # what works is left, and is cancelled
        proxy.down = False
        rig.wait(lambda: status(rig).problem == "")
        # nobody answers any more who could take a command: the kill word does not need anybody
        inside(tmp_path, "resume", "--name", rig.name, "--all", "--why", "it is back", **env)
        supervisor = rig.state().supervisor_pid
        os.kill(supervisor, signal.SIGSTOP)
        proxy.plant("price")
        rig.wait(lambda: read_view(rig.name).kill_level > 0)
        os.kill(supervisor, signal.SIGCONT)
        ended = rig.down(code=None)
        assert sum("the venue disagrees" in note for note in ended["notes"]) == 5, ended
        proxy.close()
