"""Edits of a JSON-like document told by bytes: which place, and what becomes of it. So a fuzzer reaches behind the syntax."""

from __future__ import annotations

import copy
from typing import Any

ODD: list[Any] = [
    0, 1, -1, 2, 255, 256, 65536, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, -(2**63), 10**30, 0.5, 1e308, -0.0, "", "a", " ", "0",
    "-1", "1e9", "x" * 300, "\x00", "\u202e\u00e9\U0001f985", "\ud800", "../../etc", "2019-02-30", "2020-02-29", "UTC", True, False,
    None, [], {}, [[]], [{}], {"a": 1}, [0], ["a", "a"], [None], {"": None}, list(range(100)),
]  # fmt: skip


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document, the root first."""
    found = [path]
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def edited(document: Any, data: bytes) -> Any:
    """A copy with one edit for every three bytes: place, what, value."""
    document = copy.deepcopy(document)
    for i in range(0, min(len(data) - 2, 30), 3):
        where, what, value = data[i : i + 3]
        all_places = places(document)[1:]
        if not all_places:
            break
        path = all_places[(where << 2 | what >> 6) % len(all_places)]
        parent = document
        for part in path[:-1]:
            parent = parent[part]
        match what & 7:
            case 0:
                del parent[path[-1]]
            case 1 if isinstance(parent, dict):
                parent[f"{path[-1]}{chr(97 + value % 26)}"] = parent.pop(path[-1])
            case 2 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[path[-1]]))
            case 3 if isinstance(parent[path[-1]], int):
                parent[path[-1]] += value - 128
            case 4 if isinstance(parent[path[-1]], str):
                text = parent[path[-1]]
                at = value % (len(text) + 1)
                parent[path[-1]] = text[:at] + chr(32 + value % 95) + text[at + 1 :]
            case _:
                parent[path[-1]] = copy.deepcopy(ODD[value % len(ODD)])
    return document
