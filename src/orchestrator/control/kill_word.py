"""The kill word of an engine by name: a level in shared memory that is only ever raised here."""

from __future__ import annotations

from orchestrator.observe.segment import KILL_LEVELS, Segment, SegmentError


def set_kill_word(name: str, level: str) -> str:
    """Raise the word to `level` (cancel, flatten); a higher one stays. "" or why it could not be set."""
    try:
        with Segment(name, write=True) as segment:
            status = segment.status()
            if not status.alive:
                return f"engine {name} (pid {status.pid}) does not run"
            segment.kill(max(status.kill_level, KILL_LEVELS[level]))  # stamped anew in any case: whoever is about to lift it sees that
    except (SegmentError, OSError, ValueError) as err:
        return str(err)
    return ""
