"""What can be wrong with a configuration, told so that it can be put right: path, found, expected, hint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.cli._errors import EXIT_CONFIG, CliError


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

    def text(self, source: str = "") -> str:
        """Several lines for people."""
        source = self.source or source
        where = f"{source}:{self.line}: " if source and self.line else (f"{source}: " if source else "")
        lines = [f"{where}{self.path or 'the file'}", f"    found     {self.found}", f"    expected  {self.expected}"]
        if self.hint:
            lines.append(f"    hint      {self.hint}")
        return "\n".join(lines)


class ConfigError(CliError):
    """A configuration that cannot be used; carries every problem at once. Exit code 78."""

    def __init__(self, problems: list[Problem], source: str = "", *, layered: bool = False) -> None:
        many = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the configuration"
        body = "\n".join(problem.text(source) for problem in problems)
        super().__init__(
            f"{many}\n{body}",
            hint="`peregrine config init FOLDER` writes a complete one" if layered else "`peregrine config show laptop` prints a complete one",
            code=EXIT_CONFIG,
        )
        self.problems = problems
        self.source = source
