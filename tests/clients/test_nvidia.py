"""NVIDIA's own clients and those that speak its API, with only their base URL changed."""

import pytest
from haystack import Document as HaystackDocument
from haystack.utils import Secret
from haystack_integrations.components.rankers.nvidia import NvidiaRanker
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.nvidia_rerank import NVIDIARerank as LlamaIndexRerank

from tests.clients.conftest import NAME, OLD_NAME, PASSAGES, QUERY, Server

BEST = 2
LONG = "word " * 20_000


@pytest.mark.parametrize("model", [NAME, OLD_NAME, None])
def test_langchain(server: Server, model: str | None) -> None:
    given = {} if model is None else {"model": model}
    client = NVIDIARerank(base_url=f"{server.url}/v1", top_n=BEST, **given)
    documents = [Document(page_content=text) for text in PASSAGES]
    found = client.compress_documents(documents=documents, query=QUERY)
    assert [document.page_content for document in found] == texts(server)
    assert [document.metadata["relevance_score"] for document in found] == logits(server)


def test_langchain_reads_the_error_of_an_over_long_pair(server: Server) -> None:
    client = NVIDIARerank(base_url=f"{server.url}/v1", model=NAME, truncate="NONE")
    documents = [Document(page_content=LONG)]
    with pytest.raises(Exception, match="exceeds maximum allowed") as caught:
        client.compress_documents(documents=documents, query=QUERY)
    assert "422" in str(caught.value)
    cut = NVIDIARerank(base_url=f"{server.url}/v1", model=NAME, truncate="END")
    assert len(cut.compress_documents(documents=documents, query=QUERY)) == 1


@pytest.mark.parametrize("model", [NAME, OLD_NAME])
def test_llama_index(server: Server, model: str) -> None:
    client = LlamaIndexRerank(base_url=f"{server.url}/v1", model=model, top_n=BEST)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in PASSAGES]
    found = client.postprocess_nodes(nodes, query_str=QUERY)
    assert [node.get_content() for node in found] == texts(server)
    assert [node.score for node in found] == logits(server)


@pytest.mark.parametrize("model", [None, NAME])
def test_haystack(server: Server, model: str | None) -> None:
    ranker = NvidiaRanker(
        model=model, api_url=server.url, api_key=Secret.from_token("k"), top_k=BEST
    )
    ranker.warm_up()
    documents = [HaystackDocument(content=text) for text in PASSAGES]
    found = ranker.run(query=QUERY, documents=documents)["documents"]
    assert [document.content for document in found] == texts(server)
    assert [document.score for document in found] == logits(server)


def texts(server: Server) -> list[str]:
    return [PASSAGES[index] for index in server.order[:BEST]]


def logits(server: Server) -> list[float]:
    return [server.logits[index] for index in server.order[:BEST]]
