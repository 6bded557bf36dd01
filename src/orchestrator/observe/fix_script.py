"""A plan as a shell script: every change with its reason, apply and undo; it does nothing unless it is told which."""

from __future__ import annotations

import textwrap

from orchestrator.observe.fix_plan import Plan, Roles, Step
from orchestrator.observe.topology import cpu_list

WIDTH = 116
PARTS = {
    "boot": "The kernel's command line",
    "irq": "Interrupts and the kernel's own work",
    "power": "Clock and idling",
    "memory": "Memory and kernel settings",
    "network": "Network cards",
    "limits": "Limits of the user",
    "container": "The container",
}
HEAD = """\
#!/bin/sh
# Makes this machine fit for Peregrine. Nothing has been run. Read it, then as root:
#     sh THIS show | apply | undo
"""
FUNCTIONS = """\
set -eu
who=${PEREGRINE_USER:-${SUDO_USER:-root}}
put() { if echo "$1" > "$2"; then :; else echo "refused: $1 > $2" >&2; fi; }
move_irq() { if echo "$2" > "/proc/irq/$1/smp_affinity_list"; then :; else echo "irq $1 stays: the kernel manages it" >&2; fi; }
"""
TAIL = """\
case "${1:-}" in
  show) cat "$0" ;;
  apply) apply; echo "done; what needs a restart of the machine works after it" ;;
  undo) undo; echo "as it was when this was made" ;;
  *) echo "usage: sh $0 show | apply | undo" >&2; exit 64 ;;
esac
"""


def script(plan: Plan) -> str:
    """The script's text, ending in a newline."""
    out = [HEAD + _comment(f"Configuration {plan.config}. Machine: {plan.machine}."), _comment(who_runs_where(plan.roles)), FUNCTIONS]
    body = []
    for part, title in PARTS.items():
        mine = [step for step in plan.steps if step.part == part]
        if mine:
            body.append(f"  # ---- {title} ----\n" + "".join(_step(step) for step in mine))
    out.append("apply() {\n" + "\n".join(body) + "  :\n}\n")
    back = [line for step in reversed(plan.steps) for line in step.undo if not step.blocked]
    out.append("undo() {\n" + "".join(f"  {line}\n" for line in back) + "  :\n}\n")
    out.append(TAIL)
    return "\n".join(out)


def who_runs_where(roles: Roles) -> str:
    """The CPUs of the threads, and what is assumed, in words."""
    if roles.problem:
        return f"No CPU can be set apart: {roles.problem}."
    pins = ", ".join(f"{name} on CPU {core}" for name, core in roles.threads.items() if core is not None and core in roles.quiet)
    text = f"Hot threads: {pins}; set apart: CPUs {cpu_list(roles.quiet)}; everything else: CPUs {cpu_list(roles.house)}."
    if roles.node_why:
        text += f" Memory node: {roles.node if roles.node is not None else 'left to the kernel'}, {roles.node_why}."
    if roles.assumed:
        text += " The configuration pins no thread: this is what engine.cores.engine: auto comes to (--profile pinned has it)." \
                " Without it CPUs that are set apart stay empty."  # fmt: skip
    return text


def _comment(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(text, WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{indent}# {line}\n" for line in lines)


def _step(step: Step) -> str:
    out = _comment(f"{step.name}: {step.buys}", "  ")
    if step.blocked:
        out += _comment(f"Does not apply: {step.blocked}.", "  ")
    out += "".join(f"  #   {line}\n" for line in step.by_hand)
    if not step.blocked:
        out += "".join(f"  {line}\n" for line in step.lines)
    return out + "\n"
