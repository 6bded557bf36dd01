"""Bars of text: use against a limit with its soft zone, and distributions by octave."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

EIGHTHS = " ▏▎▍▌▋▊▉"
HEIGHTS = " ▁▂▃▄▅▆▇█"
CALM, SOFT, OVER = "cyan", "yellow", "bold red"


def use_bar(permille: int, soft_permille: int, width: int = 24) -> Text:
    """How much of a limit is used: filled part, the soft zone's start as a thin line, the rest dotted.

    The colour says the zone: calm, soft (from `soft_permille` on), at the limit.
    """
    shown = min(1000, max(0, permille))
    eighths = shown * width * 8 // 1000
    full, part = divmod(eighths, 8)
    colour = OVER if permille >= 1000 else SOFT if permille >= soft_permille else CALM
    soft_at = min(width - 1, soft_permille * width // 1000)
    bar = Text()
    for i in range(width):
        if i < full:
            bar.append("█", colour)
        elif i == full and part:
            bar.append(EIGHTHS[part], colour)
        elif i == soft_at:
            bar.append("│", "yellow")
        else:
            bar.append("·", "dim")
    return bar


FIRST_OCTAVE, LAST_OCTAVE = 6, 26  # 64 ns to 134 ms; what lies outside is counted at the ends


def octave_bars(counts: Sequence[int]) -> Text:
    """A distribution as one bar an octave, on the same axis for every stage, so that they can be compared.

    Heights are of the logarithm: a few slow ones stay visible beside many fast ones.
    """
    shown = list(counts[FIRST_OCTAVE:LAST_OCTAVE + 1])
    shown[0] += sum(counts[:FIRST_OCTAVE])
    shown[-1] += sum(counts[LAST_OCTAVE + 1:])
    most = max(1, max(shown).bit_length())
    bar = Text()
    for n in shown:
        bar.append(HEIGHTS[1 + n.bit_length() * 7 // most] if n else "·", "cyan" if n else "dim")
    return bar
