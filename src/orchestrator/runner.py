"""What the commands call to run the compiled engine; the work is done in `orchestrator.run`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.config.models import Config
from orchestrator.observe.result import RunResult
from orchestrator.observe.telemetry import Snapshot
from orchestrator.run import journals, virtual
from orchestrator.run.live import run_live
from orchestrator.run.virtual import replay_itch
from orchestrator.supervise.foreground_run import run_supervised


def run_virtual(cfg: Config, *, for_ns: int | None, on_tick: Callable[[Snapshot], None] | None = None) -> RunResult:
    """A run in virtual time; there is nothing to watch meanwhile, so `on_tick` is not called."""
    return virtual.run_virtual(cfg, for_ns=for_ns)


def replay_journal(folder: Path) -> RunResult:
    """See `orchestrator.run.journals.replay_journal`."""
    return journals.replay_journal(folder)


def verify_journal(folder: Path, *, from_snapshot: bool = False) -> dict[str, Any]:
    """See `orchestrator.run.journals.verify_journal`."""
    return journals.verify_journal(folder, from_snapshot=from_snapshot)


def bench(
    *, only: list[str], quick: bool, out: Path | None, on_result: Callable[[dict[str, Any]], None] | None
) -> tuple[dict[str, Any], int]:
    """Measure this machine with the checkout's benches: the report and the exit code (1 over budget, 75 too noisy).

    Raises CliError: 69 where there is no checkout or no compiler, 64 for a measurement that does not exist, 70 when
    one fails.
    """
    from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_UNAVAILABLE, EXIT_USAGE, CliError

    driver = bench_driver()
    if driver is None:
        raise CliError(
            "the benches are not part of an installed package: they are compiled from the sources",
            hint="run `make bench` in a checkout of the project",
            code=EXIT_UNAVAILABLE,
        )
    try:
        return driver.bench(only=only, quick=quick, out=out, on_result=on_result)
    except driver.UnknownName as err:
        raise CliError(str(err), code=EXIT_USAGE) from err
    except driver.BuildError as err:
        raise CliError(str(err), hint="a C++20 compiler is needed: g++ 12 or later", code=EXIT_UNAVAILABLE) from err
    except driver.BenchError as err:
        raise CliError(str(err), code=EXIT_INTERNAL) from err


def bench_driver(package: Path | None = None) -> ModuleType | None:
    """bench/driver.py of the checkout this package lies in (or `package`), None outside of one."""
    package = package or Path(__file__).resolve().parent
    for root in package.parents:
        path = root / "bench" / "driver.py"
        if not path.is_file() or not (root / "tools" / "cxx.py").is_file():
            continue
        spec = importlib.util.spec_from_file_location("peregrine_bench_driver", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # its dataclasses look themselves up
        spec.loader.exec_module(module)
        return module
    return None


__all__ = ["bench", "bench_driver", "replay_itch", "replay_journal", "run_live", "run_supervised", "run_virtual", "verify_journal"]
