"""The order state table: the documentation and the code say the same."""

from __future__ import annotations

from pathlib import Path

from hotpath import _core

STATES, INPUTS = list(_core.ORDER_STATES), list(_core.ORDER_INPUTS)
TERMINAL = {"Filled", "Canceled", "Rejected", "Replaced", "Dead"}
DOC = Path(__file__).resolve().parents[2] / "docs/guide/order-states.md"


def documented() -> dict[tuple[str, str], tuple[str, bool]]:
    """(state, event) -> (next state, anomaly) from the table in the guide."""
    rows = [[c.strip() for c in line.strip().strip("|").split("|")]
            for line in DOC.read_text().split("## Table")[1].split("##")[0].splitlines() if line.startswith("|")]
    head, body = rows[0], rows[2:]
    return {(state, row[0]): (cell.removesuffix(" !"), cell.endswith(" !"))
            for row in body for state, cell in zip(head[1:], row[1:], strict=True)}


def test_the_documented_table_is_the_code():
    table = documented()
    assert len(table) == (len(STATES) - 1) * len(INPUTS)
    for (state, event), expected in table.items():
        nxt, anomaly = _core.next_order_state(STATES.index(state), INPUTS.index(event))
        assert (STATES[nxt], anomaly) == expected, (state, event)


def test_only_a_dead_order_can_come_back_to_life():
    for s, state in enumerate(STATES):
        for i, _ in enumerate(INPUTS):
            nxt, anomaly = _core.next_order_state(s, i)
            if state in TERMINAL - {"Dead"} or state == "Free":
                assert STATES[nxt] not in set(STATES) - TERMINAL - {"Free"}
            if state == "Dead" and STATES[nxt] not in TERMINAL:
                assert anomaly and STATES[nxt] == "Live"


def test_an_unanswered_order_is_never_taken_for_flat_by_a_lost_connection():
    for state in ("PendingNew", "PendingCancel", "Unknown"):
        nxt, _ = _core.next_order_state(STATES.index(state), INPUTS.index("LostUnanswered"))
        assert STATES[nxt] == "Unknown"
