"""`python -m orchestrator` is the `peregrine` command."""

from orchestrator.cli.main import main

main()
