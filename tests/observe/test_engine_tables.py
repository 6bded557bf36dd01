"""What a real engine writes of refusals, limits and its device, against its own totals and its configuration."""

from __future__ import annotations

import pytest
import yaml

from orchestrator.observe.reading import Reader
from orchestrator.observe.telemetry import Snapshot
from tests.observe.engines import trading
from tests.observe.monitoring import until

pytestmark = pytest.mark.slow
CHANGES = {
    "risk__max_working_orders": 1, "risk__max_account_orders": 1, "risk__max_long_lots": 777, "risk__max_short_lots": 555,
    "risk__max_gross_units": 1_234_567_890, "risk__soft_permille": 700, "policies__placement": "device", "device__backend": "cpu",
    "device__deadline_ns": 1_000_000_000,
}  # fmt: skip


def totals(s: Snapshot) -> tuple[int, int, int, int]:
    venue = sum(n for name, n in s.rejects.items() if name.startswith("venue."))
    gate = sum(n for name, n in s.rejects.items() if not name.startswith("venue.") and name != "pass")
    return venue, s["rejects"], gate, s["risk_rejects"]


def test_refusals_by_reason_add_up_to_the_totals_and_limits_are_those_of_the_configuration(tmp_path):
    with trading(tmp_path, faults="reject=40%", **CHANGES) as (_, engine):
        reader = Reader(engine.name, keep_s=0)

        def agreed() -> Snapshot | None:
            s = reader.read().whole()
            venue, rejects, gate, risk_rejects = totals(s) if s else (0, 0, 0, 0)
            return s if venue == rejects > 3 and gate == risk_rejects > 3 else None  # one reading may be of two moments

        s = until(agreed, "refusals of both kinds, and sums that agree")
        assert s.rejects["account_orders"] + s.rejects["working_orders"] > 0
        risk = yaml.safe_load(engine.config.read_text())["risk"]
        assert (s["limit_account_orders"], s["limit_gross_units"], s["soft_permille"]) == (1, 1_234_567_890, 700)
        assert (s["limit_loss_units"], s["limit_drawdown_units"]) == (risk["max_loss_units"], risk["max_drawdown_units"])
        assert len(s.limits) == len(s.instruments) == 2
        for row in s.limits:
            assert (row["limit_long_lots"], row["limit_short_lots"], row["limit_working_orders"]) == (777, 555, 1)
            assert row["working_orders"] <= 1 and abs(row["worst_long_lots"]) <= 777
        assert s["journal_ring_bytes"] == 1 << 20 and 0 < s["journal_free_bytes"] <= s["journal_ring_bytes"]
        assert s["account_orders"] <= 1 and s["gross_units"] <= s["limit_gross_units"] == s["lease_units"]
        assert s["device_state"] == 1 and s["device_asked"] > 3 and s["device_missed"] == s["device_failed"] == s["device_trips"] == 0
        assert list(s.rejects)[:2] == ["pass", "killed"] and "strategy_not_authorised" in s.rejects and "venue.63" in s.rejects
