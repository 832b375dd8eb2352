"""Runs one scenario: a fresh server, the probe beside it, Locust's users against it."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment

from loadtests.books import Books, Outcome
from loadtests.probe import scrape
from loadtests.scenarios import Scenario
from loadtests.server import Server, serving
from tests import checkpoints

_GRACE_SECONDS = 60  # for the requests that are on their way when the time is up
_SETTLE_SECONDS = 30  # for the server to count what it has just answered


@dataclass(slots=True)
class Run:
    """Everything that was seen of one scenario, on both sides.

    health: probe samples. samples: metrics over time; final: the last ones, when all was quiet;
    empty after SIGTERM. entries: the server's log. unfinished: sent, and never closed.
    """

    scenario: Scenario
    began: float = 0.0
    ended: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    unfinished: int = 0
    health: list[dict[str, float]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, float] = field(default_factory=dict)
    entries: list[dict[str, str]] = field(default_factory=list)
    exit_status: int | None = None
    terminated: float | None = None
    steps: list[tuple[int, float, float]] = field(default_factory=list)


def run(scenario: Scenario, shipped: str) -> Run:
    """Run one scenario to its end."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = checkpoints.bert(Path(folder) / "tiny-bert")
        checkpoint = shipped if scenario.model == "shipped" else str(tiny)
        return _run(scenario, checkpoint, Path(folder))


def _run(scenario: Scenario, checkpoint: str, folder: Path) -> Run:
    settings = {
        "CROSSRANK_CHECKPOINT": checkpoint,
        "CROSSRANK_COMPUTE_THREADS": "1",  # the callers and the probe need a core too
        **scenario.settings,
    }
    if scenario.model == "fake":
        settings["CROSSRANK_BACKEND"] = "fake"
    done = Run(scenario)
    with serving(settings, folder / "log") as server:
        with _probing(server, done, folder / "probe"):
            _load(scenario, server, done)
        if not scenario.terminate:
            done.final = _quiet(server, len(done.outcomes))
        done.exit_status = server.stop(told=scenario.terminate)
        done.entries = list(server.entries())
    return done


def _load(scenario: Scenario, server: Server, done: Run) -> None:
    callers = [
        type(caller.__name__, (caller,), {} if scenario.steps else {"fixed_count": count})
        for caller, count in scenario.callers.items()
    ]
    books = Books(scenario.passages)
    environment = Environment(user_classes=callers, host=server.url)
    environment.books, environment.allowed = books, scenario.allowed
    runner = environment.create_local_runner()
    done.began = time.monotonic()
    for count in scenario.steps or (sum(scenario.callers.values()),):
        step = time.monotonic()
        runner.start(count, spawn_rate=count)
        if scenario.terminate:
            gevent.spawn_later(scenario.seconds / 2, _terminate, server, done)
        books.enough.wait(scenario.seconds)
        done.steps.append((count, step, time.monotonic()))
    done.ended = time.monotonic()
    books.close(_GRACE_SECONDS)
    runner.quit()
    done.outcomes, done.unfinished = books.outcomes, len(books.open)


def _terminate(server: Server, done: Run) -> None:
    done.terminated = time.monotonic()
    server.process.terminate()


def _quiet(server: Server, sent: int) -> dict[str, float]:
    """The metrics once the server has counted all; what they are then is checked elsewhere."""
    end = time.monotonic() + _SETTLE_SECONDS
    while True:
        now = scrape(server.url)
        settled = counted(now) == sent and not now["crossrank_admitted_tokens"]
        if settled or time.monotonic() > end:
            return now
        gevent.sleep(0.1)


def counted(metrics: dict[str, float], code: int | None = None) -> int:
    """Requests that the server has counted, without the probe's own; of one code, or all."""
    name = "crossrank_requests_total{"
    return round(
        sum(
            value
            for key, value in metrics.items()
            if key.startswith(name)
            and ('route="/v1/ranking"' in key or 'route="none"' in key)
            and (code is None or f'code="{code}"' in key)
        )
    )


@contextmanager
def _probing(server: Server, done: Run, path: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "loadtests.probe", server.url]
    with path.open("wb") as sink, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=sink
    ) as probe:  # fmt: skip
        yield
        assert probe.stdin is not None
        probe.stdin.close()
    for line in path.read_text().splitlines():
        sample = json.loads(line)
        (done.samples if "metrics" in sample else done.health).append(sample)
