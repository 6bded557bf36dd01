"""The whole page: head, contents, sections, foot; one file that needs nothing else."""

from __future__ import annotations

from importlib import resources

from orchestrator.observe.machine import one_line
from orchestrator.observe.report_html import sections
from orchestrator.observe.report_html.charts import NO_CHARTS
from orchestrator.observe.report_html.html import Html, el, join
from orchestrator.observe.report_html.numbers import Format, duration
from orchestrator.observe.report_html.story import Story

#: nothing is fetched, whatever stands in the data
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(story: Story, *, charts: bool, files: list[str], rows: dict[str, int], most_symbols: int = 12) -> str:
    """The report as one HTML document."""
    fmt = Format(story.result.currency, story.result.units_per_currency, story.header.session_zone)
    parts: list[tuple[str, str, Html]] = [
        ("profit", "Profit and positions", sections.money_section(story, fmt, charts)),
        ("fills", "Fills on the price", sections.price_section(story, fmt, charts, most_symbols)),
        ("orders", "Orders", sections.orders_section(story, fmt, rows.get("orders", 0))),
        ("latency", "Latency", sections.latency_section(story, fmt, charts)),
        ("risk", "Risk", sections.risk_section(story, fmt)),
        ("commands", "Commands", sections.commands_section(story, fmt)),
        ("incidents", "Feed and session", sections.incidents_section(story, fmt)),
        ("recoveries", "Recoveries", sections.recoveries_section(story, fmt)),
        ("journal", "Journal and files", sections.journal_section(story, files, rows)),
    ]
    notes = [*story.notes, *story.result.warnings, *([] if charts else [NO_CHARTS])]
    title = f"{story.result.config_name or 'run'} · {story.header.session_date}"
    body = el(
        "div",
        el("nav", el("a", "Peregrine", href="#top", cls="brand"), *(el("a", name, href=f"#{key}") for key, name, _ in parts), aria_label="Contents"),
        el("main", _head(story, fmt), sections.tiles(story, fmt), _notes(notes),
           *(el("section", el("h2", name), content, id=key) for key, name, content in parts), _foot(story)),
        cls="page", id="top",
    )  # fmt: skip
    return "<!doctype html>\n" + el(
        "html",
        el("head", Html('<meta charset="utf-8">'), Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
           Html('<meta name="viewport" content="width=device-width, initial-scale=1">'), Html('<meta name="color-scheme" content="light dark">'),
           el("title", f"{title} · Peregrine report"), el("style", Html(_asset("report.css")))),
        el("body", body, el("script", Html(_asset("report.js")))),
        lang="en",
    )  # fmt: skip


def _head(story: Story, fmt: Format) -> Html:
    r = story.result
    verdict = el("span", "replayed: identical" if story.identical else "replayed: DIFFERENT", cls="badge good" if story.identical else "badge bad")
    chain = [s for s in story.segments if s.sha256]
    effective = story.header.config["effective"]
    symbols = sum(len(s.symbols) for s in story.shards)
    facts = [
        ("Session", f"{story.header.session_date}, {story.header.session_zone}"),
        ("From … to", f"{fmt.moment(story.first_ns)} … {fmt.clock(story.last_ns, 0)}, {duration(story.last_ns - story.first_ns)}"),
        ("Engine", f"{effective['engine']['name']}, {len(story.shards)} shard{'s' * (len(story.shards) > 1)}, {symbols} symbol{'s' * (symbols > 1)}"),
        ("Journal", f"{r.journal_records:,} records; semantics version {story.header.semantics_version}, format {story.header.format_version}"),
        ("Hash chain", el("code", f"{chain[-1].sha256[:32]}…" if len(story.shards) == 1 and chain else f"{len(chain)} closed segments, listed below")),
        ("Order bytes, state", el("code", f"{r.order_hash}  {r.state_hash}")),
        ("Policies", join([el("code", f"{p['name']} {p['sha256'][:16]}") for p in r.policies], ", ")),
        ("Machine", one_line(story.header.machine)),
        ("Folder", el("code", str(story.folder))),
    ]
    return el("header", el("p", "Report of a run", cls="over"), el("h1", r.config_name or "run", " ", verdict),
              el("dl", *(join([el("dt", name), el("dd", value)]) for name, value in facts)))  # fmt: skip


def _notes(notes: list[str]) -> Html | None:
    return el("ul", *(el("li", note) for note in notes), cls="notes") if notes else None


def _foot(story: Story) -> Html:
    verified = (
        "Every number here comes from replaying the journal through the engine; "
        + ("all orders and state hashes came out as they were written." if story.identical else "the replay did NOT come out as the journal says.")
    )
    return el("footer", el("p", verified), el("p", "Prove it: ", el("code", f"peregrine verify {story.folder}")))


def _asset(name: str) -> str:
    return resources.files("orchestrator").joinpath("data", name).read_text(encoding="utf-8")
