"""Every metric, the request ids and the log format. Nothing here ever sees a request's text."""

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.types import BatchReport, Ranking

log = logging.getLogger("crossrank.access")

request_id: ContextVar[str] = ContextVar("request_id", default="-")

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, unread

_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKENS = tuple(2**n for n in range(4, 18))
_ROWS = tuple(2**n for n in range(11))


class Metrics:
    """All metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.requests = Counter(
            "crossrank_requests", "Requests answered.", ["route", "code"], registry=registry
        )
        self.request_seconds = Histogram(
            "crossrank_request_seconds", "Time from the request's first byte to the answer's last.",
            ["route"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "crossrank_stage_seconds", "Time of a ranking in a stage: tokenize, queue, inference.",
            ["stage"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.passages = Counter("crossrank_passages", "Passages ranked.", registry=registry)
        self.tokens = Counter("crossrank_tokens", "Tokens ranked.", registry=registry)
        self.truncated = Counter(
            "crossrank_truncated_pairs", "Pairs cut to the token limit.", registry=registry
        )
        self.cancelled = Counter(
            "crossrank_cancelled_requests", "Rankings whose client hung up.", registry=registry
        )
        self.batch_tokens = Histogram(
            "crossrank_batch_tokens", "Tokens in a batch.", buckets=_TOKENS, registry=registry
        )
        self.batch_rows = Histogram(
            "crossrank_batch_rows", "Pairs in a batch.", buckets=_ROWS, registry=registry
        )
        self.batch_seconds = Histogram(
            "crossrank_batch_seconds", "Time of a batch in the backend.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.failed_batches = Counter(
            "crossrank_failed_batches", "Batches that the backend failed.", registry=registry
        )

    def batch(self, report: BatchReport) -> None:
        """Count one batch. Called on the device thread."""
        self.batch_tokens.observe(report.tokens)
        self.batch_rows.observe(report.rows)
        self.batch_seconds.observe(report.seconds)
        if report.failed:
            self.failed_batches.inc()

    def ranking(self, ranking: Ranking) -> None:
        """Count one answered ranking."""
        self.passages.inc(len(ranking.results))
        self.tokens.inc(ranking.tokens)
        self.truncated.inc(len(ranking.truncated))
        for stage in ("tokenize", "queue", "inference"):
            self.stage_seconds.labels(stage).observe(getattr(ranking.timings, stage))

    def watch_queue(self, waiting: Callable[[], tuple[int, int]]) -> None:
        """Read the queue's depth, in tokens and pairs, at every scrape."""
        self.registry.register(_Queue(waiting))


class _Queue:
    def __init__(self, waiting: Callable[[], tuple[int, int]]) -> None:
        self._waiting = waiting

    def collect(self) -> list[GaugeMetricFamily]:
        tokens, pairs = self._waiting()
        return [
            GaugeMetricFamily("crossrank_queue_tokens", "Tokens waiting.", value=tokens),
            GaugeMetricFamily("crossrank_queue_pairs", "Pairs waiting.", value=pairs),
        ]


class Observe:
    """Outermost ASGI layer: gives every request an id, counts it, times it, logs one line."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id.set(given if _ID.fullmatch(given) else uuid.uuid4().hex)
        start, status = time.monotonic(), 499  # 499: the client hung up before an answer

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id.get()
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:
            status = 500  # a bug: the layer outside answers and logs it
            raise
        finally:
            self._count(scope, status, time.monotonic() - start)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route, status).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        log.info("%s %s %d %.1f ms", scope["method"], route, status, seconds * 1000)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": request_id.get(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def configure_logging(level: str, form: str) -> None:
    """Send every log line to standard error, as text or as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
    logging.getLogger("httpx").setLevel(logging.WARNING)
