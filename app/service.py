"""What every handler is given: the reranker, the served names, the limits, the metrics."""

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from app.names import ServedNames
from app.settings import Settings
from app.telemetry import Metrics
from engine.errors import RequestError, StartError, UnavailableError
from engine.reranker import OpenBackend, Reranker
from engine.types import Checkpoint, Query, Ranking

log = logging.getLogger(__name__)


class Service:
    """One model being served. on_fatal is called when the process can no longer do its work."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        on_fatal: Callable[[], None],
        open_backend: OpenBackend,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self._on_fatal = on_fatal
        self.reranker = Reranker(
            settings.engine(), open_backend, on_batch=metrics.batch, on_death=on_fatal
        )
        self.started = asyncio.Event()  # the start has succeeded or failed
        metrics.watch_queue(lambda: self.reranker.waiting)

    async def start(self) -> None:
        """Load and warm the model; end the process if it cannot be served."""
        try:
            await self.reranker.start()
            log.info("ready: serving %s as %s", self.checkpoint.folder, self.names.canonical)
        except StartError as error:
            log.error("cannot start: %s", error)
            self._on_fatal()
        except Exception:
            log.exception("cannot start")
            self._on_fatal()
        finally:
            self.started.set()

    async def rank(self, model: str | None, query: Query) -> Ranking:
        """Rank under a model name. Raises RequestError, UnavailableError or ScoringError."""
        self.names.check(model)
        limit = self.settings.max_passages
        if (count := len(query.passages)) > limit:
            raise RequestError(
                f"{count} passages are more than the {limit} of one request: send several requests"
            )
        try:
            ranking = await self.reranker.rank(query)
        except asyncio.CancelledError:
            self.metrics.cancelled.inc()
            raise
        self.metrics.ranking(ranking)
        return ranking

    @property
    def checkpoint(self) -> Checkpoint:
        """The loaded checkpoint. Raises UnavailableError before there is one."""
        if self.reranker.checkpoint is None:
            raise UnavailableError("the model is still loading: try again shortly")
        return self.reranker.checkpoint

    @property
    def names(self) -> ServedNames:
        """The names requests may use. Raises UnavailableError before the model is loaded."""
        canonical = self.settings.model_name or self.checkpoint.name
        return ServedNames.of(canonical, self.settings.model_aliases)


def _of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_of)]
