"""Cores, memory nodes, interrupts, network cards, and who decides about them: a machine as /proc and /sys show it.

`read_topology` only reads, and reads through a `Probe`, so that a machine can be a folder of recorded files. What the
kernel does not show is empty or None, never guessed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.observe.machine import Probe
from orchestrator.observe.profile import parse_cpu_list

CPU = "/sys/devices/system/cpu"
NODE = "/sys/devices/system/node"


@dataclass(frozen=True)
class Cpu:
    """A logical CPU: with SMT several of them are one physical core."""

    number: int
    node: int = 0
    siblings: tuple[int, ...] = ()  # all CPUs of its core, itself among them


@dataclass(frozen=True)
class Irq:
    """An interrupt line."""

    number: int
    name: str
    cpus: tuple[int, ...] = ()  # where it may go now
    effective: tuple[int, ...] = ()  # where it does go


@dataclass(frozen=True)
class Nic:
    """A network interface with a device behind it."""

    name: str
    driver: str = ""
    bus: str = ""  # PCI address or the like
    node: int = -1  # -1: not told
    irqs: tuple[int, ...] = ()
    networks: tuple[tuple[int, int], ...] = ()  # (network, mask) of its routes, as numbers


@dataclass(frozen=True)
class Topology:
    """The machine. `allowed` are the CPUs this process may use."""

    cpus: tuple[Cpu, ...]
    allowed: tuple[int, ...]
    nodes: tuple[int, ...] = (0,)
    irqs: tuple[Irq, ...] = ()
    nics: tuple[Nic, ...] = ()
    devices: tuple[tuple[str, int], ...] = ()  # (PCI address, node) of those asked for
    kernel: str = ""
    command_line: str = ""
    isolated: tuple[int, ...] = ()
    quota_cores: float | None = None
    container: str = ""  # docker, lxc …; "" = none seen
    hypervisor: str = ""
    boot_loader: str = ""  # grub-debian, grubby, systemd-boot; "" = none seen

    def node_of(self, number: int) -> int:
        """The memory node of a CPU."""
        return next((cpu.node for cpu in self.cpus if cpu.number == number), 0)

    def siblings_of(self, number: int) -> tuple[int, ...]:
        """The other CPUs of its physical core."""
        return next((tuple(s for s in cpu.siblings if s != number) for cpu in self.cpus if cpu.number == number), ())

    def cpus_of_node(self, node: int) -> tuple[int, ...]:
        """The CPUs beside a memory node."""
        return tuple(cpu.number for cpu in self.cpus if cpu.node == node)

    def one_a_core(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """Of these CPUs the lowest of each physical core."""
        return tuple(n for n in numbers if not any(s < n and s in numbers for s in self.siblings_of(n)))

    def nic_of_address(self, address: str) -> Nic | None:
        """The interface whose network an IPv4 address belongs to, the narrowest one."""
        value = _ipv4(address)
        fits = [(mask, nic) for nic in self.nics for net, mask in nic.networks if value is not None and mask and value & mask == net]
        return max(fits, key=lambda fit: fit[0])[1] if fits else None


def read_topology(probe: Probe | None = None, devices: tuple[str, ...] = ()) -> Topology:
    """The machine below the probe's root; `devices` are PCI addresses whose node is wanted."""
    probe = probe or Probe()
    online = parse_cpu_list(probe.text(f"{CPU}/online") or "") or _cpus_listed(probe)
    nodes = parse_cpu_list(probe.text(f"{NODE}/online") or "") or (0,)
    node_of = {cpu: node for node in nodes for cpu in parse_cpu_list(probe.text(f"{NODE}/node{node}/cpulist") or "")}
    irqs, isolated = read_irqs(probe), isolated_cpus(probe)
    return Topology(
        cpus=tuple(Cpu(n, node_of.get(n, nodes[0]), _siblings(probe, n)) for n in online),
        allowed=_allowed(probe, online, isolated),
        nodes=nodes,
        irqs=irqs,
        nics=_nics(probe, irqs),
        devices=tuple((address, node) for address in devices if (node := probe.number(f"/sys/bus/pci/devices/{address}/numa_node")) is not None),
        kernel=probe.text("/proc/sys/kernel/osrelease") or "",
        command_line=probe.text("/proc/cmdline") or "",
        isolated=isolated,
        quota_cores=quota_cores(probe),
        container=_container(probe),
        hypervisor=_hypervisor(probe),
        boot_loader=_boot_loader(probe),
    )


def cpu_list(numbers: tuple[int, ...] | set[int] | list[int]) -> str:
    """CPUs as the kernel writes them: 0-3,8."""
    parts: list[str] = []
    rest = sorted(set(numbers))
    while rest:
        last = next((i for i in range(len(rest)) if i + 1 == len(rest) or rest[i + 1] != rest[i] + 1), 0)
        parts.append(f"{rest[0]}-{rest[last]}" if last else f"{rest[0]}")
        rest = rest[last + 1 :]
    return ",".join(parts)


def cpu_mask(numbers: tuple[int, ...] | set[int]) -> str:
    """CPUs as a hexadecimal mask in words of 32, as /sys takes it: 00000001,80000000."""
    value = sum(1 << n for n in set(numbers))
    words: list[str] = []
    while value or not words:
        words.append(f"{value & 0xFFFFFFFF:08x}")
        value >>= 32
    return ",".join(reversed(words)).lstrip("0,") or "0"


