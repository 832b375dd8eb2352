"""Outermost ASGI layer: gives every request an id, times it, counts it, logs one line."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import dialects
from app.exchange import Exchange, begin
from app.telemetry import Metrics

log = logging.getLogger("crossrank.access")

_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
# Source: W3C Trace Context, version 00.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_HUNG_UP = 499  # the client left before there was an answer


class Observe:
    """ASGI layer around everything."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _begin(Headers(scope=scope))
        begin(exchange)
        start, status = time.monotonic(), _HUNG_UP

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = exchange.request_id
                headers.update(_timing_headers(exchange, time.monotonic() - start))
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
        self._metrics.requests.labels(dialects.name_of(scope), route, status).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        log.info("%s %s %d %.1f ms", scope["method"], route, status, seconds * 1000)


def _begin(headers: Headers) -> Exchange:
    given = headers.get("x-request-id", "")
    trace = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return Exchange(
        request_id=given if _ID.fullmatch(given) else uuid.uuid4().hex,
        timeout_ms=headers.get("x-request-timeout-ms"),
        trace_id=trace[1] if trace else "",
    )


def _timing_headers(exchange: Exchange, total: float) -> dict[str, str]:
    """Milliseconds, under the names that text-embeddings-inference's clients read."""
    if exchange.ranking is None:
        return {}
    timings = exchange.ranking.timings
    return {
        "x-tokenization-time": f"{timings.tokenize * 1000:.3f}",
        "x-queue-time": f"{timings.queue * 1000:.3f}",
        "x-inference-time": f"{timings.inference * 1000:.3f}",
        "x-total-time": f"{total * 1000:.3f}",
        "x-compute-tokens": str(exchange.ranking.tokens),
    }
