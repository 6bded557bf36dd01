"""Commands from people and programs to a running engine, and what is told about them."""
