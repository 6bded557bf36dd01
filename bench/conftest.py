"""`pytest bench/`: native figures as pytest-benchmark results, so that runs can be saved and compared.

    pytest bench/ --benchmark-autosave
    pytest bench/ --benchmark-compare

The measuring is done by the native programs; what pytest-benchmark sees is their distribution, a hundred quantiles
of it, on a clock that only these quantiles move.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import driver  # noqa: E402


class Playback:
    """A clock in seconds that stands still until a quantile is played."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


CLOCK = Playback()


@pytest.fixture(scope="session")
def measured() -> Callable[[str], dict[str, Any]]:
    """The row of one measurement, twin included; a program that gives several runs once."""
    rows: dict[str, dict[str, Any]] = {}

    def row(name: str) -> dict[str, Any]:
        if name not in rows:
            (program,) = driver.select([name])
            executable = driver.build([program])[program.name]
            rows.update({r["name"]: r for r in driver.run(program, executable)})
        return rows[name]

    return row


@pytest.fixture
def question(benchmark: Any, measured: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """Runs the named measurement and hands its distribution to pytest-benchmark, the twin's in the extra info."""

    def ask(name: str) -> dict[str, Any]:
        row = measured(name)
        quantiles = iter([*row["quantiles"]])

        def play() -> None:
            CLOCK.now_s += next(quantiles) * 1e-9

        benchmark._timer = CLOCK
        benchmark.extra_info.update(
            baseline={k: v for k, v in row["baseline"].items() if k not in ("hgrm", "quantiles")},
            ratio=row["ratio"], p99_ns=row["p99"], p99_9_ns=row["p99_9"], working_set=row["working_set"],
        )  # fmt: skip
        benchmark.pedantic(play, rounds=len(row["quantiles"]), iterations=1)
        return row

    return ask
