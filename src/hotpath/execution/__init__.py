"""Order entry: wire formats as Python sees them."""
