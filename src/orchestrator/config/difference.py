"""What differs between two merged views, setting by setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.paths import flat
from orchestrator.config.yaml_tree import Path


class _Absent:
    """Stands for a setting one of the two does not have."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


@dataclass(frozen=True)
class Change:
    """One setting that differs. `path` has positions, those of the view that has it (the later one where both do)."""

    place: str
    path: Path
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """`before` and `after`; one that is absent is left out."""
        out: dict[str, Any] = {"setting": self.place}
        return out | {k: v for k, v in (("before", self.before), ("after", self.after)) if v is not ABSENT}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every difference of two effective configurations, in the models' order; what is gone comes last."""
    old, new = flat(dict(before)), flat(dict(after))
    found = [
        Change(place, path, old[place][1] if place in old else ABSENT, value)
        for place, (path, value) in new.items()
        if place not in old or old[place][1] != value
    ]
    return found + [Change(place, path, value, ABSENT) for place, (path, value) in old.items() if place not in new]
