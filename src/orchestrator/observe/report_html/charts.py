"""Charts as inline SVG, drawn by matplotlib. Colours are the page's own: each stands for a CSS variable, so that one
drawing serves light, dark and paper.
"""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.observe.report_html.curves import Line

#: colour drawn with → the page's variable
COLOURS = {
    "ink": "#010101", "dim": "#020202", "grid": "#030303", "ground": "#040404", "pnl": "#050505", "second": "#060606",
    "third": "#070707", "buy": "#080808", "sell": "#090909", "stale": "#0a0a0a", "fourth": "#0b0b0b", "alarm": "#0c0c0c",
    "long": "#0d0d0d", "short": "#0e0e0e",
}  # fmt: skip
WIDTH_IN, DPI = 11.0, 100
NO_CHARTS = "no charts: matplotlib is not installed (hint: pip install 'peregrine-engine[report]')"


def charts_possible() -> bool:
    """Is matplotlib there?"""
    return importlib.util.find_spec("matplotlib") is not None


class Canvas:
    """One figure of one or more panels over the same time. Times are nanoseconds, shown as the session's clock."""

    def __init__(self, first_ns: int, last_ns: int, heights: Sequence[float], zone: Any, *, name: str) -> None:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self._settings: Any = {
            "svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 10.5, "axes.linewidth": 0.7,
            "path.simplify": False, "lines.linewidth": 1.3,
        }  # fmt: skip
        self._name = name
        with matplotlib.rc_context(self._settings):
            self._figure = Figure(figsize=(WIDTH_IN, sum(heights) + 0.55), dpi=DPI)
            FigureCanvasSVG(self._figure)
            self.panels = self._figure.subplots(len(heights), 1, sharex=True, squeeze=False,
                                                gridspec_kw={"height_ratios": list(heights), "hspace": 0.16})[:, 0]  # fmt: skip
        self._first_ns, self._last_ns, self._zone = first_ns, last_ns, zone
        for axes in self.panels:
            self._dress(axes)

    def _dress(self, axes: Any) -> None:
        axes.set_facecolor("none")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(COLOURS["grid"])
        axes.tick_params(which="both", color=COLOURS["grid"], labelcolor=COLOURS["dim"], length=3, width=0.7, labelsize=9.5)
        axes.grid(axis="y", color=COLOURS["grid"], linewidth=0.6)
        axes.set_axisbelow(True)
        axes.margins(y=0.08)

    def seconds(self, ts_ns: np.ndarray) -> np.ndarray:
        """Times as seconds since the first: what the axis is drawn in."""
        return (np.asarray(ts_ns, "<i8") - self._first_ns) / 1e9

    def steps(self, panel: int, points: Line, scale: float, colour: str, label: str, *, fill: bool = False, width: float = 1.3) -> None:
        """A step line, values times `scale`; `fill` shades it against zero by its sign (long, short)."""
        if not len(points):
            return
        x, y = _extended(self.seconds(points.ts_ns), points.values * scale, (self._last_ns - self._first_ns) / 1e9)
        axes = self.panels[panel]
        if fill:
            axes.fill_between(x, y, 0, where=y >= 0, step="post", color=COLOURS["long"], alpha=0.22, linewidth=0)
            axes.fill_between(x, y, 0, where=y <= 0, step="post", color=COLOURS["short"], alpha=0.22, linewidth=0)
        axes.step(x, y, where="post", color=COLOURS[colour], label=label, linewidth=width)

    def dots(self, panel: int, xs_ns: Sequence[int], ys: Sequence[float], colour: str, marker: str, label: str, *, hollow: bool) -> None:
        """Marks at single points; `hollow` draws only their outline."""
        if xs_ns:
            self.panels[panel].scatter(
                self.seconds(np.array(xs_ns, "<i8")), ys, s=20, marker=marker, linewidths=0.9, zorder=3, label=label,
                facecolors=COLOURS["ground"] if hollow else COLOURS[colour], edgecolors=COLOURS[colour],
            )  # fmt: skip

    def points(self, panel: int, xs_ns: Sequence[int], ys: Sequence[float], colour: str, label: str, *, line: bool) -> None:
        """Points, one a span of time, with a line through them that breaks where a value is missing (NaN)."""
        if len(xs_ns):
            self.panels[panel].plot(self.seconds(np.array(xs_ns, "<i8")), ys, color=COLOURS[colour], label=label, marker="o" if line else "_",
                                    markersize=2.2 if line else 6, linestyle="-" if line else "none")  # fmt: skip

    def shade(self, spans: Sequence[tuple[int, int]]) -> None:
        """Grey out periods in all panels."""
        for start, end in spans:
            for axes in self.panels:
                axes.axvspan(*self.seconds(np.array([start, end], "<i8")), color=COLOURS["stale"], alpha=0.30, linewidth=0, zorder=0)

    def moments(self, at_ns: Sequence[int], colour: str) -> None:
        """Thin lines across all panels."""
        for at in at_ns:
            for axes in self.panels:
                axes.axvline(float(self.seconds(np.array([at], "<i8"))[0]), color=COLOURS[colour], linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)

    def limit(self, panel: int, value: float, label: str) -> None:
        """A limit as a dashed line."""
        self.panels[panel].axhline(value, color=COLOURS["alarm"], linewidth=0.9, linestyle=(0, (5, 3)), label=label)

    def title(self, panel: int, text: str, *, legend: bool = True) -> None:
        """Name and unit of a panel, above its left end, with the legend at its right."""
        axes = self.panels[panel]
        axes.set_title(text, loc="left", fontsize=10.5, color=COLOURS["ink"], pad=6)
        if legend and axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=6, frameon=False, fontsize=9.5, labelcolor=COLOURS["dim"],
                        handlelength=1.4, columnspacing=1.4, borderaxespad=0.1)  # fmt: skip

    def logarithmic(self, panel: int) -> None:
        """A log axis of nanoseconds, labelled in the unit that reads best."""
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        from orchestrator.observe.report_html.numbers import duration

        axes = self.panels[panel]
        axes.set_yscale("log")
        low, high = axes.dataLim.intervaly
        decades = 1 if not 0 < low < high < float("inf") else len(str(int(high))) - len(str(int(max(low, 1))))
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 3) if decades <= 4 else (1,), numticks=16))  # else it drops all of many
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: duration(int(v)).replace(".00", "").replace(".0", "")))
        axes.yaxis.set_minor_formatter(NullFormatter())

    def svg(self, description: str) -> str:
        """The drawing as an <svg> element for the page."""
        import matplotlib
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        last = self.panels[-1]
        last.set_xlim(0, max(1e-6, (self._last_ns - self._first_ns) / 1e9))
        last.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 1.5, 2, 3, 5, 6, 10]))
        last.xaxis.set_major_formatter(FuncFormatter(self._clock))
        for axes in self.panels:
            if axes.get_yscale() == "linear":
                axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
                axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
        with matplotlib.rc_context(self._settings):
            self._figure.subplots_adjust(left=0.075, right=0.985, top=1 - 0.32 / self._figure.get_figheight(),
                                         bottom=0.30 / self._figure.get_figheight())  # fmt: skip
            out = io.StringIO()
            self._figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return _themed(out.getvalue(), description, self._name)

    def _clock(self, seconds: float, _: Any) -> str:
        import datetime as dt

        at = dt.datetime.fromtimestamp(self._first_ns / 1e9 + seconds, self._zone)
        span = (self._last_ns - self._first_ns) / 1e9
        return f"{at:%H:%M}" if span > 3600 else f"{at:%H:%M:%S}" if span > 8 else f"{at:%M:%S}.{at.microsecond // 100_000}"


def _extended(x: np.ndarray, y: np.ndarray, end: float) -> tuple[np.ndarray, np.ndarray]:
    return np.append(x, end), np.append(y, y[-1])


def _thousands(value: float, _: Any) -> str:
    text = f"{value:,.4f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.2f}".rstrip("0").rstrip(".")
    return text.replace("-", "−") if text not in ("-0", "") else "0"


def _themed(svg: str, description: str, name: str) -> str:
    """The drawing without its file's head, ids its own, colours as the page's variables."""
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{description}">', svg, count=1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)([^")]+)', rf"\1{name}-\2", svg)
    svg = svg.replace('xlink:href="', 'href="')
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    return re.sub(r"[ \t]*\n[ \t]*", "\n", svg)
