"""Put the table of bench/results/latest.json between the markers of README.md and docs/concepts/latency.md.

    python bench/publish.py

Prints nothing; leaves with 1 when there is no report yet.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/concepts/latency.md")
BEGIN, END = "<!-- latency table: filled in from bench/results/latest.json -->", "<!-- end of latency table -->"


def figure(ns: float) -> str:
    """A time in the unit it reads best in."""
    for limit, unit, name, digits in ((50, 1, "ns", 1), (1e3, 1, "ns", 0), (1e6, 1e3, "µs", 1), (1e9, 1e6, "ms", 1)):
        if ns < limit:
            return f"{ns / unit:.{digits}f} {name}"
    return f"{ns / 1e9:.1f} s"


def markdown(report: dict[str, Any]) -> str:
    """The results as a Markdown table with the machine and its noise below."""
    lines = ["| | p50 | p99 | p99.9 | a second | baseline | its p50 | its p99 | ratio |",
             "|---|--:|--:|--:|--:|---|--:|--:|--:|"]  # fmt: skip
    for row in report["results"]:
        twin = row["baseline"]
        cells = [f"`{row['name']}`", *(figure(row[k]) for k in ("p50", "p99", "p99_9")), f"{row['rate']:,.0f}",
                 twin["name"], figure(twin["p50"]), figure(twin["p99"]), f"{row['ratio']:.2f}"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    machine, noise = report["machine"], report["noise"]
    kind = ", a shared virtual machine" if "hypervisor" in machine["flags"] else ""
    lines += ["", f"Measured on: {machine['cpu']}, {machine['cores']} cores{kind}, {machine['compiler']}, flags "
              f"`{' '.join(machine['bench_flags'])}`, load {machine['load_1m']} while it ran. Noise floor: a bare "
              f"spinning thread saw gaps of up to {figure(noise['max'])}. Verdict: {report['verdict']}."]  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Rewrite the pages."""
    source = ROOT / "bench" / "results" / "latest.json"
    if not source.exists():
        print("no report: run make bench first", file=sys.stderr)
        return 1
    table = markdown(json.loads(source.read_text()))
    for name in PAGES:
        page = ROOT / name
        text = page.read_text()
        found = re.search(re.escape(BEGIN) + ".*?" + re.escape(END), text, flags=re.S)
        if found is None:
            print(f"{name}: the markers of the latency table are gone", file=sys.stderr)
            return 1
        page.write_text(text[: found.start()] + f"{BEGIN}\n{table}\n{END}" + text[found.end():])
    return 0


if __name__ == "__main__":
    sys.exit(main())
