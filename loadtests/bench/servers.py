"""The servers under test as processes; all but the one being measured are suspended."""

import os
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.bench import dialects
from loadtests.bench.dialects import Dialect
from loadtests.bench.names import CROSSRANK, INFINITY, MODEL_NAME, NAMES, PLAIN
from loadtests.process import crossrank, drain, url_when_ready

PLAIN_SERVER = Path(__file__).with_name("plain_server.py")
# Infinity's torch engine on a CPU, with what measured best: batches of 8 do half the work of its 32
# at mixed lengths (less padding), BetterTransformer and torch.compile are slower than SDPA here.
INFINITY_OPTIONS = (
    "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--batch-size", "8",
    "--no-compile", "--no-bettertransformer", "--log-level", "warning",
)  # fmt: skip
_START_SECONDS, _POLL_SECONDS = 180, 0.2


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    url: str
    dialect: Dialect
    process: psutil.Process

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run for as long as this lasts."""
        family = self._family()
        for process in family:
            process.resume()
        try:
            yield
        finally:
            for process in family:
                process.suspend()

    def cpu_seconds(self) -> float:
        """CPU time of the process and its children so far."""
        times = [process.cpu_times() for process in self._family()]
        return float(sum(t.user + t.system for t in times))

    def main_thread_seconds(self) -> float:
        """CPU time so far of the first thread, which runs the event loop."""
        first = next(t for t in self.process.threads() if t.id == self.process.pid)
        return float(first.user_time + first.system_time)

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def running(checkpoint: Path, infinity: Path, peers: Path) -> Iterator[list[Server]]:
    """The servers on the same checkpoint, started and suspended.

    infinity, peers: the Pythons of Infinity's environment and of the plain server's.
    """
    starts: dict[str, Callable[[], AbstractContextManager[Server]]] = {
        CROSSRANK: lambda: ours(checkpoint),
        INFINITY: lambda: _infinity(checkpoint, infinity),
        PLAIN: lambda: _plain(checkpoint, peers),
    }
    with ExitStack() as stack:
        servers = []
        for name in NAMES:
            server = stack.enter_context(starts[name]())
            with server.awake():
                servers.append(server)
        yield servers


@contextmanager
def ours(checkpoint: Path) -> Iterator[Server]:
    """crossrank as it comes."""
    settings = {"CROSSRANK_CHECKPOINT": str(checkpoint), "CROSSRANK_MODEL_NAME": MODEL_NAME}
    with crossrank(**settings) as process:
        url = url_when_ready(process)
        drain(process)
        yield Server(CROSSRANK, url, dialects.NIM, psutil.Process(process.pid))


def _infinity(checkpoint: Path, python: Path) -> AbstractContextManager[Server]:
    command = str(python.with_name("infinity_emb")), "v2", "--model-id", str(checkpoint)
    port = _free_port()
    where = ("--host", "127.0.0.1", "--port", str(port))
    return _peer(
        INFINITY, dialects.INFINITY, (*command, *where, *INFINITY_OPTIONS), port, checkpoint
    )


def _plain(checkpoint: Path, python: Path) -> AbstractContextManager[Server]:
    port = _free_port()
    command = (str(python), str(PLAIN_SERVER), str(checkpoint), str(port))
    return _peer(PLAIN, dialects.PLAIN, command, port, checkpoint)


@contextmanager
def _peer(
    name: str, dialect: Dialect, command: Sequence[str], port: int, checkpoint: Path
) -> Iterator[Server]:
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    log = checkpoint.with_name(f"{dialect.name}.log")
    with (
        log.open("wb") as sink,
        subprocess.Popen(command, env=os.environ | quiet, stdout=sink, stderr=sink) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(process, url, log)
            yield Server(name, url, dialect, psutil.Process(process.pid))
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    pause = threading.Event()
    for _ in range(int(_START_SECONDS / _POLL_SECONDS)):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health"):
                return
        except urllib.error.URLError:
            pause.wait(_POLL_SECONDS)
    raise SystemExit(f"a peer was not ready within {_START_SECONDS} s: {log} says why")
