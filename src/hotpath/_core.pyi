"""Typed view of the compiled module: what it has is documented in its own docstrings."""

from typing import Any

def __getattr__(name: str) -> Any: ...
