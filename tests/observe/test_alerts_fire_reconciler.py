"""Alerts of the reconciler, fired in a real tree whose drop copy is held back, cut off and made to lie.

`make alerts` runs it (PEREGRINE_ALERTS=all); the rest stands in test_alerts_fire.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from orchestrator.config.models_operate import AlertRule
from tests.observe.monitoring import QUICK, Monitoring, needs_prometheus, until

for room in ("supervise", "orchestrator/day"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / room))
from copy_proxy import CopyProxy  # noqa: E402
from day_rig import desk, exchange, reconcile, start, status  # noqa: E402
from tree_rig import Rig  # noqa: E402

pytestmark = [
    needs_prometheus, pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("PEREGRINE_ALERTS") != "all", reason="make alerts runs it"),
]  # fmt: skip
#: nothing is halted, so that one fault after another is seen; what is missing is waited for so long that it is only late
WATCHING = {"on_break": "tell", "on_lost": "tell", "grace_ms": 120_000, "lost_after_ms": 700}


@pytest.fixture
def rig(tmp_path):
    """A tree of the test's own; what it leaves fails the test."""
    made = Rig(tmp_path)
    yield made
    with contextlib.suppress(Exception):
        made.down(code=None)
    made.sweep()
    assert not made.left()


def test_a_drop_copy_that_lags_is_lost_or_lies_and_a_reconciler_that_stands_still_are_told(rig, tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as one:
        address = f"127.0.0.1:{one.getsockname()[1]}"
    with exchange(tmp_path, "--rate", "400") as at:
        proxy = CopyProxy(at["ouch"])
        start(rig, desk(rig, at, day=reconcile(proxy.address, **WATCHING), observe={"metrics": address}))
        rule = AlertRule(**QUICK | {"reconciler_silent_s": 2, "reconciler_behind_s": 2})
        with Monitoring(tmp_path / "m", rule) as seen:
            seen.watch(address)
            e = f'engine="{rig.name}"'
            until(lambda: seen.query(f"peregrine_reconciler_agreed_total{{{e}}} > 3"), "executions that agree")
            assert not {n for n in seen.names() if "Reconciler" in n or "DropCopy" in n}

            proxy.plant("less")  # the venue's record is without one of our fills, and may come up with it yet
            seen.expect("PeregrineReconcilerBehind", engine=rig.name, severity="warning")
            assert status(rig).standing == []

            proxy.down = True
            proxy.cut()
            seen.expect("PeregrineDropCopyLost", engine=rig.name, severity="critical")
            proxy.down = False
            until(lambda: not seen.query(f'peregrine_reconciler_state{{{e},state="lost"}} == 1'), "the drop copy to be back")

            os.kill(rig.pid("reconciler"), signal.SIGSTOP)
            seen.expect("PeregrineReconcilerSilent", engine=rig.name, severity="critical")
            assert seen.query(f'peregrine_process_up{{{e},role="reconciler"}} == 1'), "it lives, and says nothing"
            os.kill(rig.pid("reconciler"), signal.SIGCONT)
            until(lambda: not seen.firing("PeregrineReconcilerSilent"), "the alert to end")

            proxy.plant("price")
            seen.expect("PeregrineReconcilerDiffers", engine=rig.name, severity="page")
            assert "our price is" in status(rig).standing[-1]
            until(lambda: "PeregrineReconcilerDiffers" in seen.receiver.heard("pager"), "the pager to hear of it")
        proxy.close()
