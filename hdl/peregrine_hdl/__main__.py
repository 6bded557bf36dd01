"""`python -m peregrine_hdl emit --variant VARIANT --out DIR`: a core, or a device around one, as Verilog and a manifest.

Variants: baked and loadable are cores; baked-device and loadable-device put registers, push window and rings around them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hotpath.policy.oracle import Voter

EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_CONFIG = 64, 69, 78


class EmitError(Exception):
    """Shown as `error: …` and `hint: …`; ends the command with `code`."""

    def __init__(self, message: str, hint: str, code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.hint, self.code = hint, code


app = typer.Typer(help="Gateware of the policy core.", no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """Gateware of the policy core."""


@app.command()
def emit(
    out: Annotated[Path, typer.Option(help="Folder for the Verilog and the manifest; made when it is not there.")],
    policy: Annotated[list[Path] | None, typer.Option(help="baked: a policy artifact; up to eight, in slot order.")] = None,
    variant: Annotated[str, typer.Option(help="baked: weights as constants; loadable: weights in banks; with -device: the device around it.")] = "baked",
    lanes: Annotated[int, typer.Option(help="loadable: products a clock, a power of two (4..128).")] = 16,
    slots: Annotated[int, typer.Option(help="loadable: policies a bank holds (1..8).")] = 4,
    weight_rows: Annotated[int, typer.Option(help="loadable: rows of weights a bank holds; 0: the largest network's.")] = 0,
    adds_per_stage: Annotated[int, typer.Option(min=0, help="Adders between two registers; 0: one stage a layer.")] = 2,
    extra_levels: Annotated[int, typer.Option(min=0, max=8, help="How much deeper sharing may make a layer.")] = 0,
    weight: Annotated[list[int] | None, typer.Option(help="Vote of each policy, in slot order (default 1 each).")] = None,
    risk: Annotated[list[str] | None, typer.Option(help="SLOT:VETO,VETO…:FORCED makes a slot a risk policy.")] = None,
    quorum: Annotated[int, typer.Option(help="Share of the votes the best action needs, in 1/256 (0..256).")] = 0,
    push_slots: Annotated[int, typer.Option(min=1, max=8, help="Request slots of a device's push window.")] = 4,
    core_clock_khz: Annotated[int, typer.Option(min=0, help="What a device's register says of its core clock.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Write the core's or the device's Verilog, and manifest.json; the same inputs give the same bytes."""
    if variant in ("loadable", "loadable-device"):
        if policy:
            raise EmitError("--policy: found one", "a loadable core gets its policies at run time: leave --policy away")
        _emit_loadable(out, lanes, slots, weight_rows, (push_slots, core_clock_khz) if variant == "loadable-device" else None, as_json)
        return
    if variant not in ("baked", "baked-device"):
        raise EmitError(f"variant: found {variant!r}", "the variants are: baked, loadable, baked-device, loadable-device")
    if not policy:
        raise EmitError("--policy: found none", "a baked core is made of policies: name one, up to eight")
    try:
        from peregrine_hdl.core import Core, CoreError, PolicySet
        from peregrine_hdl.emit import DEVICE_TOP, TOP, baked_device, device_text, verilog_text
        from peregrine_hdl.manifest import PolicyName, device_manifest, manifest, set_hash
    except ModuleNotFoundError as err:
        raise EmitError(f"{err.name} is not installed", "pip install 'peregrine-engine[hdl]'", EXIT_UNAVAILABLE) from err
    from hotpath.policy.artifact import ArtifactError, load

    try:
        loaded = [load(p) for p in policy]
    except ArtifactError as err:
        raise EmitError(str(err), "peregrine policy verify FILE says what an artifact must be", EXIT_CONFIG) from err
    try:
        core = Core(PolicySet(tuple(a.network for a in loaded), _voters(len(loaded), weight or [], risk or []), quorum),
                    adds_per_stage=adds_per_stage, extra_levels=extra_levels)
        names = [PolicyName(a.name, a.sha256) for a in loaded]
        if variant == "baked":
            top, verilog = TOP, verilog_text(core)
            described = manifest(core, names, verilog, top)
        else:
            device = baked_device(core, int(set_hash(names)[:16], 16), push_slots=push_slots, core_clock_khz=core_clock_khz)
            top, verilog = DEVICE_TOP, device_text(device)
            described = device_manifest(device, core, names, verilog, top)
    except CoreError as err:
        raise EmitError(str(err), "see --weight, --risk and --quorum in --help") from err
    text = _write(out, top, verilog, described)
    if as_json:
        typer.echo(text, nl=False)
        return
    policies = ", ".join(f"{a.name} ({a.version})" for a in loaded)
    typer.echo(f"{out / top}.v: {policies}\n{core.cycles} cycles, one decision a clock, {core.adders} adders for "
               f"{described['products']} products, register map {described['register_map_hash'][:16]}")


