"""What does a journal record cost the hot thread?"""

from __future__ import annotations


def test_journal_append(question):
    row = question("journal_append")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
