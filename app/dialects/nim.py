"""NVIDIA's reranking NIM: POST /v1/ranking and its sibling paths, raw logits."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.documents import TextObject
from app.examples import PASSAGES, QUERY
from app.service import Serving
from app.whole import Positive
from engine.types import Query, Ranking, Truncate

router = APIRouter(tags=["NIM"])
CLAIMS = {"/rerank": ("passages",)}

STATUSES = {429: 503}  # NIM 2.x answers a full queue with 503
# Source: the hosted API's schema for this model family.
_MAX_TEXT = 14_598_366
_EXAMPLE: dict[str, Any] = {
    "query": {"text": QUERY},
    "passages": [{"text": passage} for passage in PASSAGES],
    "truncate": "END",
}


_EXTENSIONS = ("top_n", "return_documents")  # taken in lenient mode only, and hidden from OpenAPI


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
    for name in _EXTENSIONS:
        del schema["properties"][name]


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


class HostedRequest(RankingRequest):
    """The hosted API's path also takes what LiteLLM sends there."""

    top_k: Positive | None = Field(None, description="How many to return, else all.")


class Extensions(BaseModel):
    """What lenient mode adds to a request."""

    model_config = ConfigDict(strict=True)
    top_n: Positive | None = None
    return_documents: bool | None = None


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
    for status in (400, 401, 404, 413, 415, 422, 500, 503, 504)
}


@router.post(
    "/rerank", responses=_ERRORS, response_model_exclude_none=True, summary="Rank passages"
)
@router.post(
    "/v1/ranking", responses=_ERRORS, response_model_exclude_none=True, summary="Rank passages"
)
async def rank(request: RankingRequest, serving: Serving) -> RankingResponse:
    """Order passages by relevance to a query."""
    extensions = _extensions(request, serving)
    ranking = await serving.rank(request.model, _query(request))
    return _answer(ranking, request, extensions, serving.settings.report_truncated)


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
    extensions = _extensions(request, serving)
    ranking = await serving.rank(request.model, _query(request))
    answer = _answer(ranking, request, extensions, serving.settings.report_truncated)
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
    return [name for name in model.model_fields if name not in _EXTENSIONS]


def _extensions(request: RankingRequest, serving: Serving) -> Extensions:
    """Raises RequestValidationError, as for any unknown field, unless lenient mode is on."""
    names = [name for name in _EXTENSIONS if name in request.model_fields_set]
    if names and not serving.settings.lenient:
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("body", name)} for name in names]
        )
    try:
        return Extensions.model_validate({name: getattr(request, name) for name in names})
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        ) from error


def _query(request: RankingRequest) -> Query:
    passages = [passage.text for passage in request.passages]
    return Query(request.query.text, passages, Truncate(request.truncate))


def _answer(
    ranking: Ranking, request: RankingRequest, extensions: Extensions, flagged: bool
) -> RankingResponse:
    ranked = [
        RankedPassage(
            index=item.index,
            logit=item.logit,
            document=_document(request, item.index) if extensions.return_documents else None,
            truncated=item.index in ranking.truncated if flagged else None,
        )
        for item in ranking.results[: extensions.top_n]
    ]
    usage = Usage(prompt_tokens=ranking.tokens, total_tokens=ranking.tokens)
    return RankingResponse(rankings=ranked, usage=usage)


def _document(request: RankingRequest, index: int) -> TextObject:
    return TextObject(text=request.passages[index].text)
