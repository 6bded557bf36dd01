"""Every metric Peregrine shows, in one table, and the collector that hands them to prometheus-client.

Names follow Prometheus' convention: `peregrine_`, base units (seconds, bytes), totals end in `_total`. All carry the label
`engine`. docs/concepts/metrics.md is made from the table:

    python -m orchestrator.observe.metrics > docs/concepts/metrics.md
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from orchestrator.day import metrics as reconciler
from orchestrator.observe import metric_engine, metric_tree
from orchestrator.observe.metric_table import Metric
from orchestrator.observe.reading import Reader, Reading

METRICS: tuple[Metric, ...] = metric_engine.METRICS + metric_tree.METRICS + reconciler.METRICS
#: groups in the page's order, with a line each
GROUPS = {
    "engine": "The engine as its shared segment names it.",
    "latency": "Latencies, a histogram for each stage. Bounds are exact: each is the end of one of the engine's own buckets, "
    "so no value is counted twice or in the wrong one. The sum may lag the counts by 100 ms.",
    "shard": "One series a shard.",
    "rejects": "Refusals, by who refused and why.",
    "limits": "Use of the account's limits, a shard's part each; limits as in force, after every command that changed them.",
    "symbols": "One series a symbol.",
    "tree": "The process tree, from `supervisor.json`; absent for an engine without a supervisor.",
    "resources": "What the processes of the tree cost, from /proc.",
    "control": "The control API.",
    reconciler.GROUP: reconciler.WORDS,
    "exporter": "The telemetry process itself.",
}
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


def families(reading: Reading) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
    """The reading as metric families, in the table's order; those without a sample are left out."""
    for metric in METRICS:
        family = _FAMILIES[metric.kind](metric.name, metric.help, labels=("engine", *metric.labels))
        for labels, value in metric.samples(reading):
            if metric.kind == "histogram":
                buckets, total = value
                family.add_metric((reading.name, *labels), buckets, total)
            else:
                family.add_metric((reading.name, *labels), value)
        if family.samples:
            yield family


class EngineCollector(Collector):
    """Reads the engine anew at every scrape."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """Metric families of now."""
        return families(self._reader.read())


def page() -> str:
    """docs/concepts/metrics.md."""
    out = [
        "# Metrics", "",
        "Made from the table in `src/orchestrator/observe/metrics.py` by `python -m orchestrator.observe.metrics`; a test",
        "compares the two. Served by the telemetry process at `/metrics` ([observability](observability.md)). Every series",
        "carries the label `engine`, the engine's name, besides those listed. A counter that falls has begun anew: the",
        "engine was started again.", "",
    ]  # fmt: skip
    for group, words in GROUPS.items():
        out += [f"## {group.capitalize()}", "", words, "", "| name | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
        out += [
            f"| `{m.name}` | {m.kind} | {m.unit or '–'} | {', '.join(f'`{name}`' for name in m.labels) or '–'} | {m.help} |"
            for m in METRICS if m.group == group
        ]  # fmt: skip
        out.append("")
    return "\n".join(out)


if __name__ == "__main__":
    print(page(), end="")
