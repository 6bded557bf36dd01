"""What the supervisor says to the engine on its own account."""

from __future__ import annotations

from orchestrator.control import bodies
from orchestrator.control.messages import Request

#: body of the `resume` that lifts the hold of a start: what a person had set besides stays
LIFT_HOLD = bodies.number(bodies.RESUME_HELD)


def own_request(cmd: str, why: str) -> Request:
    """A command of the supervisor's."""
    return Request(cmd=cmd, who="supervisor", why=why)
