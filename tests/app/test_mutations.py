"""Hypothesis sends what no document foresees: any JSON, any bytes, any headers.

The answer is a ranking or an error in NIM's shape, never our bug; and the next request is served.
"""

import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.main import create_app
from tests.app import serving

EXAMPLES = 150
fuzz = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

texts = st.text() | st.text(st.characters(), max_size=200) | st.text(string.printable, max_size=500)
surrogates = st.text(st.characters(categories=["Cs", "L"]), min_size=1)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | surrogates
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=15
)
keys = st.sampled_from(["query", "passages", "text", "truncate", "model", "top_k", ""])
alike = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner))
VALID = json.dumps(
    serving.ranking("where", ["river", "stone é \U0001f600"], truncate="END")
).encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid body with some of its bytes replaced, removed or doubled."""
    body = bytearray(VALID)
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 8)))
        body[start:end] = draw(st.binary(max_size=8) | st.just(bytes(body[start:end]) * 2))
    return bytes(body)


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A valid body with one of its values replaced by any other."""
    body: dict[str, Any] = json.loads(VALID)
    place, key = draw(
        st.sampled_from(
            [(body, "query"), (body, "passages"), (body, "truncate"), (body, "model"),
             (body["query"], "text"), (body["passages"], 0), (body["passages"][1], "text")]
        )
    )  # fmt: skip
    place[key] = draw(values)
    return json.dumps(body).encode()


@pytest.fixture(scope="module")
def client(bert_folder: Path) -> Iterator[httpx2.Client]:
    """Of a real server on the fake backend."""
    app = create_app(serving.settings(bert_folder, backend="fake"))
    headers = {"content-type": "application/json"}
    with (
        serving.listening(app) as url,
        httpx2.Client(base_url=url, headers=headers) as client,
    ):
        yield client


@fuzz
@given(body=st.binary() | mutated() | edited() | (values | alike).map(json.dumps).map(str.encode))
def test_any_body_gets_a_ranking_or_an_error(client: httpx2.Client, body: bytes) -> None:
    check(client.post("/v1/ranking", content=body))
    assert client.post("/v1/ranking", content=VALID).status_code == 200


names = st.sampled_from(
    ["x-request-id", "traceparent", "tracestate", "baggage", "x-request-timeout-ms",
     "content-type", "authorization", "x-api-key", "accept", "origin"]
)  # fmt: skip
traceparents = st.from_regex(
    r"[0-9a-f]{2}-[0-9a-f]{30,34}-[0-9a-f]{14,18}-[0-9a-f]{2}[ -~]?", fullmatch=True
)
numbers = st.integers().map(str) | st.floats().map(str) | st.text(st.characters(categories=["Nd"]))
# whatever HTTP itself lets through: no control characters
words = st.text(st.characters(exclude_categories=["Cc", "Cs"]))
header_values = (words | numbers | traceparents).map(lambda value: value.strip().encode())


@fuzz
@given(headers=st.dictionaries(names, header_values))
def test_any_header_gets_a_ranking_or_an_error(
    client: httpx2.Client, headers: dict[str, bytes]
) -> None:
    answer = client.post("/v1/ranking", content=VALID, headers=_raw(headers))
    check(answer)
    echoed = answer.headers["x-request-id"]
    if echoed.encode() != headers.get("x-request-id"):
        assert re.fullmatch(r"[0-9a-f]{32}", echoed)


def _raw(headers: dict[str, bytes]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value) for name, value in headers.items()]


def check(answer: httpx2.Response) -> None:
    """A ranking of every passage, or NIM's error for what the caller did."""
    body = answer.json()
    if answer.status_code == 200:
        ranked = body["rankings"]
        assert sorted(r["index"] for r in ranked) == list(range(len(ranked)))
        assert [r["logit"] for r in ranked] == sorted((r["logit"] for r in ranked), reverse=True)
        return
    assert answer.status_code in (400, 404, 415, 422, 504), body
    assert set(body) == {"object", "message", "type", "detail"}
    assert body["object"] == "error"
    assert body["message"]
    assert len(body["message"]) < 1000
