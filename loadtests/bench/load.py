"""Puts one load on one server and accounts for it: latencies, throughput, everyone's CPU time."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.bench import scrape
from loadtests.bench.figures import percentiles
from loadtests.bench.mixes import Request
from loadtests.bench.scrape import Stages
from loadtests.bench.servers import Server

_CLIENT = [sys.executable, "-m", "loadtests.bench.client"]


@dataclass(frozen=True, slots=True)
class Run:
    """What one load did. Times in seconds; seconds: from the first request to the last answer.

    loop_cpu: of the server's first thread. stages: where crossrank spent the requests' time.
    """

    passages: int
    latencies: list[float]
    seconds: float
    server_cpu: float
    loop_cpu: float
    client_cpu: float
    stages: Stages | None

    @property
    def passages_per_second(self) -> float:
        """Throughput."""
        return self.passages / self.seconds

    def figures(self) -> dict[str, float]:
        """For the report."""
        return {
            "requests": len(self.latencies),
            "passages_per_second": round(self.passages_per_second, 2),
            **percentiles(self.latencies),
            "server_cpus": round(self.server_cpu / self.seconds, 3),
            "client_cpus": round(self.client_cpu / self.seconds, 3),
            "loop_ms_per_request": round(1000 * self.loop_cpu / len(self.latencies), 2),
            "loop_share": round(self.loop_cpu / self.server_cpu, 4) if self.server_cpu else 0.0,
        }


def closed(server: Server, requests: Sequence[Request], concurrency: int) -> Run:
    """So many callers share the requests out among them."""
    return _run(server, requests, {"concurrency": concurrency, "arrivals": []})


def open_loop(server: Server, requests: Sequence[Request], arrivals: Sequence[float]) -> Run:
    """Each request at its own time."""
    return _run(server, requests, {"arrivals": arrivals})


def _run(server: Server, requests: Sequence[Request], how: dict[str, object]) -> Run:
    bodies = [server.dialect.body(request).decode() for request in requests]
    plan = {"url": server.url, "path": server.dialect.path, "bodies": bodies, **how}
    with server.awake():
        stages = scrape.stages(server)
        cpu, loop = server.cpu_seconds(), server.main_thread_seconds()
        done = subprocess.run(
            _CLIENT, input=json.dumps(plan), stdout=subprocess.PIPE, text=True, check=True
        )
        cpu, loop = server.cpu_seconds() - cpu, server.main_thread_seconds() - loop
        later = scrape.stages(server)
    happened = json.loads(done.stdout)
    sent = happened["sent"]
    _check(server, sent, len(requests))
    return Run(
        passages=sum(len(request.passages) for request in requests),
        latencies=[end - due for due, end, _ in sent],
        seconds=max(end for _, end, _ in sent) - min(due for due, _, _ in sent),
        server_cpu=cpu,
        loop_cpu=loop,
        client_cpu=happened["cpu_seconds"],
        stages=None if stages is None or later is None else later.since(stages),
    )


def _check(server: Server, sent: Sequence[tuple[float, float, int]], expected: int) -> None:
    codes = sorted({code for _, _, code in sent})
    if codes != [200] or len(sent) != expected:
        raise SystemExit(
            f"{server.name} answered {len(sent)} of {expected} requests, with {codes}: every one "
            "must be 200 for the figures to mean anything"
        )
