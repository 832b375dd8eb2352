"""A crossrank process on a free loopback port; its log is the server's side of the account."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gevent

_START_SECONDS = 120
_STOP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def stop(self, told: bool) -> int:
        """SIGTERM, unless it was told already: a second one stops at once. Returns the status."""
        if not told:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)

    def entries(self) -> Iterator[dict[str, str]]:
        """The lines of the log."""
        with self.log.open() as lines:
            for line in lines:
                yield json.loads(line)


@contextmanager
def serving(settings: Mapping[str, str], log: Path) -> Iterator[Server]:
    """A server with these settings and no others, once it is ready."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSRANK_", "OTEL_"))}
    environment = kept | {
        "CROSSRANK_HOST": "127.0.0.1",
        "CROSSRANK_PORT": "0",
        "CROSSRANK_LOG_FORMAT": "json",
        **settings,
    }
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, "-m", "app"], stderr=sink, env=environment)
    try:
        yield Server(process, _ready(process, log), log)
    finally:
        process.kill()
        process.wait()


def _ready(process: "subprocess.Popen[bytes]", log: Path) -> str:
    with gevent.Timeout(_START_SECONDS):
        while process.poll() is None:
            text = log.read_text()
            url = re.search(r"running on (http://[\w.:]+)", text)
            if url and "ready: serving" in text:
                return url[1]
            gevent.sleep(0.1)
    sys.exit(f"the server ended before it was ready:\n{log.read_text()}")
