"""Ranks with the engine in this process, as the server would."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from app.scores import Scored
from app.settings import Settings
from engine.checkpoint import fingerprint
from engine.reranker import Reranker
from engine.types import Checkpoint, Query, Truncate

_NO_LIMIT = 2**62  # how much waits is bounded by the concurrency, not by the queue


class Local:
    """identity: what the scores depend on, by name."""

    def __init__(self, reranker: Reranker, identity: Mapping[str, str | int | None]) -> None:
        self._reranker = reranker
        self.identity = identity

    async def rank(self, query: str, passages: Sequence[str]) -> list[Scored]:
        """Logits, highest first; over-long pairs are cut. Raises what Reranker.rank raises."""
        ranking = await self._reranker.rank(Query(query, passages, Truncate.END))
        return [Scored(item.index, item.logit) for item in ranking.results]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Local]:
    """The engine, loaded and warm. Raises StartError."""
    config = settings.engine()
    reranker = Reranker(replace(config, max_queue_tokens=_NO_LIMIT, max_queue_requests=_NO_LIMIT))
    await reranker.start()
    try:
        assert reranker.checkpoint is not None
        yield Local(reranker, _identity(reranker.checkpoint, settings))
    finally:
        await reranker.stop(0)


def _identity(checkpoint: Checkpoint, settings: Settings) -> dict[str, str | int | None]:
    return {
        "checkpoint": checkpoint.name,
        "revision": checkpoint.revision,
        "weights": fingerprint(checkpoint)[:16],
        "backend": settings.backend,
        "dtype": settings.dtype,
        "max_pair_tokens": checkpoint.max_pair_tokens,
    }
