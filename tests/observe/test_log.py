"""Structured logs: the fields of a line, levels, files that are put away, disks that are full."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import structlog

from orchestrator.observe import log


@pytest.fixture(autouse=True)
def as_before():
    yield
    structlog.reset_defaults()
    log.set_level("info")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_an_object_with_the_same_fields_first_and_the_events_own_after_them(tmp_path):
    path = tmp_path / "a.log"
    log.configure("supervisor", path=path)
    log.logger(id="c1").info("paused", seq=77, where=Path("/x"))
    (line,) = lines(path)
    assert list(line)[:3] == ["ts", "level", "process"] and line["ts"].endswith("Z")
    assert {k: line[k] for k in line if k != "ts"} == {
        "level": "info", "process": "supervisor", "id": "c1", "seq": 77, "where": "/x", "event": "paused",
    }  # fmt: skip


def test_the_level_can_be_changed_while_it_runs(tmp_path):
    path = tmp_path / "a.log"
    log.configure("engine", path=path, level="warning")
    log.logger().info("not told")
    log.set_level("debug")
    log.logger().debug("told")
    assert [line["event"] for line in lines(path)] == ["told"]
    with pytest.raises(ValueError, match="no log level"):
        log.set_level("loud")


def test_an_exception_stands_in_its_line(tmp_path):
    path = tmp_path / "a.log"
    log.configure("engine", path=path)
    try:
        raise KeyError("gone")
    except KeyError:
        log.logger().exception("it failed")
    (line,) = lines(path)
    assert line["level"] == "error" and "KeyError: 'gone'" in line["exception"]


def test_a_file_that_is_full_is_put_away_and_the_oldest_goes(tmp_path):
    path = tmp_path / "a.log"
    stream = log.configure("engine", path=path, max_bytes=1000)
    for i in range(200):
        log.logger().info("a line", i=i)
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == ["a.log", "a.log.1", "a.log.2", "a.log.3"] and stream.lost == 0
    assert all(f.stat().st_size <= 1000 for f in files)
    kept = [line["i"] for f in (files[3], files[2], files[1], files[0]) for line in lines(f)]
    assert kept == list(range(kept[0], 200)), "what is kept is whole and in order"


def test_a_file_of_an_earlier_life_is_gone_on_with_and_counts(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("x" * 990 + "\n")
    log.configure("engine", path=path, max_bytes=1000)
    log.logger().info("first")
    assert [line["event"] for line in lines(path)] == ["first"] and (tmp_path / "a.log.1").stat().st_size == 991


def test_lines_of_many_threads_stay_whole_while_files_are_put_away(tmp_path):
    path = tmp_path / "a.log"
    stream = log.configure("engine", path=path, max_bytes=20_000)
    threads = [threading.Thread(target=lambda n=n: [log.logger().info("x", n=n, i=i) for i in range(100)]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(line["n"], line["i"]) for f in tmp_path.iterdir() for line in lines(f)]
    assert len(found) == len(set(found)) == 600 and stream.lost == 0


def test_a_disk_that_is_full_loses_lines_and_counts_them(tmp_path):
    class Full:
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    stream = log.configure("engine", path=tmp_path / "a.log")
    stream._stream = Full()
    for _ in range(5):
        log.logger().info("x")
    assert stream.lost >= 5


def test_a_file_that_cannot_be_put_away_goes_on_growing(tmp_path):
    path = tmp_path / "a.log"
    (tmp_path / "a.log.3").mkdir()
    (tmp_path / "a.log.2").write_text("cannot go where a folder is")
    stream = log.configure("engine", path=path, max_bytes=500)
    for i in range(20):
        log.logger().info("x", i=i)
    assert stream.lost == 0 and [line["i"] for line in lines(path)] == list(range(20))
