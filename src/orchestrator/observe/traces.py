"""Traces of what the control plane does, as OpenTelemetry spans; off unless a collector is named (`observe.otlp`).

    with traces.span("control.pause", id=request.id, shard=3) as span:
        effect = …
        span.set(seq=effect.seq)

Off, a span is one shared object that does nothing. On, spans go in batches over OTLP/HTTP from a thread of the SDK's; a
collector that does not answer loses them and holds nothing up. Never on the path of an order.

Names: `supervise.…` for the supervisor's actions, `control.…` for commands. Attributes are `peregrine.` + the keyword; `id`
is the command's id, as in the logs and the journal, `seq` its number in the shard's journal. The id of a command, 32 hex
digits, is also the id of its trace: who has one has the other. Events of a command's span: `asked`, when the client asked;
`journaled`, when a shard took it, with `shard` and `seq`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

EXTRA_HINT = 'pip install "peregrine-engine[otel]", or leave observe.otlp empty'
PREFIX = "peregrine."
EXPORT_TIMEOUT_S = 5

_tracer: Any = None
_provider: Any = None


class TracesError(Exception):
    """Traces were asked for and cannot be made; the text says why and what to do."""


class Span:
    """What is under way. `set` adds attributes; an exception that leaves the block marks it failed."""

    __slots__ = ("_attributes", "_manager", "_name", "_span")

    def __init__(self, name: str, attributes: Mapping[str, Any]) -> None:
        self._name, self._attributes = name, attributes
        self._manager: Any = None
        self._span: Any = None

    def __enter__(self) -> Span:
        self._manager = _tracer.start_as_current_span(self._name, context=_trace_of(self._attributes.get("id")), attributes=_named(self._attributes))
        self._span = self._manager.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._manager.__exit__(kind, error, trace)

    def set(self, **attributes: Any) -> None:
        """Add attributes."""
        self._span.set_attributes(_named(attributes))

    def event(self, name: str, ts_ns: int, **attributes: Any) -> None:
        """Something that happened at a moment of its own, nanoseconds since the epoch."""
        self._span.add_event(name, _named(attributes), timestamp=ts_ns)


class _Off(Span):
    """The span of traces that are off."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def set(self, **attributes: Any) -> None:
        """Nothing."""

    def event(self, name: str, ts_ns: int, **attributes: Any) -> None:
        """Nothing."""


_OFF = _Off("", {})


def span(name: str, **attributes: Any) -> Span:
    """A block of work, to be used with `with`. Values None are left out; what OpenTelemetry cannot hold becomes text."""
    return _OFF if _tracer is None else Span(name, attributes)


def record(name: str, took_ns: int, **attributes: Any) -> None:
    """A span of something that is just over and took so long."""
    if _tracer is not None:
        now_ns = time.time_ns()
        _tracer.start_span(name, start_time=now_ns - took_ns, attributes=_named(attributes)).end(now_ns)


def configure(endpoint: str, process: str, *, engine: str = "", exporter: Any = None) -> None:
    """Turn traces on, spans named as of `process`, or off with an empty endpoint and no exporter.

    `endpoint` is the collector, http://HOST:4318 (`/v1/traces` is added when it names no path). `exporter` takes its place
    in tests. Raises TracesError without the [otel] extra.
    """
    shut_down()
    if not endpoint and exporter is None:
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=_traces_url(endpoint), timeout=EXPORT_TIMEOUT_S)
    except ImportError as err:
        raise TracesError(f"traces were asked for ({endpoint}) but OpenTelemetry is not installed: {EXTRA_HINT}") from err
    global _provider, _tracer
    resource = Resource({"service.name": f"peregrine-{process}", "service.instance.id": engine or process})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("peregrine")


def shut_down(timeout_s: float = 2.0) -> None:
    """Send what waits, at most this long, and turn traces off."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        # The SDK's own wait for a collector that does not answer is longer than an end may take.
        ending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(timeout_s)


def on() -> bool:
    """Are traces on?"""
    return _tracer is not None


def _traces_url(endpoint: str) -> str:
    scheme, _, rest = endpoint.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}/{path}" if path else f"{scheme}://{host}/v1/traces"


def _trace_of(command_id: Any) -> Any:
    """The trace that a command's id names, begun by its client; None: the trace that is under way, or a new one."""
    from opentelemetry import trace

    if trace.get_current_span().get_span_context().is_valid:
        return None
    try:
        number = int(command_id, 16) if len(command_id) == 32 else 0
    except (TypeError, ValueError):
        return None
    if number == 0:
        return None
    client = trace.SpanContext(number, (number >> 64) or 1, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    return trace.set_span_in_context(trace.NonRecordingSpan(client))


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        PREFIX + name: value if isinstance(value, (str, bool, int, float)) else str(value)
        for name, value in attributes.items() if value is not None
    }  # fmt: skip
