"""Hugging Face's Text Embeddings Inference: POST /rerank with `texts`, a bare list back; /info."""

from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app import results
from app.examples import PASSAGES, QUERY
from app.operations import VERSION
from app.scores import Scored, score
from app.service import Serving
from app.whole import Positive
from engine.errors import InputTooLongError
from engine.types import Query, Ranking, Truncate

router = APIRouter(tags=["TEI"])
STATUSES = {400: 422, 500: 424}
CLAIMS = {"/rerank": ("texts",)}
ASKED_AT = "/rerank"
_KINDS = {400: "Empty", 429: "Overloaded", 503: "Unhealthy"}


class TeiRequest(BaseModel):
    """A query and the texts to order by relevance to it. Unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"query": QUERY, "texts": PASSAGES}]}
    )
    query: str
    texts: list[str] = Field(min_length=1)
    raw_scores: bool | None = Field(None, description="Logits instead of 0..1.")
    return_text: bool | None = Field(None, description="Return each text.")
    truncate: bool | None = Field(None, description="false refuses over-long pairs.")
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = None
    top_n: Positive | None = Field(None, description="Not TEI's: LiteLLM sends it.")


class TeiRank(BaseModel):
    """A text's place in the answer."""

    index: int
    text: str | None = Field(None, description="Left out unless asked for.")
    score: float
    truncated: bool | None = Field(None, description="Only with CROSSRANK_REPORT_TRUNCATED.")


class TeiError(BaseModel):
    """What every error looks like."""

    error: str
    error_type: str


_ERRORS = results.errors(TeiError, (400, 401, 413, 415, 422, 424, 429, 503, 504))


@router.post("/rerank", responses=_ERRORS, response_model_exclude_none=True)
async def rank(request: TeiRequest, serving: Serving) -> list[TeiRank]:
    """Order texts by relevance; equal ones with the last first, as TEI does."""
    query = Query(request.query, request.texts, _truncate(request))
    ranking = await serving.rank(None, query)
    return _answer(request, ranking, serving.settings.report_truncated)


@router.get(
    "/info", summary="What is served, in TEI's words", responses=results.errors(TeiError, (503,))
)
async def info(serving: Serving) -> dict[str, Any]:
    """The model and the limits that hold."""
    checkpoint, settings = serving.checkpoint, serving.settings
    raw = checkpoint.raw_config
    label = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    return {
        "model_id": serving.names.canonical,
        "model_sha": checkpoint.revision,
        "model_dtype": raw.get("torch_dtype") or raw.get("dtype") or "float32",
        "model_type": {"reranker": label},
        "max_input_length": checkpoint.max_pair_tokens,
        "max_client_batch_size": settings.max_passages,
        "max_concurrent_requests": settings.max_queue_requests,
        "auto_truncate": True,
        "version": VERSION,
    }


@router.get(
    "/health", summary="Whether rankings are answered", responses=results.errors(TeiError, (503,))
)
async def health(serving: Serving) -> JSONResponse:
    """200 when rankings are answered, 503 while loading or stopping."""
    if serving.reranker.ready:
        return JSONResponse({"status": "ok"})
    return JSONResponse(error_body(503, "the model is not ready: try again shortly"), 503)


def _truncate(request: TeiRequest) -> Truncate:
    if request.truncate is False:
        return Truncate.NONE
    left = (request.truncation_direction or "").lower() == "left"
    return Truncate.START if left else Truncate.END


def _answer(request: TeiRequest, ranking: Ranking, flagged: bool) -> list[TeiRank]:
    order = sorted(ranking.results, key=lambda item: (-item.logit, -item.index))
    return [
        TeiRank(
            index=item.index,
            text=request.texts[item.index] if request.return_text else None,
            score=score(item.logit, bool(request.raw_scores)),
            truncated=item.index in ranking.truncated if flagged else None,
        )
        for item in order[: request.top_n]
    ]


def error_body(status: int, message: str) -> dict[str, Any]:
    """TEI's kinds of error are told by their status."""
    kind = _KINDS.get(status, "Validation" if status < 424 else "Backend")
    return {"error": message, "error_type": kind}


def restate(error: Exception, status: int, message: str) -> tuple[int, str]:
    """TEI's 400 is for no texts at all, its 424 for a model that failed."""
    if isinstance(error, InputTooLongError):
        words = f"`inputs` must have less than {error.limit} tokens. Given: {error.length}"
        return 422, f"Input validation error: {words}. Set truncate to true to cut them"
    if _empty(error):
        return 400, "`texts` cannot be empty"
    return status, message


def _empty(error: Exception) -> bool:
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    return any(p["type"] == "too_short" and p["loc"][-1] == "texts" for p in problems)


def ask(query: str, passages: Sequence[str], model: str | None) -> TeiRequest:
    """TEI serves one model and takes no name."""
    return TeiRequest(query=query, texts=list(passages), raw_scores=True, truncate=True)


def ranked(answer: Any) -> list[Scored]:
    """By logit."""
    return [Scored(item.index, item.score) for item in map(TeiRank.model_validate, answer)]


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request; unknown ones are ignored."""
    return list(TeiRequest.model_fields)
