"""The table of metrics, and what comes out of it for a reading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.observe import metrics, telemetry
from orchestrator.observe.metric_engine import SHOWN_OTHERWISE, derived, one_of, ratio
from orchestrator.observe.metrics import METRICS, EngineCollector
from orchestrator.observe.reading import Reader
from orchestrator.observe.states import BREAKER_STATES, DEVICE_STATES

ROOT = Path(__file__).resolve().parents[2]


def samples_of(reader: Reader) -> dict[tuple[str, frozenset], float]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(EngineCollector(reader))
    text = generate_latest(registry).decode()
    return {
        (s.name, frozenset(s.labels.items())): s.value for family in text_string_to_metric_families(text) for s in family.samples
    }


def value(samples, name: str, **labels: str) -> float:
    found = [v for (n, have), v in samples.items() if n == name and labels.items() <= dict(have).items()]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def test_names_follow_the_convention_and_are_told_once():
    names = [m.name for m in METRICS]
    assert len(set(names)) == len(names)
    for m in METRICS:
        assert re.fullmatch(r"peregrine_[a-z0-9_]+", m.name) and m.help and m.group in metrics.GROUPS
        assert m.name.endswith("_total") == (m.kind == "counter"), m.name
        if m.unit in ("seconds", "bytes", "lots", "currency", "ratio"):
            assert m.name.removesuffix("_total").endswith(m.unit), m.name
        assert not re.search(r"_(ns|us|ms|kb|mb|permille|units)(_|$)", m.name), m.name
        assert "engine" not in m.labels and "le" not in m.labels


def test_the_page_is_the_table():
    page = ROOT / "docs/concepts/metrics.md"
    assert page.read_text() == metrics.page(), "write it anew: python -m orchestrator.observe.metrics > docs/concepts/metrics.md"


def test_every_counter_of_the_engine_is_shown_or_said_to_be_shown_otherwise(stand_in):
    one = stand_in()
    seen = {name for name, _ in samples_of(Reader(one.name))}
    for counter, (kind, meaning) in telemetry.COUNTERS.items():
        assert counter in SHOWN_OTHERWISE or derived(counter, kind, meaning).name in seen, counter


@pytest.mark.parametrize(
    ("counter", "kind", "name"),
    [("stale_ns", "total", "peregrine_stale_seconds_total"), ("journal_bytes", "total", "peregrine_journal_bytes_total"),
     ("fees_units", "level", "peregrine_fees_currency"), ("gaps", "total", "peregrine_gaps_total"),
     ("filled_lots", "total", "peregrine_filled_lots_total"), ("loop_max_ns", "level", "peregrine_loop_max_seconds")],
)  # fmt: skip
def test_a_counters_name_says_what_its_metric_is_called(counter, kind, name):
    assert derived(counter, kind, "x").name == name


def test_values_come_in_base_units_with_their_labels(stand_in):
    one = stand_in(shards=2)
    one.counters[0] |= {"stale_ns": 2_500_000_000, "pnl_units": -12_345, "orders": 7, "gross_units": 50_000, "limit_gross_units": 100_000}
    one.counters[1] |= {"orders": 9, "feed_state": 4, "trading_state": 5}
    one.rejects |= {"price_collar": 3, "venue.12": 2}
    one.write()
    found = samples_of(Reader(one.name))
    assert value(found, "peregrine_up") == 1 and value(found, "peregrine_exporter_readable") == 1
    assert value(found, "peregrine_stale_seconds_total", shard="0") == 2.5
    assert value(found, "peregrine_pnl_currency", shard="0") == -1.2345
    assert (value(found, "peregrine_orders_total", shard="0"), value(found, "peregrine_orders_total", shard="1")) == (7, 9)
    assert value(found, "peregrine_limit_used", shard="0", limit="gross") == 5 and value(found, "peregrine_limit", shard="0", limit="gross") == 10
    assert value(found, "peregrine_limit_use_ratio", shard="0", limit="gross") == 0.5
    assert value(found, "peregrine_risk_rejects_total", shard="0", reason="price_collar") == 3
    assert value(found, "peregrine_venue_rejects_total", shard="0", code="12") == 2
    assert not [n for n, have in found if n == "peregrine_risk_rejects_total" and ("reason", "pass") in have]
    assert value(found, "peregrine_feed_state", shard="1", state="stale") == 1 and value(found, "peregrine_feed_state", shard="1", state="live") == 0
    assert value(found, "peregrine_trading_state", shard="1", state="killed") == 1
    assert value(found, "peregrine_symbol_position_lots", symbol="S0") == 300
    assert value(found, "peregrine_symbol_limit_use_ratio", symbol="S0", limit="long") == 0.1
    assert value(found, "peregrine_symbol_limit_used", symbol="S1", limit="order_value") == 500
    assert value(found, "peregrine_process_resident_bytes", process="engine") > 1e6


def test_a_limit_of_none_is_left_out_and_breakers_are_named(stand_in):
    one = stand_in(shards=2)
    one.counters[0] |= {"positions": 4, "limit_positions": 0, "breakers_open": 9}
    one.counters[1] |= {"positions": 4, "limit_positions": 5}
    one.write()
    found = samples_of(Reader(one.name))
    assert not [have for n, have in found if n == "peregrine_limit" and {("shard", "0"), ("limit", "positions")} <= have]
    assert value(found, "peregrine_limit_use_ratio", shard="1", limit="positions") == 0.8
    tripped = {b: value(found, "peregrine_breaker_open", shard="0", breaker=b) for b in ("message_rate", "reject_rate", "loss", "drawdown")}
    assert tripped == {"message_rate": 1, "reject_rate": 0, "loss": 0, "drawdown": 1}


def test_a_tripped_breaker_cools_down_and_then_awaits_to_be_armed(stand_in):
    one = stand_in()
    one.counters[0] |= {"breakers_open": 5, "breakers_cooling": 4}
    one.write()
    found = samples_of(Reader(one.name))
    states = {b: {s: value(found, "peregrine_breaker_state", breaker=b, state=s) for s in BREAKER_STATES} for b in ("message_rate", "reject_rate", "loss")}
    assert states == {"message_rate": {"armed": 0, "cooling": 0, "awaits_rearm": 1}, "reject_rate": {"armed": 1, "cooling": 0, "awaits_rearm": 0},
                      "loss": {"armed": 0, "cooling": 1, "awaits_rearm": 0}}  # fmt: skip


def test_shards_of_one_account_and_one_thread_are_told_together(stand_in):
    one = stand_in(shards=3)
    for i, c in enumerate(one.counters):
        c |= {"thread": i // 2, "gross_units": 10_000 * (i + 1), "lease_units": 40_000, "limit_gross_units": 120_000, "active_symbols": 1}
    one.write()
    reader = Reader(one.name)
    found = samples_of(reader)
    assert [value(found, "peregrine_thread_shards", shard=str(i)) for i in range(3)] == [2, 2, 1]
    assert [value(found, f"peregrine_account_{n}_currency") for n in ("gross", "leased", "gross_limit")] == [6, 12, 12]
    leased = {n: value(found, f"peregrine_lease_{n}_currency", limit="gross") for n in ("budget", "out")}
    assert leased == {"budget": 12, "out": 12}
    assert [[value(found, f"peregrine_lease_{n}_currency", limit="gross", shard=str(i)) for i in range(3)] for n in ("granted", "used")] == [[4, 4, 4], [1, 2, 3]]
    assert [value(found, "peregrine_lease_excess_currency", limit="gross", of=of) for of in ("granted", "used")] == [0, 0]
    one.counters[1]["limit_gross_units"] = 50_000  # lowered, and not everywhere yet
    one.write()
    lowered = samples_of(reader)
    assert [value(lowered, "peregrine_lease_excess_currency", limit="gross", of=of) for of in ("granted", "used")] == [7, 1]
    assert value(lowered, "peregrine_lease_budget_currency", limit="gross") == 5
    one.counters[1]["limit_gross_units"] = 120_000
    one.write()
    assert (value(found, "peregrine_symbols", shard="2"), value(found, "peregrine_active_symbols", shard="2")) == (1, 1)
    assert reader.read().whole()["limit_gross_units"] == 120_000, "the account's, however many shards tell it"
    alone = samples_of(Reader(stand_in().name))
    assert not [n for n, _ in alone if n.startswith(("peregrine_account_", "peregrine_lease_")) and n.endswith("currency")], "one shard has all of it"


@pytest.mark.parametrize(("number", "state"), [(0, "none"), (1, "asked"), (2, "probing"), (3, "breaker_open"), (4, "loading")])
def test_how_a_device_stands_is_told_by_name_and_the_worst_of_several_shards_counts(stand_in, number, state):
    one = stand_in(shards=2)
    one.counters[0] |= {"device_state": number, "device_missed": 4}
    one.counters[1] |= {"device_state": 1}
    one.write()
    reader = Reader(one.name)
    found = samples_of(reader)
    assert [s for s in DEVICE_STATES if value(found, "peregrine_device_state", shard="0", state=s)] == [state]
    assert value(found, "peregrine_device_missed_total", shard="0") == 4
    assert reader.read().whole()["device_state"] == (number or 1)


def test_the_histogram_of_a_stage_holds_every_value_once(stand_in):
    one = stand_in()
    found = samples_of(Reader(one.name))
    values = one.histograms["risk"]
    name, labels = "peregrine_stage_latency_seconds", {"stage": "risk", "shard": "0"}
    assert value(found, f"{name}_count", **labels) == len(values) == value(found, f"{name}_bucket", le="+Inf", **labels)
    assert value(found, f"{name}_sum", **labels) == pytest.approx(sum(values) / 1e9)
    for (sample, have), n in found.items():
        at = dict(have)
        if sample == f"{name}_bucket" and at["stage"] == "risk" and at["le"] != "+Inf":
            assert n == sum(v <= round(float(at["le"]) * 1e9) for v in values)


def test_without_an_engine_only_what_is_known_is_told():
    found = samples_of(Reader("obs-nobody"))
    assert value(found, "peregrine_up") == 0 and value(found, "peregrine_exporter_readable") == 0
    assert not [n for n, _ in found if n.startswith(("peregrine_orders", "peregrine_heartbeat", "peregrine_feed"))]


def test_a_state_of_a_newer_engine_is_shown_by_its_number():
    assert dict(one_of(("a", "b"), 1)) == {"a": 0, "b": 1}
    assert dict(one_of(("a", "b"), 7)) == {"a": 0, "b": 0, "7": 1}


@pytest.mark.parametrize(("used", "limit", "use"), [(0, 10, 0), (5, 10, 0.5), (-3, 10, 0), (0, 0, 0), (1, 0, 1), (20, 10, 2)])
def test_use_of_a_limit(used, limit, use):
    assert ratio(used, limit) == use
