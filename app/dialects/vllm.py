"""vLLM's and Infinity's POST /rerank, and the other rerank paths where vLLM's own fields are sent.

Bodies of the two cannot be told apart; where they differ, neither's working client breaks.
"""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app import results
from app.documents import Documents, Instruction, texts
from app.examples import PASSAGES, QUERY
from app.exchange import current
from app.results import Result, Usage
from app.scores import Scored
from app.service import Serving
from app.whole import Count, Whole
from engine.errors import InputTooLongError
from engine.types import Query, Truncate

router = APIRouter(tags=["vLLM, Infinity"])

_OWN = ("truncate_prompt_tokens", "truncation_side", "use_activation", "raw_scores")
CLAIMS = {"/rerank": ("documents",), "/v1/rerank": _OWN, "/v2/rerank": _OWN}
STATUSES = {422: 400}
ASKED_AT = "/rerank"
_KINDS = {404: "NotFoundError", 429: "TooManyRequestsError", 503: "ServiceUnavailableError"}
_LEAST_TOKENS = 16  # less holds no question


def _enough(tokens: int) -> int:
    if tokens != -1 and tokens < _LEAST_TOKENS:
        raise PydanticCustomError("too_few", "must be -1 or at least 16")
    return tokens


PromptTokens = Annotated[
    Whole,
    AfterValidator(_enough),
    WithJsonSchema({"anyOf": [{"const": -1}, {"type": "integer", "minimum": _LEAST_TOKENS}]}),
]


class VllmRequest(BaseModel):
    """A query and the documents to order by relevance to it. Unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"query": QUERY, "documents": PASSAGES}]}
    )
    model: str | None = Field(None, description="Any name: there is one model.")
    query: str = Field(min_length=1)
    documents: Documents
    top_n: Count | None = Field(None, description="How many to return; 0 returns all.")
    return_documents: bool | None = Field(None, description="Documents are returned unless false.")
    raw_scores: bool | None = Field(None, description="Infinity: logits instead of 0..1.")
    use_activation: bool | None = Field(None, description="vLLM: false gives logits.")
    max_tokens_per_doc: Count | None = Field(None, description="Tokens kept of a document.")
    truncate_prompt_tokens: PromptTokens | None = Field(
        None, description="Tokens kept of a pair; -1 is the model's limit."
    )
    truncation_side: Literal["left", "right"] | None = None
    priority: Count | None = Field(None, description="0 is first; counts with CROSSRANK_PRIORITY.")
    instruction: Instruction = None
    instruct: Instruction = None


class VllmResponse(BaseModel):
    """The documents, most relevant first."""

    id: str
    object: str = "rerank"
    created: int
    model: str
    usage: Usage
    results: list[Result]


class ErrorInfo(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: None = None
    code: int


class VllmError(BaseModel):
    """What every error looks like."""

    error: ErrorInfo


_ERRORS = results.errors(VllmError, (400, 401, 413, 415, 429, 500, 503, 504))


@router.post("/rerank", responses=_ERRORS, response_model_exclude_none=True)
@router.post("/v1/rerank", responses=_ERRORS, response_model_exclude_none=True)
@router.post("/v2/rerank", responses=_ERRORS, response_model_exclude_none=True)
async def rank(request: VllmRequest, serving: Serving) -> VllmResponse:
    """Order documents by relevance; over-long pairs are cut."""
    passages = texts(request.documents)
    ranking = await serving.rank(None, _query(request, passages))
    raw = bool(request.raw_scores) or request.use_activation is False
    return VllmResponse(
        id=f"rerank-{current().request_id}",
        created=int(time.time()),
        model=serving.names.canonical,
        usage=results.usage(ranking),
        results=results.results(
            ranking,
            top_n=request.top_n,
            raw=raw,
            texts=None if request.return_documents is False else passages,
            flagged=serving.settings.report_truncated,
        ),
    )


def prompt_limit(tokens: int | None) -> int | None:
    """vLLM's truncate_prompt_tokens as a request's own pair limit; -1 is the model's."""
    return None if tokens == -1 else tokens


def _query(request: VllmRequest, passages: Sequence[str]) -> Query:
    return Query(
        request.query,
        passages,
        Truncate.START if request.truncation_side == "left" else Truncate.END,
        max_pair_tokens=prompt_limit(request.truncate_prompt_tokens),
        max_passage_tokens=request.max_tokens_per_doc or None,
        priority=request.priority or 0,
    )


def error_body(status: int, message: str) -> dict[str, Any]:
    """The shape OpenAI's clients know."""
    kind = _KINDS.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def restate(error: Exception, status: int, message: str) -> tuple[int, str]:
    """Clients look for "reduce the length"."""
    if isinstance(error, InputTooLongError):
        message = (
            f"This model's maximum context length is {error.limit} tokens, but a pair has "
            f"{error.length}. Please reduce the length of the input prompt, or set "
            "truncate_prompt_tokens to -1"
        )
    return status, message


def ask(query: str, passages: Sequence[str], model: str | None) -> VllmRequest:
    """Each of the two ignores what the other one knows."""
    return VllmRequest(
        model=model,
        query=query,
        documents=list(passages),
        return_documents=False,
        raw_scores=True,
        use_activation=False,
        truncate_prompt_tokens=-1,
    )


def ranked(answer: Any) -> list[Scored]:
    """By score."""
    return results.ranked(answer["results"])


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request; unknown ones are ignored."""
    return list(VllmRequest.model_fields)
