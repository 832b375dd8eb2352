"""The load client, a process of its own: closed or open loop over kept-alive connections.

Reads a plan on standard input, writes what happened to standard output; both are JSON. Bodies come
ready-made, and answers are looked at only after the clock has stopped.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import gevent
from geventhttpclient import HTTPClient

_HEADERS = {"content-type": "application/json"}
_PATIENCE = 600  # seconds for one answer, so that a stuck server ends the run


class Caller:
    """Sends requests and keeps when each was due, when it was answered, and how."""

    def __init__(self, plan: dict[str, Any], connections: int) -> None:
        self._bodies = [body.encode() for body in plan["bodies"]]
        self._path = plan["path"]
        self._client = HTTPClient.from_url(
            plan["url"], concurrency=connections, connection_timeout=60, network_timeout=_PATIENCE
        )
        self.sent: list[tuple[float, float, int]] = []

    def send(self, number: int, due: float) -> None:
        """One request, timed from when it was due."""
        response = self._client.post(self._path, self._bodies[number], _HEADERS)
        response.read()
        self.sent.append((due, time.perf_counter(), response.status_code))


def closed(plan: dict[str, Any]) -> Caller:
    """So many callers, each sending its next request as soon as it has its answer."""
    caller = Caller(plan, plan["concurrency"])
    numbers = iter(range(len(plan["bodies"])))

    def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            caller.send(number, time.perf_counter())

    gevent.joinall(
        [gevent.spawn(work, numbers) for _ in range(plan["concurrency"])], raise_error=True
    )
    return caller


def open_loop(plan: dict[str, Any]) -> Caller:
    """Each request at its time, in seconds from the start, whatever became of those before it."""
    caller = Caller(plan, len(plan["bodies"]))
    begun = time.perf_counter()
    callers = [
        gevent.spawn_later(at, caller.send, number, begun + at)
        for number, at in enumerate(plan["arrivals"])
    ]
    gevent.joinall(callers, raise_error=True)
    return caller


def main() -> None:
    """Run the plan."""
    plan = json.load(sys.stdin)
    before = _cpu_seconds()
    caller = open_loop(plan) if plan["arrivals"] else closed(plan)
    print(json.dumps({"sent": caller.sent, "cpu_seconds": _cpu_seconds() - before}))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
