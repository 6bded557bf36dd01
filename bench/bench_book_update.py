"""What does a message cost the books, hot and wide?"""

from __future__ import annotations


def test_book_update_hot(question):
    row = question("book_update_hot")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0


def test_book_update_wide(question):
    row = question("book_update_wide")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
