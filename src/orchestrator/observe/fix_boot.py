"""Steps of the plan that take a restart of the machine: the kernel's command line, argument by argument.

Sources: the kernel's own Documentation/admin-guide/kernel-parameters.txt, timers/no_hz.rst, core-api/irq.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.observe.fix_plan import Roles, Step
from orchestrator.observe.machine import Probe
from orchestrator.observe.topology import CPU, Topology, cpu_list

DROP_IN = "/etc/default/grub.d/90-peregrine.cfg"


def steps(probe: Probe, topology: Topology, roles: Roles) -> Iterator[Step]:
    """One step an argument, then the one that writes them all down."""
    there = set(topology.command_line.split())
    new: list[str] = []
    for argument, buys, blocked in arguments(probe, topology, roles):
        if argument in there:
            yield Step("boot", argument, buys, blocked="it is on the command line already")
            continue
        blocked = blocked or roles.problem
        if not blocked:
            new.append(argument)
        yield Step("boot", argument, buys, blocked=blocked, reboot=True)
    if new:
        yield write_down(topology, new)


def arguments(probe: Probe, topology: Topology, roles: Roles) -> Iterator[tuple[str, str, str]]:
    """(argument, what it buys, why it would do nothing here)."""
    quiet, house = cpu_list(roles.quiet) or "none", cpu_list(roles.house)
    yield f"isolcpus=managed_irq,domain,{quiet}", "the scheduler puts nobody else there: no other task ever stands before the engine", ""
    no_tick = "" if probe.text(f"{CPU}/nohz_full") is not None else "this kernel shows no nohz_full: built without CONFIG_NO_HZ_FULL"
    yield f"nohz_full={quiet}", "no timer tick while one thread runs: 100 to 1,000 pauses of 1 to 5 us a second less", no_tick
    yield f"rcu_nocbs={quiet}", "callbacks of the kernel's own bookkeeping (RCU) run on the other CPUs", ""
    yield f"irqaffinity={house}", "interrupts that nobody has placed go to the other CPUs, from boot on", ""
    flags = set(probe.cpu_field("flags").split())
    source = probe.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source == "hpet" and {"constant_tsc", "nonstop_tsc"} <= flags:
        blocked = "a virtual machine: the host decides what its clock is worth" if topology.hypervisor else ""
        yield "tsc=reliable", "reading the time costs 20 ns again, not a system call: the kernel distrusts a counter that the processor vouches for", blocked


def write_down(topology: Topology, new: list[str]) -> Step:
    """The step that adds the arguments, by whatever boots this machine."""
    line = " ".join(new)
    buys = "what stands above, from the next start of the machine on"
    if topology.container:
        return Step("boot", "command line", buys, by_hand=(line,), reboot=True,
                    blocked="a container has its host's kernel: this line belongs on the host, with the host's numbers of CPUs")  # fmt: skip
    if topology.boot_loader == "grub-debian":
        text = f'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {line}"'
        return Step("boot", "command line", buys, (f"mkdir -p {DROP_IN.rpartition('/')[0]}", f"printf '%s\\n' '{text}' > {DROP_IN}", "update-grub"),
                    (f"rm -f {DROP_IN}", "update-grub"), reboot=True)  # fmt: skip
    if topology.boot_loader == "grubby":
        return Step("boot", "command line", buys, (f"grubby --update-kernel=ALL --args='{line}'",),
                    (f"grubby --update-kernel=ALL --remove-args='{line}'",), reboot=True)  # fmt: skip
    if topology.boot_loader == "systemd-boot":
        install = 'kernel-install add "$(uname -r)" "/lib/modules/$(uname -r)/vmlinuz"'
        return Step("boot", "command line", buys, (f"sed -i '1s|$| {line}|' /etc/kernel/cmdline", install),
                    (f"sed -i '1s| {line}||' /etc/kernel/cmdline", install), reboot=True)  # fmt: skip
    who = "whoever starts this virtual machine gives the kernel its line" if topology.hypervisor else "add it where this machine's kernel is started"
    return Step("boot", "command line", buys, by_hand=(line,), reboot=True, blocked=f"no boot loader is seen here: {who}")
