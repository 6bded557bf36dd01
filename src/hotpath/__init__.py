"""The compiled engine: feed, books, features, policies, risk gate, order session and journal."""
