"""The `crossrank` command as a process: it starts, serves, refuses, stops."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.serving import ranking

COMMAND = [sys.executable, "-m", "app"]


@contextmanager
def crossrank(**settings: str) -> Iterator[subprocess.Popen[str]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CROSSRANK_", "HF_"))}
    environment |= {"CROSSRANK_HOST": "127.0.0.1", "CROSSRANK_PORT": "0", **settings}
    with subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def url_when_ready(process: subprocess.Popen[str]) -> str:
    """Read the log until the service says that it is ready."""
    assert process.stderr is not None
    url = ""
    for line in process.stderr:
        url = found[1] if (found := re.search(r"running on (http://\S+)", line)) else url
        if "ready: serving" in line:
            return url
    pytest.fail("the process ended before it was ready")


def post(url: str, body: object) -> dict[str, object]:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        content: dict[str, object] = json.load(answer)
        return content


def test_it_serves_a_ranking_and_a_terminated_server_exits_with_0(bert_folder: Path) -> None:
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder)) as process:
        url = url_when_ready(process)
        answer = post(f"{url}/v1/ranking", ranking("rain", ["rain falls", "stone"]))
        assert set(answer) == {"rankings", "usage"}
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_logs_are_json_lines_on_request_and_never_hold_text(bert_folder: Path) -> None:
    settings = {"CROSSRANK_CHECKPOINT": str(bert_folder), "CROSSRANK_LOG_FORMAT": "json"}
    with crossrank(**settings, CROSSRANK_BACKEND="fake") as process:
        url = url_when_ready(process)
        post(f"{url}/v1/ranking", ranking("xyzzy", ["plugh"]))
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate()
    entries = [json.loads(line) for line in log.splitlines()]
    [access] = [entry for entry in entries if "/v1/ranking" in entry["message"]]
    assert access["message"].startswith("POST /v1/ranking 200")
    assert re.fullmatch(r"[0-9a-f]{32}", access["request_id"])
    assert "xyzzy" not in log
    assert "plugh" not in log


@pytest.mark.parametrize(
    ("settings", "status", "reason"),
    [
        ({"CROSSRANK_PROT": "1"}, 2, "did you mean CROSSRANK_PORT?"),
        ({"CROSSRANK_CHECKPOINT": "/nowhere/at/all"}, 1, "no folder '/nowhere/at/all'"),
    ],
)
def test_a_server_that_cannot_start_says_why_and_fails(
    settings: dict[str, str], status: int, reason: str
) -> None:
    with crossrank(**settings) as process:
        _, log = process.communicate()
        assert process.returncode == status
    assert reason in log
    assert "Traceback" not in log
