"""Screens over the screen: the kill that has to be typed, and the help."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

HELP = """\
[b]p[/b]  pause or resume the selected symbol
[b]P[/b]  pause or resume the selected shard
[b]k[/b]  kill: no new order, cancel all; asks for the engine's name
[b]f[/b]  filter symbols by words: part of a name, or a book state
[b]s[/b]  next order of the symbols
[b]tab[/b]  next table      [b]arrows[/b]  select
[b]?[/b]  this help         [b]q[/b]  leave; the engine goes on

Soft zone: from the thin line in a bar on. Bars of latencies are one a power of two, of the logarithm of the count.
"""


class KillDialog(ModalScreen[bool]):
    """Asks for the engine's name, to the letter; true when it was typed."""

    BINDINGS = [Binding("escape", "leave", "back")]

    def __init__(self, name: str, positions: int, working: int) -> None:
        super().__init__()
        self._engine, self._positions, self._working = name, positions, working

    def compose(self) -> ComposeResult:
        """The question, a line to type in, and what was wrong with it."""
        with Vertical(id="kill"):
            yield Label(f"Kill {self._engine}?", id="kill-title")
            yield Static(
                f"No new order from the next input on; {self._working:,} working orders are cancelled. "
                f"{self._positions:,} positions stay open.\nType the engine's name and press enter, or escape to go back."
            )
            yield Input(placeholder=self._engine, id="kill-name")
            yield Static("", id="kill-said")

    def on_mount(self) -> None:
        """Ready to type."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Only the very name kills."""
        if event.value == self._engine:
            self.dismiss(True)
        else:
            self.query_one("#kill-said", Static).update(f"That is not {self._engine}: nothing was done.")

    def action_leave(self) -> None:
        """Back, with nothing done."""
        self.dismiss(False)


class HelpDialog(ModalScreen[None]):
    """The keys."""

    BINDINGS = [Binding("escape,question_mark,q", "leave", "back")]

    def compose(self) -> ComposeResult:
        """A box of text."""
        with Vertical(id="help"):
            yield Static(HELP)

    def action_leave(self) -> None:
        """Back."""
        self.dismiss(None)
