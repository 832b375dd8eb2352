"""Bad input gets a clear error in NIM's shape, is never echoed, and harms nobody else."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.main import create_app
from tests.app.serving import Client, ranking, serving, settings

pytestmark = pytest.mark.anyio
SECRET = "xyzzy-secret-text"
MAX_BODY = 200_000


@pytest.fixture
async def client(bert_folder: Path) -> AsyncIterator[Client]:
    config = settings(bert_folder, backend="fake", max_body_bytes=MAX_BODY)
    async with serving(create_app(config)) as client:
        yield client


def text(value: object) -> dict[str, object]:
    return {"text": value}


CASES = {
    "malformed": (b'{"query": "' + SECRET.encode(), 400, "not valid JSON"),
    "empty body": (b"", 422, "body: is required"),
    "not an object": (b'["' + SECRET.encode() + b'"]', 422, "body: must be an object"),
    "deep nesting": (b"[" * 100_000, 400, "pars"),
    "lone surrogate": (rb'{"query":{"text":"\ud800"},"passages":[{"text":"p"}]}', 422, "Unicode"),
    "huge integer": (b'{"query":' + b"9" * 5000 + b"}", 400, "pars"),
    "no query": ({"passages": [text(SECRET)]}, 422, "query: is required"),
    "empty query": (ranking("", [SECRET]), 422, "query.text: must not be empty"),
    "query as text": ({**ranking(), "query": SECRET}, 422, "query: must be an object"),
    "query null": ({**ranking(), "query": None}, 422, "query: must be an object"),
    "number as text": ({**ranking(), "query": text(5)}, 422, "query.text: must be a string"),
    "no passages": ({"query": text(SECRET)}, 422, "passages: is required"),
    "empty passages": (ranking(SECRET, []), 422, "passages: must hold at least one item"),
    "passages as texts": ({**ranking(), "passages": [SECRET]}, 422, "passages[0]: must be an obj"),
    "passages as object": (
        {**ranking(), "passages": text(SECRET)},
        422,
        "passages: must be a list",
    ),
    "513 passages": (ranking("q", [SECRET] * 513), 422, "513 passages are more than the 512"),
    "truncate START": (ranking(truncate=SECRET), 422, "truncate: Input should be 'NONE' or 'END'"),
    "over-long pair": (ranking("q", ["stone " * 5000]), 422, "exceeds maximum allowed token size"),
    "unknown model": (ranking(model=SECRET), 404, "not served here: use tiny-bert"),
    "model as number": (ranking(model=7), 422, "model: must be a string"),
    "unknown field": (
        ranking(top_k=3),
        400,
        "top_k: unknown field, expected one of model, query, passages, truncate",
    ),
    "unknown inner field": (
        {**ranking(), "passages": [{"text": "p", "title": SECRET}]},
        400,
        "passages[0].title: unknown field, expected text",
    ),
    "very long field name": (ranking() | {"k" * 10_000: 1}, 400, "k" * 64 + ": unknown field"),
    "field name in another script": (ranking() | {"naïve": 1}, 400, "na\\xefve: unknown field"),
}


@pytest.mark.parametrize(("body", "status", "message"), CASES.values(), ids=CASES)
async def test_the_error_says_what_to_change_and_the_next_request_is_served(
    client: Client, body: object, status: int, message: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    answer = await client.post("/v1/ranking", headers=headers, content=content)
    assert_nim_error(answer.status_code, status, answer.json(), message)
    assert SECRET not in answer.text
    assert len(answer.text) < 1000
    assert (await client.post("/v1/ranking", json=ranking())).status_code == 200


def assert_nim_error(status: int, wanted: int, body: dict[str, object], message: str) -> None:
    assert status == wanted, body
    assert set(body) == {"object", "message", "type", "detail"}
    assert body["object"] == "error"
    assert body["detail"] == {}
    assert message in str(body["message"])


async def test_many_problems_are_named_briefly(client: Client) -> None:
    answer = await client.post("/v1/ranking", json={**ranking(), "passages": [5] * 512})
    assert answer.json()["message"].endswith("passages[2]: must be an object; and 509 more")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "x"])
async def test_another_content_type_is_refused(client: Client, kind: str) -> None:
    headers = {"content-type": kind}
    answer = await client.post("/v1/ranking", content=b"{}", headers=headers)
    assert_nim_error(answer.status_code, 415, answer.json(), "application/json")


async def test_json_with_a_charset_and_no_content_type_at_all_are_taken(client: Client) -> None:
    body = b'{"query":{"text":"q"},"passages":[{"text":"p"}]}'
    headers = {"content-type": "application/json; charset=utf-8"}
    for given in (headers, None):
        answer = await client.post("/v1/ranking", content=body, headers=given)
        assert answer.status_code == 200


async def test_wrong_methods_and_unknown_paths_are_answered_in_json(client: Client) -> None:
    answer = await client.get("/v1/ranking")
    assert_nim_error(answer.status_code, 405, answer.json(), "method")
    assert answer.headers["allow"] == "POST"
    answer = await client.get("/v1/nowhere")
    assert_nim_error(answer.status_code, 404, answer.json(), "no such path")


async def test_a_body_that_only_grows_is_cut_off_at_the_limit(client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 1000 + 2):
            yield b" " * 1000

    headers = {"content-type": "application/json"}
    answer = await client.post("/v1/ranking", content=endless(), headers=headers)
    assert_nim_error(answer.status_code, 413, answer.json(), f"larger than {MAX_BODY} bytes")


async def test_another_model_in_the_path_is_not_served(client: Client) -> None:
    answer = await client.post("/v1/retrieval/some/other/reranking", json=ranking())
    assert_nim_error(answer.status_code, 404, answer.json(), "not served here")
