"""The `peregrine` command."""
