"""What do the features of an event cost?"""

from __future__ import annotations


def test_features(question):
    row = question("features")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
