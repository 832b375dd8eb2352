"""POST /v1/rerank as Jina, Cohere v1, SGLang and Xinference clients send it; 0..1 scores.

Their bodies cannot be told apart, so one answer and one error hold the fields of all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app import results
from app.documents import Documents, Instruction, texts
from app.examples import PASSAGES, QUERY
from app.exchange import current
from app.results import Result, Usage
from app.scores import Scored
from app.service import Serving
from app.whole import Positive, Whole
from engine.types import Query, Truncate

router = APIRouter(tags=["Jina, Cohere v1"])
STATUSES: Mapping[int, int] = {}
CLAIMS: Mapping[str, Sequence[str]] = {}  # /v1/rerank: whatever nobody else claims
ASKED_AT = "/v1/rerank"


class JinaRequest(BaseModel):
    """A query and the documents to order by relevance to it. Unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"query": QUERY, "documents": PASSAGES}]}
    )
    model: str | None = Field(None, description="Any name: there is one model.")
    query: str = Field(min_length=1)
    documents: Documents
    top_n: Positive | None = Field(None, description="How many to return, else all.")
    return_documents: bool | None = Field(None, description="Return each document's text.")
    rank_fields: list[str] | None = Field(None, description="Which fields of objects to rank by.")
    max_tokens_per_doc: Positive | None = Field(None, description="Tokens kept of a document.")
    max_chunks_per_doc: Whole | None = Field(None, description="Ignored: documents are one chunk.")
    instruction: Instruction = None
    instruct: Instruction = None


class BilledUnits(BaseModel):
    """Cohere's unit: one search. Nothing is billed here."""

    search_units: int = 1


class Meta(BaseModel):
    """Cohere's remarks."""

    api_version: dict[str, str]
    billed_units: BilledUnits = BilledUnits()


class JinaResponse(BaseModel):
    """The documents, most relevant first."""

    id: str
    object: str = "list"
    model: str
    results: list[Result]
    usage: Usage
    meta: Meta = Meta(api_version={"version": "1"})


class JinaError(BaseModel):
    """`detail` is where Jina's clients look, `message` where Cohere's do."""

    detail: str
    message: str


_ERRORS = results.errors(JinaError, (400, 401, 413, 415, 422, 429, 500, 503, 504))


@router.post("/v1/rerank", responses=_ERRORS, response_model_exclude_none=True)
async def rank(request: JinaRequest, serving: Serving) -> JinaResponse:
    """Order documents by relevance; over-long pairs are cut."""
    passages = texts(request.documents, request.rank_fields or ())
    query = Query(
        request.query, passages, Truncate.END, max_passage_tokens=request.max_tokens_per_doc
    )
    ranking = await serving.rank(None, query)
    return JinaResponse(
        id=current().request_id,
        model=serving.names.canonical,
        usage=results.usage(ranking),
        results=results.results(
            ranking,
            top_n=request.top_n,
            texts=passages if request.return_documents else None,
            flagged=serving.settings.report_truncated,
        ),
    )


def error_body(status: int, message: str) -> dict[str, Any]:
    """Both clients' key for the message."""
    return {"detail": message, "message": message}


def restate(error: Exception, status: int, message: str) -> tuple[int, str]:
    """Ours are theirs."""
    return status, message


def ask(query: str, passages: Sequence[str], model: str | None) -> JinaRequest:
    """Over-long pairs are cut unasked."""
    return JinaRequest(model=model, query=query, documents=list(passages), return_documents=False)


def ranked(answer: Any) -> list[Scored]:
    """By score."""
    return results.ranked(answer["results"])


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request; unknown ones are ignored."""
    return list(JinaRequest.model_fields)
