"""`peregrine ops` on the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import yaml


def ops(folder, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "orchestrator", "ops", *args], capture_output=True, text=True, cwd=folder, timeout=60,
                          env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip


def test_the_files_take_thresholds_and_addresses_from_the_configuration_and_the_command(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: laptop\nversion: 1\nobserve: {metrics: '127.0.0.1:9999', alerts: {stale_after_s: 33}}\n")
    done = ops(tmp_path, "out", "-c", "mine.yaml", "--alertmanager", "am:9093", "--webhook", "http://desk:1/")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "out").rglob("*") if p.is_file())
    prometheus = yaml.safe_load((tmp_path / "out/prometheus/prometheus.yml").read_text())
    assert prometheus["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:9999"]}]
    assert prometheus["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["am:9093"]}]
    rules = yaml.safe_load((tmp_path / "out/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    assert next(r for r in rules if r["alert"] == "PeregrineBooksStale")["for"] == "33s"
    routes = yaml.safe_load((tmp_path / "out/alertmanager/alertmanager.yml").read_text())
    assert routes["receivers"][0]["webhook_configs"][0]["url"] == "http://desk:1/record"


def test_without_an_endpoint_there_is_nothing_to_watch(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: laptop\nversion: 1\nobserve: {metrics: null}\n")
    done = ops(tmp_path, "out", "-c", "mine.yaml")
    assert done.returncode != 0 and "nothing to scrape" in done.stderr and "hint:" in done.stderr and not (tmp_path / "out").exists()
