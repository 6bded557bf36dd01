"""Fitting policies offline: numpy only, seeded, on the simulated exchange in virtual time."""
