"""The `crossrank` command as a process: it starts, serves, refuses, stops."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loadtests.process import crossrank, post, url_when_ready
from tests.app.serving import ranking


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


def test_terminated_under_load_it_answers_everything_it_accepted(bert_folder: Path) -> None:
    body = ranking("why", ["a stone by the river"] * 512)
    settings = {"CROSSRANK_SHUTDOWN_SECONDS": "600"}  # however slow the machine
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder), **settings) as process:
        url = url_when_ready(process)
        with ThreadPoolExecutor(8) as callers:
            answers = [callers.submit(post, f"{url}/v1/ranking", body) for _ in range(8)]
            until_admitted(url, 8)
            process.send_signal(signal.SIGTERM)
            for answer in answers:
                assert len(answer.result()["rankings"]) == 512  # type: ignore[arg-type]
        assert process.wait() == 0


def test_a_stop_is_bounded_and_what_is_unfinished_gets_an_honest_answer(bert_folder: Path) -> None:
    settings = {"CROSSRANK_FAULTS": "stuck=1", "CROSSRANK_SHUTDOWN_SECONDS": "1"}
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder), **settings) as process:
        url = url_when_ready(process)
        with ThreadPoolExecutor(1) as callers:
            stuck = callers.submit(post, f"{url}/v1/ranking", ranking())
            until_admitted(url, 1)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(urllib.error.HTTPError) as refused:
                stuck.result()
            assert refused.value.code == 503
            assert "stopped first" in refused.value.read().decode()
        assert process.wait() == 0


def test_a_second_signal_stops_now(bert_folder: Path) -> None:
    settings = {"CROSSRANK_FAULTS": "stuck=1", "CROSSRANK_SHUTDOWN_SECONDS": "600"}
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder), **settings) as process:
        url = url_when_ready(process)
        with ThreadPoolExecutor(1) as callers:
            stuck = callers.submit(post, f"{url}/v1/ranking", ranking())
            until_admitted(url, 1)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            for line in process.stderr:
                if "Shutting down" in line:
                    break
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 1
            assert stuck.exception() is not None


def test_a_stuck_device_ends_the_process_with_an_error(bert_folder: Path) -> None:
    settings = {"CROSSRANK_FAULTS": "stuck=1", "CROSSRANK_STUCK_AFTER_SECONDS": "0.05"}
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder), **settings) as process:
        url = url_when_ready(process)
        with pytest.raises(urllib.error.HTTPError) as failed:
            post(f"{url}/v1/ranking", ranking())
        assert failed.value.code == 500
        failed.value.close()
        assert process.wait() == 1


def test_a_port_that_is_taken_is_a_failure(bert_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder), CROSSRANK_PORT=port) as process:
            _, log = process.communicate()
        assert process.returncode == 1
        assert "address already in use" in log


def test_more_open_connections_than_allowed_are_refused(bert_folder: Path) -> None:
    settings = {"CROSSRANK_MAX_CONNECTIONS": "1", "CROSSRANK_BACKEND": "fake"}
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder), **settings) as process:
        url = url_when_ready(process)
        assert post(f"{url}/v1/ranking", ranking())["rankings"]
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"  # and it stays open
            with pytest.raises(urllib.error.HTTPError) as refused:
                post(f"{url}/v1/ranking", ranking())
            assert refused.value.code == 503
            refused.value.close()


def until_admitted(url: str, requests: int) -> None:
    """Ask until this many requests are admitted."""
    wanted = f"nv_inference_pending_request_count {requests}.0"
    while True:
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            if wanted in answer.read().decode():
                return
