#!/bin/sh
# Makes this machine fit for Peregrine. Nothing has been run. Read it, then as root:
#     sh THIS show | apply | undo
# Configuration pinned. Machine: Intel(R) Xeon(R) Platinum 8375C, 8 cores, 8 CPUs, kernel 6.8.0-45-generic, in a
# container (docker), 2.5 cores of time, may use CPUs 4-7.

# Hot threads: engine on CPU 7; set apart: CPUs 7; everything else: CPUs 0-6.

set -eu
who=${PEREGRINE_USER:-${SUDO_USER:-root}}
put() { if echo "$1" > "$2"; then :; else echo "refused: $1 > $2" >&2; fi; }
move_irq() { if echo "$2" > "/proc/irq/$1/smp_affinity_list"; then :; else echo "irq $1 stays: the kernel manages it" >&2; fi; }

apply() {
  # ---- The kernel's command line ----
  # isolcpus=managed_irq,domain,7: the scheduler puts nobody else there: no other task ever stands before the engine

  # nohz_full=7: no timer tick while one thread runs: 100 to 1,000 pauses of 1 to 5 us a second less

  # rcu_nocbs=7: callbacks of the kernel's own bookkeeping (RCU) run on the other CPUs

  # irqaffinity=0-6: interrupts that nobody has placed go to the other CPUs, from boot on

  # command line: what stands above, from the next start of the machine on
  # Does not apply: a container has its host's kernel: this line belongs on the host, with the host's numbers of
  # CPUs.
  #   isolcpus=managed_irq,domain,7 nohz_full=7 rcu_nocbs=7 irqaffinity=0-6


  # ---- Interrupts and the kernel's own work ----
  # new interrupts: what is plugged in later goes to CPUs 0-6
  # Does not apply: a container cannot change its host's kernel: run this on the host.
  #   put '7f' /proc/irq/default_smp_affinity

  # interrupts on hot CPUs: each would pause a hot thread for 2 to 10 us whenever it comes
  # Does not apply: a container cannot change its host's kernel: run this on the host.
  #   move_irq 20 0-6  # eth0-rx-0


  # ---- Clock and idling ----
  # governor: the clock does not fall and climb again under the engine: climbing takes 10 to 100 us
  # Does not apply: a container cannot change its host's kernel: run this on the host.
  #   put performance /sys/devices/system/cpu/cpu7/cpufreq/scaling_governor

  # deep idle states: a core that idles is awake within 10 us; matters where engine.idle is yield or sleep, a
  # spinning thread never idles
  # Does not apply: a container cannot change its host's kernel: run this on the host.
  #   put 1 /sys/devices/system/cpu/cpu7/cpuidle/state2/disable  # C6, 133 us to wake

  # turbo: it is on; on is faster, off gives each run the same clock, for comparing
  # Does not apply: a container cannot change its host's kernel: run this on the host.
  #   echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo


  # ---- Memory and kernel settings ----
  # transparent huge pages: only who asks gets them, as the books do (always: any thread may wait for memory to be
  # compacted)
  # Does not apply: a container cannot change its host's kernel: run this on the host.
  #   put 'madvise' /sys/kernel/mm/transparent_hugepage/enabled

  # huge pages: none need be reserved: the books ask for 2 MiB pages by madvise, the rings are locked small pages

  # swap: nothing of the helpers is ever read back from a disk; the engine's memory is locked anyhow
  # Does not apply: a container cannot change its host's kernel: run this on the host.
  #   swapoff /dev/sda2

  # kernel settings: vm.stat_interval: memory statistics are gathered every 2 min, not every second, on each CPU;
  # vm.compaction_proactiveness: no thread moves pages about in the background; kernel.nmi_watchdog: no performance
  # counter interrupt every few seconds; kernel.watchdog_cpumask: the lockup detector's threads stay off the hot
  # CPUs; net.core.rmem_max: a burst of the feed waits in the socket instead of being lost
  # Does not apply: a container cannot change its host's kernel: run this on the host.
  #   printf '%s\n' 'vm.stat_interval = 120' 'vm.compaction_proactiveness = 0' 'kernel.nmi_watchdog = 0' 'kernel.watchdog_cpumask = 0-6' 'net.core.rmem_max = 4194304' > /etc/sysctl.d/90-peregrine.conf
  #   sysctl -q -p /etc/sysctl.d/90-peregrine.conf


  # ---- The container ----
  # options of the container: CPUs of its own, no quota, memory that may be locked; 2.5 cores of time are allowed,
  # and a spinning thread is paused when they are used up
  # Does not apply: they are given where it is started.
  #   docker run --cpuset-cpus=0-1,7 --ulimit memlock=-1 --ulimit nofile=65536 --shm-size=192m …   # and without --cpus

  :
}

undo() {
  :
}

case "${1:-}" in
  show) cat "$0" ;;
  apply) apply; echo "done; what needs a restart of the machine works after it" ;;
  undo) undo; echo "as it was when this was made" ;;
  *) echo "usage: sh $0 show | apply | undo" >&2; exit 64 ;;
esac
