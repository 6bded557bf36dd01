"""What is used of limits and what is left: by shard, by the worst case, in the words of the configuration."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.limits import above
from orchestrator.control.limit_use import COUNTERS, FIELDS, tightest_symbols, use_of_account, use_of_symbol
from orchestrator.control.limits import ALL, DIVIDED, OF_SYMBOLS
from orchestrator.observe.telemetry import COUNTERS as PUBLISHED
from orchestrator.observe.telemetry import INSTRUMENT_DTYPE, LIMIT_DTYPE


def shard(**counters: int) -> dict[str, int]:
    return {**dict.fromkeys(COUNTERS.values(), 0), "lease_units": 0, **counters}


def in_force(*shards: dict[str, int]) -> dict:
    account = {name: sum(s.get(name, 0) for s in shards) if name in DIVIDED else shards[0].get(name, 0) for name in COUNTERS}
    return {"account": {**account, "soft_permille": 800}, "shards": [{"account": s} for s in shards]}


def test_every_name_is_one_of_the_configuration_and_of_shared_memory():
    assert set(COUNTERS) <= set(ALL) and set(COUNTERS.values()) <= set(PUBLISHED)
    assert set(FIELDS) <= set(OF_SYMBOLS) and set(FIELDS.values()) <= set(LIMIT_DTYPE.names)


def test_a_divided_limit_is_left_by_the_account_and_by_the_shard_that_has_least():
    found = in_force({"max_loss_units": 51, "max_gross_units": 1000, "max_positions": 0}, {"max_loss_units": 50, "max_gross_units": 1000})
    use = use_of_account(found, [shard(loss_units=10, gross_units=390, lease_units=600), shard(loss_units=45, gross_units=395, lease_units=400)])
    assert {k: use["max_loss_units"][k] for k in ("value", "used", "left", "soft", "tightest")} == {
        "value": 101, "used": 55, "left": 46, "soft": False, "tightest": 1}
    assert use["max_loss_units"]["shards"][1] == {"value": 50, "used": 45, "left": 5}
    gross = use["max_gross_units"]
    assert (gross["value"], gross["used"], gross["left"]) == (1000, 785, 215), "leased, not divided: the whole stays the account's"
    assert [s["value"] for s in gross["shards"]] == [600, 400] and gross["tightest"] == 1 and not gross["soft"]
    assert "max_positions" not in use, "0 is no such limit"
    assert use_of_account(found, [shard()]) == {}, "an engine of another shape is not this run's"


def test_what_is_out_on_lease_and_what_stands_above_the_limit_are_told_in_a_sentence():
    found = in_force({"max_gross_units": 1000}, {"max_gross_units": 1000})
    within = use_of_account(found, [shard(gross_units=390, lease_units=600), shard(gross_units=395, lease_units=400)])
    assert (within["max_gross_units"]["out"], within["max_gross_units"]["above"]) == (1000, 0) and above(within) == []
    out = use_of_account(found, [shard(gross_units=390, lease_units=600), shard(gross_units=395, lease_units=4400)])
    assert above(out) == ["max_gross_units: 4,000 more on lease than the limit until the shards have taken their cuts"]
    stands = use_of_account(found, [shard(gross_units=1390, lease_units=600), shard(gross_units=5, lease_units=0)])
    (told,) = above(stands)
    assert "above by 395 until" in told and "leases come to 600" in told


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=8), st.integers(1, 1000))
def test_parts_come_to_the_whole(parts, soft):
    found = in_force(*({"max_credit_units": value} for value, _ in parts))
    found["account"]["soft_permille"] = soft
    use = use_of_account(found, [shard(credit_units=used) for _, used in parts])["max_credit_units"]
    assert use["left"] == sum(s["left"] for s in use["shards"]) == sum(v - u for v, u in parts)
    assert use["shards"][use["tightest"]]["left"] == min(v - u for v, u in parts)
    assert use["soft"] == (sum(u for _, u in parts) * 1000 >= sum(v for v, _ in parts) * soft)


def test_a_symbols_use_is_its_worst_case():
    rows, limits = np.zeros(2, INSTRUMENT_DTYPE), np.zeros(2, LIMIT_DTYPE)
    rows["symbol"] = [b"AAAA    ", b"BBBB    "]
    limits[1]["worst_long_lots"], limits[1]["working_orders"] = 300, 2
    found = {"symbol": "BBBB", "limits": dict.fromkeys(OF_SYMBOLS, 1000)}
    use = use_of_symbol(found, SimpleNamespace(instruments=rows, limits=limits))
    assert use["max_long_lots"] == {"value": 1000, "used": 300, "left": 700} and use["max_working_orders"]["left"] == 998
    assert "max_order_lots" not in use, "judged order by order: nothing of it is used up"
    limits["limit_long_lots"] = [900, 1000]
    limits[0]["worst_long_lots"] = 250
    least = tightest_symbols([SimpleNamespace(instruments=rows, limits=limits)])["max_long_lots"]
    assert least == {"symbol": "AAAA", "value": 900, "used": 250, "left": 650}
