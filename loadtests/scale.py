"""Several replicas behind docker/haproxy's proxy, on one machine: throughput, and what is lost when
one is killed, one is drained, and all are restarted one after another, under load.

Needs haproxy on the path. Run: python -m loadtests.scale
"""

import argparse
import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

CONFIG = Path(__file__).resolve().parent.parent / "docker" / "haproxy" / "haproxy.cfg"
WORDS = ("river", "stone", "bread", "light", "paper", "green", "music", "winter", "garden", "train")
TOLERANCE = 1e-3  # a logit may differ by this much with what shares its batch


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--requests", type=int, default=300, help="requests in each measurement")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--passages", type=int, default=20)
    parser.add_argument("--words", type=int, default=40, help="words in a passage")
    parser.add_argument("--threads", type=int, default=1, help="compute threads of a replica")
    print(json.dumps(measure(parser.parse_args()), indent=2))


def measure(given: argparse.Namespace) -> dict[str, object]:
    """Throughput by the number of replicas; then the largest fleet's losses."""
    throughput = {}
    for count in given.replicas:
        with fleet(count, given.threads) as running:
            Load(running.port, given).run(given.clients * 4)  # warms all
            start = time.perf_counter()
            outcome = Load(running.port, given).run(given.requests)
            seconds = time.perf_counter() - start
            throughput[count] = {
                "passages_per_second": round(given.requests * given.passages / seconds, 1),
                **outcome,
            }
    with fleet(max(given.replicas), given.threads) as running:
        events = {
            name: Load(running.port, given).run(given.requests, during=event)
            for name, event in (
                ("one killed", running.kill),
                ("one drained", running.drain),
                ("rolling restart", running.roll),
            )
        }
    return {
        "throughput": throughput,
        "events": {"replicas": max(given.replicas), **events},
        "load": {k: v for k, v in vars(given).items() if k != "replicas"},
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, shared",
    }


class Load:
    """Clients that ask one after another, each over one connection, and check every answer."""

    def __init__(self, port: int, given: argparse.Namespace) -> None:
        passages = [
            " ".join(WORDS[(i * j) % len(WORDS)] for j in range(1, given.words + 1))
            for i in range(given.passages)
        ]
        body = {"query": {"text": "where is it"}, "passages": [{"text": p} for p in passages]}
        self._port, self._clients, self._body = port, given.clients, json.dumps(body)
        self._lock = threading.Condition()
        self._outcomes: Counter[str] = Counter()
        self._expected: dict[int, float] = {}
        self._left = 0
        self._longest = 0.0

    def run(self, requests: int, during: Callable[[], None] | None = None) -> dict[str, object]:
        """Send this many requests, and more until the event is over, which starts a third in."""
        self._left = requests
        with closing(self._connect()) as connection:
            self._expected = _logits(self._ask(connection))
        clients = [threading.Thread(target=self._client) for _ in range(self._clients)]
        over = during is None
        for client in clients:
            client.start()
        if during is not None:
            with self._lock:
                self._lock.wait_for(lambda: self._outcomes.total() >= requests // 3)
                self._left += sys.maxsize  # until the event is over
            try:
                during()
                over = True
            finally:
                with self._lock:
                    self._left = requests // 3 if over else 0
        for client in clients:
            client.join()
        assert over
        right = self._outcomes.pop("right", 0)
        return {
            "answered": right,
            "lost": dict(self._outcomes),
            "longest_seconds": round(self._longest, 2),
        }

    def _client(self) -> None:
        with closing(self._connect()) as connection:
            while self._take():
                start = time.perf_counter()
                try:
                    outcome = self._judge(self._ask(connection))
                except (OSError, http.client.HTTPException, ValueError) as error:
                    outcome = repr(error)
                    connection.close()  # the next request opens it again
                with self._lock:
                    self._outcomes[outcome] += 1
                    self._longest = max(self._longest, time.perf_counter() - start)
                    self._lock.notify_all()

    def _take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)

    def _ask(self, connection: http.client.HTTPConnection) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/ranking", self._body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def _judge(self, answer: tuple[int, bytes]) -> str:
        if answer[0] != 200:
            return f"status {answer[0]}"
        found = _logits(answer)
        same = found.keys() == self._expected.keys() and all(
            abs(found[i] - logit) < TOLERANCE for i, logit in self._expected.items()
        )
        return "right" if same else "wrong"


