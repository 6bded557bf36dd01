#!/bin/sh
# Makes this machine fit for Peregrine. Nothing has been run. Read it, then as root:
#     sh THIS show | apply | undo
# Configuration pinned. Machine: AMD EPYC 7313P 16-Core Processor, 16 cores, 32 CPUs, kernel 6.1.0-30-amd64.

# Hot threads: engine on CPU 15; set apart: CPUs 15,31; everything else: CPUs 0-14,16-30.

set -eu
who=${PEREGRINE_USER:-${SUDO_USER:-root}}
put() { if echo "$1" > "$2"; then :; else echo "refused: $1 > $2" >&2; fi; }
move_irq() { if echo "$2" > "/proc/irq/$1/smp_affinity_list"; then :; else echo "irq $1 stays: the kernel manages it" >&2; fi; }

apply() {
  # ---- The kernel's command line ----
  # isolcpus=managed_irq,domain,15,31: the scheduler puts nobody else there: no other task ever stands before the
  # engine

  # nohz_full=15,31: no timer tick while one thread runs: 100 to 1,000 pauses of 1 to 5 us a second less

  # rcu_nocbs=15,31: callbacks of the kernel's own bookkeeping (RCU) run on the other CPUs

  # irqaffinity=0-14,16-30: interrupts that nobody has placed go to the other CPUs, from boot on

  # command line: what stands above, from the next start of the machine on
  mkdir -p /etc/default/grub.d
  printf '%s\n' 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT isolcpus=managed_irq,domain,15,31 nohz_full=15,31 rcu_nocbs=15,31 irqaffinity=0-14,16-30"' > /etc/default/grub.d/90-peregrine.cfg
  update-grub


  # ---- Interrupts and the kernel's own work ----
  # irqbalance: it would move the interrupts back
  systemctl disable --now irqbalance

  # new interrupts: what is plugged in later goes to CPUs 0-14,16-30
  put '7fff7fff' /proc/irq/default_smp_affinity

  # interrupts on hot CPUs: each would pause a hot thread for 2 to 10 us whenever it comes
  move_irq 40 0-14,16-30  # nvme0q15
  move_irq 61 0-14,16-30  # ens1f0-TxRx-1
  move_irq 62 0-14,16-30  # ens1f0-TxRx-2

  # kernel work: deferred work of the kernel stays on the other CPUs
  put '7fff7fff' /sys/devices/virtual/workqueue/cpumask


  # ---- Clock and idling ----
  # governor: the clock does not fall and climb again under the engine: climbing takes 10 to 100 us
  put performance /sys/devices/system/cpu/cpu15/cpufreq/scaling_governor
  put performance /sys/devices/system/cpu/cpu31/cpufreq/scaling_governor

  # deep idle states: a core that idles is awake within 10 us; matters where engine.idle is yield or sleep, a
  # spinning thread never idles
  put 1 /sys/devices/system/cpu/cpu15/cpuidle/state2/disable  # C6, 133 us to wake
  put 1 /sys/devices/system/cpu/cpu31/cpuidle/state2/disable  # C6, 133 us to wake

  # turbo: it is on; on is faster, off gives each run the same clock, for comparing
  #   echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo

  # siblings: CPUs 31 share a core with a hot thread and stay idle by isolcpus; or switch them off, until the next
  # start
  #   echo 0 > /sys/devices/system/cpu/cpu31/online


  # ---- Memory and kernel settings ----
  # transparent huge pages: only who asks gets them, as the books do (always: any thread may wait for memory to be
  # compacted)
  put 'madvise' /sys/kernel/mm/transparent_hugepage/enabled

  # huge pages: none need be reserved: the books ask for 2 MiB pages by madvise, the rings are locked small pages

  # swap: nothing of the helpers is ever read back from a disk; the engine's memory is locked anyhow
  swapoff /dev/sda2

  # kernel settings: vm.stat_interval: memory statistics are gathered every 2 min, not every second, on each CPU;
  # vm.compaction_proactiveness: no thread moves pages about in the background; kernel.nmi_watchdog: no performance
  # counter interrupt every few seconds; kernel.watchdog_cpumask: the lockup detector's threads stay off the hot
  # CPUs; net.core.rmem_max: a burst of the feed waits in the socket instead of being lost
  printf '%s\n' 'vm.stat_interval = 120' 'vm.compaction_proactiveness = 0' 'kernel.nmi_watchdog = 0' 'kernel.watchdog_cpumask = 0-14,16-30' 'net.core.rmem_max = 4194304' > /etc/sysctl.d/90-peregrine.conf
  sysctl -q -p /etc/sysctl.d/90-peregrine.conf


  # ---- Network cards ----
  # ens1f0: a packet's interrupt comes at once and the ring holds a burst; `ethtool -c`, `-g` and `-k` show what is
  # there now, for going back
  #   ethtool -C ens1f0 adaptive-rx off rx-usecs 0
  #   ethtool -G ens1f0 rx 4096
  #   ethtool -K ens1f0 gro off lro off


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
  sysctl -q -w 'kernel.watchdog_cpumask=0-15'
  sysctl -q -w 'net.core.rmem_max=212992'
  swapon /dev/sda2
  put 'always' /sys/kernel/mm/transparent_hugepage/enabled
  put 0 /sys/devices/system/cpu/cpu15/cpuidle/state2/disable
  put 0 /sys/devices/system/cpu/cpu31/cpuidle/state2/disable
  put 'powersave' /sys/devices/system/cpu/cpu15/cpufreq/scaling_governor
  put 'powersave' /sys/devices/system/cpu/cpu31/cpufreq/scaling_governor
  put 'ffffffff' /sys/devices/virtual/workqueue/cpumask
  move_irq 40 15,31  # nvme0q15
  move_irq 61 0-31  # ens1f0-TxRx-1
  move_irq 62 0-31  # ens1f0-TxRx-2
  put 'ffffffff' /proc/irq/default_smp_affinity
  systemctl enable --now irqbalance
  rm -f /etc/default/grub.d/90-peregrine.cfg
  update-grub
  :
}

case "${1:-}" in
  show) cat "$0" ;;
  apply) apply; echo "done; what needs a restart of the machine works after it" ;;
  undo) undo; echo "as it was when this was made" ;;
  *) echo "usage: sh $0 show | apply | undo" >&2; exit 64 ;;
esac
