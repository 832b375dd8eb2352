"""llama.cpp's own paths, /reranking and /v1/reranking: raw logits, in Jina's form or in TEI's."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app import results
from app.documents import Document, texts
from app.examples import PASSAGES, QUERY
from app.results import Result, Usage
from app.scores import Scored
from app.service import Serving
from app.whole import Positive
from engine.errors import InputTooLongError
from engine.types import Query, Ranking

router = APIRouter(tags=["llama.cpp"])
STATUSES = {422: 400}
CLAIMS: Mapping[str, Sequence[str]] = {}
ASKED_AT = "/v1/reranking"
_KINDS = {404: "not_found_error", 500: "server_error", 503: "unavailable_error"}


class LlamaCppRequest(BaseModel):
    """A query with `documents` (Jina's form) or `texts` (TEI's). Unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "anyOf": [{"required": ["documents"]}, {"required": ["texts"]}],
            "examples": [{"query": QUERY, "documents": PASSAGES}],
        },
    )
    model: str | None = Field(None, description="Any name: there is one model.")
    query: str = Field(min_length=1)
    documents: list[Document] = Field([], min_length=1)
    texts: list[Document] = Field([], min_length=1)
    top_n: Positive | None = Field(None, description="How many to return, else all.")
    return_text: bool | None = Field(None, description="TEI's form: return each text.")

    @model_validator(mode="after")
    def _has_documents(self) -> "LlamaCppRequest":
        if not (self.texts or self.documents):
            raise PydanticCustomError("documents", '"documents" must be a non-empty list')
        return self


class LlamaCppRank(BaseModel):
    """A text's place in the answer to TEI's form."""

    index: int
    score: float
    text: str | None = Field(None, description="Left out unless asked for.")
    truncated: bool | None = Field(None, description="Never set: nothing is cut here.")


class LlamaCppResponse(BaseModel):
    """The documents, most relevant first."""

    model: str
    object: str = "list"
    usage: Usage
    results: list[Result]


class ErrorInfo(BaseModel):
    """What went wrong."""

    code: int
    message: str
    type: str


class LlamaCppError(BaseModel):
    """What every error looks like."""

    error: ErrorInfo


Answer = LlamaCppResponse | list[LlamaCppRank]
_ERRORS = results.errors(LlamaCppError, (400, 401, 413, 415, 429, 500, 503, 504))


@router.post("/reranking", responses=_ERRORS, response_model_exclude_none=True)
@router.post("/v1/reranking", responses=_ERRORS, response_model_exclude_none=True)
async def rank(request: LlamaCppRequest, serving: Serving) -> Answer:
    """Order documents by relevance; over-long pairs are refused."""
    given = [texts(each) for each in (request.texts, request.documents) if each]
    passages = given[0]  # the other form is checked all the same
    ranking = await serving.rank(None, Query(request.query, passages))
    if request.texts:
        return _listed(ranking, request, passages)
    return LlamaCppResponse(
        model=serving.names.canonical,
        usage=results.usage(ranking),
        results=results.results(ranking, top_n=request.top_n, raw=True),
    )


def _listed(
    ranking: Ranking, request: LlamaCppRequest, passages: Sequence[str]
) -> list[LlamaCppRank]:
    return [
        LlamaCppRank(
            index=item.index,
            score=item.logit,
            text=passages[item.index] if request.return_text else None,
        )
        for item in ranking.results[: request.top_n]
    ]


def error_body(status: int, message: str) -> dict[str, Any]:
    """llama.cpp's kinds of error are told by their status."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"code": status, "message": message, "type": kind}}


def restate(error: Exception, status: int, message: str) -> tuple[int, str]:
    """A pair that is too long is 400 like every mistake; llama.cpp calls it 500."""
    if isinstance(error, InputTooLongError):
        message = (
            f"input is too large to process: a pair has {error.length} tokens and the context "
            f"{error.limit}. Shorten the documents"
        )
    return status, message


def ask(query: str, passages: Sequence[str], model: str | None) -> LlamaCppRequest:
    """There is no way to ask for over-long pairs to be cut: they are refused."""
    return LlamaCppRequest(model=model, query=query, documents=list(passages))


def ranked(answer: Any) -> list[Scored]:
    """By logit; llama.cpp has answered in the order of the request."""
    return sorted(results.ranked(answer["results"]), key=lambda item: -item.score)


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request; unknown ones are ignored."""
    return list(LlamaCppRequest.model_fields)
