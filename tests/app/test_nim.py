"""The NIM dialect: what goes in, what comes out, on every path it is served on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from engine.types import Limits
from tests.app.serving import Client, app_at, ranking, serving, settings
from tests.gate import Gate, by_length

pytestmark = pytest.mark.anyio

PATHS = ["/v1/ranking", "/rerank", "/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking"]
NEW, OLD = "nvidia/llama-nemotron-rerank-1b-v2", "nvidia/llama-3.2-nv-rerankqa-1b-v2"


@pytest.fixture
async def client(llama_folder: Path) -> AsyncIterator[Client]:
    """A service under NVIDIA's name whose logits tell the pairs' lengths."""
    gate = Gate(Limits(16384, 600), score=by_length)
    app = app_at(gate, settings(llama_folder, model_name=NEW))
    async with serving(app, gate) as client:
        gate.open_for_good()
        yield client


@pytest.mark.parametrize("path", PATHS)
async def test_a_ranking_is_sorted_complete_and_counted(client: Client, path: str) -> None:
    body = ranking("why", ["rain " * 9, "rain", "rain " * 5], model=NEW, truncate="END")
    answer = await client.post(path, json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert set(content) == {"rankings", "usage"}
    assert [item["index"] for item in content["rankings"]] == [1, 2, 0]
    logits = [item["logit"] for item in content["rankings"]]
    assert logits == sorted(logits, reverse=True)
    tokens = round(-4 * sum(logits))
    assert content["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


@pytest.mark.parametrize("model", [NEW, OLD, None])
async def test_old_name_new_name_and_null_are_one_model(client: Client, model: str | None) -> None:
    answers = [
        await client.post("/v1/ranking", json=ranking(model=model)),
        await client.post("/v1/ranking", json=ranking()),
    ]
    assert answers[0].json() == answers[1].json()


async def test_the_served_name_and_its_aliases_are_listed_root_first(client: Client) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [(m["id"], m["root"], m["object"]) for m in listed["data"]] == [
        (NEW, NEW, "model"),
        (OLD, NEW, "model"),
    ]


async def test_one_passage_and_512_passages_are_taken(client: Client) -> None:
    for count in (1, 512):
        answer = await client.post("/v1/ranking", json=ranking("q", ["p"] * count))
        assert [item["index"] for item in answer.json()["rankings"]] == list(range(count))


async def test_an_empty_passage_is_ranked_since_clients_send_them(client: Client) -> None:
    answer = await client.post("/v1/ranking", json=ranking("why", ["stone", ""]))
    assert [item["index"] for item in answer.json()["rankings"]] == [1, 0]


async def test_an_over_long_pair_is_refused_by_default_in_nvidia_s_words(client: Client) -> None:
    long = "stone " * 20_000
    answer = await client.post("/v1/ranking", json=ranking("why", ["rain", long]))
    assert answer.status_code == 422
    limit = (await client.get("/v1/manifest")).json()["max_pair_tokens"]
    message = answer.json()["message"]
    assert message.endswith(f"exceeds maximum allowed token size {limit}")
    assert message.startswith("Input length ")
    cut = await client.post("/v1/ranking", json=ranking("why", ["rain", long], truncate="END"))
    assert -4 * cut.json()["rankings"][-1]["logit"] == limit


# What real clients send (headers and bodies as captured on the wire).
CAPTURED: list[tuple[dict[str, str], bytes]] = [
    (
        {"Authorization": "Bearer **********", "X-BILLING-SOURCE": "langchain-nvidia-ai-endpoints"},
        b'{"model": "nvidia/llama-nemotron-rerank-1b-v2", "query": {"text": "q \\u00e9"}, '
        b'"passages": [{"text": "a"}, {"text": "b\\u00e9"}, {"text": "c"}], "truncate": "END"}',
    ),
    (
        {"Authorization": "Bearer NO_API_KEY_PROVIDED"},
        '{"model":"nvidia/llama-3.2-nv-rerankqa-1b-v2","truncate":"END","query":{"text":"q é"},'
        '"passages":[{"text":"a"},{"text":"bé"},{"text":"c"}]}'.encode(),
    ),
    (
        {"authorization": "Bearer k"},
        b'{"model": null, "query": {"text": "q"}, "passages": [{"text": "a"}, {"text": "b"}, '
        b'{"text": "c"}]}',
    ),
]


@pytest.mark.parametrize(
    ("headers", "body"), CAPTURED, ids=["langchain", "llama-index", "haystack"]
)
async def test_requests_captured_from_real_clients_are_answered(
    client: Client, headers: dict[str, str], body: bytes
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    answer = await client.post("/v1/ranking", content=body, headers=headers)
    assert sorted(item["index"] for item in answer.json()["rankings"]) == [0, 1, 2]


async def test_the_documented_example_works_when_run(client: Client) -> None:
    schema = (await client.get("/openapi.json")).json()
    [example] = schema["components"]["schemas"]["RankingRequest"]["examples"]
    answer = await client.post("/v1/ranking", json=example)
    assert len(answer.json()["rankings"]) == len(example["passages"])


async def test_the_documentation_page_needs_no_network(client: Client) -> None:
    page = (await client.get("/docs")).text
    assert "https://" not in page
    script = await client.get("/static-offline-docs/swagger-ui-bundle.js")
    assert script.status_code == 200


async def test_a_real_model_ranks_over_http(llama_folder: Path) -> None:
    app = create_app(settings(llama_folder))
    async with serving(app) as client:
        body: dict[str, Any] = ranking("why rain", ["rain falls", "stone", "bread and light"])
        answers = [(await client.post("/v1/ranking", json=body)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len({item["logit"] for item in answers[0]["rankings"]}) == 3
