"""What holds across dialects: shared paths, ranking by logit, silence about the input."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import ASGITransport
from hypothesis import given
from hypothesis import strategies as st

from app import dialects
from app.main import create_app
from app.scores import sigmoid
from engine.types import Batch, Limits, Logits
from tests.app.serving import Client, app_at, serving, settings
from tests.gate import Gate

pytestmark = pytest.mark.anyio

SECRET = "xyzzy-secret-text"
DOCUMENTS = ["a", "bb", "ccc"]
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "nim": ("/rerank", {"query": {"text": "q"}, "passages": [{"text": d} for d in DOCUMENTS]}),
    "tei": ("/rerank", {"query": "q", "texts": DOCUMENTS}),
    "vllm": ("/rerank", {"query": "q", "documents": DOCUMENTS}),
    "score": ("/score", {"text_1": "q", "text_2": DOCUMENTS}),
    "jina": ("/v1/rerank", {"query": "q", "documents": DOCUMENTS}),
    "cohere": ("/v2/rerank", {"query": "q", "documents": DOCUMENTS}),
    "voyage": ("/v1/rerank", {"query": "q", "documents": DOCUMENTS, "top_k": 3}),
    "llamacpp": ("/v1/reranking", {"query": "q", "documents": DOCUMENTS}),
}


@pytest.fixture
async def client(bert_folder: Path) -> AsyncIterator[Client]:
    async with serving(create_app(settings(bert_folder, backend="fake"))) as client:
        yield client


def items(answer: Any) -> list[dict[str, Any]]:
    """The items of any dialect's answer."""
    if isinstance(answer, dict):
        answer = next(answer[key] for key in ("rankings", "results", "data") if key in answer)
    assert isinstance(answer, list)
    return answer


def test_every_dialect_is_here() -> None:
    assert set(BODIES) == set(dialects.load())


