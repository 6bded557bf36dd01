"""Steps of the plan that work at once and last until the next start: interrupts, power, memory, network, limits."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.config.models import Config
from orchestrator.observe.fix_plan import Roles, Step
from orchestrator.observe.machine import Probe
from orchestrator.observe.topology import CPU, Irq, Topology, cpu_list, cpu_mask

SYSCTL_FILE = "/etc/sysctl.d/90-peregrine.conf"
LIMITS_FILE = "/etc/security/limits.d/90-peregrine.conf"
RECEIVE_BUFFER = 4 << 20
DEEP_US = 10
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
WORKQUEUE = "/sys/devices/virtual/workqueue/cpumask"


def steps(cfg: Config, probe: Probe, topology: Topology, roles: Roles) -> Iterator[Step]:
    """All of them, in the order they are printed; in a container those of the machine are for its host."""
    machine = [*_irqs(probe, topology, roles), *_power(probe, topology, roles), *_memory(probe, topology), *_sysctl(probe, topology, roles),
               *_network(probe, topology, roles)]  # fmt: skip
    for step in machine:
        if topology.container and not step.blocked and (step.lines or step.by_hand):
            yield Step(step.part, step.name, step.buys, by_hand=(*step.lines, *step.by_hand),
                       blocked="a container cannot change its host's kernel: run this on the host")  # fmt: skip
        else:
            yield step
    yield from _limits(cfg, topology, roles)


def _put(value: str, path: str, before: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (f"put '{value}' {path}",), (f"put '{before}' {path}",) if before else ()


def _irqs(probe: Probe, topology: Topology, roles: Roles) -> Iterator[Step]:
    if not roles.quiet:
        yield Step("irq", "interrupts", "no interrupt pauses a hot thread", blocked=roles.problem or "no hot core")
        return
    if any(probe.text(path) is not None for path in ("/usr/sbin/irqbalance", "/etc/default/irqbalance", "/etc/sysconfig/irqbalance")):
        yield Step("irq", "irqbalance", "it would move the interrupts back", ("systemctl disable --now irqbalance",), ("systemctl enable --now irqbalance",))
    default = probe.text("/proc/irq/default_smp_affinity")
    house_mask = cpu_mask(roles.house)
    if default is not None and default.replace(",", "").lstrip("0") != house_mask.replace(",", ""):
        lines, undo = _put(house_mask, "/proc/irq/default_smp_affinity", default)
        yield Step("irq", "new interrupts", f"what is plugged in later goes to CPUs {cpu_list(roles.house)}", lines, undo)
    moves, back = [], []
    for irq in topology.irqs:
        if set(irq.effective or irq.cpus) & set(roles.quiet):
            to = cpu_list(_home_of(irq, topology, roles))
            moves.append(f"move_irq {irq.number} {to}  # {irq.name}")
            if irq.cpus:
                back.append(f"move_irq {irq.number} {cpu_list(irq.cpus)}  # {irq.name}")
    if moves:
        yield Step("irq", "interrupts on hot CPUs", "each would pause a hot thread for 2 to 10 us whenever it comes", tuple(moves), tuple(back))
    before = probe.text(WORKQUEUE)
    if before is not None and before.replace(",", "").lstrip("0") != house_mask.replace(",", ""):
        lines, undo = _put(house_mask, WORKQUEUE, before)
        yield Step("irq", "kernel work", "deferred work of the kernel stays on the other CPUs", lines, undo)


def _home_of(irq: Irq, topology: Topology, roles: Roles) -> tuple[int, ...]:
    """The other CPUs; for a network card's interrupt those beside its memory node, where there are some."""
    node = next((nic.node for nic in topology.nics if irq.number in nic.irqs), -1)
    near = tuple(n for n in roles.house if topology.node_of(n) == node)
    return near or roles.house


