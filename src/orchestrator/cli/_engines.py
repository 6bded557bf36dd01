"""Which running engine a command means."""

from __future__ import annotations

from orchestrator.cli._errors import EXIT_UNAVAILABLE, CliError


def pick_engine(name: str | None) -> str:
    """The named engine, or the only one running. Raises CliError (69) when there is none or more than one."""
    from orchestrator.observe.segment import running

    found = {status.name for status in running()}
    if name is not None:
        if name not in found:
            others = ", ".join(sorted(found)) or "none is running"
            raise CliError(f"no running engine called {name}", hint=f"running: {others}", code=EXIT_UNAVAILABLE)
        return name
    if not found:
        raise CliError(
            "no engine is running on this machine", hint="start one with `peregrine run`", code=EXIT_UNAVAILABLE
        )
    if len(found) > 1:
        raise CliError(
            "more than one engine is running", hint="name one of: " + ", ".join(sorted(found)), code=EXIT_UNAVAILABLE
        )
    return found.pop()
