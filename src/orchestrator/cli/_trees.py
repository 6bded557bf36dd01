"""Which supervised tree a command means."""

from __future__ import annotations

from orchestrator.cli._errors import EXIT_UNAVAILABLE, CliError


def pick_tree(name: str | None) -> str:
    """The named tree, or the only one that has not ended. Raises CliError (69) when there is none, or more than one."""
    from orchestrator.supervise.paths import names, runtime_dir
    from orchestrator.supervise.state_file import StateFileError, read

    if name is not None:
        if name not in names():
            known = ", ".join(names()) or "none"
            raise CliError(f"no tree called {name} has run here", hint=f"known: {known}; after a reboot `peregrine up` with its configuration finds its run", code=EXIT_UNAVAILABLE)
        return name
    found = []
    for one in names():
        try:
            state = read(runtime_dir(one))
        except StateFileError:
            continue
        if state.supervisor_alive() or not state.over() or any(p.alive() for p in state.processes):
            found.append(one)
    if not found:
        raise CliError("no tree is up on this machine", hint="start one: peregrine up --detach", code=EXIT_UNAVAILABLE)
    if len(found) > 1:
        raise CliError("more than one tree is up", hint="name one of: " + ", ".join(found), code=EXIT_UNAVAILABLE)
    return found[0]
