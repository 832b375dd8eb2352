"""Every metric is declared here."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from engine.types import BatchReport, Ranking, Waiting

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, unread

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKENS = tuple(2**n for n in range(4, 18))
_SHARES = (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1)
_ROWS = tuple(2**n for n in range(11))
STAGES = ("tokenize", "queue", "inference")


class Metrics:
    """All metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.triton = TritonCounters()
        self.registry.register(self.triton)
        self.requests = self._counter("requests", "Requests answered.", "dialect", "route", "code")
        self.request_seconds = self._histogram(
            "request_seconds", "Time from the first byte to the last.", _SECONDS, "route"
        )  # fmt: skip
        self.stage_seconds = self._histogram(
            "stage_seconds", "Time of a ranking in each stage.", _SECONDS, "stage"
        )  # fmt: skip
        self.passages = self._counter("passages", "Passages ranked.")
        self.tokens = self._counter("tokens", "Tokens ranked.")
        self.truncated = self._counter("truncated_pairs", "Pairs cut to the token limit.")
        self.cancelled = self._counter("cancelled_requests", "Rankings whose client hung up.")
        self.shed = self._counter("shed_requests", "Rankings refused: too many were waiting.")
        self.expired = self._counter("expired_requests", "Rankings whose time ran out.")
        self.batch_tokens = self._histogram("batch_tokens", "Tokens in a batch.", _TOKENS)
        self.batch_rows = self._histogram("batch_rows", "Pairs in a batch.", _ROWS)
        self.batch_seconds = self._histogram("batch_seconds", "A batch in the backend.", _SECONDS)
        self.batch_padding = self._histogram(
            "batch_padding_ratio", "Share of attention's cells that is padding.", _SHARES
        )
        self.failed_batches = self._counter("failed_batches", "Batches that the backend failed.")

    def batch(self, report: BatchReport) -> None:
        """Count one batch. Called on the device thread."""
        self.batch_tokens.observe(report.tokens)
        self.batch_rows.observe(report.rows)
        self.batch_padding.observe(1 - report.tokens / report.cells)
        self.batch_seconds.observe(report.seconds)
        self.triton.exec_count += 1
        if report.failed:
            self.failed_batches.inc()

    def ranking(self, ranking: Ranking) -> None:
        """Count one answered ranking."""
        self.passages.inc(len(ranking.results))
        self.tokens.inc(ranking.tokens)
        self.truncated.inc(len(ranking.truncated))
        for stage in STAGES:
            self.stage_seconds.labels(stage).observe(getattr(ranking.timings, stage))
        self.triton.success(ranking)

    def watch_queue(self, waiting: Callable[[], Waiting]) -> None:
        """Read the queue's depth and age at every scrape."""
        self.registry.register(_Queue(waiting))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"crossrank_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"crossrank_{name}", text, labels, buckets=buckets, registry=self.registry)


class _Queue:
    def __init__(self, waiting: Callable[[], Waiting]) -> None:
        self._waiting = waiting

    def collect(self) -> list[Metric]:
        now = self._waiting()
        return [
            GaugeMetricFamily("crossrank_queue_tokens", "Tokens waiting.", value=now.tokens),
            GaugeMetricFamily("crossrank_queue_pairs", "Pairs waiting.", value=now.pairs),
            GaugeMetricFamily(
                "crossrank_queue_age_seconds", "Age of the oldest waiting request.",
                value=now.oldest_seconds,
            ),
            GaugeMetricFamily(
                "crossrank_admitted_tokens", "Tokens admitted and not yet answered.",
                value=now.admitted_tokens,
            ),
            _triton("nv_inference_pending_request_count", "gauge", now.requests, {}),
        ]  # fmt: skip


class TritonCounters:
    """The nv_inference_* counters of Triton that NIM dashboards read. Durations in microseconds.

    Source of names and meanings: Triton Inference Server's metrics guide; they carry no _total.
    """

    def __init__(self) -> None:
        self.model = ""
        self.failures = 0
        self.exec_count = 0
        self._values = dict.fromkeys(
            ("request_success", "count", "request_duration_us", "queue_duration_us",
             "compute_input_duration_us", "compute_infer_duration_us"), 0
        )  # fmt: skip

    def success(self, ranking: Ranking) -> None:
        """Count one answered ranking."""
        timings, values = ranking.timings, self._values
        values["request_success"] += 1
        values["count"] += len(ranking.results)
        values["request_duration_us"] += _microseconds(timings.finished - timings.arrived)
        values["queue_duration_us"] += _microseconds(timings.queue)
        values["compute_input_duration_us"] += _microseconds(timings.tokenize)
        values["compute_infer_duration_us"] += _microseconds(timings.inference)

    def collect(self) -> list[Metric]:
        values = {
            **self._values,
            "request_failure": self.failures,
            "exec_count": self.exec_count,
        }
        labels = {"model": self.model, "version": "1"}
        return [
            _triton(f"nv_inference_{name}", "counter", value, labels)
            for name, value in values.items()
        ]


def _triton(name: str, kind: str, value: float, labels: dict[str, str]) -> Metric:
    metric = Metric(name, "As in Triton Inference Server.", kind)
    metric.add_sample(name, labels, value)
    return metric


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