def quota_cores(probe: Probe) -> float | None:
    """How many cores' worth of time the control group allows (version 2, else 1); None: as much as there is."""
    words = (probe.text("/sys/fs/cgroup/cpu.max") or "max").split()
    if words[0] != "max":
        return int(words[0]) / int(words[1] if len(words) > 1 else 100_000)
    quota = probe.number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = probe.number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return quota / period if quota and quota > 0 and period else None


def read_irqs(probe: Probe) -> tuple[Irq, ...]:
    """The numbered lines of /proc/interrupts."""
    lines = (probe.text("/proc/interrupts") or "").splitlines()
    columns = len(lines[0].split()) if lines else 0
    found = []
    for line in lines[1:]:
        number, _, rest = line.partition(":")
        if number.strip().isdigit():
            n = int(number)
            words = rest.split()[columns:]
            folder = f"/proc/irq/{n}"
            found.append(Irq(n, words[-1] if words else "", parse_cpu_list(probe.text(f"{folder}/smp_affinity_list") or ""),
                             parse_cpu_list(probe.text(f"{folder}/effective_affinity_list") or "")))  # fmt: skip
    return tuple(found)


def _cpus_listed(probe: Probe) -> tuple[int, ...]:
    names = [name for name in probe.names(CPU) if re.fullmatch(r"cpu\d+", name)]
    return tuple(sorted(int(name[3:]) for name in names)) or (0,)


def _siblings(probe: Probe, number: int) -> tuple[int, ...]:
    return parse_cpu_list(probe.text(f"{CPU}/cpu{number}/topology/thread_siblings_list") or "") or (number,)


def isolated_cpus(probe: Probe | None = None) -> tuple[int, ...]:
    """CPUs that the kernel was started with apart (isolcpus): no mask holds them until somebody asks for them."""
    return parse_cpu_list((probe or Probe()).text(f"{CPU}/isolated") or "")


def _allowed(probe: Probe, online: tuple[int, ...], isolated: tuple[int, ...]) -> tuple[int, ...]:
    cpus = online
    for name in ("/sys/fs/cgroup/cpuset.cpus.effective", "/sys/fs/cgroup/cpuset/cpuset.effective_cpus"):
        if found := parse_cpu_list(probe.text(name) or ""):
            cpus = tuple(n for n in found if n in online)
            break
    if probe.root == Path("/"):
        mask = os.sched_getaffinity(0)
        cpus = tuple(n for n in cpus if n in mask or n in isolated) or tuple(sorted(mask))
    return cpus


def _nics(probe: Probe, irqs: tuple[Irq, ...]) -> tuple[Nic, ...]:
    routes = _routes(probe)
    found = []
    for name in probe.names("/sys/class/net"):
        folder = f"/sys/class/net/{name}/device"
        uevent = probe.text(f"{folder}/uevent")
        if uevent is None:
            continue  # lo, bridges, tunnels: no device behind it
        driver = next((line[7:] for line in uevent.splitlines() if line.startswith("DRIVER=")), "")
        bus = Path(probe.target(folder)).name
        node = probe.number(f"{folder}/numa_node")
        own = {int(n) for n in probe.names(f"{folder}/msi_irqs") if n.isdigit()}
        named = re.compile(rf"(?:^|[^\w.])(?:{re.escape(name)}|{re.escape(bus) if bus else name})(?:$|[^\w])")
        own |= {irq.number for irq in irqs if named.search(irq.name)}
        node = -1 if node is None else node
        found.append(Nic(name, driver, bus, node, tuple(sorted(own)), routes.get(name, ())))
    return tuple(found)


def _routes(probe: Probe) -> dict[str, tuple[tuple[int, int], ...]]:
    """Networks by interface; /proc/net/route has them in the machine's byte order, little-endian here."""
    out: dict[str, list[tuple[int, int]]] = {}
    for line in (probe.text("/proc/net/route") or "").splitlines()[1:]:
        words = line.split()
        if len(words) > 7:
            network, mask = (int.from_bytes(bytes.fromhex(w), "little") for w in (words[1], words[7]))
            out.setdefault(words[0], []).append((network, mask))
    return {name: tuple(nets) for name, nets in out.items()}


def _ipv4(address: str) -> int | None:
    parts = address.split(".")
    if len(parts) != 4 or not all(p.isdigit() and int(p) < 256 for p in parts):
        return None
    return int.from_bytes(bytes(int(p) for p in parts), "big")


def _container(probe: Probe) -> str:
    if said := probe.text("/run/systemd/container"):
        return said
    # the kernel's own threads are seen from the machine's process namespace only; a machine made of an image has these files too
    if probe.text("/proc/2/comm") != "kthreadd":
        for path, name in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
            if probe.text(path) is not None:
                return name
    groups = probe.text("/proc/1/cgroup") or ""
    return next((name for name in ("kubepods", "docker", "lxc", "containerd") if name in groups), "")


def _hypervisor(probe: Probe) -> str:
    if "hypervisor" not in (probe.cpu_field("flags") or "").split():
        return ""
    product = f"{probe.text('/sys/class/dmi/id/sys_vendor') or ''} {probe.text('/sys/class/dmi/id/product_name') or ''}".strip()
    return product or probe.text("/sys/hypervisor/type") or "a hypervisor"


def _boot_loader(probe: Probe) -> str:
    if probe.names("/boot/loader/entries") and not probe.text("/etc/default/grub"):
        return "systemd-boot"
    if probe.text("/etc/default/grub") is not None:
        return "grubby" if probe.names("/boot/loader/entries") else "grub-debian"
    return ""
