"""systemd units: the one in ops/systemd for any machine, and one made for this machine and configuration.

Both come from the same lines here, so that they cannot drift apart; a test holds the files in ops/systemd to it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.models import Config
from orchestrator.observe.topology import Topology, cpu_list, read_topology
from orchestrator.supervise.placement import plan_placement

SLICE = "peregrine.slice"
FOLDER = "/etc/systemd/system"
WATCHDOG_S = 10


@dataclass(frozen=True)
class Unit:
    """A unit's file."""

    name: str
    text: str

    @property
    def path(self) -> str:
        """Where it belongs."""
        return f"{FOLDER}/{self.name}"


def template() -> Unit:
    """peregrine@.service: instance NAME runs NAME.yaml below /etc/peregrine, by a user `peregrine`."""
    text = _service(
        what="Peregrine trading engine %i",
        executable="/usr/bin/env peregrine",
        config="/etc/peregrine/%i.yaml",
        working="/var/lib/peregrine",
        user="peregrine",
        start_s=120, stop_s=30, cpus="", notes=(
            "Install: cp ops/systemd/peregrine@.service ops/systemd/peregrine.slice /etc/systemd/system/",
            "         useradd --system --home-dir /var/lib/peregrine peregrine; mkdir -p /etc/peregrine",
            "         systemctl daemon-reload; systemctl enable --now peregrine@desk1",
            "CPUs of this machine and times of a configuration: peregrine doctor --systemd -c FILE prints a unit with both.",
        ),
    )  # fmt: skip
    return Unit("peregrine@.service", text)


def slice_unit() -> Unit:
    """peregrine.slice: all engines of a machine together."""
    return Unit(SLICE, """\
# All engines of this machine: `systemd-cgtop peregrine.slice` shows what they use, `systemctl stop peregrine.slice` ends them.
[Unit]
Description=Peregrine trading engines
Documentation=man:systemd.slice(5)
Before=slices.target

[Slice]
# an engine that is short of time trades late: before everything else that has the default of 100
CPUWeight=10000
IOWeight=1000
# never CPUQuota: a spinning thread would be paused when it is used up
MemoryAccounting=yes
MemorySwapMax=0
TasksMax=4096
""")  # fmt: skip


def unit_for(cfg: Config, config: Path | None, topology: Topology | None = None) -> Unit:
    """A unit for one configuration on this machine: its CPUs, its times, the interpreter that runs now. Raises ConfigError."""
    plan = plan_placement(cfg, topology or read_topology())
    cpus = cpu_list({n for placement in plan.values() for n in placement.cpus})
    name = cfg.engine.name
    text = _service(
        what=f"Peregrine trading engine {name} ({cfg.name})",
        executable=f"{sys.executable} -m orchestrator",
        config=str(config) if config else f"/etc/peregrine/{name}.yaml",
        working="/var/lib/peregrine",
        user="peregrine",
        start_s=2 * cfg.supervise.ready_timeout_s, stop_s=2 * cfg.supervise.stop_timeout_s, cpus=cpus,
        notes=("Made by peregrine doctor --systemd for this machine:", *(f"  {p.line()}" for p in plan.values())),
    )  # fmt: skip
    return Unit(f"peregrine-{name}.service", text)


def _service(*, what: str, executable: str, config: str, working: str, user: str, start_s: int, stop_s: int, cpus: str,
             notes: tuple[str, ...]) -> str:  # fmt: skip
    python_path = os.environ.get("PYTHONPATH", "") if "-m orchestrator" in executable else ""
    head = "".join(f"# {note}\n" for note in notes)
    affinity = f"# all that the tree may use; the supervisor gives each process its own\nCPUAffinity={cpus}\n" if cpus else ""
    path = f"Environment=PYTHONPATH={python_path}\n" if python_path else ""
    return f"""\
{head}[Unit]
Description={what}
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target time-sync.target
# five failures in ten minutes: stop trying, a person has to look
StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
# ready when the tree trades, not when it has started; the watchdog is fed only while the tree is really looked at
Type=notify
NotifyAccess=main
WatchdogSec={WATCHDOG_S}
TimeoutStartSec={start_s}
TimeoutStopSec={stop_s}
ExecStart={executable} up -c {config}
# the signal makes the supervisor stop new orders, cancel, flush and end its processes in order. Only the supervisor gets
# it, and only the supervisor is killed: one that died leaves an engine that follows supervise.engine_loss_policy, and the
# next one takes it over; systemd says then that it found processes left over, which is so
KillMode=process
KillSignal=SIGTERM
# engine and supervisor both gone at an exchange that is somebody else's (a power cut, the memory killer, a reboot): nobody is
# here to be asked, so `up` does what supervise.after_both_died says. Unless it is set, that is: recover the run from the
# journal's folder, cancel what is open, stay held with the reason (systemctl status shows it) until a person resumes
Restart=on-failure
RestartSec=1
# 64 and 78: the command line or the configuration is wrong, and trying again does not mend it
RestartPreventExitStatus=64 78
# the folder of the control sockets, /run/peregrine: as this user, with XDG_RUNTIME_DIR=/run, the command line finds it
User={user}
Group={user}
WorkingDirectory={working}
StateDirectory=peregrine
RuntimeDirectory=peregrine
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
Environment=XDG_RUNTIME_DIR=%t
{path}Slice={SLICE}
Delegate=cpu cpuset memory pids
{affinity}LimitMEMLOCK=infinity
LimitNOFILE=65536
LimitCORE=infinity
OOMScoreAdjust=-900
# hardening: what a trading engine never needs. Not MemoryDenyWriteExecute: numba compiles signals; not PrivateDevices: a
# card is /dev/vfio. /dev/shm stays the machine's own: `peregrine top` reads the engine's shared memory there
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=no
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native
# none: memory is locked by LimitMEMLOCK, CPUs are one's own to choose
CapabilityBoundingSet=
UMask=0077

[Install]
WantedBy=multi-user.target
"""
