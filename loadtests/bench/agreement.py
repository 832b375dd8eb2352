"""Every server must give the same logits before any of them is timed."""

import json
import urllib.request
from collections.abc import Sequence

import numpy as np

from loadtests.bench.mixes import Request
from loadtests.bench.servers import Server

TOLERANCE = 1e-3  # in logits
_LEAST_SPREAD = 0.1  # scores that are all alike would agree about nothing


class Disagreement(SystemExit):
    """Stops the run: figures of servers that compute different things mean nothing."""


def ask(server: Server, requests: Sequence[Request]) -> list[list[float]]:
    """The server's logits for each request, one request after another."""
    with server.awake():
        return [_logits(server, request) for request in requests]


def check(
    mix: str, expected: Sequence[Sequence[float]], found: Sequence[Sequence[float]], name: str
) -> float:
    """The largest difference in logits. Raises Disagreement over the tolerance."""
    ours, theirs = np.concatenate(expected), np.concatenate(found)
    if np.ptp(ours) < _LEAST_SPREAD:
        raise Disagreement(f"the {mix} mix's scores are all alike: the checkpoint is degenerate")
    worst = float(np.abs(ours - theirs).max())
    if not worst <= TOLERANCE:
        raise Disagreement(
            f"{name} and the bare model differ by {worst:.2g} on the {mix} mix, where "
            f"{TOLERANCE:g} is allowed: they do not compute the same, so nothing was timed"
        )
    return worst


def _logits(server: Server, request: Request) -> list[float]:
    asked = urllib.request.Request(
        server.url + server.dialect.path,
        server.dialect.body(request),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        return server.dialect.logits(json.load(answer))
