"""Small pieces of HTML: everything that comes from data is escaped here, once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


class Html(str):
    """Text that is HTML already."""


def el(tag: str, *children: object, **attributes: object) -> Html:
    """An element. Children that are not Html are escaped; `cls` is the class, `_` in names is `-`; False and None leave out."""
    said = "".join(
        f' {"class" if name == "cls" else name.replace("_", "-")}' + ("" if value is True else f'="{escape(str(value), quote=True)}"')
        for name, value in attributes.items() if value is not None and value is not False
    )  # fmt: skip
    return Html(f"<{tag}{said}>{join(children)}</{tag}>")


def join(children: Iterable[object], between: str = "") -> Html:
    """Children one after the other; None is left out."""
    return Html(between.join(c if isinstance(c, Html) else escape(str(c), quote=False) for c in children if c is not None))


TALL_ROWS = 25  # a longer table scrolls in a box of its own


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, its unit (small, beside it), and whether its cells are numbers."""

    title: str
    unit: str = ""
    number: bool = False


def num(title: str, unit: str = "") -> Column:
    """A column of numbers: right-aligned, in tabular figures."""
    return Column(title, unit, True)


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, empty: str, cls: str = "", **attributes: object) -> Html:
    """A table in a box that scrolls sideways, or `empty` as a line of text where there are no rows."""
    body = [el("tr", *(el("td", cell, cls="n" if column.number else None) for column, cell in zip(columns, row, strict=True))) for row in rows]
    if not body:
        return el("p", empty, cls="none")
    head = el("tr", *(el("th", c.title, el("small", f" {c.unit}") if c.unit else None, cls="n" if c.number else None, scope="col") for c in columns))
    box = "scroll tall" if len(body) > TALL_ROWS else "scroll"
    return el("div", el("table", el("thead", head), el("tbody", *body), cls=cls or None, **attributes), cls=box, tabindex="0")


def side(word: str) -> Html:
    """buy or sell, in its colour."""
    return el("span", word, cls=word)


def data(identity: str, value: Any) -> Html:
    """JSON for the page's own script; nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{escape(identity)}">{text}</script>')


def figure(drawing: Html | None, caption: object) -> Html | None:
    """A chart with the words that say what is seen."""
    if drawing is None:
        return None
    return el("figure", el("div", drawing, cls="chart scroll", tabindex="0"), el("figcaption", caption))
