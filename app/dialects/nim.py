"""NVIDIA's reranking NIM: POST /v1/ranking and its sibling paths, raw logits."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.service import Serving
from engine.types import Query, Ranking, Truncate

router = APIRouter(tags=["NIM"])

STATUSES = {429: 503}  # NIM 2.x answers a full queue with 503
# Source: the hosted API's schema for this model family.
_MAX_TEXT = 14_598_366
_EXAMPLE: dict[str, Any] = {
    "query": {"text": "How do I keep basil fresh?"},
    "passages": [
        {"text": "Basil is grown in many warm countries and sold fresh or dried."},
        {"text": "Stand the cut stems in a glass of water and leave it on the counter."},
        {"text": "The keep of a castle was its strongest tower."},
    ],
    "truncate": "END",
}


class QueryText(BaseModel):
    """The question."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_TEXT)]


class PassageText(BaseModel):
    """One candidate. An empty text is accepted: clients send it for documents without content."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, StringConstraints(max_length=_MAX_TEXT)]


class RankingRequest(BaseModel):
    """A query and the passages to order by relevance to it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    model: str | None = Field(None, description="A served model name; may be left out.")
    query: QueryText
    passages: list[PassageText] = Field(min_length=1)
    truncate: Truncate = Field(
        Truncate.NONE, description="Over-long pairs: NONE refuses the request, END cuts them."
    )


class RankedPassage(BaseModel):
    """A passage's position in the request and its raw logit."""

    index: int
    logit: float


class Usage(BaseModel):
    """Tokens over all pairs, template and special tokens included."""

    prompt_tokens: int
    total_tokens: int


class RankingResponse(BaseModel):
    """Every passage once, highest logit first, ties by index."""

    rankings: list[RankedPassage]
    usage: Usage


class Error(BaseModel):
    """What every error looks like."""

    object: str = "error"
    message: str
    type: str
    detail: dict[str, Any]


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 404, 408, 413, 415, 422, 500, 503, 504)
}


@router.post("/rerank", responses=_ERRORS, summary="Rank passages")
@router.post("/v1/ranking", responses=_ERRORS, summary="Rank passages")
async def rank(request: RankingRequest, serving: Serving) -> RankingResponse:
    """Order passages by relevance to a query."""
    return _answer(await serving.rank(request.model, _query(request)))


@router.post("/v1/retrieval/{vendor}/{model}/reranking", responses=_ERRORS, summary="Rank passages")
async def rank_hosted(
    vendor: str, model: str, request: RankingRequest, serving: Serving
) -> RankingResponse:
    """The hosted API's path; the model is named in the path, with "_" for "."."""
    serving.names.check(f"{vendor}/{model}")
    return _answer(await serving.rank(request.model, _query(request)))


def error_body(status: int, message: str) -> dict[str, Any]:
    """NIM's error shape; detail is an object, since clients index into it."""
    kind = "invalid_request_error" if status < 500 else "internal_server_error"
    return {"object": "error", "message": message, "type": kind, "detail": {}}


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request, or of a text inside it."""
    model = RankingRequest if len(location) == 2 else PassageText
    return list(model.model_fields)


def _query(request: RankingRequest) -> Query:
    passages = [passage.text for passage in request.passages]
    return Query(request.query.text, passages, request.truncate)


def _answer(ranking: Ranking) -> RankingResponse:
    ranked = [RankedPassage(index=r.index, logit=r.logit) for r in ranking.results]
    usage = Usage(prompt_tokens=ranking.tokens, total_tokens=ranking.tokens)
    return RankingResponse(rankings=ranked, usage=usage)
