"""Lenient mode: what NIM's dialect takes beyond the original, and only where it is asked to."""

from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from tests.app.serving import ranking, serving, settings

pytestmark = pytest.mark.anyio

HOSTED = "/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking"
NAME = "nvidia/llama-nemotron-rerank-1b-v2"


async def post(folder: Path, body: dict[str, Any], path: str = "/v1/ranking", **more: Any) -> Any:
    config = settings(folder, backend="fake", model_name=NAME, **more)
    async with serving(create_app(config)) as client:
        answer = await client.post(path, json=body)
        return answer.status_code, answer.json()


@pytest.mark.parametrize("path", ["/v1/ranking", "/rerank", HOSTED])
async def test_top_n_and_documents_are_given_in_lenient_mode(bert_folder: Path, path: str) -> None:
    body = ranking("q", ["a", "b", "c"], top_n=2, return_documents=True)
    status, answer = await post(bert_folder, body, path, lenient=True)
    assert status == 200
    assert len(answer["rankings"]) == 2
    for item in answer["rankings"]:
        assert item["document"] == {"text": "abc"[item["index"]]}


@pytest.mark.parametrize("field", ["top_n", "return_documents"])
@pytest.mark.parametrize("value", [None, 1, "x"])
async def test_without_it_they_are_unknown_fields(
    bert_folder: Path, field: str, value: object
) -> None:
    status, answer = await post(bert_folder, ranking() | {field: value})
    assert status == 400
    expected = "unknown field, expected one of model, query, passages, truncate"
    assert answer["message"] == f"{field}: {expected}"


@pytest.mark.parametrize(("field", "value"), [("top_n", 0), ("top_n", "1"), ("top_n", True)])
async def test_lenient_is_not_careless(bert_folder: Path, field: str, value: object) -> None:
    status, answer = await post(bert_folder, ranking() | {field: value}, lenient=True)
    assert (status, answer["message"].startswith(f"{field}: ")) == (422, True)


async def test_the_hosted_path_takes_top_k_since_litellm_sends_it(bert_folder: Path) -> None:
    status, answer = await post(bert_folder, ranking("q", ["a", "b"], top_k=1), HOSTED)
    assert (status, len(answer["rankings"])) == (200, 1)