def _power(probe: Probe, topology: Topology, roles: Roles) -> Iterator[Step]:
    governors = {n: probe.text(f"{CPU}/cpu{n}/cpufreq/scaling_governor") for n in roles.quiet}
    buys = "the clock does not fall and climb again under the engine: climbing takes 10 to 100 us"
    slow = {n: g for n, g in governors.items() if g not in (None, "performance")}
    if slow:
        path = f"{CPU}/cpu%d/cpufreq/scaling_governor"
        yield Step("power", "governor", buys, tuple(f"put performance {path % n}" for n in slow), tuple(f"put '{g}' {path % n}" for n, g in slow.items()))
    elif roles.quiet and not any(governors.values()):
        yield Step("power", "governor", buys, blocked="this kernel shows no clock control: " + _host(topology, "fixed by the firmware"))
    lines, undo = [], []
    for n in roles.quiet:
        for state in probe.names(f"{CPU}/cpu{n}/cpuidle"):
            folder = f"{CPU}/cpu{n}/cpuidle/{state}"
            if (probe.number(f"{folder}/latency") or 0) > DEEP_US and probe.text(f"{folder}/disable") == "0":
                lines.append(f"put 1 {folder}/disable  # {probe.text(f'{folder}/name')}, {probe.number(f'{folder}/latency')} us to wake")
                undo.append(f"put 0 {folder}/disable")
    buys = f"a core that idles is awake within {DEEP_US} us; matters where engine.idle is yield or sleep, a spinning thread never idles"
    if lines:
        yield Step("power", "deep idle states", buys, tuple(lines), tuple(undo))
    elif roles.quiet and not any(probe.names(f"{CPU}/cpu{n}/cpuidle") for n in roles.quiet):
        yield Step("power", "deep idle states", buys, blocked="none are shown: " + _host(topology, "the kernel does not idle here"))
    no_turbo, boost = probe.text(f"{CPU}/intel_pstate/no_turbo"), probe.text(f"{CPU}/cpufreq/boost")
    if no_turbo is not None or boost is not None:
        on = no_turbo == "0" or boost == "1"
        off = f"echo 1 > {CPU}/intel_pstate/no_turbo" if no_turbo is not None else f"echo 0 > {CPU}/cpufreq/boost"
        yield Step("power", "turbo", f"it is {'on' if on else 'off'}; on is faster, off gives each run the same clock, for comparing",
                   by_hand=(off if on else off.replace("echo 1", "echo 0") if no_turbo is not None else off.replace("echo 0", "echo 1"),))  # fmt: skip
    if probe.text(f"{CPU}/smt/active") == "1" and roles.quiet and set(roles.quiet) != set(roles.hot):
        idle = cpu_list([n for n in roles.quiet if n not in roles.hot])
        yield Step("power", "siblings", f"CPUs {idle} share a core with a hot thread and stay idle by isolcpus; or switch them off, until the next start",
                   by_hand=tuple(f"echo 0 > {CPU}/cpu{n}/online" for n in roles.quiet if n not in roles.hot))  # fmt: skip


def _host(topology: Topology, otherwise: str) -> str:
    return f"the host decides ({topology.hypervisor})" if topology.hypervisor else otherwise


def _memory(probe: Probe, topology: Topology) -> Iterator[Step]:
    enabled = probe.text(THP) or ""
    chosen = enabled.partition("[")[2].partition("]")[0]
    if chosen and chosen != "madvise":
        why = "always: any thread may wait for memory to be compacted" if chosen == "always" else "never: the books' tables get no 2 MiB pages, and miss the TLB more"
        lines, undo = _put("madvise", THP, chosen)
        yield Step("memory", "transparent huge pages", f"only who asks gets them, as the books do ({why})", lines, undo)
    yield Step("memory", "huge pages", "none need be reserved: the books ask for 2 MiB pages by madvise, the rings are locked small pages",
               blocked="" if chosen else "transparent huge pages are not shown by this kernel")  # fmt: skip
    swaps = [line.split()[0] for line in (probe.text("/proc/swaps") or "").splitlines()[1:] if line.strip()]
    if swaps:
        yield Step("memory", "swap", "nothing of the helpers is ever read back from a disk; the engine's memory is locked anyhow",
                   tuple(f"swapoff {name}" for name in swaps), tuple(f"swapon {name}" for name in swaps))  # fmt: skip


