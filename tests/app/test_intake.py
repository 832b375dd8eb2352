"""A client that hangs up takes its work along."""

import asyncio
from pathlib import Path

import pytest
from starlette.types import Message

from app.main import create_app
from engine.types import Limits
from tests.app.serving import app_at, ready, settings
from tests.gate import Gate, settle

pytestmark = pytest.mark.anyio

BODY = b'{"query":{"text":"q"},"passages":[' + b'{"text":"p"},' * 39 + b'{"text":"p"}]}'
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/ranking",
    "raw_path": b"/v1/ranking",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
    "http_version": "1.1",
    "scheme": "http",
}


class Caller:
    """One raw ASGI request whose other end the test holds."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.answers: list[Message] = []

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    def hang_up(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})


async def test_hanging_up_frees_the_queue_and_is_counted(bert_folder: Path) -> None:
    gate, caller = Gate(Limits(512, 2)), Caller()
    app = app_at(gate, settings(bert_folder))
    async with app.router.lifespan_context(app):
        await ready(app)
        service = app.state.service
        caller.incoming.put_nowait({"type": "http.request", "body": BODY})
        request = asyncio.create_task(app(dict(SCOPE), caller.incoming.get, caller.send))
        await gate.batch()
        assert service.reranker.waiting.pairs == 38
        caller.hang_up()
        await request
        assert service.reranker.waiting.pairs == 0
        assert caller.answers == []
        assert service.metrics.registry.get_sample_value("crossrank_cancelled_requests_total") == 1
        gate.open_for_good()


async def test_hanging_up_in_the_middle_of_the_body_is_no_error(bert_folder: Path) -> None:
    caller = Caller()
    app = create_app(settings(bert_folder, backend="fake"))
    async with app.router.lifespan_context(app):
        await ready(app)
        caller.incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
        request = asyncio.create_task(app(dict(SCOPE), caller.incoming.get, caller.send))
        await settle()
        caller.hang_up()
        await request
        assert caller.answers == []


async def test_a_body_that_takes_too_long_is_refused(bert_folder: Path) -> None:
    caller = Caller()
    app = create_app(settings(bert_folder, backend="fake", request_timeout_seconds=0.02))
    async with app.router.lifespan_context(app):
        await ready(app)
        caller.incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
        await app(dict(SCOPE), caller.incoming.get, caller.send)
    assert caller.answers[0]["status"] == 408
    assert b"did not arrive within 0.02 s" in caller.answers[1]["body"]


async def test_a_stopping_server_answers_a_client_whose_body_is_not_all_there(
    bert_folder: Path,
) -> None:
    caller = Caller()
    app = create_app(settings(bert_folder, backend="fake"))
    async with app.router.lifespan_context(app):
        await ready(app)
        caller.incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
        request = asyncio.create_task(app(dict(SCOPE), caller.incoming.get, caller.send))
        await settle()
        request.cancel()
        await request
    assert caller.answers[0]["status"] == 503
    assert (b"connection", b"close") in caller.answers[0]["headers"]


async def test_a_server_that_cancels_the_request_is_obeyed(bert_folder: Path) -> None:
    gate, caller = Gate(Limits(512, 2)), Caller()
    app = app_at(gate, settings(bert_folder))
    async with app.router.lifespan_context(app):
        await ready(app)
        caller.incoming.put_nowait({"type": "http.request", "body": BODY})
        request = asyncio.create_task(app(dict(SCOPE), caller.incoming.get, caller.send))
        await gate.batch()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert app.state.service.reranker.waiting.pairs == 0
        gate.open_for_good()


async def test_a_declared_length_over_the_limit_is_answered_before_the_body_is_read(
    bert_folder: Path,
) -> None:
    caller = Caller()
    app = create_app(settings(bert_folder, backend="fake", max_body_bytes=2000))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2001")]
    async with app.router.lifespan_context(app):
        await ready(app)
        request = asyncio.create_task(
            app(SCOPE | {"headers": headers}, caller.incoming.get, caller.send)
        )
        await settle()
        start, body = caller.answers
        assert start["status"] == 413
        assert (b"connection", b"close") in start["headers"]
        assert b"larger than 2000 bytes" in body["body"]
        caller.hang_up()
        await request


async def test_of_a_refused_body_no_more_than_the_limit_is_dropped(bert_folder: Path) -> None:
    caller = Caller()
    app = create_app(settings(bert_folder, backend="fake", max_body_bytes=2000))
    for _ in range(9):
        caller.incoming.put_nowait({"type": "http.request", "body": b" " * 1000, "more_body": True})
    async with app.router.lifespan_context(app):
        await ready(app)
        await app(dict(SCOPE), caller.incoming.get, caller.send)
    assert caller.answers[0]["status"] == 413
    assert not caller.answers[-1].get("more_body", False)
    assert caller.incoming.qsize() == 9 - 3 - 2  # read beyond the limit, then as much again
