"""The report of a run as one HTML page and its tables, made from the journal alone."""
