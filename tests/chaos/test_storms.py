"""A few gusts of each storm; the make target has the whole of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAST_LINE = re.compile(r"([a-z-]+): (\d+) times, 0 lost, 0 doubled, 0 differ, limits kept")


def storm(name: str, count: int, folder: Path, seed: int = 3) -> str:
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/chaos_storms.py"), "--storm", name, "--count", str(count), "--seed", str(seed), "--folder", str(folder / name)],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-3000:]
    last = LAST_LINE.fullmatch(result.stdout.splitlines()[-1])
    assert last and last.group(1) == name and int(last.group(2)) >= count, result.stdout[-500:]
    assert not (folder / name).exists(), "a good run leaves nothing"
    return result.stdout


def test_a_venue_that_drops_the_connection_again_and_again_loses_nothing(tmp_path):
    said = storm("disconnects", 40, tmp_path)
    assert int(re.search(r"(\d+) orders and", said).group(1)) > 0, "it traded between them"


def test_a_full_disk_stops_new_orders_and_a_restart_goes_on(tmp_path):
    assert storm("disk-full", 1, tmp_path).count("full: stopped after") == 1


def test_a_damaged_configuration_file_is_refused_while_the_engine_trades_on(tmp_path):
    storm("bad-config", 1, tmp_path)


@pytest.mark.slow
def test_processes_stopped_continued_and_killed_at_random_lose_nothing(tmp_path):
    storm("stops", 12, tmp_path)
