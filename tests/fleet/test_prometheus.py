"""Alerts and dashboard against a real Prometheus that scrapes a real server under load."""

import subprocess
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from loadtests.process import crossrank, post, url_when_ready
from loadtests.prometheus import FOLDER, filled_in, get, prometheus
from tests.app.serving import ranking
from tests.fleet.tools import tool
from tests.test_dashboards import queries

pytestmark = pytest.mark.fleet

PACKAGE = "Debian's prometheus"
SCRAPES = 8
# Nothing scrapes a GPU here.
NO_SERIES = {"GPU memory"}


def test_promtool_takes_the_configuration_and_the_alerts_fire_when_they_should() -> None:
    promtool = tool("promtool", PACKAGE)
    for arguments in (["check", "config", "prometheus.yaml"], ["test", "rules", "rules_test.yaml"]):
        done = subprocess.run(
            [promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_and_rule_is_answered_by_a_real_prometheus(
    bert_folder: Path, tmp_path: Path
) -> None:
    tool("prometheus", PACKAGE)
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder)) as server:
        url = url_when_ready(server)
        with prometheus([url.removeprefix("http://")], tmp_path, 1) as address:
            assert server.stderr is not None
            scraped = 0
            for line in server.stderr:  # a little load between any two scrapes
                if "GET /metrics" not in line:
                    continue
                scraped += 1
                if scraped == SCRAPES:
                    break
                post(f"{url}/v1/ranking", ranking("q", ["rain", "stone"]))
                with pytest.raises(urllib.error.HTTPError):
                    post(f"{url}/v1/ranking", {"query": 1})
            empty = {title for title, query in queries() if not ask(address, filled_in(query, 1))}
            groups = get(address, "rules")["groups"]
    alerts = {title for title, _ in queries() if title.startswith("Crossrank")}
    assert empty - alerts == NO_SERIES  # an alert that does not fire is empty
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} >= alerts
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def ask(address: str, expression: str) -> list[Any]:
    """The series of an instant query."""
    result: list[Any] = get(address, "query", query=expression)["result"]
    return result
