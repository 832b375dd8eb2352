"""vLLM's POST /score: scores for one query and many texts, or pair by pair, in the order given."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from app import results
from app.dialects.vllm import STATUSES, PromptTokens, VllmError, error_body, prompt_limit, restate
from app.documents import Instruction
from app.examples import PASSAGES, QUERY
from app.exchange import current
from app.results import Usage
from app.scores import Scored, score
from app.service import Serving
from app.whole import Count
from engine.errors import RequestError
from engine.types import Query, Ranking, Truncate

__all__ = [
    "ASKED_AT", "CLAIMS", "STATUSES", "ask", "error_body", "fields", "ranked", "restate", "router",
]  # fmt: skip

router = APIRouter(tags=["vLLM score"])
CLAIMS: dict[str, Sequence[str]] = {}
ASKED_AT = "/score"

# What is compared with what, in all of vLLM's spellings.
_SPELLINGS = [
    ("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2"),
]  # fmt: skip
_TEXTS = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]
}


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], Field(min_length=1), BeforeValidator(_listed), WithJsonSchema(_TEXTS)]


class ScoreRequest(BaseModel):
    """Left and right texts, under any one pair of names. One on the left is for all on the right.

    Unknown fields are ignored.
    """

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "anyOf": [{"required": list(names)} for names in _SPELLINGS],
            "examples": [{"text_1": QUERY, "text_2": PASSAGES}],
        },
    )
    model: str | None = Field(None, description="Any name: there is one model.")
    queries: Texts = []
    documents: Texts = []
    items: Texts = []
    text_1: Texts = []
    text_2: Texts = []
    data_1: Texts = []
    data_2: Texts = []
    use_activation: bool | None = Field(None, description="false gives logits.")
    max_tokens_per_doc: Count | None = Field(None, description="Tokens kept of a right text.")
    truncate_prompt_tokens: PromptTokens | None = Field(
        None, description="Tokens kept of a pair; -1 is the model's limit; else too long is 400."
    )
    priority: Count | None = Field(None, description="0 is first; counts with CROSSRANK_PRIORITY.")
    instruction: Instruction = None

    @model_validator(mode="after")
    def _is_complete(self) -> "ScoreRequest":
        self.sides()
        return self

    def sides(self) -> tuple[list[str], list[str]]:
        """The left and the right texts. Refuses a request that lacks either."""
        for names in _SPELLINGS:
            left, right = (getattr(self, name) for name in names)
            if left and right:
                return left, right
        raise PydanticCustomError("sides", "send queries and documents, or text_1 and text_2")


class Score(BaseModel):
    """One pair's score."""

    index: int
    object: str = "score"
    score: float
    truncated: bool | None = Field(None, description="Only with CROSSRANK_REPORT_TRUNCATED.")


class ScoreResponse(BaseModel):
    """The scores in the order of the request."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[Score]
    usage: Usage


_ERRORS = results.errors(VllmError, (400, 401, 413, 415, 429, 500, 503, 504))


@router.post("/score", responses=_ERRORS, response_model_exclude_none=True)
@router.post("/v1/score", responses=_ERRORS, response_model_exclude_none=True)
async def scores(request: ScoreRequest, serving: Serving) -> ScoreResponse:
    """Score pairs of texts."""
    left, right = request.sides()
    queries = _queries(request, left, right)
    limit = serving.settings.max_passages
    if len(right) > limit:
        raise RequestError(f"{len(right)} pairs are more than the {limit} of one request")
    rankings = await _all(serving, queries)
    tokens = sum(ranking.tokens for ranking in rankings)
    return ScoreResponse(
        id=f"score-{current().request_id}",
        created=int(time.time()),
        model=serving.names.canonical,
        data=_in_order(rankings, request.use_activation is False, serving),
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _queries(request: ScoreRequest, left: Sequence[str], right: Sequence[str]) -> list[Query]:
    """One query for all texts, or one for each pair."""
    if len(left) not in (1, len(right)):
        raise RequestError(
            f"Input lengths must be either 1:1, 1:N or N:N, not {len(left)}:{len(right)}"
        )
    wanted = request.truncate_prompt_tokens
    parts = [right] if len(left) == 1 else [[text] for text in right]
    return [
        Query(
            query,
            passages,
            Truncate.NONE if wanted is None else Truncate.END,
            max_pair_tokens=prompt_limit(wanted),
            max_passage_tokens=request.max_tokens_per_doc or None,
            priority=request.priority or 0,
        )
        for query, passages in zip(left, parts, strict=True)
    ]


async def _all(serving: Serving, queries: Sequence[Query]) -> list[Ranking]:
    """Every query's ranking; if one fails the others are dropped."""
    tasks = [asyncio.create_task(serving.rank(None, query)) for query in queries]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _in_order(rankings: Sequence[Ranking], raw: bool, serving: Serving) -> list[Score]:
    flagged = serving.settings.report_truncated
    found = [
        (score(item.logit, raw), item.index in ranking.truncated)
        for ranking in rankings
        for item in sorted(ranking.results, key=lambda item: item.index)
    ]
    return [
        Score(index=i, score=value, truncated=cut if flagged else None)
        for i, (value, cut) in enumerate(found)
    ]


def ask(query: str, passages: Sequence[str], model: str | None) -> ScoreRequest:
    """In the names that every release of vLLM knows."""
    return ScoreRequest(
        model=model,
        text_1=[query],
        text_2=list(passages),
        use_activation=False,
        truncate_prompt_tokens=-1,
    )


def ranked(answer: Any) -> list[Scored]:
    """The answer is in the order of the request: sorted here, ties by index."""
    items = [Scored(item.index, item.score) for item in map(Score.model_validate, answer["data"])]
    return sorted(items, key=lambda item: (-item.score, item.index))


def fields(location: Sequence[str | int]) -> list[str]:
    """Field names of the request; unknown ones are ignored."""
    return list(ScoreRequest.model_fields)
