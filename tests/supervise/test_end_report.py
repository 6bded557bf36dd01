"""The line that says what a tree came to: what is not known is not told as 0."""

from __future__ import annotations

from orchestrator.supervise.panel import end_lines
from orchestrator.supervise.stopping import EndReport


def line(**fields) -> str:
    return end_lines(EndReport(name="desk", run="runs/a", reason="asked", code=0, **fields))[0]


def test_what_is_known_is_counted():
    assert "; 1,200 orders, 900 fills, 0 open; run" in line(orders=1200, fills=900)


def test_what_an_engine_that_did_not_end_cleanly_left_untold_is_not_known():
    assert "; 0 open, orders and fills not known; run" in line(open_orders=0)
    assert "; orders and fills and open not known; run" in line(open_orders=None)