def _sysctl(probe: Probe, topology: Topology, roles: Roles) -> Iterator[Step]:
    wanted = [("vm.stat_interval", "120", "memory statistics are gathered every 2 min, not every second, on each CPU"),
              ("vm.compaction_proactiveness", "0", "no thread moves pages about in the background"),
              ("kernel.nmi_watchdog", "0", "no performance counter interrupt every few seconds")]  # fmt: skip
    if len(topology.nodes) > 1:
        wanted.append(("kernel.numa_balancing", "0", "pages are not unmapped to see who uses them: each costs a fault"))
    if roles.quiet:
        wanted.append(("kernel.watchdog_cpumask", cpu_list(roles.house), "the lockup detector's threads stay off the hot CPUs"))
    buffer = probe.number("/proc/sys/net/core/rmem_max")
    if buffer is not None and buffer < RECEIVE_BUFFER:
        wanted.append(("net.core.rmem_max", str(RECEIVE_BUFFER), "a burst of the feed waits in the socket instead of being lost"))
    now = {name: probe.text("/proc/sys/" + name.replace(".", "/")) for name, _, _ in wanted}
    new = [(name, value, why) for name, value, why in wanted if now[name] not in (None, value)]
    if not new:
        return
    lines = [f"printf '%s\\n' {' '.join(repr(f'{name} = {value}') for name, value, _ in new)} > {SYSCTL_FILE}", f"sysctl -q -p {SYSCTL_FILE}"]
    undo = [f"rm -f {SYSCTL_FILE}", *(f"sysctl -q -w '{name}={now[name]}'" for name, _, _ in new)]
    yield Step("memory", "kernel settings", "; ".join(f"{name}: {why}" for name, _, why in new), tuple(lines), tuple(undo))


def _network(probe: Probe, topology: Topology, roles: Roles) -> Iterator[Step]:
    for nic in topology.nics:
        if nic.driver.startswith("virtio") or not nic.bus:
            yield Step("network", nic.name, "interrupts at once for each packet, not gathered", blocked=f"driver {nic.driver or 'unknown'}: the host gathers them")
            continue
        if roles.node is not None and nic.node >= 0 and nic.node != roles.node:
            yield Step("network", f"{nic.name} is far", f"it hangs on node {nic.node}, the engine lives on node {roles.node} ({roles.node_why}): "
                       "each packet crosses between sockets, about 100 ns", by_hand=(f"name cores of node {nic.node} in engine.cores, if the feed comes by {nic.name}",))  # fmt: skip
        yield Step("network", nic.name, "a packet's interrupt comes at once and the ring holds a burst; `ethtool -c`, `-g` and `-k` show what is there now, for going back",
                   by_hand=(f"ethtool -C {nic.name} adaptive-rx off rx-usecs 0", f"ethtool -G {nic.name} rx 4096", f"ethtool -K {nic.name} gro off lro off"))  # fmt: skip


def _limits(cfg: Config, topology: Topology, roles: Roles) -> Iterator[Step]:
    if topology.container or topology.quota_cores:
        cores = cpu_list({*roles.hot, *roles.house[:2]})
        shm = 2 * (cfg.journal.ring_mb * cfg.engine.shards + 32)
        quota = f"; {topology.quota_cores:g} cores of time are allowed, and a spinning thread is paused when they are used up" if topology.quota_cores else ""
        options = f"--cpuset-cpus={cores} --ulimit memlock=-1 --ulimit nofile=65536 --shm-size={shm}m"
        yield Step("container", "options of the container", f"CPUs of its own, no quota, memory that may be locked{quota}",
                   blocked="they are given where it is started", by_hand=(f"docker run {options} …   # and without --cpus",))  # fmt: skip
        return
    user = '"$who"'
    text = f"printf '%s - %s\\n' {user} 'memlock unlimited' {user} 'nofile 65536' > {LIMITS_FILE}"
    yield Step("limits", "limits of the user", "the engine may lock its memory and open a file for each segment; from the next login on. "
               "A systemd unit has its own (LimitMEMLOCK), and does not read this", (text,), (f"rm -f {LIMITS_FILE}",))  # fmt: skip
