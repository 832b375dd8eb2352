"""LiteLLM's rerank providers, with only their base URL changed."""

from typing import Any

import litellm
import pytest
from litellm.exceptions import BadRequestError

from tests.clients.conftest import NAME, OLD_NAME, PASSAGES, QUERY, Server

BEST = 2
NIM = [f"nvidia_nim/{NAME}", f"nvidia_nim/{OLD_NAME}", f"nvidia_nim/ranking/{NAME}"]
SIGMOID = {
    "jina_ai/jina-reranker-v2-base-multilingual": "/v1/rerank",
    "cohere/rerank-v3.5": "",
    "hosted_vllm/BAAI/bge-reranker-v2-m3": "",
    "huggingface/BAAI/bge-reranker-base": "",
    "voyage/rerank-2": "",
}


def rerank(server: Server, model: str, path: str = "", **more: Any) -> Any:
    return litellm.rerank(
        model=model,
        query=QUERY,
        documents=PASSAGES,
        top_n=BEST,
        api_base=server.url + path,
        api_key="k",
        **more,
    )


@pytest.mark.parametrize("model", NIM)
def test_nvidia_nim_on_both_routes(server: Server, model: str) -> None:
    found = rerank(server, model).results
    assert [item["index"] for item in found] == server.order[:BEST]
    wanted = [server.logits[index] for index in server.order[:BEST]]
    assert [item["relevance_score"] for item in found] == wanted


@pytest.mark.parametrize("model", SIGMOID)
def test_the_providers_whose_scores_are_from_0_to_1(server: Server, model: str) -> None:
    answer = rerank(server, model, SIGMOID[model], return_documents=True)
    found = answer.results
    assert [item["index"] for item in found] == server.order[:BEST]
    assert [item["relevance_score"] for item in found] == pytest.approx(server.scores[:BEST])
    assert [item["document"]["text"] for item in found] == [
        PASSAGES[index] for index in server.order[:BEST]
    ]


def test_an_error_arrives_as_one_of_litellm_s(server: Server) -> None:
    with pytest.raises(BadRequestError, match="must hold at least one item"):
        litellm.rerank(
            model="hosted_vllm/m", query="q", documents=[], api_base=server.url, api_key="k"
        )
