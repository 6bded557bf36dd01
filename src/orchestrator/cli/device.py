"""`peregrine device info|selftest|bench --backend cpu|sim|vfio`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli._errors import EXIT_CONFIG, EXIT_INTERNAL, EXIT_UNAVAILABLE, CliError

ORDER = 65

BackendOption = Annotated[str, typer.Option("--backend", help="cpu, sim (the gateware simulated) or vfio (a PCIe card).")]
AddressOption = Annotated[str | None, typer.Option("--address", help="PCI address of the card, e.g. 0000:65:00.0 (vfio).")]
TransportOption = Annotated[str, typer.Option("--transport", help="auto, push or ring.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PolicyOption = Annotated[Path, typer.Option("--policy", help="A policy artifact, or builtin:default.")]


def register(app: typer.Typer) -> None:
    """Add `device` with its three commands."""
    device = typer.Typer(help="What answers policies: look at it, check it, measure it.", no_args_is_help=True)
    app.add_typer(device, name="device")

    @device.command(help="What a device can do, and which backends work here. Exit code 69 when this one does not.")
    def info(backend: BackendOption = "cpu", address: AddressOption = None, transport: TransportOption = "auto",
             as_json: JsonOption = False) -> None:  # fmt: skip
        from orchestrator.device.backends import BACKENDS, availability, open_device

        there = {name: availability(name, address) for name in BACKENDS}
        chosen = availability(backend, address)
        caps = None
        if chosen.available:
            with open_device(backend, address=address, transport=transport) as opened:
                caps = opened.caps
        if as_json:
            typer.echo(json.dumps({"backend": backend, "available": chosen.available, "found": chosen.found,
                                   "hint": chosen.hint, "caps": caps,
                                   "backends": [a.to_json() for a in there.values()]}))  # fmt: skip
        else:
            _show_info(caps, list(there.values()))
        if caps is None:
            raise CliError(f"device: {chosen.found}", hint=chosen.hint, code=EXIT_UNAVAILABLE)

    @device.command(help="Check a device, level by level, against the CPU kernel. Exit code 70 when it is not sound.")
    def selftest(backend: BackendOption = "cpu", address: AddressOption = None, transport: TransportOption = "auto",
                 seed: Annotated[int, typer.Option(min=0, help="Of the random networks and inputs.")] = 0,
                 as_json: JsonOption = False) -> None:  # fmt: skip
        from orchestrator.device.backends import open_device

        with open_device(backend, address=address, transport=transport) as opened:
            from orchestrator.device.selftest import selftest as run_selftest

            levels = list(run_selftest(opened, seed))
            detail = opened.caps["detail"]
        sound = all(level.ok for level in levels)
        if as_json:
            typer.echo(json.dumps({"backend": backend, "detail": detail, "ok": sound, "seed": seed,
                                   "levels": [level.to_json() for level in levels]}))  # fmt: skip
        else:
            _show_levels(levels, f"{backend}: {detail}")
        if not sound:
            raise CliError(f"device: {levels[-1].name}: {levels[-1].detail}", code=EXIT_INTERNAL,
                           hint="if a second run says the same, do not let this device decide")  # fmt: skip

    @device.command(help="Time a device's decisions beside the plain CPU kernel.")
    def bench(backend: BackendOption = "cpu", address: AddressOption = None, transport: TransportOption = "auto",
              policy: PolicyOption = Path("builtin:default"),
              samples: Annotated[int, typer.Option(min=0, help="Samples; 0 = as many as suit the backend.")] = 0,
              as_json: JsonOption = False) -> None:  # fmt: skip
        from hotpath.device import DeviceError
        from orchestrator.device.backends import open_device, refused
        from orchestrator.observe.machine import describe, one_line

        network = _network(policy)
        with open_device(backend, address=address, transport=transport) as opened:
            from orchestrator.device.measure import bench as run_bench

            try:
                result = run_bench(opened, network, samples=samples)
            except DeviceError as err:
                raise refused(err) from err
        machine = describe()
        if as_json:
            typer.echo(json.dumps({**result, "machine": machine}))
        else:
            _show_bench(result, one_line(machine))


def _network(file: Path) -> Any:
    from hotpath.policy import artifact
    from orchestrator.run.plan import BUILTIN_POLICY, builtin_policy_path

    try:
        return artifact.load(builtin_policy_path() if str(file) == BUILTIN_POLICY else file).network
    except artifact.ArtifactError as err:
        raise CliError(f"policy refused: {err}", code=EXIT_CONFIG,
                       hint="make the artifact again with this version of Peregrine, or take another file") from err


def _table(*columns: str) -> Any:
    from rich.table import Table

    return Table(*columns, box=None, show_header=bool(columns), padding=(0, 1))


def _show_info(caps: dict[str, Any] | None, there: list[Any]) -> None:
    from rich.text import Text

    from orchestrator.observe.console import stdout

    if caps:
        table = _table()
        for name, value in caps.items():
            shown = f"0x{value:08X}" if name == "map_hash" else ", ".join(value) or "none" if name == "flags" else str(value)
            table.add_row(Text(name, "dim"), Text(shown))
        stdout().print(table)
    table = _table()
    for each in there:
        table.add_row(Text("yes" if each.available else "no", "green" if each.available else "yellow"), Text(each.backend),
                      Text(each.found))  # fmt: skip
        if each.hint:
            table.add_row("", "", Text(f"fix: {each.hint}", style="cyan"))
    stdout().print("usable here", style="dim")
    stdout().print(table)


def _show_levels(levels: list[Any], title: str) -> None:
    from rich.text import Text

    from orchestrator.observe.console import stdout

    stdout().print(title, style="dim", highlight=False, markup=False)
    table = _table()
    for level in levels:
        word, style = ("none", "dim") if level.skipped else ("ok", "green") if level.ok else ("FAILED", "bold red")
        table.add_row(Text(word, style), Text(level.name), Text(level.detail))
    stdout().print(table)


def _show_bench(result: dict[str, Any], machine: str) -> None:
    from rich.text import Text

    from orchestrator.observe.console import stdout

    console = stdout()
    console.print(machine, style="dim", highlight=False, markup=False)
    shape = "-".join(map(str, result["sizes"]))
    console.print(f"{result['backend']}: {result['detail']}, {shape}", highlight=False, markup=False)
    table = _table("ns a decision", "p50", "p99", "p99.9", "max", "batch")
    for name, ns, batch in (("round trip", result["round_trip_ns"], result["batch"]),
                            ("twin: kernel alone", result["twin"]["ns"], result["twin"]["batch"])):  # fmt: skip
        table.add_row(Text(name), *(f"{ns[key]:,.1f}" for key in ("p50", "p99", "p999", "max")), str(batch))
    console.print(table)
    console.print(f"{result['decisions_per_second']:,} decisions a second with {result['in_flight']} in flight; "
                  f"p50 is {result['ratio_p50']} times the twin's", highlight=False)  # fmt: skip
    if cycles := result["core_cycles"]:
        nominal = f", {cycles['nominal_ns']:,.0f} ns at {cycles['core_clock_khz'] // 1000} MHz" if cycles["nominal_ns"] else ""
        console.print(f"core: {cycles['p50']} cycles{nominal}", highlight=False)
    if note := result.get("note"):
        console.print(note, style="dim", highlight=False)
