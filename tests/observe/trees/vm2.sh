#!/bin/sh
# Makes this machine fit for Peregrine. Nothing has been run. Read it, then as root:
#     sh THIS show | apply | undo
# Configuration pinned. Machine: Intel(R) Xeon(R) Processor, 2 cores, 2 CPUs, kernel 6.18.44, virtual (a
# hypervisor).

# Hot threads: engine on CPU 1; set apart: CPUs 1; everything else: CPUs 0.

set -eu
who=${PEREGRINE_USER:-${SUDO_USER:-root}}
put() { if echo "$1" > "$2"; then :; else echo "refused: $1 > $2" >&2; fi; }
move_irq() { if echo "$2" > "/proc/irq/$1/smp_affinity_list"; then :; else echo "irq $1 stays: the kernel manages it" >&2; fi; }

apply() {
  # ---- The kernel's command line ----
  # isolcpus=managed_irq,domain,1: the scheduler puts nobody else there: no other task ever stands before the engine

  # nohz_full=1: no timer tick while one thread runs: 100 to 1,000 pauses of 1 to 5 us a second less
  # Does not apply: this kernel shows no nohz_full: built without CONFIG_NO_HZ_FULL.

  # rcu_nocbs=1: callbacks of the kernel's own bookkeeping (RCU) run on the other CPUs

  # irqaffinity=0: interrupts that nobody has placed go to the other CPUs, from boot on

  # command line: what stands above, from the next start of the machine on
  # Does not apply: no boot loader is seen here: whoever starts this virtual machine gives the kernel its line.
  #   isolcpus=managed_irq,domain,1 rcu_nocbs=1 irqaffinity=0


  # ---- Interrupts and the kernel's own work ----
  # new interrupts: what is plugged in later goes to CPUs 0
  put '1' /proc/irq/default_smp_affinity

  # interrupts on hot CPUs: each would pause a hot thread for 2 to 10 us whenever it comes
  move_irq 25 0  # ACPI:Ged
  move_irq 26 0  # ttyS0
  move_irq 29 0  # virtio0-inflate
  move_irq 31 0  # virtio0-stats
  move_irq 33 0  # virtio4-config
  move_irq 35 0  # virtio1-config
  move_irq 36 0  # virtio1-req.0
  move_irq 38 0  # virtio2-input.0
  move_irq 40 0  # virtio3-config
  move_irq 42 0  # virtio3-tx

  # kernel work: deferred work of the kernel stays on the other CPUs
  put '1' /sys/devices/virtual/workqueue/cpumask


  # ---- Clock and idling ----
  # governor: the clock does not fall and climb again under the engine: climbing takes 10 to 100 us
  # Does not apply: this kernel shows no clock control: the host decides (a hypervisor).


  # ---- Memory and kernel settings ----
  # huge pages: none need be reserved: the books ask for 2 MiB pages by madvise, the rings are locked small pages

  # kernel settings: vm.stat_interval: memory statistics are gathered every 2 min, not every second, on each CPU;
  # vm.compaction_proactiveness: no thread moves pages about in the background; kernel.watchdog_cpumask: the lockup
  # detector's threads stay off the hot CPUs
  printf '%s\n' 'vm.stat_interval = 120' 'vm.compaction_proactiveness = 0' 'kernel.watchdog_cpumask = 0' > /etc/sysctl.d/90-peregrine.conf
  sysctl -q -p /etc/sysctl.d/90-peregrine.conf


  # ---- Network cards ----
  # eth0: interrupts at once for each packet, not gathered
  # Does not apply: driver virtio_net: the host gathers them.


  # ---- Limits of the user ----
  # limits of the user: the engine may lock its memory and open a file for each segment; from the next login on. A
  # systemd unit has its own (LimitMEMLOCK), and does not read this
  printf '%s - %s\n' "$who" 'memlock unlimited' "$who" 'nofile 65536' > /etc/security/limits.d/90-peregrine.conf

  :
}

undo() {
  rm -f /etc/security/limits.d/90-peregrine.conf
  rm -f /etc/sysctl.d/90-peregrine.conf
  sysctl -q -w 'vm.stat_interval=1'
  sysctl -q -w 'vm.compaction_proactiveness=20'
  sysctl -q -w 'kernel.watchdog_cpumask=0-1'
  put '3' /sys/devices/virtual/workqueue/cpumask
  move_irq 25 0-1  # ACPI:Ged
  move_irq 26 0-1  # ttyS0
  move_irq 29 0-1  # virtio0-inflate
  move_irq 31 0-1  # virtio0-stats
  move_irq 33 0-1  # virtio4-config
  move_irq 35 0-1  # virtio1-config
  move_irq 36 0-1  # virtio1-req.0
  move_irq 38 0-1  # virtio2-input.0
  move_irq 40 0-1  # virtio3-config
  move_irq 42 0-1  # virtio3-tx
  put '3' /proc/irq/default_smp_affinity
  :
}

case "${1:-}" in
  show) cat "$0" ;;
  apply) apply; echo "done; what needs a restart of the machine works after it" ;;
  undo) undo; echo "as it was when this was made" ;;
  *) echo "usage: sh $0 show | apply | undo" >&2; exit 64 ;;
esac
