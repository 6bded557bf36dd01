"""Machines as folders: one recorded, three built in the kernel's own formats (proc(5), sysfs ABI documents)."""

from __future__ import annotations

from pathlib import Path

from orchestrator.observe.machine import Probe
from orchestrator.observe.topology import cpu_list

CPU = "sys/devices/system/cpu"
FLAGS = "fpu tsc constant_tsc nonstop_tsc rdtscp avx2 avx512f avx512bw avx512vl avx512_vnni"


def unpack(text: str, root: Path) -> Probe:
    """A recording of tools/record_machine.py as a folder."""
    blocks: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("@ "):
            blocks.append((line[2:], []))
        else:
            blocks[-1][1].append(line)
    for head, lines in blocks:
        path, arrow, target = head.partition(" -> ")
        place = root / path.lstrip("/").rstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            real = root / ".links" / Path(target).name  # what lies behind it is another recorded file, below the link
            real.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(real)
        elif head.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            for name in lines:
                if not (place / name).exists():
                    (place / name).mkdir()
        else:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
            place.write_text("\n".join(lines) + "\n")
    return Probe(root)


def write(root: Path, files: dict[str, str]) -> None:
    """Files below a folder; a text that begins with `-> ` makes a link to a folder of that name."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (root / "sys/devices" / text[3:]).mkdir(parents=True, exist_ok=True)
            path.symlink_to(root / "sys/devices" / text[3:])
        else:
            path.write_text(text + "\n")


def processors(cpus: int, siblings, nodes: dict[int, tuple[int, ...]], *, governor: str = "powersave", states=(("POLL", 0), ("C1", 2), ("C6", 133))) -> dict[str, str]:
    """/sys of `cpus` CPUs; `siblings` maps one to those of its core."""
    files = {f"{CPU}/online": f"0-{cpus - 1}", f"{CPU}/isolated": "", f"{CPU}/nohz_full": "(null)", "sys/devices/system/node/online": cpu_list(tuple(nodes)),
             f"{CPU}/smt/active": str(int(any(len(siblings(n)) > 1 for n in range(cpus)))), f"{CPU}/intel_pstate/no_turbo": "0"}  # fmt: skip
    for node, own in nodes.items():
        files[f"sys/devices/system/node/node{node}/cpulist"] = cpu_list(own)
    for n in range(cpus):
        files[f"{CPU}/cpu{n}/topology/thread_siblings_list"] = cpu_list(siblings(n))
        files[f"{CPU}/cpu{n}/cpufreq/scaling_governor"] = governor
        for i, (name, latency) in enumerate(states):
            folder = f"{CPU}/cpu{n}/cpuidle/state{i}"
            files |= {f"{folder}/name": name, f"{folder}/latency": str(latency), f"{folder}/disable": "0"}
    return files


def interrupts(cpus: int, lines: dict[int, tuple[str, tuple[int, ...], tuple[int, ...]]]) -> dict[str, str]:
    """/proc/interrupts and /proc/irq from {number: (name, may go, does go)}."""
    rows = ["           " + "".join(f"CPU{n}       " for n in range(cpus))]
    files = {"proc/irq/default_smp_affinity": f"{(1 << cpus) - 1:x}"}
    for number, (name, may, does) in lines.items():
        rows.append(f"{number:4}: " + " ".join("5" for _ in range(cpus)) + f"  IR-PCI-MSIX-0000:3b:00.0   {number}-edge      {name}")
        files |= {f"proc/irq/{number}/smp_affinity_list": cpu_list(may), f"proc/irq/{number}/effective_affinity_list": cpu_list(does)}
    rows.append("NMI:  " + " ".join("0" for _ in range(cpus)) + "   Non-maskable interrupts")
    return files | {"proc/interrupts": "\n".join(rows)}


def common(kernel: str, model: str, command_line: str = "root=/dev/sda1 ro quiet") -> dict[str, str]:
    """What every machine has."""
    return {
        "proc/cpuinfo": f"processor : 0\nmodel name : {model}\nflags : {FLAGS}",
        "proc/cmdline": f"BOOT_IMAGE=/vmlinuz {command_line}",
        "proc/sys/kernel/osrelease": kernel,
        "proc/2/comm": "kthreadd",
        "proc/swaps": "Filename Type Size Used Priority\n/dev/sda2 partition 8388604 0 -2",
        "proc/sys/vm/stat_interval": "1",
        "proc/sys/vm/compaction_proactiveness": "20",
        "proc/sys/kernel/nmi_watchdog": "1",
        "proc/sys/kernel/numa_balancing": "1",
        "proc/sys/kernel/watchdog_cpumask": "0-15",
        "proc/sys/net/core/rmem_max": "212992",
        "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    }


def smt16(root: Path) -> Probe:
    """Sixteen cores, thirty-two CPUs (n and n+16 share a core), Debian with grub, irqbalance, one Intel card."""
    everyone = tuple(range(32))
    lines = {9: ("acpi", everyone, (0,)), 40: ("nvme0q15", (15, 31), (15,)), 60: ("ens1f0-TxRx-0", everyone, (3,)),
             61: ("ens1f0-TxRx-1", everyone, (15,)), 62: ("ens1f0-TxRx-2", everyone, (31,))}  # fmt: skip
    write(root, {
        **common("6.1.0-30-amd64", "AMD EPYC 7313P 16-Core Processor"),
        **processors(32, lambda n: (n % 16, n % 16 + 16), {0: everyone}),
        **interrupts(32, lines),
        "sys/devices/virtual/workqueue/cpumask": "ffffffff",
        "etc/default/grub": "GRUB_CMDLINE_LINUX_DEFAULT=quiet",
        "etc/default/irqbalance": "#OPTIONS=",
        "sys/class/net/ens1f0/device": "-> 0000:3b:00.0",
        "sys/devices/0000:3b:00.0/uevent": "DRIVER=ice",
        "sys/devices/0000:3b:00.0/numa_node": "-1",
    })  # fmt: skip
    return Probe(root)


def numa2(root: Path, *, isolated: str = "") -> Probe:
    """Two sockets of 8 cores without SMT, even CPUs on node 0, odd ones on node 1 with the feed's card; Red Hat's grubby."""
    even, odd = tuple(range(0, 16, 2)), tuple(range(1, 16, 2))
    lines = {50: ("eno1-0", even, (0,)), 80: ("mlx5_comp0@pci:0000:af:00.0", tuple(range(16)), (1,)),
             81: ("mlx5_comp1@pci:0000:af:00.0", tuple(range(16)), (15,))}  # fmt: skip
    write(root, {
        **common("5.14.0-503.el9.x86_64", "Intel(R) Xeon(R) Gold 6334", "root=/dev/mapper/rl-root ro rcu_nocbs=13,15"),
        **processors(16, lambda n: (n,), {0: even, 1: odd}, governor="performance"),
        **interrupts(16, lines),
        "sys/devices/virtual/workqueue/cpumask": "ffff",
        "etc/default/grub": "GRUB_CMDLINE_LINUX=crashkernel=auto",
        "boot/loader/entries/rl.conf": "title Rocky",
        "sys/class/net/eno1/device": "-> 0000:19:00.0",
        "sys/devices/0000:19:00.0/uevent": "DRIVER=tg3",
        "sys/devices/0000:19:00.0/numa_node": "0",
        "sys/class/net/ens3f0/device": "-> 0000:af:00.0",
        "sys/devices/0000:af:00.0/uevent": "DRIVER=mlx5_core\nPCI_SLOT_NAME=0000:af:00.0",
        "sys/devices/0000:af:00.0/numa_node": "1",
        "sys/devices/0000:af:00.0/msi_irqs/80": "msix",
        "sys/devices/0000:af:00.0/msi_irqs/81": "msix",
        "sys/bus/pci/devices/0000:65:00.0/numa_node": "0",
        "proc/net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
                          "eno1\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                          "eno1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                          "ens3f0\t0000640A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0",
        **({f"{CPU}/isolated": isolated} if isolated else {}),
    })  # fmt: skip
    return Probe(root)


def container(root: Path) -> Probe:
    """A docker container with 2.5 cores' worth of time on CPUs 4 to 7 of an eight-core host."""
    everyone = tuple(range(8))
    write(root, {
        **common("6.8.0-45-generic", "Intel(R) Xeon(R) Platinum 8375C"),
        **processors(8, lambda n: (n,), {0: everyone}),
        **interrupts(8, {20: ("eth0-rx-0", everyone, (7,))}),
        "proc/2/comm": "sh",
        ".dockerenv": "",
        "sys/fs/cgroup/cpu.max": "250000 100000",
        "sys/fs/cgroup/cpuset.cpus.effective": "4-7",
    })  # fmt: skip
    return Probe(root)


def vm2(root: Path) -> Probe:
    """A virtual machine of two CPUs as it was recorded; its kernel is started by the host."""
    return unpack((Path(__file__).parent / "trees/vm2.tree").read_text(), root)


MACHINES = {"vm2": vm2, "smt16": smt16, "numa2": numa2, "container": container}
