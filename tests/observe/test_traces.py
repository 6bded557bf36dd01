"""Traces: off they are nothing; on, spans reach an exporter and a collector; without the extra the error says what to do."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from orchestrator.config.models_operate import Observe
from orchestrator.observe import traces
from tests.observe.collector import Collector


@pytest.fixture(autouse=True)
def off_afterwards():
    yield
    traces.shut_down()


@pytest.fixture
def kept():
    """Traces on, into memory."""
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    traces.configure("", "supervisor", engine="e", exporter=memory)

    def spans():
        traces._provider.force_flush()
        return memory.get_finished_spans()

    return spans


def test_off_by_default_a_span_is_one_shared_object_and_nothing_is_imported():
    assert Observe().otlp == "" and not traces.on()
    assert traces.span("a", id="1") is traces.span("b")
    with traces.span("a") as span:
        span.set(seq=3)
    traces.record("a", 5)
    code = "import sys; from orchestrator.observe import traces; traces.configure('', 'x'); print([m for m in sys.modules if 'opentelemetry' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_off_an_error_passes_through_as_it_is():
    with pytest.raises(KeyError), traces.span("a"):
        raise KeyError("x")


def test_a_span_has_its_name_attributes_and_parent(kept):
    with traces.span("control.pause", id="abc", shard=3, why=None) as outer:
        with traces.span("supervise.send", kind="pause"):
            pass
        outer.set(seq=77, ok=True, symbols=["A", "B"])
    inner, outer_span = kept()
    assert (inner.name, outer_span.name) == ("supervise.send", "control.pause")
    assert inner.parent.span_id == outer_span.context.span_id
    assert dict(outer_span.attributes) == {
        "peregrine.id": "abc", "peregrine.shard": 3, "peregrine.seq": 77, "peregrine.ok": True, "peregrine.symbols": "['A', 'B']",
    }  # fmt: skip
    assert outer_span.resource.attributes["service.name"] == "peregrine-supervisor"
    assert outer_span.resource.attributes["service.instance.id"] == "e"


def test_a_commands_id_is_its_traces_and_the_span_tells_when_it_was_asked_for_and_journaled(kept):
    number = "c87c0a6c398241ed9638b6af5f6041bf"
    with traces.span("control.pause", id=number) as span:
        span.event("asked", 1_000)
        with traces.span("supervise.send", id=number):
            pass
        span.event("journaled", 2_000, shard=1, seq=77)
    with traces.span("control.note", id="not a number of 32 digits, but long"):
        pass
    inner, outer, other = kept()
    assert outer.context.trace_id == inner.context.trace_id == int(number, 16) != other.context.trace_id
    assert inner.parent.span_id == outer.context.span_id and other.parent is None
    assert [(e.name, e.timestamp, dict(e.attributes)) for e in outer.events] == [
        ("asked", 1_000, {}), ("journaled", 2_000, {"peregrine.shard": 1, "peregrine.seq": 77})]  # fmt: skip


def test_what_is_over_is_recorded_with_its_length(kept):
    traces.record("supervise.recovery", 5_000_000, restarts=2)
    (span,) = kept()
    assert span.end_time - span.start_time == 5_000_000 and span.attributes["peregrine.restarts"] == 2


def test_an_error_marks_its_span_failed_and_goes_on(kept):
    with pytest.raises(ValueError, match="no such shard"), traces.span("control.move"):
        raise ValueError("no such shard")
    (span,) = kept()
    assert not span.status.is_ok and span.events[0].attributes["exception.message"] == "no such shard"


def test_threads_have_spans_of_their_own(kept):
    def work(i: int) -> None:
        with traces.span(f"outer{i}"), traces.span(f"inner{i}"):
            pass

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_id = {s.context.span_id: s for s in kept()}
    assert len(by_id) == 16
    for span in by_id.values():
        if span.name.startswith("inner"):
            assert by_id[span.parent.span_id].name == span.name.replace("inner", "outer")


def test_spans_reach_a_collector_over_http():
    proto = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    collector = Collector()
    try:
        traces.configure(collector.url, "supervisor", engine="e")
        with traces.span("control.kill", id="k1"):
            pass
        traces.shut_down(timeout_s=60)
        assert not traces.on()
        ((path, body, kind),) = collector.posts
        assert path == "/v1/traces" and kind == "application/x-protobuf"
        found = proto.ExportTraceServiceRequest.FromString(body).resource_spans[0]
        span = found.scope_spans[0].spans[0]
        assert span.name == "control.kill" and {a.key: a.value.string_value for a in span.attributes} == {"peregrine.id": "k1"}
        assert {a.key: a.value.string_value for a in found.resource.attributes}["service.name"] == "peregrine-supervisor"
    finally:
        collector.close()


def test_a_collector_that_is_not_there_holds_nothing_up():
    pytest.importorskip("opentelemetry.sdk.trace")
    traces.configure("http://127.0.0.1:9", "supervisor")
    for i in range(3000):  # more than the queue holds
        with traces.span("control.note", i=i):
            pass
    traces.shut_down(timeout_s=0.1)
    assert not traces.on()


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [("http://h:4318", "http://h:4318/v1/traces"), ("http://h:4318/", "http://h:4318/v1/traces"), ("https://h/otlp/v1/traces", "https://h/otlp/v1/traces")],
)
def test_the_collectors_path_is_added_where_none_is_named(endpoint, url):
    assert traces._traces_url(endpoint) == url


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(traces.TracesError, match=r"\[otel\]"):
        traces.configure("http://127.0.0.1:4318", "supervisor")
    assert not traces.on()