@given(logit=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_the_sigmoid_is_exact_to_the_last_bits_and_never_overflows(logit: float) -> None:
    with np.errstate(over="ignore"):
        expected = float(1 / (1 + np.exp(-np.longdouble(logit))))
    assert math.isclose(sigmoid(logit), expected, rel_tol=1e-15, abs_tol=1e-300)


def saturated(batch: Batch) -> Logits:
    """Logits whose sigmoids are all 1.0, each unlike the others."""
    return (40 + np.diff(batch.offsets) + np.arange(batch.rows) / 8).astype(np.float32)


@pytest.mark.parametrize("name", sorted(set(BODIES) - {"score"}))
async def test_saturated_sigmoids_do_not_reorder(bert_folder: Path, name: str) -> None:
    gate = Gate(Limits(4096, 64), score=saturated)
    async with serving(app_at(gate, settings(bert_folder)), gate) as client:
        gate.open_for_good()
        wanted = (await client.post("/v1/ranking", json=BODIES["nim"][1])).json()["rankings"]
        assert len({sigmoid(item["logit"]) for item in wanted}) == 1
        path, body = BODIES[name]
        answer = items((await client.post(path, json=body)).json())
    assert [item["index"] for item in answer] == [item["index"] for item in wanted]


@pytest.mark.parametrize("name", BODIES)
async def test_truncation_is_reported_for_each_passage_where_the_setting_says_so(
    bert_folder: Path, name: str
) -> None:
    path, body = BODIES[name]
    for told in (False, True):
        config = settings(bert_folder, backend="fake", report_truncated=told)
        async with serving(create_app(config)) as client:
            answer = items((await client.post(path, json=body)).json())
        flags = {item.get("truncated") for item in answer}
        assert flags == ({False} if told and name != "llamacpp" else {None})


async def test_a_cut_passage_is_reported_as_cut(bert_folder: Path) -> None:
    config = settings(bert_folder, backend="fake", report_truncated=True)
    body = {"query": "q", "documents": ["short", "long " * 900]}
    async with serving(create_app(config)) as client:
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            answer = items((await client.post(path, json=body)).json())
            assert {item["index"]: item["truncated"] for item in answer} == {0: False, 1: True}


async def test_the_shared_path_is_described_as_one_of_three(client: Client) -> None:
    document = (await client.get("/openapi.json")).json()
    body = document["paths"]["/rerank"]["post"]["requestBody"]["content"]["application/json"]
    named = [choice["$ref"].rpartition("/")[2] for choice in body["schema"]["oneOf"]]
    assert named == ["RankingRequest", "TeiRequest", "VllmRequest"]


WRONG: list[Any] = [
    {"query": SECRET, "documents": SECRET, "texts": SECRET},
    {"query": [SECRET], "documents": [{SECRET: SECRET}]},
    {"query": SECRET, "texts": [[SECRET]]},
    {"query": SECRET, "documents": [SECRET], "top_k": SECRET},
    {"query": SECRET, "documents": [SECRET], "use_activation": SECRET},
    {"query": SECRET, "documents": [SECRET, {"text": [SECRET]}]},
    {"query": SECRET, "documents": [SECRET, "\ud800"]},
    {"text_1": SECRET, "text_2": {"text": SECRET}},
    [SECRET],
    SECRET,
]


@pytest.mark.parametrize("path", sorted({path for path, _ in BODIES.values()}))
async def test_no_dialect_echoes_the_input_in_an_error(client: Client, path: str) -> None:
    refused = 0
    for body in (*WRONG, b'{"query": "' + SECRET.encode()):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        answer = await client.post(path, content=content, headers=headers)
        if answer.status_code != 200:  # some dialects ignore fields that others have
            assert answer.status_code in (400, 422), (body, answer.text)
            assert SECRET not in answer.text
            refused += 1
    assert refused >= len(WRONG) - 2


@pytest.mark.parametrize("name", BODIES)
async def test_while_loading_each_dialect_says_so_in_its_shape(
    bert_folder: Path, name: str
) -> None:
    app = create_app(settings(bert_folder, backend="fake"))  # its lifespan has not begun
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    path, body = BODIES[name]
    async with Client(transport=transport, base_url="http://crossrank.test") as client:
        answer = await client.post(path, json=body)
        assert answer.status_code == 503
        assert set(answer.json()) == set(dialects.load()[name].error_body(503, ""))
        assert (await client.get("/health")).json()["error_type"] == "Unhealthy"
        assert (await client.get("/info")).status_code == 503


async def test_health_and_info_are_tei_s(client: Client, bert_folder: Path) -> None:
    assert (await client.get("/health")).status_code == 200
    info = (await client.get("/info")).json()
    assert info["model_id"] == bert_folder.name
    assert info["max_client_batch_size"] == 512
    assert "reranker" in info["model_type"]


NEW_DIALECT = '''
"""A dialect that is told from the others on /rerank by `candidates`."""
from fastapi import APIRouter
from pydantic import BaseModel
from app.service import Serving
from engine.types import Query

router = APIRouter(tags=["New"])
CLAIMS = {"/rerank": ("candidates",)}
STATUSES = {422: 418}

class NewRequest(BaseModel):
    candidates: list[str]

class NewResponse(BaseModel):
    order: list[int]

@router.post("/rerank")
@router.post("/new")
async def rank(request: NewRequest, serving: Serving) -> NewResponse:
    """Order candidates."""
    ranking = await serving.rank(None, Query("q", request.candidates))
    return NewResponse(order=[item.index for item in ranking.results])

def error_body(status, message):
    return {"new": message}

def restate(error, status, message):
    return status, message

def fields(location):
    return ["candidates"]
'''


@pytest.fixture
def new_dialect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "new.py").write_text(NEW_DIALECT)
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(tmp_path)])
    dialects.load.cache_clear()
    yield
    dialects.load.cache_clear()


@pytest.mark.usefixtures("new_dialect")
async def test_a_dialect_is_added_by_adding_its_file(bert_folder: Path) -> None:
    async with serving(create_app(settings(bert_folder, backend="fake"))) as client:
        for path in ("/rerank", "/new"):
            answer = await client.post(path, json={"candidates": DOCUMENTS})
            assert sorted(answer.json()["order"]) == [0, 1, 2]
            refused = await client.post(path, json={"candidates": [5]})
            assert (refused.status_code, list(refused.json())) == (418, ["new"])
        for name in ("nim", "tei", "vllm"):
            path, body = BODIES[name]
            assert (await client.post(path, json=body)).status_code == 200


async def test_pair_by_pair_scores_fail_as_one_and_drop_the_rest(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 1))
    app = app_at(gate, settings(bert_folder))
    async with serving(app, gate) as client:
        body = {"text_1": ["q", "r", "s"], "text_2": ["a", "b", "c"]}
        request = asyncio.create_task(client.post("/score", json=body))
        await gate.batch()
        gate.open(RuntimeError())
        await gate.batch()
        gate.open(RuntimeError())  # the retry
        gate.open_for_good()
        answer = await request
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "InternalServerError")
