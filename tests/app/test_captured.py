"""Requests captured from real clients get the answer their sender can parse.

captured.jsonl holds one request a line, as its client put it on the wire.
"""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from tests.app.serving import Client, serving, settings

pytestmark = pytest.mark.anyio

NAME = "nvidia/llama-nemotron-rerank-1b-v2"
CAPTURED = [
    json.loads(line) for line in (Path(__file__).parent / "captured.jsonl").read_text().splitlines()
]


def models(answer: Any) -> None:
    assert [entry["id"] for entry in answer["data"] if entry["root"] == entry["id"]] == [NAME]


def rankings(count: int) -> Callable[[Any], None]:
    def check(answer: Any) -> None:
        assert {type(item["logit"]) for item in answer["rankings"]} == {float}
        assert len({item["index"] for item in answer["rankings"]}) == count
        assert answer["usage"]["total_tokens"] > 0

    return check


def best(key: str, document: object) -> Callable[[Any], None]:
    """The best one only, with a score from 0 to 1, and its document where it was asked for."""

    def check(answer: Any) -> None:
        [item] = answer[key]
        assert 0 <= item["relevance_score"] <= 1
        assert type(item.get("document")) is document
        assert isinstance(answer.get("id", ""), str)

    return check


def tei(count: int) -> Callable[[Any], None]:
    def check(answer: Any) -> None:
        assert len(answer) == count
        assert all(0 <= item["score"] <= 1 for item in answer)
        assert all(("text" in item) == (count == 1) for item in answer)

    return check


NOTHING = type(None)
CHECKS = {
    "langchain-nvidia-ai-endpoints": rankings(2),
    "langchain-nvidia-ai-endpoints without a model": models,
    "llama-index-nvidia": lambda answer: (models if "data" in answer else rankings(2))(answer),
    "haystack NvidiaRanker": rankings(2),
    "litellm nvidia_nim": rankings(1),
    "litellm nvidia_nim/ranking": rankings(2),
    "litellm huggingface": tei(1),
    "llama-index-tei": tei(2),
    "cohere Client": best("results", dict),
    "cohere ClientV2": best("results", NOTHING),
    "langchain-cohere": best("results", NOTHING),
    "litellm cohere": best("results", dict),
    "litellm jina_ai": best("results", dict),
    "litellm hosted_vllm": best("results", dict),
    "litellm infinity": best("results", dict),  # wants a string, but cannot be told from vLLM
    "litellm voyage": best("data", str),
    "voyageai": best("data", NOTHING),
}


@pytest.fixture
async def client(bert_folder: Path) -> AsyncIterator[Client]:
    config = settings(bert_folder, backend="fake", model_name=NAME)
    async with serving(create_app(config)) as client:
        yield client


def test_there_is_a_check_for_every_client() -> None:
    assert {request["client"] for request in CAPTURED} == set(CHECKS)
    assert len(CAPTURED) == 18


@pytest.mark.parametrize("request_", CAPTURED, ids=lambda r: f"{r['client']} {r['path']}")
async def test_the_answer_is_one_its_sender_can_parse(
    client: Client, request_: dict[str, Any]
) -> None:
    answer = await client.request(
        request_["method"],
        request_["path"],
        headers=request_["headers"],
        json=request_["body"],
    )
    assert answer.status_code == 200, answer.text
    CHECKS[request_["client"]](answer.json())
