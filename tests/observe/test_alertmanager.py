"""Who hears of what and how often, by a real Alertmanager with the shipped routes and shortened windows."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

from orchestrator.observe import rules
from tests.observe.monitoring import Monitoring, needs_prometheus, until

pytestmark = [needs_prometheus, pytest.mark.slow]
WINDOW_S = 4


def fire(seen: Monitoring, *alerts: dict[str, str]) -> None:
    body = json.dumps([{"labels": labels, "annotations": {"summary": "x"}} for labels in alerts]).encode()
    request = urllib.request.Request(f"http://{seen.alertmanager}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def posts(seen: Monitoring, receiver: str, engine: str) -> list[int]:
    """How many alerts each notification of that engine held."""
    return [len(post["alerts"]) for name, post in seen.receiver.posts if name == receiver and post["groupLabels"]["engine"] == engine]


def test_a_storm_of_alerts_is_one_notice_a_window_and_causes_keep_their_effects_back(tmp_path):
    with Monitoring(tmp_path, windows=dict.fromkeys(rules.WINDOWS, (3, WINDOW_S, 3600))) as seen:
        began = time.monotonic()
        fire(seen, *({"alertname": f"A{i}", "engine": "e", "severity": "warning"} for i in range(40)))
        fire(seen, {"alertname": "A0", "engine": "other", "severity": "warning"})
        until(lambda: posts(seen, "desk", "e"), "the first notice")
        assert posts(seen, "desk", "e") == [40], "all of the storm in one"
        for i in range(40, 60):  # it goes on, a new one each 100 ms
            fire(seen, {"alertname": f"A{i}", "engine": "e", "severity": "warning"})
            time.sleep(0.1)
        until(lambda: max(posts(seen, "desk", "e")) == 60, "a notice of all")
        windows = (time.monotonic() - began) / WINDOW_S
        assert len(posts(seen, "desk", "e")) <= windows + 2, "at most one a window"
        until(lambda: posts(seen, "desk", "other"), "the other engine's notice")
        assert posts(seen, "desk", "other") == [1], "another engine is another group"
        assert not posts(seen, "oncall", "e") and not posts(seen, "pager", "e"), "a warning wakes nobody"

        down = {"engine": "d", "severity": "page"}
        fire(seen, {"alertname": "PeregrineEngineDown", **down})
        until(lambda: "PeregrineEngineDown" in seen.receiver.heard("pager"), "the pager")
        fire(seen, {"alertname": "PeregrineBooksStale", "engine": "d", "severity": "critical", "shard": "0"},
             {"alertname": "PeregrineBooksStale", "engine": "fine", "severity": "critical", "shard": "0"})  # fmt: skip
        until(lambda: posts(seen, "oncall", "fine"), "the notice of the engine that has no better reason")
        kept_back = seen.received("PeregrineBooksStale", engine="d")
        assert kept_back["status"]["state"] == "suppressed" and kept_back["status"]["inhibitedBy"]
        told = [a["labels"]["engine"] for _, post in seen.receiver.posts for a in post["alerts"] if a["labels"]["alertname"] == "PeregrineBooksStale"]
        assert set(told) == {"fine"}
