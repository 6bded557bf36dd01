"""The telemetry region and the shared segment, read as `top` reads them."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.observe import segment, telemetry
from orchestrator.observe.segment import Segment, SegmentError

ROOT = Path(__file__).resolve().parents[2]
ROW = ("PRGN", 1_000_000, 1_000_100, 1_000_000, -300, 12_345, 200, 1)
SUB_BITS, N_BUCKETS = 8, 8960


def region(**changes) -> bytes:
    values = {"counters": {"events": 7, "pnl_units": -5}, "histograms": {"tick_to_order": [500, 900, 70_000]}, **changes}
    return telemetry.build(values["counters"], values["histograms"], [ROW])


def test_what_is_laid_out_is_read_back():
    snapshot = telemetry.read(region())
    assert snapshot.counters == {"events": 7, "pnl_units": -5}
    assert snapshot["nothing of this name"] == 0
    assert snapshot.instruments[0].tolist() == (b"PRGN", *ROW[1:]) or snapshot.instruments[0].tolist()[1:] == ROW[1:]
    assert snapshot.histograms["tick_to_order"].summary() == {
        "p50": 901, "p90": 70_000, "p99": 70_000, "p99_9": 70_000, "max": 70_000, "count": 3,
    }  # fmt: skip


@given(st.integers(0, 2**42 - 1))
def test_a_buckets_highest_value_is_at_most_a_256th_above_what_it_counts(value):
    bucket = telemetry.bucket_of(value, SUB_BITS, N_BUCKETS)
    high = telemetry.bucket_high(bucket, SUB_BITS)
    assert value <= high <= value + value // 256
    assert bucket == 0 or telemetry.bucket_high(bucket - 1, SUB_BITS) < value


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60), st.sampled_from([1, 50, 90, 99, 99.9, 100]))
def test_a_percentile_is_the_ordered_value_to_within_a_256th(values, percent):
    view = telemetry.read(region(histograms={"h": values})).histograms["h"]
    exact = sorted(values)[max(1, -int(-(len(values) * percent) // 100)) - 1]
    assert exact <= view.percentile(percent) <= exact + exact // 256


def test_an_empty_histogram_has_zeros():
    view = telemetry.read(region(histograms={"h": []})).histograms["h"]
    assert set(view.summary().values()) == {0}


def test_the_bucket_arithmetic_is_the_engines():
    try:
        from hotpath._core import Histogram
    except ImportError:
        pytest.skip("the engine's histogram is not bound in this build")
    ours, theirs = [0, 1, 511, 512, 70_000, 2**41, *range(0, 100_000, 77)], Histogram()
    for value in ours:
        theirs.record(value)
    view = telemetry.read(region(histograms={"h": ours})).histograms["h"]
    for percent in (1, 50, 90, 99, 99.9, 100):
        assert view.percentile(percent) == theirs.percentile(percent)


def test_the_engine_publishes_the_counters_and_histograms_the_reader_explains():
    header = ROOT / "src/hotpath/engine/telemetry.h"
    if not header.exists():
        pytest.skip("the engine is not in this tree")
    lists = dict(re.findall(r"#define (PEREGRINE_\w+)\(X\)((?:.*\\\n)*.*)", header.read_text()))
    assert re.findall(r"X\((\w+)\)", lists["PEREGRINE_COUNTERS"]) == list(telemetry.COUNTERS)
    assert re.findall(r"X\((\w+)\)", lists["PEREGRINE_HISTOGRAMS"]) == list(telemetry.HISTOGRAMS)


def test_a_max_that_lags_behind_the_counts_does_not_cap_them():
    data = bytearray(region(histograms={"h": [10_000] * 5}))
    view = telemetry.read(bytes(data)).histograms["h"]
    old = telemetry.HistogramView("h", view.counts, view.sub_bits, 50)
    assert old.percentile(50) >= 10_000 and old.summary()["max"] >= 10_000


def test_counter_names_fit_their_field_and_are_explained():
    for name, (kind, meaning) in telemetry.COUNTERS.items():
        assert len(name) <= 24 and kind in ("level", "total") and meaning
    assert all(len(name) <= 24 for name in telemetry.HISTOGRAMS)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [(0, b"XXXXXXXX", "not a telemetry region"), (8, b"\2\0\0\0", "layout 2"), (48, b"\0" * 8, "still starting"),
     (16, b"\xff\xff\xff\x7f", "ends at byte"), (24, b"\xff\xff\xff\x7f", "ends at byte")],
)  # fmt: skip
def test_a_region_of_another_layout_is_refused_with_the_reason(at, value, words):
    data = bytearray(region())
    data[at : at + len(value)] = value
    with pytest.raises(telemetry.TelemetryError, match=words):
        telemetry.read(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_bytes_are_read_or_refused(noise, at):
    data = bytearray(region())[:2000]
    data[at : at + len(noise)] = noise
    with contextlib.suppress(telemetry.TelemetryError):
        for view in telemetry.read(bytes(data)).histograms.values():
            view.summary()


def test_the_segment_layout_is_the_one_drawn_in_core():
    header = ROOT / "src/hotpath/core/shm.h"
    if not header.exists():
        pytest.skip("core is not in this tree")
    text = header.read_text()
    offsets = {m[1]: int(m[2]) for m in re.finditer(r"offsetof\(ShmHeader, (\w+)\) == (\d+)", text)}
    fields = segment.HEADER_DTYPE.fields
    assert {n: fields[n][1] for n in offsets if n in fields} == {n: o for n, o in offsets.items() if n in fields}
    assert offsets["regions"] == segment.REGIONS_AT and offsets["kill_word"] == segment.KILL_AT
    assert int(re.search(r"kShmMagic = (0x\w+)ull", text)[1], 16) == segment.MAGIC
    assert int(re.search(r"kShmLayoutVersion = (\d+)", text)[1]) == segment.LAYOUT_VERSION


def test_a_running_engine_is_found_and_read(tmp_path, write_segment):
    write_segment(tmp_path / "peregrine.one", region(), heartbeat_ns=42)
    write_segment(tmp_path / "peregrine.dead", region(), pid=os.getpid(), start_ticks=1)
    write_segment(tmp_path / "peregrine.over", region(), state=5)
    (tmp_path / "peregrine.junk").write_bytes(b"junk" * 2000)
    assert segment.names(tmp_path) == ["dead", "junk", "one", "over"]
    assert [s.name for s in segment.running(tmp_path)] == ["one"]
    with Segment("one", folder=tmp_path) as one:
        assert (one.status().pid, one.status().epoch, one.status().heartbeat_ns) == (os.getpid(), 3, 42)
        assert telemetry.read(one.region("telemetry"))["events"] == 7
        assert not one.superseded()
        with pytest.raises(SegmentError, match="no region nothing"):
            one.region("nothing")
        (tmp_path / "peregrine.one").unlink()
        assert one.superseded()


def test_the_kill_word_is_a_level_with_who_and_when(tmp_path, write_segment):
    write_segment(tmp_path / "peregrine.one", region())
    with Segment("one", write=True, folder=tmp_path) as one:
        one.kill(segment.KILL_LEVELS["flatten"])
    head = np.frombuffer((tmp_path / "peregrine.one").read_bytes()[:4096], segment.HEADER_DTYPE)[0]
    assert (head["kill_level"], head["kill_pid"]) == (2, os.getpid()) and head["kill_ns"] > 0


def test_reading_needs_no_right_to_write(tmp_path, write_segment):
    write_segment(tmp_path / "peregrine.one", region())
    before = (tmp_path / "peregrine.one").read_bytes()
    with Segment("one", folder=tmp_path) as one:
        one.region("telemetry")
        with pytest.raises(TypeError):
            one.kill(1)
    assert (tmp_path / "peregrine.one").read_bytes() == before


@pytest.mark.parametrize(("change", "words"), [({"magic": 0}, "not ready"), ({"layout_version": 9}, "layout 9")])
def test_a_segment_that_cannot_be_read_says_why(tmp_path, write_segment, change, words):
    write_segment(tmp_path / "peregrine.one", region(), **change)
    with pytest.raises(SegmentError, match=words):
        Segment("one", folder=tmp_path)


def test_no_engine_and_more_than_one_are_told_apart(tmp_path, write_segment, monkeypatch, peregrine):
    from orchestrator.cli._engines import pick_engine
    from orchestrator.cli._errors import CliError

    monkeypatch.setattr(segment, "FOLDER", tmp_path)
    with pytest.raises(CliError, match="no engine is running"):
        pick_engine(None)
    write_segment(tmp_path / "peregrine.a", region())
    assert pick_engine(None) == pick_engine("a") == "a"
    write_segment(tmp_path / "peregrine.b", region())
    with pytest.raises(CliError, match="more than one"):
        pick_engine(None)
    with pytest.raises(CliError, match="no running engine called c"):
        pick_engine("c")
