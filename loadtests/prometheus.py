"""A real Prometheus with the shipped configuration and rules, over replicas on loopback.

Needs prometheus on the path.
"""

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from loadtests.scale import Process, free_ports

FOLDER = Path(__file__).resolve().parent.parent / "docker" / "prometheus"


@contextmanager
def prometheus(replicas: Sequence[str], folder: Path, interval: int) -> Iterator[str]:
    """Scrapes each "host:port" and evaluates the rules every so many seconds; its API's address."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": f"{interval}s", "evaluation_interval": f"{interval}s"}
    job = config["scrape_configs"][0]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": list(replicas)}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (folder / "rules.yaml").write_text((FOLDER / "rules.yaml").read_text())
    (port,) = free_ports(1)
    command = [
        shutil.which("prometheus") or "prometheus",
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Process(command) as process:
        process.await_line("Server is ready to receive web requests")
        yield f"http://127.0.0.1:{port}/api/v1"


def get(address: str, path: str, **parameters: str) -> dict[str, Any]:
    """The data of an answer of Prometheus's API."""
    with urllib.request.urlopen(f"{address}/{path}?{urllib.parse.urlencode(parameters)}") as answer:
        body: dict[str, Any] = json.load(answer)
    assert body["status"] == "success", body
    data: dict[str, Any] = body["data"]
    return data


def filled_in(expression: str, interval: int) -> str:
    """A panel's query as Grafana fills it in: all replicas, rates over four scrapes at least."""
    expression = expression.replace("$__rate_interval", f"{4 * interval}s")
    return expression.replace("$instance", ".*")
