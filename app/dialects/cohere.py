"""Cohere's POST /v2/rerank: 0..1 scores, strict about field names, never a document unasked."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app import results
from app.dialects.jina import Meta
from app.documents import Documents, texts
from app.errors import unknown_field
from app.examples import PASSAGES, QUERY
from app.exchange import current
from app.results import Result
from app.scores import Scored
from app.service import Serving
from app.whole import Positive, Priority
from engine.types import Query, Truncate

router = APIRouter(tags=["Cohere v2"])
STATUSES = {422: 400}
CLAIMS: Mapping[str, Sequence[str]] = {}  # /v2/rerank: whatever vLLM's own fields do not claim
ASKED_AT = "/v2/rerank"


class CohereRequest(BaseModel):
    """A query and the documents to order by relevance to it."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"query": QUERY, "documents": PASSAGES}]},
    )
    model: str | None = Field(None, description="Any name: there is one model.")
    query: str = Field(min_length=1)
    documents: Documents
    top_n: Positive | None = Field(None, description="How many to return, else all.")
    max_tokens_per_doc: Positive | None = Field(None, description="Tokens kept of a document.")
    return_documents: bool | None = Field(
        None, description="Not Cohere's: LiteLLM sends it. Return each document's text."
    )
    rank_fields: list[str] | None = Field(
        None, description="Not Cohere's: LiteLLM sends it. Which fields of objects to rank by."
    )
    priority: Priority | None = Field(
        None, description="0 is first; counts with CROSSRANK_PRIORITY."
    )


class CohereResponse(BaseModel):
    """The documents, most relevant first."""

    id: str
    results: list[Result]
    meta: Meta = Meta(api_version={"version": "2"})


class CohereError(BaseModel):
    """What every error looks like."""

    id: str
    message: str


_ERRORS = results.errors(CohereError, (400, 401, 413, 415, 422, 429, 500, 503, 504))


@router.post("/v2/rerank", responses=_ERRORS, response_model_exclude_none=True)
async def rank(request: CohereRequest, serving: Serving) -> CohereResponse:
    """Order documents by relevance; over-long pairs are cut."""
    passages = texts(request.documents, request.rank_fields or ())
    query = Query(
        request.query,
        passages,
        Truncate.END,
        max_passage_tokens=request.max_tokens_per_doc,
        priority=request.priority or 0,
    )
    ranking = await serving.rank(None, query)
    return CohereResponse(
        id=current().request_id,
        results=results.results(
            ranking,
            top_n=request.top_n,
            texts=passages if request.return_documents else None,
            flagged=serving.settings.report_truncated,
        ),
    )


def error_body(status: int, message: str) -> dict[str, Any]:
    """The id is the request's, as in its header."""
    return {"id": current().request_id, "message": message}


def restate(error: Exception, status: int, message: str) -> tuple[int, str]:
    """Cohere's 422 is for unknown fields; other mistakes in a body are 400."""
    if name := unknown_field(error):
        return 422, f"unknown field: parameter '{name}' is not a valid field"
    return status, message


def ask(query: str, passages: Sequence[str], model: str | None) -> CohereRequest:
    """Over-long pairs are cut unasked."""
    return CohereRequest(model=model, query=query, documents=list(passages))


def ranked(answer: Any) -> list[Scored]:
    """By score."""
    return results.ranked(answer["results"])


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request."""
    return list(CohereRequest.model_fields)
