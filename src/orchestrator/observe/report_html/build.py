"""From a run's folder to the page and its tables on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.observe.report_html.charts import NO_CHARTS, charts_possible
from orchestrator.observe.report_html.page import page
from orchestrator.observe.report_html.reading import Kept
from orchestrator.observe.report_html.story import Story, read_story
from orchestrator.observe.report_html.tables import NO_PARQUET, Tables, parquet_possible

PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """What was written where."""

    folder: Path
    story: Story
    files: list[str]
    rows: dict[str, int]
    notes: list[str]

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / PAGE

    def to_json(self) -> dict[str, Any]:
        """The object `report --json` prints. Money is in units, exact."""
        s, r = self.story, self.story.result
        return {
            "journal": str(s.folder), "page": str(self.page), "files": [str(self.folder / f) for f in self.files], "rows": self.rows,
            "identical": s.identical, "records": r.journal_records, "pnl_units": r.pnl_units, "fees_units": r.fees_units,
            "units_per_currency": r.units_per_currency, "currency": r.currency, "max_drawdown_units": s.max_drawdown()[0],
            "max_drawdown_exact": s.max_drawdown()[1], "position": r.position_lots, "orders": r.orders, "fills": r.fills,
            "risk_reasons": r.risk_reasons, "recoveries": sum(len(x.recoveries) for x in s.shards),
            "latency_ns": {m: s.latency.whole(m) for m in _measures()}, "order_hash": r.order_hash, "state_hash": r.state_hash,
            "notes": [*s.notes, *self.notes],
        }  # fmt: skip


def build_report(journal: Path, out: Path, *, kept: Kept | None = None, most_symbols: int = 12,
                 on_progress: Callable[[int, int, int], None] | None = None) -> Report:
    """Read the journal(s) of a run once and write page and tables into `out`, which is made. Raises JournalUnreadable, OSError."""
    parquet, charts = parquet_possible(), charts_possible()
    with Tables(out, parquet=parquet) as tables:
        story = read_story(journal, tables, kept=kept, on_progress=on_progress)
    text = page(story, charts=charts, files=tables.files, rows=tables.rows, most_symbols=most_symbols)
    (out / PAGE).write_text(text, encoding="utf-8")
    notes = [*([] if charts else [NO_CHARTS]), *([] if parquet else [NO_PARQUET])]
    return Report(out, story, [PAGE, *tables.files], tables.rows, notes)


def _measures() -> list[str]:
    from orchestrator.observe.report_html.latency import MEASURES

    return list(MEASURES)
