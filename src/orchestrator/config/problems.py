"""What can be wrong with a configuration, told so that it can be put right: path, found, expected, hint.

A message tells every problem, up to `IN_FULL`. Of more it tells so many in full, of each sort the first ones, and counts the
rest by place and sort; `Problem`s themselves are never left out (`config check --all`, `--json`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from typing import Any

from orchestrator.cli._errors import EXIT_CONFIG, CliError

IN_FULL = 50
UNKNOWN, NOTHING = "an unknown key", "nothing"  # found, of the two sorts there may be thousands of
_GROUPS = 20  # lines that count the rest
_REPEATED = 60  # characters of a hint that is worth not repeating
_LONG = 300  # characters of a line; a hint, which may list every known key, three times as many


@dataclass(frozen=True)
class Problem:
    """One finding. `path` is dotted, "" for the whole file; `line` counts from 1, None when not from a file.

    `source` names the file, where there are several, or the variable or option that said it.
    """

    path: str
    found: str
    expected: str
    hint: str = ""
    line: int | None = None
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)

    def text(self, source: str = "", told: set[str] | None = None) -> str:
        """Several lines for people. `told`: long hints that stand above already, which are not repeated."""
        source = self.source or source
        where = f"{source}:{self.line}: " if source and self.line else (f"{source}: " if source else "")
        lines = [f"{where}{_short(self.path) or 'the file'}", f"    found     {_short(self.found)}", f"    expected  {_short(self.expected)}"]
        if self.hint:
            lines.append(f"    hint      {'as above' if told is not None and self.hint in told else _short(self.hint, 3 * _LONG)}")
        if told is not None and len(self.hint) > _REPEATED:
            told.add(self.hint)
        return "\n".join(lines)

    @property
    def sort(self) -> tuple[str, str]:
        """What is put together when there are very many: the place, numbers left out, and what is wrong there."""
        place, _, last = re.sub(r"\[[0-9]+\]", "[…]", self.path).rpartition(".")
        if self.found.startswith(UNKNOWN):
            return place, "unknown keys"
        if self.found == NOTHING and self.expected == "a value":
            return place, "settings missing"
        return (place if place else last), f"not {_short(self.expected)}"


def _short(text: str, limit: int = _LONG) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def told(problems: Sequence[Problem], source: str = "", limit: int = IN_FULL) -> str:
    """The problems for people: all of them up to `limit`, else so many in full and the rest counted."""
    seen: set[str] = set()
    if len(problems) <= limit:
        return "\n".join(p.text(source, seen) for p in problems)
    sorts: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, p in enumerate(problems):
        sorts[p.sort].append(i)
    turns = chain.from_iterable(zip_longest(*sorts.values()))  # the first of each sort, then the second of each, …
    chosen = [i for i in turns if i is not None][:limit]
    lines = [problems[i].text(source, seen) for i in sorted(chosen)]
    left = Counter(p.sort for p in problems)
    left.subtract(Counter(problems[i].sort for i in chosen))
    rest = [(n, sort) for sort, n in left.most_common() if n]
    for n, (place, what) in rest[:_GROUPS]:
        at = [problems[i] for i in sorts[place, what] if problems[i].line]
        where = f", {at[0].source or source}:{at[0].line} to {at[-1].line}" if at and at[0].source == at[-1].source else ""
        lines.append(f"… and {n:,} more {what} {f'under {_short(place)}' if place else 'at the top'}{where}")
    if further := rest[_GROUPS:]:
        lines.append(f"… and {sum(n for n, _ in further):,} more of {len(further):,} other sorts")
    return "\n".join([*lines, "`peregrine config check … --all` tells every one, `--json` for a program"])


class ConfigError(CliError):
    """A configuration that cannot be used; carries every problem at once. Exit code 78.

    `limit`: how many problems its message tells in full.
    """

    def __init__(self, problems: list[Problem], source: str = "", *, layered: bool = False, limit: int = IN_FULL) -> None:
        many = f"{len(problems):,} problem{'s' if len(problems) != 1 else ''} in the configuration"
        super().__init__(
            f"{many}{f', {limit} of them in full' if len(problems) > limit else ''}\n{told(problems, source, limit)}",
            hint="`peregrine config init FOLDER` writes a complete one" if layered else "`peregrine config show laptop` prints a complete one",
            code=EXIT_CONFIG,
        )
        self.problems = problems
        self.source = source
