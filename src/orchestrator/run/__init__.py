"""Running the compiled engine: live, in virtual time, and again from a journal."""
