"""Consoles: people read stdout, logs and the panel go to stderr; NO_COLOR is respected by rich itself."""

from __future__ import annotations

import sys

from rich.console import Console


def stdout() -> Console:
    """For what the command was asked to print."""
    return Console(file=sys.stdout, soft_wrap=False, width=None if sys.stdout.isatty() else 110)


def stderr() -> Console:
    """For the panel, warnings and progress."""
    return Console(file=sys.stderr)
