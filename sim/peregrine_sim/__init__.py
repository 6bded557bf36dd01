"""Scenarios and fault plans for the simulated venue."""
