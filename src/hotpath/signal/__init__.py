"""Integer features of a book, their slow oracle, and a user's own signals."""
