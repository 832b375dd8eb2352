"""What every handler is given: the reranker, the served names, the limits, the metrics."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request

from app import tracing
from app.exchange import Exchange, current
from app.names import ServedNames
from app.settings import Settings
from app.telemetry import Metrics
from engine.errors import (
    CrossrankError,
    DeadlineError,
    OverloadedError,
    RequestError,
    StartError,
    UnavailableError,
)
from engine.reranker import OpenBackend, Reranker
from engine.types import BatchReport, Checkpoint, Query, Ranking

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
            settings.engine(), open_backend, on_batch=self._ran, on_death=on_fatal
        )
        self.started = asyncio.Event()  # the start has succeeded or failed
        metrics.watch_queue(lambda: self.reranker.waiting)

    async def start(self) -> None:
        """Load and warm the model; end the process if it cannot be served."""
        try:
            await self.reranker.start()
            self.metrics.triton.model = self.names.canonical
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
        """Rank under a model name, within the request's time. Raises what Reranker.rank raises."""
        self.names.check(model)
        self._check_size(query)
        exchange = current()
        query = replace(query, timeout=self._timeout(exchange), trace=tracing.context())
        if not self.settings.priority:
            query = replace(query, priority=0)
        with self._counting():
            exchange.ranking = await self.reranker.rank(query)
        self.metrics.ranking(exchange.ranking)
        tracing.ranking(exchange.ranking)
        return exchange.ranking

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count what ended without a ranking, by reason."""
        try:
            yield
        except asyncio.CancelledError:
            self.metrics.cancelled.inc()
            raise
        except CrossrankError as error:
            self.metrics.triton.failures += 1
            if isinstance(error, OverloadedError):
                self.metrics.shed.inc()
            elif isinstance(error, DeadlineError):
                self.metrics.expired.inc()
            raise

    def _check_size(self, query: Query) -> None:
        passages, characters = self.settings.max_passages, self.settings.max_characters
        if (count := len(query.passages)) > passages:
            raise RequestError(
                f"{count} passages are more than the {passages} of one request: send several "
                "requests"
            )
        if (count := len(query.text) + sum(map(len, query.passages))) > characters:
            raise RequestError(
                f"{count} characters are more than the {characters} of one request: send fewer or "
                "shorter passages"
            )

    def _timeout(self, exchange: Exchange) -> float:
        """Seconds: the client's, where it asks for less than the server allows."""
        allowed = float(self.settings.request_timeout_seconds)
        if exchange.timeout_ms is None:
            return allowed
        asked = exchange.timeout_ms
        if not (asked.isascii() and asked.isdecimal() and int(asked[:12])):
            raise RequestError("x-request-timeout-ms must be a whole number above 0")
        return min(allowed, int(asked[:12]) / 1000)

    def _ran(self, report: BatchReport) -> None:
        self.metrics.batch(report)
        tracing.batch(report)

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
