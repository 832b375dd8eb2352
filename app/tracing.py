"""OpenTelemetry spans around what the engine did. FastAPI itself opens the span of the request.

Costs nothing unless an SDK is installed and OTEL_* names where to send.
"""

import time

from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext

from engine.types import BatchReport, Ranking

_tracer = trace.get_tracer("crossrank")


def context() -> SpanContext | None:
    """The span of the request in hand, for its batches to link to; None when nobody records."""
    span = trace.get_current_span()
    return span.get_span_context() if span.is_recording() else None


def ranking(done: Ranking) -> None:
    """Spans of the request's stages, below the span of the request."""
    if context() is None:
        return
    timings = done.timings
    marks = (timings.arrived, timings.tokenized, timings.started, timings.finished)
    attributes = {"crossrank.passages": len(done.results), "crossrank.tokens": done.tokens}
    for name, start, end in zip(("tokenize", "queue", "score"), marks, marks[1:], strict=False):
        span = _tracer.start_span(name, start_time=_epoch(start), attributes=attributes)
        span.end(_epoch(end))


def batch(report: BatchReport) -> None:
    """A span of its own for a batch, linked to the requests it served. On the device thread."""
    links = [Link(found) for found in report.traces if isinstance(found, SpanContext)]
    if not links:
        return
    end = time.monotonic()
    span = _tracer.start_span(
        "batch",
        context=trace.set_span_in_context(trace.INVALID_SPAN),
        links=links,
        start_time=_epoch(end - report.seconds),
        attributes={
            "crossrank.tokens": report.tokens,
            "crossrank.pairs": report.rows,
            "crossrank.failed": report.failed,
        },
    )
    span.end(_epoch(end))


def _epoch(monotonic: float) -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns() - int((time.monotonic() - monotonic) * 1e9)
