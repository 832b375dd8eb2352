"""Cohere's, Voyage's and TEI's clients, with only their base URL changed."""

import cohere
import pytest
import voyageai
from cohere.errors import BadRequestError, UnprocessableEntityError
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from voyageai.error import InvalidRequestError

from tests.clients.conftest import PASSAGES, QUERY, Server

BEST = 2
MODEL = "rerank-v3.5"


def test_cohere_v1(server: Server) -> None:
    client = cohere.Client(api_key="k", base_url=server.url)
    answer = client.rerank(
        model=MODEL, query=QUERY, documents=PASSAGES, top_n=BEST, return_documents=True
    )
    assert [item.index for item in answer.results] == server.order[:BEST]
    assert [item.relevance_score for item in answer.results] == pytest.approx(server.scores[:BEST])
    assert answer.results[0].document is not None
    assert answer.results[0].document.text == PASSAGES[server.order[0]]
    assert answer.meta is not None


def test_cohere_v1_ranks_objects_by_their_fields(server: Server) -> None:
    client = cohere.Client(api_key="k", base_url=server.url)
    documents = [{"title": "x", "body": text} for text in PASSAGES]
    answer = client.rerank(model=MODEL, query=QUERY, documents=documents, rank_fields=["body"])
    assert [item.index for item in answer.results] == server.order


def test_cohere_v2(server: Server) -> None:
    client = cohere.ClientV2(api_key="k", base_url=server.url)
    answer = client.rerank(model=MODEL, query=QUERY, documents=PASSAGES, top_n=BEST)
    assert [item.index for item in answer.results] == server.order[:BEST]
    assert [item.relevance_score for item in answer.results] == pytest.approx(server.scores[:BEST])


def test_cohere_s_errors_are_told_apart(server: Server) -> None:
    with pytest.raises(BadRequestError, match="at least one item"):
        cohere.ClientV2(api_key="k", base_url=server.url).rerank(
            model=MODEL, query=QUERY, documents=[]
        )
    with pytest.raises(UnprocessableEntityError, match="at least one item"):
        cohere.Client(api_key="k", base_url=server.url).rerank(
            model=MODEL, query=QUERY, documents=[]
        )


def test_voyage(server: Server) -> None:
    client = voyageai.Client(api_key="k", base_url=f"{server.url}/v1")
    answer = client.rerank(QUERY, PASSAGES, model="rerank-2", top_k=BEST)
    assert [item.index for item in answer.results] == server.order[:BEST]
    assert [item.relevance_score for item in answer.results] == pytest.approx(server.scores[:BEST])
    assert answer.results[0].document == PASSAGES[server.order[0]]
    assert answer.total_tokens > 0


def test_voyage_s_error_is_an_invalid_request(server: Server) -> None:
    client = voyageai.Client(api_key="k", base_url=f"{server.url}/v1")
    with pytest.raises(InvalidRequestError, match="exceeds maximum allowed"):
        client.rerank(QUERY, ["word " * 20_000], model="rerank-2", truncation=False)


def test_tei_through_llama_index(server: Server) -> None:
    client = TextEmbeddingInference(base_url=server.url, top_n=BEST)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in PASSAGES]
    found = client.postprocess_nodes(nodes, query_str=QUERY)
    assert [node.get_content() for node in found] == [PASSAGES[i] for i in server.order[:BEST]]
    assert [node.score for node in found] == pytest.approx(server.scores[:BEST])
