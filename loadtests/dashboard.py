"""What the dashboard shows of two replicas under load, faults and too many requests.

Needs prometheus on the path. Run: python -m loadtests.dashboard --output FILE.json; the file holds
the dashboard with every panel's series in it, for docker/grafana/render.
"""

import argparse
import http.client
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from loadtests.prometheus import filled_in, get, prometheus
from loadtests.scale import WORDS, Process, free_ports

DASHBOARD = (
    Path(__file__).resolve().parent.parent / "docker" / "grafana" / "dashboards" / "crossrank.json"
)
INTERVAL = 5  # seconds between two scrapes, as shipped
# A queue for a few requests and a fault now and then, so that no panel has nothing to show.
SETTINGS = {
    "CROSSRANK_HOST": "127.0.0.1",
    "CROSSRANK_MAX_QUEUE_TOKENS": "6000",
    "CROSSRANK_COMPUTE_THREADS": "1",
    "CROSSRANK_FAULTS": "error=0.02,nan=0.01,seed=7",
}


def main() -> None:
    """Run the load and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--clients", type=int, default=6, help="of each replica")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    content = observe(given.seconds, given.clients)
    given.output.write_text(json.dumps(content))


def observe(seconds: int, clients: int) -> dict[str, Any]:
    """The dashboard; each target has the `result` of its query over the load's time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        replicas = [f"127.0.0.1:{port}" for port in free_ports(2)]
        for address in replicas:
            settings = SETTINGS | {"CROSSRANK_PORT": address.partition(":")[2]}
            command = [sys.executable, "-m", "app"]
            replica = stack.enter_context(Process(command, os.environ | settings))
            replica.await_line("ready: serving")
        server = stack.enter_context(prometheus(replicas, folder, INTERVAL))
        start = time.time()
        _load(replicas, clients, seconds)
        return _answers(server, start, time.time())


def _load(replicas: Sequence[str], clients: int, seconds: int) -> None:
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_client, args=(address, number, end))
        for address in replicas
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _client(address: str, number: int, end: float) -> None:
    for turn in itertools.count(number):
        if time.monotonic() > end:
            return
        path, body, headers = _request(turn)
        patience = 60 if turn % 29 else 0.3
        with closing(http.client.HTTPConnection(address, timeout=patience)) as connection:
            connection.request("POST", path, json.dumps(body), headers)
            with suppress(TimeoutError):  # hangs up
                connection.getresponse().read()


def _request(turn: int) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Several dialects and sizes; now and then a mistake, an over-long text, no time at all."""
    headers = {"Content-Type": "application/json"}
    words = [WORDS[(turn * i) % len(WORDS)] for i in range(1, 20 + turn % 60)]
    texts = [" ".join(words[i:]) for i in range(8 + turn % 13)]
    if turn % 17 == 0:
        texts[0] = " ".join(words * 200)
    if turn % 19 == 0:
        headers["X-Request-Timeout-Ms"] = "5"
    if turn % 23 == 0:
        return "/v1/ranking", {"query": "a mistake"}, headers
    passages = [{"text": text} for text in texts]
    nim = {"query": {"text": "where is it"}, "passages": passages, "truncate": "END"}
    return (
        ("/v1/ranking", nim, headers),
        ("/rerank", {"query": "where is it", "texts": texts, "truncate": True}, headers),
        ("/v2/rerank", {"query": "where is it", "documents": texts, "model": "any"}, headers),
    )[turn % 3]


def _answers(server: str, start: float, end: float) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    times = {"start": str(start), "end": str(end), "step": str(INTERVAL)}
    for target in itertools.chain.from_iterable(p["targets"] for p in dashboard["panels"]):
        query = filled_in(target["expr"], INTERVAL)
        target["result"] = get(server, "query_range", query=query, **times)["result"]
    return dashboard


if __name__ == "__main__":
    main()
