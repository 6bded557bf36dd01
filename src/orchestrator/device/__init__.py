"""Devices that answer policies, as the command line sees them: which there are, whether they are sound, how fast."""
