"""Brings a changed configuration to a running engine: backup, journaled commands, health, and back again when it is bad."""