def _emit_loadable(out: Path, lanes: int, slots: int, weight_rows: int, device: tuple[int, int] | None, as_json: bool) -> None:
    from peregrine_hdl.loadable_limits import LARGEST, Limits, LimitsError

    try:
        limits = Limits(lanes, slots, weight_rows)
    except LimitsError as err:
        raise EmitError(str(err), "see --lanes, --slots and --weight-rows in --help") from err
    try:
        from peregrine_hdl.loadable_emit import DEVICE_TOP, TOP, emit_loadable, emit_loadable_device
    except ModuleNotFoundError as err:
        raise EmitError(f"{err.name} is not installed", "pip install 'peregrine-engine[hdl]'", EXIT_UNAVAILABLE) from err
    if device is None:
        top, (verilog, described) = TOP, emit_loadable(limits)
    else:
        top, (verilog, described) = DEVICE_TOP, emit_loadable_device(limits, push_slots=device[0], core_clock_khz=device[1])
    text = _write(out, top, verilog, described)
    if as_json:
        typer.echo(text, nl=False)
        return
    typer.echo(f"{out / top}.v: {lanes} lanes, {slots} slots, images of up to {described['bank_words']} words\n"
               f"{limits.cycles(LARGEST)} cycles for the largest network, register map {described['register_map_hash'][:16]}")


def _write(out: Path, top: str, verilog: str, described: dict[str, Any]) -> str:
    """Both files; the manifest's text."""
    text = json.dumps(described, indent=2) + "\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{top}.v").write_text(verilog)
        (out / "manifest.json").write_text(text)
    except OSError as err:
        raise EmitError(f"{out}: cannot be written: {err.strerror or err}", "name another folder with --out") from err
    return text


@app.command()
def registers(
    header: Annotated[Path | None, typer.Option(help="write the C header here")] = None,
    docs: Annotated[Path | None, typer.Option(help="write the docs page here")] = None,
) -> None:
    """Write the C header and the docs page of the device's registers."""
    from peregrine_hdl import describe
    from peregrine_hdl.registers import MAP_SHA256

    for path, text in ((header, describe.header()), (docs, describe.docs())):
        if path is not None:
            path.write_text(text)
    typer.echo(f"register map {MAP_SHA256[:16]}")


def _voters(count: int, weights: list[int], risks: list[str]) -> tuple[Voter, ...]:
    from hotpath.policy.oracle import Voter

    if weights and len(weights) != count:
        raise EmitError(f"--weight: found {len(weights)}, expected one a policy, {count}", "repeat --weight in slot order")
    voters = [Voter(w) for w in weights or [1] * count]
    for text in risks:
        try:
            slot, veto, forced = text.split(":")
            p = int(slot)
            if not 0 <= p < count:
                raise ValueError
            voters[p] = Voter(voters[p].weight, True, frozenset(int(a) for a in veto.split(",") if a), int(forced))
        except ValueError:
            raise EmitError(f"--risk: found {text!r}", f"expected SLOT:VETO,VETO…:FORCED with a slot below {count}, "
                            "such as 2:3,4:0") from None
    return tuple(voters)


def main() -> int:
    """Run the command line; errors become a message, a hint and an exit code."""
    try:
        app(standalone_mode=False)
    except EmitError as err:
        print(f"error: {err}\nhint: {err.hint}", file=sys.stderr)
        return err.code
    except Exception as err:  # click's own usage errors carry a way to show themselves
        show = getattr(err, "show", None)
        if show is None:
            raise
        show()
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
