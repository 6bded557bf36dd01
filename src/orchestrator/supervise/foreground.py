"""What `peregrine up` shows while it supervises in the foreground: a live panel on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live

from orchestrator.observe.console import stderr
from orchestrator.observe.panel import one_line, render
from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import read_engine
from orchestrator.observe.telemetry import Snapshot, TelemetryError
from orchestrator.supervise.panel import ready_line, tree_table
from orchestrator.supervise.supervisor import Supervisor

LINE_EVERY_S = 10.0


class Screen:
    """Use as a context manager; `update` goes to the supervisor as its `on_round`."""

    def __init__(self, *, live: bool, quiet: bool) -> None:
        self.console = stderr()
        self.quiet = quiet
        self._live = Live(console=self.console, auto_refresh=False, transient=True) if live and self.console.is_terminal else None
        self._previous: Snapshot | None = None
        self._next_s = 0.0
        self._stage = ""
        self._told = False

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def update(self, supervisor: Supervisor) -> None:
        """One round of the supervisor's."""
        if self.quiet:
            return
        if not self._live:
            self._lines(supervisor)
        elif time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + supervisor.tree.cfg.report.refresh_ms / 1000
            self._live.update(self._panel(supervisor), refresh=True)

    def _snapshot(self, supervisor: Supervisor) -> Snapshot | None:
        with suppress(SegmentError, TelemetryError), Segment(supervisor.tree.name) as segment:
            return read_engine(segment)
        return None

    def _panel(self, supervisor: Supervisor) -> RenderableType:
        state = supervisor.state()
        parts: list[RenderableType] = [tree_table(state)]
        if (view := supervisor.engine.view) is not None and (shared := view.sharing()):
            parts.append(shared)
        if (snapshot := self._snapshot(supervisor)) is not None:
            title = f"peregrine {state.name}, {state.state}, Ctrl-C to stop"
            parts.append(render(snapshot, self._previous, title=title, currency=supervisor.tree.cfg.account.currency))
            self._previous = snapshot
        return Group(*parts)

    def _lines(self, supervisor: Supervisor) -> None:
        if not supervisor.startup.done:
            if supervisor.startup.stage != self._stage:
                self._stage = supervisor.startup.stage
                self._say(f"waiting for {self._stage} …")
        elif not self._told and supervisor.ready_s:
            self._told = True
            self._next_s = time.monotonic() + LINE_EVERY_S
            view = supervisor.engine.view
            self._say(ready_line(supervisor.state(), supervisor.ready_s, view.sharing() if view else ""))
        elif self._told and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LINE_EVERY_S
            if (snapshot := self._snapshot(supervisor)) is not None:
                self._say(f"{supervisor.tree.life.state}, {one_line(snapshot, supervisor.tree.cfg.account.currency)}")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
