"""Launches, watches, restarts and ends the processes of one engine."""
