"""Alerts and dashboard against a real Prometheus that scrapes a real server under load."""

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.process import crossrank, post, url_when_ready
from loadtests.scale import Process, free_ports
from tests.app.serving import ranking
from tests.fleet.tools import tool
from tests.test_dashboards import queries

pytestmark = pytest.mark.fleet

FOLDER = Path(__file__).resolve().parents[2] / "docker" / "prometheus"
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
        with prometheus(url, tmp_path) as address:
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
            empty = {title for title, query in queries() if not ask(address, _now(query))}
            groups = get(address, "rules")["groups"]
    alerts = {title for title, _ in queries() if title.startswith("Crossrank")}
    assert empty - alerts == NO_SERIES  # an alert that does not fire is empty
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} >= alerts
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


@contextmanager
def prometheus(url: str, folder: Path) -> Iterator[str]:
    """The shipped configuration with one target and a short interval; its API's address."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    job = config["scrape_configs"][0]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [url.removeprefix("http://")]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (folder / "rules.yaml").write_text((FOLDER / "rules.yaml").read_text())
    (port,) = free_ports(1)
    command = [
        tool("prometheus", PACKAGE),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Process(command) as process:
        process.await_line("Server is ready to receive web requests")
        yield f"http://127.0.0.1:{port}/api/v1"


def ask(address: str, expression: str) -> list[Any]:
    """The series of an instant query."""
    result: list[Any] = get(address, "query", query=expression)["result"]
    return result


def get(address: str, path: str, **parameters: str) -> dict[str, Any]:
    """The data of an answer of Prometheus's API."""
    with urllib.request.urlopen(f"{address}/{path}?{urllib.parse.urlencode(parameters)}") as answer:
        body: dict[str, Any] = json.load(answer)
    assert body["status"] == "success", body
    data: dict[str, Any] = body["data"]
    return data


def _now(expression: str) -> str:
    """As Grafana would fill it in, over the seconds that there are."""
    return re.sub(r"\$__rate_interval", "6s", expression).replace("$instance", ".*")
