"""What to change on this machine for the engine of this configuration: steps with their reason, their lines, their undo.

Nothing here changes anything: `make_plan` reads through a Probe, and what comes of it is printed by fix_script.py for a
person to read and run. A step that cannot work here says why in `blocked` and is printed as a comment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.config.cores import COOL_THREADS, hot_threads
from orchestrator.config.models import Config
from orchestrator.config.problems import ConfigError
from orchestrator.observe.machine import Probe
from orchestrator.observe.topology import Topology, cpu_list, read_topology
from orchestrator.supervise.placement import plan_placement


@dataclass(frozen=True)
class Step:
    """One change: `buys` says what for, `lines` do it, `undo` takes it back; `blocked` says why it does not apply here."""

    part: str  # boot, irq, power, memory, network, limits, container
    name: str
    buys: str
    lines: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    blocked: str = ""
    by_hand: tuple[str, ...] = ()  # choices, printed and never part of apply
    reboot: bool = False


@dataclass(frozen=True)
class Roles:
    """Which CPU does what. `quiet` are the hot ones and their siblings, `house` all the others."""

    threads: dict[str, int | None]
    hot: tuple[int, ...]
    quiet: tuple[int, ...]
    house: tuple[int, ...]
    node: int | None = None
    node_why: str = ""
    assumed: bool = False  # the configuration pins nothing; this is what `auto` would come to
    problem: str = ""  # why no core can be set apart


@dataclass(frozen=True)
class Plan:
    """All steps for one configuration on one machine."""

    config: str
    machine: str
    topology: Topology
    roles: Roles
    steps: tuple[Step, ...] = field(default=())

    @property
    def boot_arguments(self) -> tuple[str, ...]:
        """What the kernel's command line still lacks."""
        return tuple(step.name for step in self.steps if step.part == "boot" and "=" in step.name and not step.blocked)

    def to_json(self) -> dict[str, Any]:
        """The plan as a JSON-able dict."""
        return {
            "config": self.config,
            "machine": self.machine,
            "kernel": self.topology.kernel,
            "container": self.topology.container,
            "hypervisor": self.topology.hypervisor,
            "boot_loader": self.topology.boot_loader,
            "roles": asdict(self.roles),
            "boot_arguments": list(self.boot_arguments),
            "steps": [asdict(step) for step in self.steps],
        }


def make_plan(cfg: Config, probe: Probe | None = None) -> Plan:
    """The steps for this configuration on the machine below the probe's root."""
    from orchestrator.observe import fix_boot, fix_runtime

    probe = probe or Probe()
    topology = read_topology(probe, (cfg.device.address,) if cfg.device.address else ())
    roles = roles_of(cfg, topology)
    steps = [*fix_boot.steps(probe, topology, roles), *fix_runtime.steps(cfg, probe, topology, roles)]
    return Plan(cfg.name, _machine(probe, topology), topology, roles, tuple(steps))


def roles_of(cfg: Config, topology: Topology) -> Roles:
    """The CPUs of the hot threads by the placement the engine will use; of a configuration that pins none, what `auto` would be."""
    everyone = tuple(cpu.number for cpu in topology.cpus)
    pins = [cfg.engine.cores.engine, cfg.engine.cores.feed, cfg.engine.cores.session]
    assumed = not cfg.engine.refuse_shared_cores and all(core is None for core in pins)
    if assumed:
        piped = cfg.engine.topology == "pipelined"
        auto = {"engine": "auto", **({"feed": "auto", "session": "auto"} if piped else {})}
        cores = cfg.engine.cores.model_copy(update=auto)
        cfg = cfg.model_copy(update={"engine": cfg.engine.model_copy(update={"cores": cores})})
    wanted = len(hot_threads(cfg.engine))
    try:
        engine = plan_placement(cfg, topology)["engine"]
    except ConfigError as err:
        return Roles({}, (), (), everyone, problem="; ".join(f"{p.found}, wanted {p.expected}" for p in err.problems), assumed=assumed)
    hot = tuple(sorted(core for name, core in engine.threads.items() if name not in COOL_THREADS and core is not None))
    quiet = tuple(sorted({*hot, *(s for core in hot for s in topology.siblings_of(core))}))
    house = tuple(n for n in everyone if n not in quiet)
    if hot and not house:  # siblings are needed to live on
        quiet, house = hot, tuple(n for n in everyone if n not in hot)
    if len(hot) < wanted or not house:
        problem = f"{len(everyone)} CPU{'s' * (len(everyone) != 1)} for {wanted} hot threads and everything else: none can be set apart"
        return Roles(engine.threads, hot, (), everyone, engine.node, engine.why, assumed, problem)
    return Roles(engine.threads, hot, quiet, house, engine.node, engine.why, assumed)


def _machine(probe: Probe, topology: Topology) -> str:
    cores = len(topology.one_a_core(tuple(cpu.number for cpu in topology.cpus)))
    parts = [probe.cpu_field("model name") or "unknown processor", f"{cores} cores, {len(topology.cpus)} CPUs"]
    parts += [f"{len(topology.nodes)} memory nodes"] if len(topology.nodes) > 1 else []
    parts += [f"kernel {topology.kernel}"]
    parts += [f"virtual ({topology.hypervisor})"] if topology.hypervisor else []
    parts += [f"in a container ({topology.container})"] if topology.container else []
    parts += [f"{topology.quota_cores:g} cores of time"] if topology.quota_cores else []
    parts += [f"may use CPUs {cpu_list(topology.allowed)}"] if len(topology.allowed) < len(topology.cpus) else []
    return ", ".join(parts)
