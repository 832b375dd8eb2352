"""Runs the `crossrank` command as a process of its own, for benchmarks and tests."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

COMMAND = ["-m", "app"]


@contextmanager
def crossrank(python: str = sys.executable, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """The process, on a free loopback port, with these settings and no others."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSRANK_", "HF_"))}
    environment |= {"CROSSRANK_HOST": "127.0.0.1", "CROSSRANK_PORT": "0", **settings}
    command = [python, *COMMAND]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def url_when_ready(process: subprocess.Popen[str]) -> str:
    """Read the log until the service says that it is ready."""
    assert process.stderr is not None
    url, ready = "", False  # the two lines come in either order
    for line in process.stderr:
        url = found[1] if (found := re.search(r"running on (http://\S+)", line)) else url
        ready = ready or "ready: serving" in line
        if url and ready:
            return url
    raise RuntimeError("the process ended before it was ready")


def drain(process: subprocess.Popen[str]) -> None:
    """Read the rest of the log, to nowhere: who writes to a pipe that is full stops."""
    threading.Thread(target=_read, args=(process.stderr,), daemon=True).start()


def _read(log: IO[str]) -> None:
    with contextlib.suppress(ValueError):  # closed while it is read
        deque(log, 0)


def post(url: str, body: object, **headers: str) -> dict[str, object]:
    """The answer to one request."""
    headers = {"content-type": "application/json", **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        content: dict[str, object] = json.load(answer)
        return content
