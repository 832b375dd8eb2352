"""Asks a ranker for every query that is not done, some at a time, and writes down each answer."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.evaluation.beir import Corpus
from app.evaluation.runs import Candidates
from app.evaluation.scores_file import ScoresFile
from app.scores import Scored
from engine.errors import CrossrankError


class Ranker(Protocol):
    """Whatever ranks. identity: what its scores depend on, by name."""

    identity: Mapping[str, str | int | None]

    async def rank(self, query: str, passages: Sequence[str]) -> list[Scored]:
        """Every passage once, most relevant first."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be ranked: queries by id, their candidates' ids, and where their texts are."""

    queries: Mapping[str, str]
    candidates: Candidates
    corpus: Corpus

    def close(self) -> None:
        """Close the corpus."""
        self.corpus.close()


async def rank_all(
    ranker: Ranker, work: Work, scores: ScoresFile, concurrency: int, tell: Callable[[int], None]
) -> None:
    """Every query once, those in the file left out. tell: how many are done. Raises the first
    error, and drops what was being asked then."""
    waiting = iter([query for query in work.candidates if query not in scores.rankings])
    tell(len(scores.rankings))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(_rank_some(ranker, work, scores, waiting, tell))
    except* (CrossrankError, OSError) as errors:
        raise _first(errors) from None


async def _rank_some(
    ranker: Ranker,
    work: Work,
    scores: ScoresFile,
    waiting: Iterator[str],  # shared: each query is taken by one
    tell: Callable[[int], None],
) -> None:
    for query in waiting:
        documents = work.candidates[query]
        texts = [work.corpus.text(document) for document in documents]
        scores.append(query, documents, await ranker.rank(work.queries[query], texts))
        tell(len(scores.rankings))


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
