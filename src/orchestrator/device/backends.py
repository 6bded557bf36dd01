"""Which backends there are, why one is not usable here, and opening one with errors a person can act on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.cli._errors import EXIT_CONFIG, EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, EXIT_USAGE, CliError

BACKENDS = ("cpu", "sim", "vfio")
EXITS = {"invalid": EXIT_USAGE, "busy": EXIT_TRY_AGAIN, "limit": EXIT_CONFIG, "mismatch": EXIT_CONFIG}


@dataclass(frozen=True)
class Availability:
    """One backend on this machine; `found` says why not, `hint` the fix."""

    backend: str
    available: bool
    found: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def refused(err: Any) -> CliError:
    """The command line's error for a DeviceError."""
    return CliError(f"device: {err.found}", hint=err.hint, code=EXITS.get(err.name, EXIT_UNAVAILABLE))


def availability(backend: str, address: str | None = None) -> Availability:
    """Could it be opened? Builds and opens nothing. Raises CliError (64) for a backend that is none."""
    check(backend)
    if backend == "sim":
        from peregrine_sim.device import SimMissing, tools

        try:
            tools()
        except SimMissing as missing:
            return Availability(backend, False, str(missing), missing.hint)
        return Availability(backend, True, "built on demand, a minute or two the first time")
    try:
        from hotpath.device import probe
    except ImportError as err:
        return Availability(backend, False, f"the compiled drivers are not there: {err}", "make build, or reinstall the wheel")
    why = probe(backend, **({"address": address} if address else {}))
    return Availability(backend, True) if why is None else Availability(backend, False, why.found, why.hint)


def open_device(backend: str, *, address: str | None = None, transport: str = "auto", cycles_per_poll: int = 0) -> Any:
    """A `hotpath.device.Device`. Raises CliError: 64 usage, 69 missing, 75 open elsewhere, 78 another register map."""
    check(backend)
    from hotpath.device import TRANSPORTS, Device, DeviceError

    if transport not in TRANSPORTS:
        raise CliError(f"no transport called {transport}", hint=f"take {', '.join(TRANSPORTS)}")
    options: dict[str, Any] = {"transport": transport}
    where = backend
    if backend == "vfio" and address:
        options["address"] = address
    if backend == "sim":
        from peregrine_sim.device import SimMissing, library

        try:
            where = str(library())
        except SimMissing as missing:
            raise CliError(f"device: {missing}", hint=missing.hint, code=EXIT_UNAVAILABLE) from missing
        options["cycles_per_poll"] = cycles_per_poll
    try:
        return Device(where, **options)
    except DeviceError as err:
        raise refused(err) from err


def check(backend: str) -> None:
    """Raises CliError (64) for a backend that is none."""
    if backend not in BACKENDS:
        raise CliError(f"no backend called {backend}", hint=f"take {', '.join(BACKENDS)}")
