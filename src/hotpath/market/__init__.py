"""Market data: ITCH files, captures and their Python views."""
