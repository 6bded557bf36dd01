"""The table of `make synth`, the references that stand beside it, and the trade-off curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Figures others published. mark V: read where the source is stored; R: recalled from the paper, to be checked there.
#: differs: why the number is not ours to be compared with as it stands.
REFERENCES: tuple[dict[str, str], ...] = (
    {"what": "hls4ml, 16-64-32-32-5 (jets)", "figure": "75 ns, 15 cycles at 200 MHz, II 1, 954 DSP", "mark": "R",
     "source": "arXiv 1804.06913", "differs": "pruned; vendor tools; UltraScale; no quantiser, no argmax"},
    {"what": "QKeras + hls4ml, the same", "figure": "55 ns, 124 DSP, 39.8k LUT at 6 bit", "mark": "R",
     "source": "arXiv 2006.10159", "differs": "6 bit, trained for it; vendor tools; UltraScale+"},
    {"what": "da4ml, the same", "figure": "18.9 ns, 12.3k LUT, 0 DSP", "mark": "R",
     "source": "arXiv 2507.04535", "differs": "trained narrow and sparse; vendor tools; UltraScale+"},
    {"what": "LogicNets JSC S / M / L", "figure": "3.6 / 8.4 / 12.4 ns; 232 / 14.6k / 38.9k LUT", "mark": "V",
     "source": "Xilinx/logicnets README", "differs": "truth tables of few bits, not int8 sums; vendor tools"},
    {"what": "binary network 16x64x3 for trading", "figure": "23 cycles, 230 ns at 100 MHz", "mark": "V",
     "source": "public project note", "differs": "one-bit weights"},
)  # fmt: skip


def show(report: dict[str, Any]) -> None:
    """Print the table, the references and what was not done."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:  # a file or a pipe folds nothing
        console.width = 140
    table = Table(box=None, padding=(0, 1, 0, 0))
    for title in ("policy", "variant", "target", "depth", "LUT", "FF", "DSP", "BRAM", "carry", "adders", "cycles", "II", "ns/cycle", "ns",
                  "decisions/s"):  # fmt: skip
        table.add_column(title, justify="left" if title in ("policy", "variant", "target") else "right", no_wrap=True)
    notes: list[str] = []
    for r in report["rows"]:
        table.add_row(*cells(r, notes))
    console.print(table)
    for k, note in enumerate(notes, 1):
        console.print(f"{k}) {note}", highlight=False)
    for f in report["not_done"]:
        console.print(f"not done: {f['row']}: {f['why'].splitlines()[0]}", highlight=False, markup=False)
    beside = Table(box=None, padding=(0, 1, 0, 0), title="published (V read, R recalled)", title_justify="left")
    for title in ("what", "figure", "", "source", "what differs"):
        beside.add_column(title)
    for ref in report["references"]:
        beside.add_row(ref["what"], ref["figure"], ref["mark"], ref["source"], ref["differs"])
    console.print(beside)


def cells(r: dict[str, Any], notes: list[str]) -> list[str]:
    """A row's texts; what needs words is put into `notes` and named by its number."""
    def noted(text: str, note: str) -> str:
        if note not in notes:
            notes.append(note)
        return f"{text} {notes.index(note) + 1})"

    target = f"{r['family']}-{r['grade']}" if r["grade"] else r["family"]
    variant = f"{r['variant']}, {r['lanes']} lanes" if r["lanes"] else r["variant"]
    period = "-" if r["period_ns"] is None else f"{r['period_ns']:.2f}"
    if r["period_from"] != "nextpnr":
        period = noted(period, r["period_from"])
    lut = f"{r['lut']:,}"
    if r["summed_parts"]:
        lut = noted(lut, f"summed over {r['summed_parts']} modules, each synthesised by itself")
    levels = "-"
    if r.get("carry_levels") is not None:
        levels = noted(str(r["carry_levels"]), "carry blocks of four bits one behind the other between two registers, the most of them")
    return [r["policy"], variant, target, "-" if r["depth"] is None else str(r["depth"]), lut, f"{r['ff']:,}", str(r["dsp"]),
            str(r["bram"]), levels, "-" if r["adders"] is None else f"{r['adders']:,}", str(r["cycles"]), str(r["ii"]), period,
            "-" if r["latency_ns"] is None else f"{r['latency_ns']:.0f}",
            "-" if r["decisions_per_s"] is None else f"{r['decisions_per_s'] / 1e6:.1f} M"]  # fmt: skip


def plot(report: dict[str, Any], path: Path) -> bool:
    """Latency and clock over the depth of pipeline, a line a speed grade; False without matplotlib or placed rows."""
    try:
        import matplotlib
    except ImportError:
        return False
    placed = [r for r in report["rows"] if r["period_from"] == "nextpnr"]
    if not placed:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.4))
    for policy, grade in sorted({(r["policy"], r["grade"]) for r in placed}):
        own = sorted((r for r in placed if (r["policy"], r["grade"]) == (policy, grade)), key=lambda r: r["cycles"])
        cycles = [r["cycles"] for r in own]
        for ax, values in ((left, [r["latency_ns"] for r in own]), (right, [r["fmax_mhz"] for r in own])):
            ax.plot(cycles, values, marker="o", label=f"{policy}, ECP5 speed grade {grade}")
    top = min(r["grade"] for r in placed)
    for r in placed:
        if r["grade"] == top:
            name = "a block a stage" if r["depth"] == 0 else f"{r['depth']} add{'s' * (r['depth'] > 1)} a stage"
            left.annotate(name, (r["cycles"], r["latency_ns"]), textcoords="offset points",
                          xytext=(-4, -13) if r["depth"] == 2 else (4, 7), ha="right" if r["depth"] == 1 else "left", fontsize=8)
    right.axhline(150, linestyle="--", linewidth=1, color="grey")
    right.annotate("goal: 150 MHz", (min(r["cycles"] for r in placed), 150), textcoords="offset points", xytext=(0, 4),
                   fontsize=8, color="grey")
    left.set(xlabel="cycles", ylabel="latency, ns", title="features to action",
             ylim=(0, 1.2 * max(r["latency_ns"] for r in placed)))
    right.set(xlabel="cycles", ylabel="clock, MHz (nextpnr)", title="clock, which is decisions a second",
              ylim=(0, 1.2 * max(150, *(r["fmax_mhz"] for r in placed))))
    for ax in (left, right):
        ax.grid(True, alpha=0.3)
        ax.margins(x=0.25)
        ax.xaxis.get_major_locator().set_params(integer=True)
    left.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
