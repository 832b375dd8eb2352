"""Over real sockets: slow, rude and oversized clients harm nobody else."""

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from app.main import create_app
from engine.types import Limits
from loadtests.process import post
from tests.app.serving import app_at, listening, ranking, settings
from tests.gate import PATIENCE_SECONDS, Gate

MAX_BODY = 1_000_000
BODY = json.dumps(ranking("q", ["p"] * 40)).encode()


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)


def head(length: int) -> bytes:
    return (
        "POST /v1/ranking HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


def metric(url: str, name: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " "))


def test_a_body_that_dribbles_in_holds_up_nobody_else(bert_folder: Path) -> None:
    app = create_app(settings(bert_folder, backend="fake"))
    with listening(app) as url, connect(url) as slow:
        slow.sendall(head(len(BODY)) + BODY[:1])
        for i in range(1, len(BODY), len(BODY) // 5):
            assert len(post(f"{url}/v1/ranking", ranking())["rankings"]) == 2  # type: ignore[arg-type]
            slow.sendall(BODY[i : i + len(BODY) // 5])
        assert slow.recv(16).startswith(b"HTTP/1.1 200")


def test_a_socket_that_closes_frees_the_queue(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 2))
    with listening(app_at(gate, settings(bert_folder))) as url:
        try:
            with connect(url) as rude:
                rude.sendall(head(len(BODY)) + BODY)
                while metric(url, "crossrank_queue_pairs") != 38:
                    pass
            while metric(url, "crossrank_admitted_tokens"):
                pass
            assert metric(url, "crossrank_queue_pairs") == 0
            assert metric(url, "crossrank_cancelled_requests_total") == 1
        finally:
            gate.open_for_good()


def test_an_oversized_body_is_refused_before_it_is_sent(bert_folder: Path) -> None:
    app = create_app(settings(bert_folder, backend="fake", max_body_bytes=MAX_BODY))
    with listening(app) as url, connect(url) as caller:
        caller.sendall(head(MAX_BODY + 1))
        assert caller.recv(16).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("excess", [1, MAX_BODY // 2])
def test_a_client_that_sends_all_before_it_reads_sees_the_refusal(
    bert_folder: Path, excess: int
) -> None:
    app = create_app(settings(bert_folder, backend="fake", max_body_bytes=MAX_BODY))
    with listening(app) as url:
        body = b" " * (MAX_BODY + excess)
        request = urllib.request.Request(
            f"{url}/v1/ranking", body, {"content-type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 413
        refused.value.close()
