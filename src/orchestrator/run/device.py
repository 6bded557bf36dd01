"""The device of a run, from the configuration to what the compiled engine opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.config.models import Config

if TYPE_CHECKING:
    from orchestrator.run.plan import LoadedPolicy

#: Kinds of fault in the order of `permille` (sim/device/faulty_device.h).
FAULTS = ("hang", "late", "wrong_tag", "corrupt", "plausible", "refused", "link_down", "reset")

TRANSPORT_AUTO, TRANSPORT_RING = 0, 2


#: Round trips that `auto` times; the median counts.
TIMED = 300


def place(cfg: Config, policies: list[LoadedPolicy]) -> tuple[Config, str]:
    """`auto` made into `cpu` or `device`, and the reason in words; any other placement as it is, with "".

    Both ways are timed through the same driver, so that its own cost stands on both sides.
    """
    if cfg.policies.placement != "auto":
        return cfg, ""
    name = cfg.device.backend
    try:
        here, there = _answer_ns("cpu", cfg, policies), _answer_ns(name, cfg, policies)
        chosen = "device" if there < here else "cpu"
        reason = f"an answer takes {there:,} ns from {name}, {here:,} ns from the kernels behind the same driver"
    except DeviceUnusable as err:
        chosen, reason = "cpu", f"{name} cannot be used: {err}" + (f"; {err.hint}" if err.hint else "")
    placed = cfg.model_copy(update={"policies": cfg.policies.model_copy(update={"placement": chosen})})
    return placed, f"placement auto: {chosen}; {reason}"


class DeviceUnusable(Exception):
    """The device does not open or does not take these policies; in words, and `hint`, the fix."""

    def __init__(self, found: str, hint: str = "") -> None:
        super().__init__(found)
        self.hint = hint


def open_or_say(cfg: Config) -> None:
    """For `placement: device`: whether it could be opened. Raises DeviceUnusable."""
    if not wanted(cfg):
        return
    library_of(cfg.device.backend)
    if cfg.device.backend != "vfio":
        return
    from hotpath.device import probe

    why = probe("vfio", **({"address": cfg.device.address} if cfg.device.address else {}))
    if why is not None:
        raise DeviceUnusable(f"device vfio: {why.found}", f"{why.hint}; or placement: auto, which trades without it")


def _answer_ns(backend: str, cfg: Config, policies: list[LoadedPolicy]) -> int:
    """Median time of a decision's answers, ns: one request a policy, all of them waited for. Raises DeviceUnusable."""
    import time

    import numpy as np

    from hotpath.device import Device, DeviceError
    from hotpath.policy import artifact

    networks = [artifact.parse(p.data).network for p in policies]
    options = {"address": cfg.device.address} if backend == "vfio" else {}
    taken = []
    try:
        with Device(library_of(backend), **options) as device:
            device.load(0, networks, version=1)
            device.swap(0)
            inputs = [np.zeros(len(n.feature_index), np.int32) for n in networks]
            for _ in range(TIMED):
                began = time.perf_counter_ns()
                for slot, values in enumerate(inputs):
                    device.ask(values, slot)
                taken.append(time.perf_counter_ns() - began)
    except DeviceError as err:
        raise DeviceUnusable(err.found, err.hint) from err
    return sorted(taken)[len(taken) // 2]


def wanted(cfg: Config) -> bool:
    """Whether decisions are placed on a device."""
    return cfg.policies.placement == "device"


def shard_use(cfg: Config) -> dict[str, Any]:
    """The part that decides orders, so it stands in the journal's header: placement, recompute_every, max_events_behind."""
    d = cfg.device
    return {"placement": d.mode, "recompute_every": d.recompute_every, "max_events_behind": d.max_events_behind}


def spec(cfg: Config) -> dict[str, Any]:
    """What the engine opens; only timing follows from it, and what came of that is journaled."""
    d = cfg.device
    return {
        "backend": library_of(d.backend),
        "address": d.address,
        "transport": TRANSPORT_RING if d.mode == "ring" else TRANSPORT_AUTO,
        "ring_log2": 0,
        "cycles_per_poll": d.cycles_per_poll,
        "epoch": 0,
        "deadline": d.deadline_cycles if d.backend == "sim" else d.deadline_ns,
        "count_polls": False,
        "retries": d.retries,
        "breaker_failures": d.breaker_failures,
        "probe_after": d.probe_after,
    }


def virtual_spec(cfg: Config, faults: dict[str, Any] | None = None) -> dict[str, Any]:
    """The same in virtual time, where a deadline is a number of polls."""
    polls = max(1, cfg.device.deadline_cycles // cfg.device.cycles_per_poll)
    return {**spec(cfg), "count_polls": True, "deadline": polls, **({"faults": faults} if faults else {})}


def fault_plan(*, seed: int = 1, first_request: int = 0, requests: int = 2**63, late_polls: int = 100_000,
               failing_resets: int = 0, **permille: int) -> dict[str, Any]:
    """Faults by name, each the chance of it in a request, of 1000. Raises ValueError for a name that is none of FAULTS."""
    if unknown := set(permille) - set(FAULTS):
        raise ValueError(f"{', '.join(sorted(unknown))}: no such fault; there are {', '.join(FAULTS)}")
    return {
        "seed": seed, "first_request": first_request, "requests": requests, "late_polls": late_polls,
        "failing_resets": failing_resets, "permille": [permille.get(name, 0) for name in FAULTS],
    }  # fmt: skip


def library_of(backend: str) -> str:
    """The backend as the engine names it: a name of its own, or the path of the library that has it.

    The simulated gateware is built the first time, in a minute or two. Raises DeviceUnusable when it cannot be.
    """
    if backend != "sim":
        return backend
    from peregrine_sim.device import SimMissing, library

    try:
        return str(library())
    except SimMissing as err:
        raise DeviceUnusable(str(err), err.hint) from err
