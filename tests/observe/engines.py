"""A real venue and engine for these tests, a short life each."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos_world import EngineRun, VenueRun, until


@contextlib.contextmanager
def trading(folder: Path, *, faults: str = "", seed: int = 7, rate: int = 1000, wait: bool = True,
            preload: dict[str, str] | None = None, **changes: Any) -> Iterator[tuple[VenueRun, EngineRun]]:
    """A venue with these faults and an engine that trades on it; `changes` of its settings with __ for a dot, `preload` is set in
    the engine's environment."""
    folder.mkdir(parents=True, exist_ok=True)
    venue = VenueRun(folder, seed, rate, cancel_on_disconnect=True, args=("--fault", faults) if faults else ())
    engine: EngineRun | None = None
    try:
        venue.start()
        engine = EngineRun(folder, f"obs{os.getpid()}-{uuid.uuid4().hex[:8]}", venue, {k.replace("__", "."): v for k, v in changes.items()})
        engine.start(preload=preload)
        if wait:
            until(engine.ready, "an engine that may trade")
            until(lambda: engine.counters().get("fills", 0) > 0, "a fill")
        yield venue, engine
    finally:
        if engine is not None:
            engine.clean_up()
        venue.kill()
