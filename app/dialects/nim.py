"""NVIDIA's reranking NIM: POST /v1/ranking and its sibling paths, raw logits."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.documents import TextObject
from app.examples import PASSAGES, QUERY
from app.extensions import NAMES, Extensions, extensions, hide
from app.scores import Scored
from app.service import Serving
from app.whole import Positive
from engine.types import Query, Ranking, Truncate

router = APIRouter(tags=["NIM"])
CLAIMS = {"/rerank": ("passages",)}
ASKED_AT = "/v1/ranking"

STATUSES = {429: 503}  # NIM 2.x answers a full queue with 503
# Source: the hosted API's schema for this model family.
_MAX_TEXT = 14_598_366
_EXAMPLE: dict[str, Any] = {
    "query": {"text": QUERY},
    "passages": [{"text": passage} for passage in PASSAGES],
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


def _describe(schema: dict[str, Any]) -> None:
    schema["examples"] = [_EXAMPLE]
    hide(schema)


class RankingRequest(BaseModel):
    """A query and the passages to order by relevance to it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_describe)
    model: str | None = Field(None, description="A served model name; may be left out.")
    query: QueryText
    passages: list[PassageText] = Field(min_length=1)
    truncate: Literal["NONE", "END"] = Field(
        "NONE", description="Over-long pairs: NONE refuses the request, END cuts them."
    )
    top_n: Any = None
    return_documents: Any = None
    priority: Any = None


class HostedRequest(RankingRequest):
    """The hosted API's path also takes what LiteLLM sends there."""

    top_k: Positive | None = Field(None, description="How many to return, else all.")


class RankedPassage(BaseModel):
    """A passage's position in the request and its raw logit."""

    index: int
    logit: float
    document: TextObject | None = Field(None, description="Only with CROSSRANK_LENIENT.")
    truncated: bool | None = Field(None, description="Only with CROSSRANK_REPORT_TRUNCATED.")


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


@router.post(
    "/rerank", responses=_ERRORS, response_model_exclude_none=True, summary="Rank passages"
)
@router.post(
    "/v1/ranking", responses=_ERRORS, response_model_exclude_none=True, summary="Rank passages"
)
async def rank(request: RankingRequest, serving: Serving) -> RankingResponse:
    """Order passages by relevance to a query."""
    extended = extensions(request, serving.settings.lenient)
    ranking = await serving.rank(request.model, _query(request, extended))
    return _answer(ranking, request, extended, serving.settings.report_truncated)


@router.post(
    "/v1/retrieval/{vendor}/{model}/reranking",
    responses=_ERRORS,
    response_model_exclude_none=True,
    summary="Rank passages",
)
async def rank_hosted(
    vendor: str, model: str, request: HostedRequest, serving: Serving
) -> RankingResponse:
    """The hosted API's path; the model is named in the path, with "_" for "."."""
    serving.names.check(f"{vendor}/{model}")
    extended = extensions(request, serving.settings.lenient)
    ranking = await serving.rank(request.model, _query(request, extended))
    answer = _answer(ranking, request, extended, serving.settings.report_truncated)
    return RankingResponse(rankings=answer.rankings[: request.top_k], usage=answer.usage)


def error_body(status: int, message: str) -> dict[str, Any]:
    """NIM's error shape; detail is an object, since clients index into it."""
    kind = "invalid_request_error" if status < 500 else "internal_server_error"
    return {"object": "error", "message": message, "type": kind, "detail": {}}


def restate(error: Exception, status: int, message: str) -> tuple[int, str]:
    """NIM's own statuses and words are what the engine and app/errors.py speak."""
    return status, message


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request, or of a text inside it."""
    model = RankingRequest if len(location) == 2 else PassageText
    return [name for name in model.model_fields if name not in NAMES]


def ask(query: str, passages: Sequence[str], model: str | None) -> RankingRequest:
    """A request of ours."""
    return RankingRequest(
        model=model,
        query=QueryText(text=query),
        passages=[PassageText(text=passage) for passage in passages],
        truncate="END",
    )


def ranked(answer: Any) -> list[Scored]:
    """By logit."""
    items = map(RankedPassage.model_validate, answer["rankings"])
    return [Scored(item.index, item.logit) for item in items]


def _query(request: RankingRequest, extended: Extensions) -> Query:
    passages = [passage.text for passage in request.passages]
    truncate = Truncate(request.truncate)
    return Query(request.query.text, passages, truncate, priority=extended.priority or 0)


def _answer(
    ranking: Ranking, request: RankingRequest, extended: Extensions, flagged: bool
) -> RankingResponse:
    ranked = [
        RankedPassage(
            index=item.index,
            logit=item.logit,
            document=_document(request, item.index) if extended.return_documents else None,
            truncated=item.index in ranking.truncated if flagged else None,
        )
        for item in ranking.results[: extended.top_n]
    ]
    usage = Usage(prompt_tokens=ranking.tokens, total_tokens=ranking.tokens)
    return RankingResponse(rankings=ranked, usage=usage)


def _document(request: RankingRequest, index: int) -> TextObject:
    return TextObject(text=request.passages[index].text)
