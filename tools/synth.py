"""What the gateware costs and how fast it is: `python tools/synth.py [--only TEXT] [--quick]`, with open tools alone.

    8-16-3           placed and routed for an ECP5, at several depths of pipeline: nextpnr's own clock
    16-64-32-32-5    synthesised module by module, the sums stated as such; it fits no ECP5, so its clock is estimated
    both             synthesised for UltraScale+, where no open tool can say a clock
    loadable         where the gateware has a loadable core

The table goes to the terminal, the rows to bench/results/synth.json and the trade-off curve to synth.png beside it. What
was synthesised or placed before is taken from build/synth. A row that does not finish says why and the others go on.
Exit codes: 0 done, 1 a row failed, 69 the toolchain is not installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402
import synth_flow  # noqa: E402
import synth_show  # noqa: E402
import synth_tools  # noqa: E402

RESULTS = cxx.ROOT / "bench" / "results"
SMALL, WIDE = [8, 16, 3], [16, 64, 32, 32, 5]
FORMAT = "peregrine.synth"


@dataclass(frozen=True)
class Job:
    """One row to make. grade: of the ECP5 it is placed on; None: not placed."""

    sizes: tuple[int, ...]
    family: str
    adds_per_stage: int = 0
    grade: int | None = None
    by_parts: bool = False
    variant: str = "baked"
    lanes: int = 0
    long: bool = False

    @property
    def name(self) -> str:
        """What --only looks at."""
        how = f"{self.adds_per_stage} adds" if self.variant == "baked" else f"{self.lanes} lanes"
        grade = f"-{self.grade}" if self.grade else ""
        return f"{'-'.join(map(str, self.sizes))} {self.variant} {how} {self.family}{grade}"


JOBS = (
    *(Job(tuple(SMALL), "ECP5", n, 6) for n in (1, 2, 4, 0)),
    Job(tuple(SMALL), "ECP5", 1, 8),
    Job(tuple(SMALL), "UltraScale+", 1),
    Job(tuple(WIDE), "ECP5", 3, by_parts=True),
    Job(tuple(WIDE), "UltraScale+", 3, by_parts=True, long=True),
    *(Job(tuple(WIDE), "ECP5", variant="loadable", lanes=lanes, by_parts=True) for lanes in (8, 32)),
)


def design_of(job: Job) -> tuple[synth_flow.Design, dict[str, Any]]:
    """The job's Verilog, and the columns of its row that the gateware itself knows. Raises ModuleNotFoundError."""
    if job.variant == "loadable":
        return _loadable(job)
    import synth_cases
    from hotpath.policy.oracle import Voter
    from peregrine_hdl.core import Core, PolicySet
    from peregrine_hdl.emit import TOP, verilog_text

    core = Core(PolicySet((synth_cases.uniform_network(list(job.sizes), 0),), (Voter(),)), adds_per_stage=job.adds_per_stage)
    bits = [port.payload.shape().size for port in (core.i, core.o)]
    return synth_flow.Design(verilog_text(core), TOP, *bits), {
        "depth": job.adds_per_stage, "adders": core.adders, "cycles": core.cycles, "ii": 1}


def _loadable(job: Job) -> tuple[synth_flow.Design, dict[str, Any]]:
    from peregrine_hdl.loadable import LoadableCore  # type: ignore[import-not-found]
    from peregrine_hdl.loadable_emit import TOP, loadable_verilog  # type: ignore[import-not-found]
    from peregrine_hdl.loadable_limits import Limits  # type: ignore[import-not-found]

    limits = Limits(lanes=job.lanes, slots=1)
    cycles = limits.cycles(job.sizes)
    return synth_flow.Design(loadable_verilog(LoadableCore(limits)), TOP), {
        "depth": None, "adders": None, "cycles": cycles, "ii": cycles}


def row_of(job: Job) -> dict[str, Any]:
    """Synthesise, place where that is asked, and put the numbers together."""
    design, known = design_of(job)
    made = synth_flow.synthesise(design, job.family, by_parts=job.by_parts)
    row = {"policy": "-".join(map(str, job.sizes)), "variant": job.variant, "lanes": job.lanes or None, "family": job.family,
           **known, **dataclasses.asdict(made.resources), "carry_levels": made.carry_levels, "summed_parts": made.parts, "synth_s": round(made.seconds, 1),
           "grade": job.grade, "package": None, "period_ns": None, "period_from": "no open tool says it", "timing": None}  # fmt: skip
    if job.grade:
        timing = synth_flow.place(made, job.grade)
        row |= {"package": f"LFE5U-{synth_flow.PART.upper()}F {synth_flow.PACKAGE}", "period_ns": round(timing.period_ns, 3),
                "period_from": "nextpnr", "timing": dataclasses.asdict(timing)}
    return row


def estimate(rows: list[dict[str, Any]]) -> None:
    """Give rows of a baked core that was not placed a period: the placed one nearest in adds a stage, where that is the same
    or slower. An assumption, and `period_from` says it: a larger core has longer wires.
    """
    placed = [r for r in rows if r["period_from"] == "nextpnr" and r["depth"]]
    for row in rows:
        if row["period_ns"] is None and row["variant"] == "baked" and row["family"] == "ECP5":
            like = [r for r in placed if r["depth"] >= row["depth"]]
            if like:
                best = min(like, key=lambda r: (r["depth"], r["period_ns"]))
                row |= {"period_ns": best["period_ns"], "period_from":
                        f"assumed: as {best['policy']} at {best['depth']} adds a stage, ECP5-{best['grade']}"}


def finish(row: dict[str, Any]) -> dict[str, Any]:
    """latency and rate, out of cycles, interval and period."""
    period = row["period_ns"]
    row["fmax_mhz"] = round(1e3 / period, 1) if period else None
    row["latency_ns"] = round(row["cycles"] * period, 1) if period else None
    row["decisions_per_s"] = round(1e9 / (row["ii"] * period)) if period else None
    return row


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="resources and clocks of the gateware, by Yosys and nextpnr")
    parser.add_argument("--only", help="rows whose name holds this text, such as '8-16-3' or 'ECP5-8'")
    parser.add_argument("--quick", action="store_true", help="the placed 8-16-3 rows alone")
    parser.add_argument("--long", action="store_true", help="also what takes more than half an hour")
    options = parser.parse_args(argv)
    if text := synth_tools.missing():
        print(f"synth: {text}", file=sys.stderr)
        return 69
    jobs = [j for j in JOBS if (not options.only or options.only in j.name) and (not options.quick or j.grade)
            and (options.long or not j.long or options.only)]  # fmt: skip
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for k, job in enumerate(jobs, 1):
        print(f"[{k}/{len(jobs)}] {job.name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            rows.append(row_of(job))
        except ModuleNotFoundError as err:
            failed.append({"row": job.name, "why": f"{err.name} is not in this gateware"})
        except (synth_tools.SynthError, KeyError, ValueError) as err:
            failed.append({"row": job.name, "why": str(err)})
        print(f"      {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    estimate(rows)
    report = {"format": FORMAT, "version": 1, "tools": synth_tools.versions(), "rows": [finish(r) for r in rows],
              "not_done": failed, "references": synth_show.REFERENCES}  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "synth.json").write_text(json.dumps(report, indent=1) + "\n")
    synth_show.show(report)
    if not synth_show.plot(report, RESULTS / "synth.png"):
        print("plot not drawn: matplotlib is not installed, or nothing was placed", file=sys.stderr)
    return 1 if any("is not in this gateware" not in f["why"] for f in failed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
