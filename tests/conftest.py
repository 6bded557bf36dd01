"""The order of the files: those with slow tests go first, so that no worker is left alone with one at the end.

And no example of a property test is judged by how long it or its making took: a crowded machine would fail a sound one.
"""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

with contextlib.suppress(ImportError):  # an installed wheel's tests may be run without it
    from hypothesis import HealthCheck, settings

    settings.register_profile("peregrine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("peregrine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files by how many slow tests they hold, most first; the order within a file stays."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
