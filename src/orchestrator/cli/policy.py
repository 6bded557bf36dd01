"""`peregrine policy info|verify|plan FILE`; FILE may be `builtin:default`, the shipped policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli._errors import EXIT_CONFIG, CliError

ORDER = 60

FileArgument = Annotated[Path, typer.Argument(help="A policy artifact (.safetensors), or builtin:default.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add `policy` with its commands."""
    policy = typer.Typer(help="Look into policy artifacts and check them.", no_args_is_help=True)
    app.add_typer(policy, name="policy")

    @policy.command(help="Show what an artifact is: shapes, features, actions, provenance.")
    def info(file: FileArgument, as_json: JsonOption = False) -> None:
        described = describe(_load(file), file)
        if as_json:
            typer.echo(json.dumps(described, indent=2))
        else:
            _print_info(described)

    @policy.command(help="Check an artifact whole: format, ranges, hashes, and its parity vectors on every kernel.")
    def verify(file: FileArgument, as_json: JsonOption = False) -> None:
        from hotpath.policy import artifact

        loaded = _load(file)
        report = artifact.verify(loaded)
        vectors = len(loaded.parity_inputs)
        good = all(report.values())
        if as_json:
            typer.echo(json.dumps({"file": str(file), "ok": good, "sha256": loaded.sha256,
                                   "parity_vectors": vectors, "parity": report}, indent=2))
        elif good:
            typer.echo(f"ok: {file} ({loaded.name}, {loaded.sha256[:16]}): {vectors} parity vectors equal on "
                       f"{', '.join(report)}")
        if not good:
            bad = ", ".join(name for name, equal in report.items() if not equal)
            raise CliError(f"{file}: parity vectors differ on {bad}", code=EXIT_CONFIG,
                           hint="the file passed its own checks, so this machine's kernel is at fault: please report it")

    @policy.command(help="Where its decisions are cheapest: the CPU, measured here, or a device, computed.")
    def plan(
        file: FileArgument,
        variant: Annotated[str, typer.Option(help="Gateware: baked (weights as constants) or loadable.")] = "baked",
        lanes: Annotated[int | None, typer.Option(help="loadable: products a cycle (default 16).")] = None,
        adds_per_stage: Annotated[int | None, typer.Option(
            min=0, help="baked: adders between two registers (default 1; 0: a stage a layer).")] = None,
        period_ns: Annotated[float | None, typer.Option(help="Clock period of the core, ns (default 150 MHz).")] = None,
        pcie_ns: Annotated[float | None, typer.Option(
            help="Request one way and completion one way, ns (default: half of two published round trips).")] = None,
        plot: Annotated[Path | None, typer.Option(help="Draw both costs over network size into this file.")] = None,
        as_json: JsonOption = False,
    ) -> None:
        from orchestrator.cli import _policy_plan

        _policy_plan.run(_load(file), variant=variant, lanes=lanes, adds_per_stage=adds_per_stage, period_ns=period_ns,
                         pcie_ns=pcie_ns, plot=plot, as_json=as_json)


def describe(artifact: Any, file: Path | None = None) -> dict[str, Any]:
    """Everything `info` shows, as plain JSON values."""
    from hotpath.policy.artifact import channel_bounds
    from hotpath.signal.schema import NAMES

    network = artifact.network
    return {
        "file": str(file) if file else None,
        "name": artifact.name,
        "sha256": artifact.sha256,
        "sizes": network.sizes,
        "weights": sum(layer.weights.size for layer in network.layers),
        "inputs": [{"feature": NAMES[int(f)], "index": int(f), "m": int(m), "s": int(s)} for f, m, s in
                   zip(network.feature_index, network.quant_m, network.quant_s, strict=True)],
        "layers": [{"inputs": layer.inputs, "outputs": layer.outputs, "relu": layer.relu,
                    "shift_min": None if layer.shift is None else int(layer.shift.min()),
                    "shift_max": None if layer.shift is None else int(layer.shift.max()),
                    "largest_sum_bound": int(channel_bounds(layer).max())} for layer in network.layers],
        "actions": artifact.actions,
        "schema_hash": artifact.schema_hash,
        "schema": artifact.schema_text,
        "parity_vectors": len(artifact.parity_inputs),
        "provenance": artifact.provenance,
    }


def _load(file: Path) -> Any:
    from hotpath.policy import artifact
    from orchestrator.run.plan import BUILTIN_POLICY, builtin_policy_path

    try:
        return artifact.load(builtin_policy_path() if str(file) == BUILTIN_POLICY else file)
    except artifact.ArtifactError as err:
        raise CliError(f"policy refused: {err}", code=EXIT_CONFIG,
                       hint="make the artifact again with this version of Peregrine, or take another file") from err


def _print_info(d: dict[str, Any]) -> None:
    shape = "-".join(map(str, d["sizes"]))
    typer.echo(f"{d['name']}  {shape}  {d['weights']} int8 weights")
    typer.echo(f"sha256      {d['sha256']}")
    typer.echo(f"schema      {d['schema_hash'][:16]}…")
    typer.echo(f"actions     {', '.join(d['actions'])}")
    typer.echo("inputs      " + ", ".join(f"{i['feature']} ×{i['m']}>>{i['s']}" for i in d["inputs"]))
    for k, layer in enumerate(d["layers"]):
        shifts = "logits" if layer["shift_min"] is None else f"shifts {layer['shift_min']}..{layer['shift_max']}"
        typer.echo(f"layer {k}     {layer['inputs']} → {layer['outputs']}, {'relu, ' if layer['relu'] else ''}{shifts}, "
                   f"sums below {layer['largest_sum_bound']} of 16777216")
    typer.echo(f"parity      {d['parity_vectors']} vectors")
    for key, value in d["provenance"].items():
        typer.echo(f"provenance  {key}: {json.dumps(value)}")