def _logits(answer: tuple[int, bytes]) -> dict[int, float]:
    assert answer[0] == 200, answer
    return {each["index"]: each["logit"] for each in json.loads(answer[1])["rankings"]}


class Process:
    """A process whose log is read to its end; await_line waits for a line of it."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as log:
            for line in log:
                with self._more:
                    self._lines.append(line)
                    self._more.notify_all()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def seen(self) -> int:
        """How many lines there were so far."""
        with self._more:
            return len(self._lines)

    def await_line(self, pattern: str, after: int = 0) -> None:
        """Return once a line behind the first so many matches; a minute at most."""
        with self._more:
            if not self._more.wait_for(
                lambda: any(re.search(pattern, line) for line in self._lines[after:]), 60
            ):
                raise TimeoutError(f"no {pattern!r} in:\n{''.join(self._lines[-20:])}")

    def end(self, number: signal.Signals) -> int:
        """Send the signal and wait for the exit status."""
        self._process.send_signal(number)
        status = self._process.wait(60)
        self._reader.join(60)
        return status


class Fleet:
    """Replicas, and the proxy in front of them."""

    def __init__(self, count: int, threads: int, folder: Path) -> None:
        self._threads = threads
        self.port, *self._ports = free_ports(count + 1)
        self._replicas = [self._start(port) for port in self._ports]
        for replica in self._replicas:
            replica.await_line("ready: serving")
        config = folder / "haproxy.cfg"
        config.write_text(proxy_config(CONFIG.read_text(), self.port, self._ports))
        haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
        self._proxy = Process([haproxy, "-W", "-db", "-f", str(config)])
        self._proxy.await_line("Loading success")

    def kill(self) -> None:
        """The first replica dies without a word, and comes back."""
        self._replicas[0].end(signal.SIGKILL)
        self._restart(0)

    def drain(self) -> None:
        """The first replica is told to stop, and must end well; it comes back."""
        self._stop(0)
        self._restart(0)

    def roll(self) -> None:
        """Every replica in turn."""
        for index in range(len(self._replicas)):
            self._stop(index)
            self._restart(index)

    def close(self) -> None:
        """End everything."""
        self._proxy.end(signal.SIGTERM)
        for replica in self._replicas:
            replica.end(signal.SIGTERM)

    def _start(self, port: int) -> Process:
        environment = os.environ | {
            "CROSSRANK_HOST": "127.0.0.1",
            "CROSSRANK_PORT": str(port),
            "CROSSRANK_COMPUTE_THREADS": str(self._threads),
            "CROSSRANK_TOKENIZER_THREADS": "1",
        }
        return Process([sys.executable, "-m", "app"], environment)

    def _stop(self, index: int) -> None:
        status = self._replicas[index].end(signal.SIGTERM)
        assert status == 0, f"a drained replica ended with {status}"

    def _restart(self, index: int) -> None:
        before = self._proxy.seen()
        self._replicas[index] = self._start(self._ports[index])
        self._replicas[index].await_line("ready: serving")
        self._proxy.await_line(f"replicas/replica{index} is UP", before)


@contextmanager
def fleet(count: int, threads: int) -> Iterator[Fleet]:
    """A fleet of ready replicas."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = Fleet(count, threads, folder)
        stack.callback(running.close)
        yield running


def proxy_config(shipped: str, port: int, replicas: Sequence[int]) -> str:
    """The shipped configuration, with loopback ports where it asks the name server."""
    servers = "\n".join(f"  server replica{i} 127.0.0.1:{p}" for i, p in enumerate(replicas))
    local = re.sub(r"resolvers containers\n(?:  .*\n)+", "", shipped)
    local = re.sub(r"^  server-template .*$", servers, local, flags=re.MULTILINE)
    return local.replace("bind :8000", f"bind 127.0.0.1:{port}")


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    main()
