"""Which charts the page has, from the story of a run."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from orchestrator.observe.report_html import curves
from orchestrator.observe.report_html.charts import Canvas
from orchestrator.observe.report_html.curves import Line
from orchestrator.observe.report_html.html import Html
from orchestrator.observe.report_html.latency import MEASURES
from orchestrator.observe.report_html.numbers import Format
from orchestrator.observe.report_html.reading import ShardReading
from orchestrator.observe.report_html.story import Story

COMMAND_LINES = 60  # more would be a wall


def account(story: Story, fmt: Format) -> Html:
    """Profit, exposure and net position of the account."""
    c = _canvas(story, fmt, [2.7, 1.5, 1.5], "account")
    per = 1 / fmt.units
    c.steps(0, story.account("realized_units"), per, "second", "realised, before fees", width=1.0)
    c.steps(0, story.account("fees_units"), per, "third", "fees", width=1.0)
    c.steps(0, story.account("pnl_units"), per, "pnl", "profit after fees", width=1.8)
    c.title(0, f"Profit, {fmt.currency}")
    gross = story.account("gross_units")
    c.steps(1, gross, per, "pnl", "gross exposure with working orders")
    limit = story.shards[0].spec["limits"]["max_gross"]
    if len(gross) and limit <= 2.5 * int(gross.values.max()):
        c.limit(1, limit * per, "limit")
    c.title(1, f"Exposure, {fmt.currency}")
    c.steps(2, net_position(story), 1, "pnl", "net position", fill=True, width=1.0)
    c.title(2, "Net position over all symbols, lots", legend=False)
    c.moments(_moments(story), "dim")
    return _svg(c, "Profit, exposure and net position over the run")


def symbol(story: Story, fmt: Format, shard: ShardReading, name: str) -> Html:
    """Price with our fills, and the position below, of one symbol."""
    c = _canvas(story, fmt, [2.9, 1.2], f"s{shard.shard}-{''.join(ch for ch in name if ch.isalnum())}")
    own, per = shard.symbol_lines[name], 1 / fmt.units
    c.steps(0, own["ask_ticks"], per, "fourth", "best ask", width=0.8)
    c.steps(0, own["bid_ticks"], per, "dim", "best bid", width=0.8)
    for way, marker in (("buy", "^"), ("sell", "v")):
        for role in ("maker", "taker"):
            marks = [p for (_, s, r), points in shard.marks.get(name, {}).items() if s == way and (r == role or (role == "taker" and r != "maker")) for p in points]
            c.dots(0, [at for at, _ in marks], [price * per for _, price in marks], way, marker, f"{way}, {role}", hollow=role == "maker")
    c.title(0, f"{name}: price, {fmt.currency}")
    c.steps(1, own["position_lots"], 1, "pnl", "position", fill=True, width=1.0)
    c.title(1, "Position, lots", legend=False)
    return _svg(c, f"Price, fills and position of {name}")


def latency(story: Story, fmt: Format) -> Html | None:
    """Percentiles over time of what the journal can tell, and how busy the feed was."""
    shown = [m for m in MEASURES if story.latency.over_time(m)]
    if not shown:
        return None
    c = _canvas(story, fmt, [1.9] * len(shown) + [1.3], "latency")
    for panel, measure in enumerate(shown):
        over = story.latency.over_time(measure)
        found = dict(over)
        rows = range(min(found), max(found) + 1)
        mid = [sum(story.latency.edges(row)) // 2 for row in rows]
        for key, colour, label in (("max", "dim", "max"), ("p99", "third", "p99"), ("p90", "second", "p90"), ("p50", "pnl", "p50")):
            values = [float(max(1, found[row][key])) if row in found else math.nan for row in rows]
            c.points(panel, mid, values, colour, label, line=key != "max")
        c.logarithmic(panel)
        c.title(panel, TITLES[measure])
    ends = curves.column_ends(story.first_ns, story.last_ns, 240)
    last = len(shown)
    c.steps(last, curves.rate(story.account("events"), ends), 1, "pnl", "feed messages", width=1.0)
    c.steps(last, curves.rate(story.account("decisions"), ends), 1, "second", "decisions", width=1.0)
    c.title(last, "Load, a second")
    return _svg(c, "Latency percentiles over the run")


TITLES = {
    "order_to_answer": "Order to the venue's answer", "cancel_to_answer": "Cancel to the venue's answer",
    "input_to_sent": "Input to order sent", "decision_interval": "Time between two decisions",
}  # fmt: skip


def net_position(story: Story) -> Line:
    """Lots held over all symbols; of one symbol its own line, of several at the end of each column."""
    own = [lines["position_lots"] for shard in story.shards for lines in shard.symbol_lines.values()]
    return curves.total(own, story.ends_ns)


def not_live(story: Story) -> list[tuple[int, int]]:
    """Periods in which any shard's feed was not live or its engine not running, joined where they meet."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(span for shard in story.shards for span in [*shard.not_live, *shard.stops]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def _moments(story: Story) -> list[int]:
    at = np.unique(np.array([row["ts_ns"] for row in story.newest["commands"]], "<i8"))
    return at.tolist() if len(at) <= COMMAND_LINES else []


def _canvas(story: Story, fmt: Format, heights: list[float], name: str) -> Canvas:
    canvas = Canvas(story.first_ns, story.last_ns, heights, fmt.zone, name=name)
    canvas.shade(not_live(story))
    return canvas


def _svg(c: Canvas, description: str) -> Html:
    return Html(c.svg(escape(description, quote=True)))
