#!/bin/sh
# Makes this machine fit for Peregrine. Nothing has been run. Read it, then as root:
#     sh THIS show | apply | undo
# Configuration pinned. Machine: Intel(R) Xeon(R) Gold 6334, 16 cores, 16 CPUs, 2 memory nodes, kernel
# 5.14.0-503.el9.x86_64.

# Hot threads: engine on CPU 14; set apart: CPUs 14; everything else: CPUs 0-13,15. Memory node: 0, the node with
# most CPUs.

set -eu
who=${PEREGRINE_USER:-${SUDO_USER:-root}}
put() { if echo "$1" > "$2"; then :; else echo "refused: $1 > $2" >&2; fi; }
move_irq() { if echo "$2" > "/proc/irq/$1/smp_affinity_list"; then :; else echo "irq $1 stays: the kernel manages it" >&2; fi; }

apply() {
  # ---- The kernel's command line ----
  # isolcpus=managed_irq,domain,14: the scheduler puts nobody else there: no other task ever stands before the
  # engine

  # nohz_full=14: no timer tick while one thread runs: 100 to 1,000 pauses of 1 to 5 us a second less

  # rcu_nocbs=14: callbacks of the kernel's own bookkeeping (RCU) run on the other CPUs

  # irqaffinity=0-13,15: interrupts that nobody has placed go to the other CPUs, from boot on

  # command line: what stands above, from the next start of the machine on
  grubby --update-kernel=ALL --args='isolcpus=managed_irq,domain,14 nohz_full=14 rcu_nocbs=14 irqaffinity=0-13,15'


  # ---- Interrupts and the kernel's own work ----
  # new interrupts: what is plugged in later goes to CPUs 0-13,15
  put 'bfff' /proc/irq/default_smp_affinity

  # kernel work: deferred work of the kernel stays on the other CPUs
  put 'bfff' /sys/devices/virtual/workqueue/cpumask


  # ---- Clock and idling ----
  # deep idle states: a core that idles is awake within 10 us; matters where engine.idle is yield or sleep, a
  # spinning thread never idles
  put 1 /sys/devices/system/cpu/cpu14/cpuidle/state2/disable  # C6, 133 us to wake

  # turbo: it is on; on is faster, off gives each run the same clock, for comparing
  #   echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo


  # ---- Memory and kernel settings ----
  # transparent huge pages: only who asks gets them, as the books do (always: any thread may wait for memory to be
  # compacted)
  put 'madvise' /sys/kernel/mm/transparent_hugepage/enabled

  # huge pages: none need be reserved: the books ask for 2 MiB pages by madvise, the rings are locked small pages

  # swap: nothing of the helpers is ever read back from a disk; the engine's memory is locked anyhow
  swapoff /dev/sda2

  # kernel settings: vm.stat_interval: memory statistics are gathered every 2 min, not every second, on each CPU;
  # vm.compaction_proactiveness: no thread moves pages about in the background; kernel.nmi_watchdog: no performance
  # counter interrupt every few seconds; kernel.numa_balancing: pages are not unmapped to see who uses them: each
  # costs a fault; kernel.watchdog_cpumask: the lockup detector's threads stay off the hot CPUs; net.core.rmem_max:
  # a burst of the feed waits in the socket instead of being lost
  printf '%s\n' 'vm.stat_interval = 120' 'vm.compaction_proactiveness = 0' 'kernel.nmi_watchdog = 0' 'kernel.numa_balancing = 0' 'kernel.watchdog_cpumask = 0-13,15' 'net.core.rmem_max = 4194304' > /etc/sysctl.d/90-peregrine.conf
  sysctl -q -p /etc/sysctl.d/90-peregrine.conf


  # ---- Network cards ----
  # eno1: a packet's interrupt comes at once and the ring holds a burst; `ethtool -c`, `-g` and `-k` show what is
  # there now, for going back
  #   ethtool -C eno1 adaptive-rx off rx-usecs 0
  #   ethtool -G eno1 rx 4096
  #   ethtool -K eno1 gro off lro off

  # ens3f0 is far: it hangs on node 1, the engine lives on node 0 (the node with most CPUs): each packet crosses
  # between sockets, about 100 ns
  #   name cores of node 1 in engine.cores, if the feed comes by ens3f0

  # ens3f0: a packet's interrupt comes at once and the ring holds a burst; `ethtool -c`, `-g` and `-k` show what is
  # there now, for going back
  #   ethtool -C ens3f0 adaptive-rx off rx-usecs 0
  #   ethtool -G ens3f0 rx 4096
  #   ethtool -K ens3f0 gro off lro off


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
  sysctl -q -w 'kernel.nmi_watchdog=1'
  sysctl -q -w 'kernel.numa_balancing=1'
  sysctl -q -w 'kernel.watchdog_cpumask=0-15'
  sysctl -q -w 'net.core.rmem_max=212992'
  swapon /dev/sda2
  put 'always' /sys/kernel/mm/transparent_hugepage/enabled
  put 0 /sys/devices/system/cpu/cpu14/cpuidle/state2/disable
  put 'ffff' /sys/devices/virtual/workqueue/cpumask
  put 'ffff' /proc/irq/default_smp_affinity
  grubby --update-kernel=ALL --remove-args='isolcpus=managed_irq,domain,14 nohz_full=14 rcu_nocbs=14 irqaffinity=0-13,15'
  :
}

case "${1:-}" in
  show) cat "$0" ;;
  apply) apply; echo "done; what needs a restart of the machine works after it" ;;
  undo) undo; echo "as it was when this was made" ;;
  *) echo "usage: sh $0 show | apply | undo" >&2; exit 64 ;;
esac
