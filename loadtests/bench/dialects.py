"""How each server is asked, and how its raw logits are read from the answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loadtests.bench.mixes import Request


@dataclass(frozen=True, slots=True)
class Dialect:
    """path: where to POST. body: a request as JSON. logits: the answer's, in request order."""

    name: str
    path: str
    body: Callable[[Request], bytes]
    logits: Callable[[Any], list[float]]


def _nim(request: Request) -> bytes:
    passages = [{"text": passage} for passage in request.passages]
    return json.dumps({"query": {"text": request.query}, "passages": passages}).encode()


def _nim_logits(answer: Any) -> list[float]:
    return _in_order(answer["rankings"], "logit")


def _documents(request: Request, **more: object) -> bytes:
    documents = {"query": request.query, "documents": request.passages}
    return json.dumps(documents | more).encode()


def _infinity(request: Request) -> bytes:
    return _documents(request, raw_scores=True, return_documents=False)


def _results_logits(answer: Any) -> list[float]:
    return _in_order(answer["results"], "relevance_score")


def _plain_logits(answer: Any) -> list[float]:
    scores: list[float] = answer["scores"]
    return scores


def _in_order(results: list[dict[str, Any]], score: str) -> list[float]:
    return [result[score] for result in sorted(results, key=lambda result: result["index"])]


NIM = Dialect("nim", "/v1/ranking", _nim, _nim_logits)
INFINITY = Dialect("infinity", "/rerank", _infinity, _results_logits)
PLAIN = Dialect("plain", "/rerank", _documents, _plain_logits)
