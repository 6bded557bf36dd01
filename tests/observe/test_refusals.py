"""Refused attempts, counted from a log that grows, is rotated, cut and damaged."""

from __future__ import annotations

import json

from orchestrator.observe.refusals import KNOWN, MOST_REASONS, RefusalCounter


def line(reason: str, count: int = 1) -> str:
    return json.dumps({"ts": "x", "event": "refused", "refused": reason, "count": count}) + "\n"


def seen(counter: RefusalCounter) -> dict[str, int]:
    return {reason: n for reason, n in counter.read().items() if n}


def test_attempts_are_counted_as_the_log_grows_and_a_line_may_stand_for_many(tmp_path):
    log, counter = tmp_path / "control.log", RefusalCounter(tmp_path)
    assert counter.read() == dict.fromkeys(KNOWN, 0)
    log.write_text(line("role") + json.dumps({"event": "done", "cmd": "pause"}) + "\n" + line("key", 40) + line("ro")[:-9])
    assert seen(counter) == {"role": 1, "key": 40}, "a line not yet whole is not counted"
    with log.open("a") as file:
        file.write(line("ro")[-9:] + line("role"))
    assert seen(counter) == seen(counter) == {"role": 2, "key": 40, "ro": 1}


def test_a_log_that_is_rotated_or_cut_is_begun_again_and_nothing_is_forgotten(tmp_path):
    log, counter = tmp_path / "control.log", RefusalCounter(tmp_path)
    log.write_text(line("role") * 3)
    assert seen(counter) == {"role": 3}
    log.rename(tmp_path / "control.log.1")
    assert seen(counter) == {"role": 3}
    log.write_text(line("role"))
    assert seen(counter) == {"role": 4}
    log.write_text("")
    counter.read()
    log.write_text(line("garbage"))
    assert seen(counter) == {"role": 4, "garbage": 1}


def test_what_is_no_line_of_ours_is_passed_over(tmp_path):
    log, counter = tmp_path / "control.log", RefusalCounter(tmp_path)
    log.write_bytes(b"\xff\xfe\n[1]\n{}\nnull\n" + b'{"event":"refused","refused":"role","count":-5}\n{"event":"refused","count":"x"}\n' + line("role").encode())
    assert seen(counter) == {"role": 1}


def test_reasons_without_end_become_one(tmp_path):
    counter = RefusalCounter(tmp_path)
    (tmp_path / "control.log").write_text("".join(line(f"r{i}") for i in range(500)))
    found = counter.read()
    assert len(found) <= MOST_REASONS + 1 and sum(found.values()) == 500
