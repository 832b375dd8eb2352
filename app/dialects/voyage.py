"""Voyage's POST /v1/rerank, told by `top_k` or `truncation`; answers in `data`, 0..1 scores."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app import results
from app.errors import malformed, unknown_field
from app.examples import PASSAGES, QUERY
from app.scores import Scored, sigmoid
from app.service import Serving
from app.whole import Positive
from engine.errors import InputTooLongError
from engine.types import Query, Ranking, Truncate

router = APIRouter(tags=["Voyage"])
STATUSES = {422: 400}
CLAIMS = {"/v1/rerank": ("top_k", "truncation")}
ASKED_AT = "/v1/rerank"


class VoyageRequest(BaseModel):
    """A query and the documents to order by relevance to it."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"query": QUERY, "documents": PASSAGES, "top_k": 2}]},
    )
    model: str | None = Field(None, description="Any name: there is one model.")
    query: str = Field(min_length=1)
    documents: list[str] = Field(min_length=1)
    top_k: Positive | None = Field(None, description="How many to return, else all.")
    return_documents: bool | None = Field(None, description="Return each document.")
    truncation: bool | None = Field(
        None, description="false refuses over-long pairs, else they are cut."
    )


class VoyageResult(BaseModel):
    """A document's place in the answer."""

    index: int
    relevance_score: float
    document: str | None = Field(None, description="Left out unless asked for.")
    truncated: bool | None = Field(None, description="Only with CROSSRANK_REPORT_TRUNCATED.")


class VoyageUsage(BaseModel):
    """Tokens over all pairs, template and special tokens included."""

    total_tokens: int


class VoyageResponse(BaseModel):
    """The documents, most relevant first."""

    object: str = "list"
    data: list[VoyageResult]
    model: str
    usage: VoyageUsage


class VoyageError(BaseModel):
    """What every error looks like."""

    detail: str


_ERRORS = results.errors(VoyageError, (400, 401, 413, 415, 422, 429, 500, 503, 504))


@router.post("/v1/rerank", responses=_ERRORS, response_model_exclude_none=True)
async def rank(request: VoyageRequest, serving: Serving) -> VoyageResponse:
    """Order documents by relevance."""
    truncate = Truncate.NONE if request.truncation is False else Truncate.END
    ranking = await serving.rank(None, Query(request.query, request.documents, truncate))
    return VoyageResponse(
        data=_data(request, ranking, serving.settings.report_truncated),
        model=serving.names.canonical,
        usage=VoyageUsage(total_tokens=ranking.tokens),
    )


def _data(request: VoyageRequest, ranking: Ranking, flagged: bool) -> list[VoyageResult]:
    return [
        VoyageResult(
            index=item.index,
            relevance_score=sigmoid(item.logit),
            document=request.documents[item.index] if request.return_documents else None,
            truncated=item.index in ranking.truncated if flagged else None,
        )
        for item in ranking.results[: request.top_k]
    ]


def error_body(status: int, message: str) -> dict[str, Any]:
    """Voyage's client raises an error of its own kind for anything else."""
    return {"detail": message}


def restate(error: Exception, status: int, message: str) -> tuple[int, str]:
    """Voyage's 422 is for a body that is not JSON; other mistakes in a body are 400."""
    if name := unknown_field(error):
        return 400, f"Argument '{name}' is not supported by our API"
    if malformed(error):
        return 422, message
    if isinstance(error, InputTooLongError):
        message += ": shorten the documents, or set truncation to true"
    return status, message


def ask(query: str, passages: Sequence[str], model: str | None) -> VoyageRequest:
    """A request of ours."""
    return VoyageRequest(model=model, query=query, documents=list(passages), truncation=True)


def ranked(answer: Any) -> list[Scored]:
    """By score."""
    items = map(VoyageResult.model_validate, answer["data"])
    return [Scored(item.index, item.relevance_score) for item in items]


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request."""
    return list(VoyageRequest.model_fields)
