"""What the dialects that answer with `results` have in common: items, usage, error table."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from app.documents import TextObject
from app.scores import Scored, score
from engine.types import Ranking


class Result(BaseModel):
    """A document's place in the answer; `document` only where the request asked for it."""

    index: int
    relevance_score: float
    document: TextObject | None = Field(None, description="Left out unless asked for.")
    truncated: bool | None = Field(None, description="Only with CROSSRANK_REPORT_TRUNCATED.")


class Usage(BaseModel):
    """Tokens over all pairs, template and special tokens included."""

    prompt_tokens: int
    total_tokens: int


def usage(ranking: Ranking) -> Usage:
    """The tokens of a ranking."""
    return Usage(prompt_tokens=ranking.tokens, total_tokens=ranking.tokens)


def results(
    ranking: Ranking,
    *,
    top_n: int | None = None,
    raw: bool = False,
    texts: Sequence[str] | None = None,
    flagged: bool = False,
) -> list[Result]:
    """The best `top_n`, or all, in the ranking's order. texts: what `document` echoes."""
    return [
        Result(
            index=item.index,
            relevance_score=score(item.logit, raw),
            document=None if texts is None else TextObject(text=texts[item.index]),
            truncated=item.index in ranking.truncated if flagged else None,
        )
        for item in ranking.results[: top_n or None]
    ]


def ranked(found: Sequence[Any]) -> list[Scored]:
    """What the items of an answer say, in their order."""
    items = map(Result.model_validate, found)
    return [Scored(item.index, item.relevance_score) for item in items]


def errors(model: type[BaseModel], statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    """FastAPI's table of error answers, all of one shape."""
    return {s: {"model": model, "description": HTTPStatus(s).phrase} for s in sorted(statuses)}
